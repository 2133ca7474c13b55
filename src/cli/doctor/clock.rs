//! The clock of this host, against that of AWS: a signature tells the time, and AWS refuses one that is far off.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_sts::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::BoxError;
use chrono::DateTime;

use crate::aws::{FOREIGN_REMEDY, has_request_id};
use crate::base::{Asks, Finding, Probe};

/// AWS refuses signatures that are further off, s. Source: IAM User Guide, "Signature Version 4", 2026: five minutes.
const REFUSED_S: i64 = 300;
/// Worth a look: clocks that are kept in step differ by far less, s.
const STRANGE_S: i64 = 30;
const REMEDY: &str = "set it, and keep it in step (chrony, timedatectl)";

/// Does this host's clock agree with AWS's?
pub(super) fn probe(aws: &SdkConfig) -> Probe {
    Probe::new("clock", Asks::Aws, look(aws.clone()))
}

async fn look(aws: SdkConfig) -> Finding {
    let date = Arc::new(Mutex::new(None));
    let once = aws_sdk_sts::config::Builder::from(&aws).retry_config(RetryConfig::disabled());
    let client = aws_sdk_sts::Client::from_conf(once.interceptor(ReadDate(Arc::clone(&date))).build());
    // Refusals have a date too.
    drop(client.get_caller_identity().send().await);
    let found = date.lock().unwrap_or_else(PoisonError::into_inner).take();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    compared(found, i64::try_from(here).unwrap_or(i64::MAX))
}

/// The time of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServerTime {
    date: String,
    is_of_aws: bool,
}

fn compared(found: Option<ServerTime>, here_s: i64) -> Finding {
    let Some(ServerTime { date, is_of_aws }) = found else {
        return unknown("STS told no time to compare it with");
    };
    if !is_of_aws {
        return unknown(&format!(
            "what answers for STS is not AWS, so its time is not compared ({FOREIGN_REMEDY})"
        ));
    }
    match DateTime::parse_from_rfc2822(&date) {
        Ok(there) => judged(here_s.saturating_sub(there.timestamp())),
        Err(_) => unknown("STS sent no time that can be read"),
    }
}

fn unknown(why: &str) -> Finding {
    Finding::warn(format!("{why}; see to it that it is kept in step (chrony, timedatectl)"))
}

/// What is to be said of a clock that is `ahead_s` ahead.
fn judged(ahead_s: i64) -> Finding {
    let off_s = ahead_s.saturating_abs();
    let text = format!("{off_s} s {} AWS's", if ahead_s < 0 { "behind" } else { "ahead of" });
    match off_s {
        0..=1 => Finding::ok("as AWS's, to the second"),
        _ if off_s > REFUSED_S => {
            Finding::fail(format!("{text}: AWS refuses what is signed by it; {REMEDY}"))
        }
        _ if off_s > STRANGE_S => {
            Finding::warn(format!("{text}; from {REFUSED_S} s on AWS refuses what is signed by it; {REMEDY}"))
        }
        _ => Finding::ok(text),
    }
}

/// Keeps the `Date` of the answer.
#[derive(Debug)]
struct ReadDate(Arc<Mutex<Option<ServerTime>>>);

impl Intercept for ReadDate {
    fn name(&self) -> &'static str {
        "date"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let is_of_aws = has_request_id(answer);
        let date = answer.headers().get("date").map(|date| ServerTime { date: date.to_owned(), is_of_aws });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Verdict;

    #[test]
    fn only_the_time_of_aws_is_compared() {
        let sent = |date: &str, is_of_aws| Some(ServerTime { date: date.to_owned(), is_of_aws });
        let date = "Thu, 01 Jan 1970 01:00:00 GMT";
        for (found, verdict, words) in [
            (sent(date, true), Verdict::Ok, "as AWS's"),
            (sent("Thu, 01 Jan 1970 02:00:00 GMT", true), Verdict::Fail, "3600 s behind"),
            (
                sent("Thu, 01 Jan 1970 02:00:00 GMT", false),
                Verdict::Warn,
                "is not AWS, so its time is not compared",
            ),
            (sent(date, false), Verdict::Warn, "check HTTPS_PROXY"),
            (sent("now", true), Verdict::Warn, "no time that can be read"),
            (None, Verdict::Warn, "told no time"),
        ] {
            let finding = compared(found.clone(), 3_600);
            assert!(finding.verdict == verdict && finding.text.contains(words), "{found:?}: {finding:?}");
        }
    }

    #[test]
    fn clocks_by_table() {
        for (ahead_s, verdict, words) in [
            (0, Verdict::Ok, "as AWS's"),
            (-1, Verdict::Ok, "as AWS's"),
            (30, Verdict::Ok, "30 s ahead of AWS's"),
            (-31, Verdict::Warn, "31 s behind AWS's; from 300 s on"),
            (300, Verdict::Warn, "300 s ahead"),
            (-301, Verdict::Fail, "301 s behind AWS's: AWS refuses"),
            (i64::MIN, Verdict::Fail, "set it"),
        ] {
            let finding = judged(ahead_s);
            assert_eq!(finding.verdict, verdict, "{ahead_s}");
            assert!(finding.text.contains(words), "{ahead_s}: {}", finding.text);
        }
    }
}
