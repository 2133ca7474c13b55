//! The text form of faults, `end=5s,count=2`, and their JSON form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::faults::model::{Fault, FaultKind, FaultTarget, Faults, Limit, Operation};
use crate::identifiers::stream_name::check_stream_name;

/// A value of `--fault`: `[STREAM:]KIND[=VALUE][,...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// The stream's name; None for all streams.
    pub stream: Option<String>,
    /// Its faults.
    pub faults: Faults,
}

/// A text or an object that is not a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultParseError {
    /// No fault has that name.
    #[error("\"{kind}\" is not a fault; the faults are {}", kinds())]
    Kind {
        /// The unknown name.
        kind: String,
    },
    /// The value of a fault is missing or out of range.
    #[error("the fault {kind}: {needed}; not \"{value}\"")]
    Value {
        /// The fault's name.
        kind: String,
        /// The value, which is empty if it is missing.
        value: String,
        /// The values that are valid.
        needed: &'static str,
    },
    /// An option is of no use for the fault.
    #[error("the fault {kind} takes no \"{option}\"; leave it out")]
    Option {
        /// The fault's name.
        kind: String,
        /// The option's name.
        option: &'static str,
    },
    /// An option precedes all faults.
    #[error(
        "\"{option}\" precedes all faults; write it after the fault that it limits, as in end=5s,count=2"
    )]
    NoFault {
        /// The option's name.
        option: String,
    },
    /// The value of an option is missing or out of range.
    #[error("the option {option}: {needed}; not \"{value}\"")]
    OptionValue {
        /// The option's name.
        option: String,
        /// The value, which is empty if it is missing.
        value: String,
        /// The values that are valid.
        needed: &'static str,
    },
    /// The name of the stream is not valid.
    #[error("{reason}")]
    Stream {
        /// The rule that the name breaks.
        reason: String,
    },
}

/// A fault before its value and options are parsed. Its fields are the keys of the JSON form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultText {
    kind: String,
    #[serde(default, deserialize_with = "text_or_number", skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<String>,
}

const KINDS: [&str; 16] = [
    "end",
    "break",
    "stall",
    "cut",
    "flip",
    "error",
    "repeat",
    "drip",
    "throttle",
    "connection-limit",
    "moved",
    "unauthorized",
    "expired-token",
    "wrong-clock",
    "expire",
    "time-back",
];
/// The longest time that a fault takes as its value: a day.
const MAX_SECONDS: f64 = 86_400.0;

const A_LIMIT: &str = "seconds, bytes or whole fragments are needed, such as 5s, 1000b or 3f";
const A_COUNT: &str = "a whole number of at least 1 is needed";
const A_NUMBER: &str = "a whole number is needed";
const A_SHARE: &str = "a share of the bytes between 0 and 1 is needed, such as 0.001";
const SOME_SECONDS: &str = "seconds between 0 and 86400 are needed, such as 10s";
const NOTHING: &str = "it takes no value";
const AN_OPERATION: &str = "getMedia, listFragments, getMediaForFragmentList, getHLSStreamingSessionURL, getClip, getImages or \
                            getDataEndpoint is needed";

fn kinds() -> String {
    KINDS.join(", ")
}

/// Reads the JSON value of a fault: `"5s"`, `"4000"` or `4000`.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrNumber {
        Text(String),
        Number(serde_json::Number),
    }
    Ok(Some(match TextOrNumber::deserialize(deserializer)? {
        TextOrNumber::Text(text) => text,
        TextOrNumber::Number(number) => number.to_string(),
    }))
}

impl FromStr for FaultPlan {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, FaultParseError> {
        // A colon occurs in no fault, so the first one ends the stream's name.
        let (stream, faults) = match text.split_once(':') {
            Some((stream, faults)) => (Some(stream), faults),
            None => (None, text),
        };
        let invalid = |reason: String| FaultParseError::Stream { reason };
        stream.map_or(Ok(()), check_stream_name).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { stream: stream.map(str::to_owned), faults: faults.parse()? })
    }
}

impl FromStr for Faults {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, FaultParseError> {
        let mut texts: Vec<FaultText> = Vec::new();
        for word in text.split(',') {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            // Any other word starts a fault; an unknown one is reported with the list of kinds.
            if !matches!(name, "count" | "after" | "every" | "seed" | "on") {
                let value = value.map(str::to_owned);
                texts.push(FaultText { kind: name.to_owned(), value, ..FaultText::default() });
                continue;
            }
            let last =
                texts.last_mut().ok_or_else(|| FaultParseError::NoFault { option: name.to_owned() })?;
            last.set_option(name, value.unwrap_or(""))?;
        }
        texts.into_iter().map(Fault::try_from).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = FaultText::from(self.clone());
        f.write_str(&text.kind)?;
        if let Some(value) = &text.value {
            write!(f, "={value}")?;
        }
        let numbers =
            [("count", text.count), ("after", text.after), ("every", text.every), ("seed", text.seed)];
        for (name, number) in numbers {
            if let Some(number) = number {
                write!(f, ",{name}={number}")?;
            }
        }
        text.on.map_or(Ok(()), |on| write!(f, ",on={on}"))
    }
}

impl FaultText {
    fn set_option(&mut self, option: &str, value: &str) -> Result<(), FaultParseError> {
        let number = || {
            value.parse().map(Some).map_err(|_| FaultParseError::OptionValue {
                option: option.to_owned(),
                value: value.to_owned(),
                needed: A_NUMBER,
            })
        };
        match option {
            "count" => self.count = number()?,
            "after" => self.after = number()?,
            "every" => self.every = number()?,
            "seed" => self.seed = number()?,
            _ => self.on = Some(value.to_owned()),
        }
        Ok(())
    }

    fn parse_kind(&self) -> Result<FaultKind, FaultParseError> {
        Ok(match self.kind.as_str() {
            "end" => FaultKind::End(self.parse_value(parse_limit, A_LIMIT)?),
            "break" => FaultKind::Break(self.parse_value(parse_limit, A_LIMIT)?),
            "stall" => FaultKind::Stall(self.parse_value(parse_limit, A_LIMIT)?),
            "cut" => FaultKind::Cut(self.parse_value(parse_number, A_NUMBER)?),
            // The seed is an option in the text and a part of the kind, since it means nothing for other faults.
            "flip" => FaultKind::Flip {
                share: self.parse_value(parse_share, A_SHARE)?,
                seed: self.seed.unwrap_or_default(),
            },
            "error" => FaultKind::ErrorTag(self.parse_value(|text| text.parse().ok(), A_NUMBER)?),
            "repeat" => FaultKind::Repeat(self.parse_value(parse_count, A_COUNT)?),
            "drip" => FaultKind::Drip(self.parse_value(parse_count, A_COUNT)?),
            "expire" if self.value.is_none() => FaultKind::Expire(None),
            "expire" => FaultKind::Expire(Some(self.parse_value(parse_count, A_COUNT)?)),
            "time-back" => FaultKind::TimeBack(self.parse_value(parse_seconds, SOME_SECONDS)?),
            _ => self.parse_bare_kind()?,
        })
    }

    /// Parses a fault that takes no value.
    fn parse_bare_kind(&self) -> Result<FaultKind, FaultParseError> {
        let kind = match self.kind.as_str() {
            "throttle" => FaultKind::Throttle,
            "connection-limit" => FaultKind::ConnectionLimit,
            "moved" => FaultKind::Moved,
            "unauthorized" => FaultKind::Unauthorized,
            "expired-token" => FaultKind::ExpiredToken,
            "wrong-clock" => FaultKind::WrongClock,
            _ => return Err(FaultParseError::Kind { kind: self.kind.clone() }),
        };
        if self.value.is_some() { Err(self.value_error(NOTHING)) } else { Ok(kind) }
    }

    fn parse_value<T>(
        &self,
        read: impl Fn(&str) -> Option<T>,
        needed: &'static str,
    ) -> Result<T, FaultParseError> {
        self.value.as_deref().and_then(read).ok_or_else(|| self.value_error(needed))
    }

    fn value_error(&self, needed: &'static str) -> FaultParseError {
        FaultParseError::Value {
            kind: self.kind.clone(),
            value: self.value.clone().unwrap_or_default(),
            needed,
        }
    }

    /// Fails if an option is given that this kind does not take.
    fn check_options(&self, kind: FaultKind) -> Result<(), FaultParseError> {
        let target = kind.target();
        // `Repeat` acts on the start of a connection, which nothing can precede.
        let starts_later = target == FaultTarget::Connection && !matches!(kind, FaultKind::Repeat(_));
        // `Moved` answers every call until the endpoint is asked for, so there is nothing to choose.
        let chooses = target == FaultTarget::Call && kind != FaultKind::Moved;
        let given = [
            ("after", self.after.is_some(), starts_later),
            ("every", self.every.is_some(), chooses),
            ("on", self.on.is_some(), chooses),
            ("seed", self.seed.is_some(), matches!(kind, FaultKind::Flip { .. })),
        ];
        match given.into_iter().find(|(_, given, taken)| *given && !taken) {
            Some((option, ..)) => Err(FaultParseError::Option { kind: self.kind.clone(), option }),
            None => Ok(()),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FaultText::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(FaultText::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl TryFrom<FaultText> for Fault {
    type Error = FaultParseError;

    fn try_from(text: FaultText) -> Result<Self, FaultParseError> {
        let kind = text.parse_kind()?;
        text.check_options(kind)?;
        Ok(Self {
            kind,
            // A count of 0 would be used up before its first use, and `every=0` would never apply.
            count: check_positive("count", text.count)?,
            after: text.after.unwrap_or(0),
            every: check_positive("every", text.every)?.unwrap_or(1),
            on: text.on.map(parse_operation).transpose()?,
        })
    }
}

fn check_positive(option: &str, number: Option<u64>) -> Result<Option<u64>, FaultParseError> {
    match number {
        Some(0) => Err(FaultParseError::OptionValue {
            option: option.to_owned(),
            value: "0".to_owned(),
            needed: A_COUNT,
        }),
        number => Ok(number),
    }
}

fn parse_operation(name: String) -> Result<Operation, FaultParseError> {
    Operation::from_name(&name).ok_or_else(|| FaultParseError::OptionValue {
        option: "on".to_owned(),
        value: name,
        needed: AN_OPERATION,
    })
}

impl From<Fault> for FaultText {
    fn from(fault: Fault) -> Self {
        let (kind, value, seed) = text_of_kind(fault.kind);
        Self {
            kind: kind.to_owned(),
            value,
            count: fault.count,
            after: Some(fault.after).filter(|&after| after > 0),
            every: Some(fault.every).filter(|&every| every > 1),
            seed,
            on: fault.on.map(|operation| operation.name().to_owned()),
        }
    }
}

/// Returns the name, the value and the seed of a kind.
fn text_of_kind(kind: FaultKind) -> (&'static str, Option<String>, Option<u64>) {
    let number = |number: u64| Some(number.to_string());
    match kind {
        FaultKind::End(limit) => ("end", Some(limit.to_string()), None),
        FaultKind::Break(limit) => ("break", Some(limit.to_string()), None),
        FaultKind::Stall(limit) => ("stall", Some(limit.to_string()), None),
        FaultKind::Cut(bytes) => ("cut", number(bytes), None),
        FaultKind::Flip { share, seed } => ("flip", Some(share.to_string()), Some(seed)),
        FaultKind::ErrorTag(id) => ("error", number(id.into()), None),
        FaultKind::Repeat(fragments) => ("repeat", number(fragments), None),
        FaultKind::Drip(bytes) => ("drip", number(bytes), None),
        FaultKind::Throttle => ("throttle", None, None),
        FaultKind::ConnectionLimit => ("connection-limit", None, None),
        FaultKind::Moved => ("moved", None, None),
        FaultKind::Unauthorized => ("unauthorized", None, None),
        FaultKind::ExpiredToken => ("expired-token", None, None),
        FaultKind::WrongClock => ("wrong-clock", None, None),
        FaultKind::Expire(fragments) => ("expire", fragments.and_then(number), None),
        FaultKind::TimeBack(by) => ("time-back", Some(Limit::Time(by).to_string()), None),
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "{}s", time.as_secs_f64()),
            Self::Bytes(bytes) => write!(f, "{bytes}b"),
            Self::Fragments(fragments) => write!(f, "{fragments}f"),
        }
    }
}

fn parse_limit(text: &str) -> Option<Limit> {
    if let Some(bytes) = text.strip_suffix('b') {
        return parse_number(bytes).map(Limit::Bytes);
    }
    if let Some(fragments) = text.strip_suffix('f') {
        return parse_number(fragments).map(Limit::Fragments);
    }
    parse_seconds(text).map(Limit::Time)
}

/// Parses seconds with their unit.
fn parse_seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    (0.0..=MAX_SECONDS).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn parse_share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

fn parse_number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn parse_count(text: &str) -> Option<u64> {
    parse_number(text).filter(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn texts_are_parsed_into_faults() {
        let fault = |kind: FaultKind| Fault::from(kind);
        let table: [(&str, Vec<Fault>); 8] = [
            ("end=5s", vec![fault(FaultKind::End(Limit::Time(Duration::from_secs(5))))]),
            ("stall=2f,count=1", vec![fault(FaultKind::Stall(Limit::Fragments(2))).times(1)]),
            ("cut=100,after=3", vec![fault(FaultKind::Cut(100)).after(3)]),
            ("flip=0.25,seed=7", vec![fault(FaultKind::Flip { share: 0.25, seed: 7 })]),
            ("throttle,every=3,count=2", vec![Fault { every: 3, ..fault(FaultKind::Throttle).times(2) }]),
            (
                "unauthorized,on=getDataEndpoint",
                vec![Fault { on: Some(Operation::GetDataEndpoint), ..fault(FaultKind::Unauthorized) }],
            ),
            ("expire", vec![fault(FaultKind::Expire(None))]),
            (
                "end=10b,count=2,error=4000,after=1",
                vec![
                    fault(FaultKind::End(Limit::Bytes(10))).times(2),
                    fault(FaultKind::ErrorTag(4000)).after(1),
                ],
            ),
        ];
        for (text, faults) in table {
            assert_eq!(text.parse(), Ok(Faults(faults)), "{text}");
        }
    }

    #[test]
    fn a_plan_names_one_stream_or_is_for_all() {
        let plan: FaultPlan = "gate:moved".parse().expect("a plan");
        assert_eq!((plan.stream.as_deref(), plan.faults), (Some("gate"), FaultKind::Moved.into()));
        let plan: FaultPlan = "moved".parse().expect("a plan");
        assert_eq!(plan.stream, None);
        let error = "bad name:moved".parse::<FaultPlan>().expect_err("the name of no stream");
        assert!(error.to_string().contains("bad name"), "{error}");
    }

    #[test]
    fn an_invalid_fault_is_reported_with_valid_values() {
        for (text, message) in [
            ("", "\"\" is not a fault; the faults are end, break, stall"),
            ("explode", "\"explode\" is not a fault"),
            ("end", "the fault end: seconds, bytes or whole fragments"),
            ("end=5", "not \"5\""),
            ("end=-1s", "not \"-1s\""),
            ("end=NaNs", "not \"NaNs\""),
            ("cut=x", "the fault cut: a whole number"),
            ("flip=1.5", "between 0 and 1"),
            ("repeat=0", "at least 1"),
            ("time-back=90000s", "between 0 and 86400"),
            ("throttle=3", "the fault throttle: it takes no value; not \"3\""),
            ("count=2", "\"count\" precedes all faults"),
            ("throttle,count=x", "the option count: a whole number is needed; not \"x\""),
            ("throttle,count=0", "the option count: a whole number of at least 1"),
            ("throttle,after=2", "the fault throttle takes no \"after\""),
            ("end=5s,seed=1", "the fault end takes no \"seed\""),
            ("end=5s,on=getMedia", "the fault end takes no \"on\""),
            ("moved,every=2", "the fault moved takes no \"every\""),
            ("repeat=1,after=2", "the fault repeat takes no \"after\""),
            ("throttle,on=putMedia", "the option on: getMedia"),
        ] {
            let error = text.parse::<Faults>().expect_err(text);
            assert!(error.to_string().contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn json_is_equivalent_to_text() {
        let text = "end=5s,count=2,error=4000,after=1,flip=0.5,seed=3";
        let faults: Faults = text.parse().expect("faults");
        let written = json!([
            { "kind": "end", "value": "5s", "count": 2 },
            { "kind": "error", "value": "4000", "after": 1 },
            { "kind": "flip", "value": "0.5", "seed": 3 },
        ]);
        assert_eq!(serde_json::to_value(&faults).expect("JSON"), written);
        let number = json!([{ "kind": "error", "value": 4000, "after": 1 }]);
        let read: Faults = serde_json::from_value(number).expect("a number is valid, too");
        assert_eq!(read.0, faults.0[1..2]);
        let unknown = serde_json::from_value::<Faults>(json!([{ "kind": "moved", "counts": 1 }]));
        assert!(unknown.expect_err("no such option").to_string().contains("counts"));
    }

    fn any_kind() -> impl Strategy<Value = FaultKind> {
        let limit = prop_oneof![
            (0u64..86_400_000).prop_map(|ms| Limit::Time(Duration::from_millis(ms))),
            any::<u64>().prop_map(Limit::Bytes),
            any::<u64>().prop_map(Limit::Fragments),
        ];
        prop_oneof![
            limit.clone().prop_map(FaultKind::End),
            limit.clone().prop_map(FaultKind::Break),
            limit.prop_map(FaultKind::Stall),
            any::<u64>().prop_map(FaultKind::Cut),
            (0.0..=1.0, any::<u64>()).prop_map(|(share, seed)| FaultKind::Flip { share, seed }),
            any::<u32>().prop_map(FaultKind::ErrorTag),
            (1..u64::MAX).prop_map(FaultKind::Repeat),
            (1..u64::MAX).prop_map(FaultKind::Drip),
            Just(FaultKind::ExpiredToken),
            Just(FaultKind::WrongClock),
            proptest::option::of(1..u64::MAX).prop_map(FaultKind::Expire),
            (0u64..86_400_000).prop_map(|ms| FaultKind::TimeBack(Duration::from_millis(ms))),
        ]
    }

    fn any_fault() -> impl Strategy<Value = Fault> {
        (any_kind(), proptest::option::of(1..u64::MAX), any::<u64>(), 1..u64::MAX, 0usize..8).prop_map(
            |(kind, count, after, every, on)| {
                let later = kind.target() == FaultTarget::Connection && !matches!(kind, FaultKind::Repeat(_));
                let calls = kind.target() == FaultTarget::Call;
                Fault {
                    kind,
                    count,
                    after: if later { after } else { 0 },
                    every: if calls { every } else { 1 },
                    on: Operation::ALL.get(on).copied().filter(|_| calls),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_written_fault_parses_to_itself(faults in proptest::collection::vec(any_fault(), 1..4)) {
            let faults = Faults(faults);
            prop_assert_eq!(faults.to_string().parse(), Ok(faults.clone()));
            let json = serde_json::to_string(&faults).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Faults>(&json).expect("faults"), faults);
        }
    }
}
