//! The probe of the host's clock. A request's signature contains the time, and AWS refuses one that is far off.

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

/// Maximum difference that AWS accepts, s. Source: IAM User Guide, "Signature Version 4", 2026: five minutes.
const MAX_ACCEPTED_S: i64 = 300;
/// Difference beyond which the probe warns, s. Synchronized clocks differ by far less.
const MAX_NORMAL_S: i64 = 30;
const REMEDY: &str = "set it, and keep it synchronized (chrony, timedatectl)";

/// Returns the probe that compares the host's clock with that of AWS.
pub(super) fn probe(aws: &SdkConfig) -> Probe {
    Probe::new("clock", Asks::Aws, compare_clocks(aws.clone()))
}

async fn compare_clocks(aws: SdkConfig) -> Finding {
    let date = Arc::new(Mutex::new(None));
    let once = aws_sdk_sts::config::Builder::from(&aws).retry_config(RetryConfig::disabled());
    let client = aws_sdk_sts::Client::from_conf(once.interceptor(ReadDate(Arc::clone(&date))).build());
    // A refusal has a `Date` header too, so the result does not matter.
    drop(client.get_caller_identity().send().await);
    let found = date.lock().unwrap_or_else(PoisonError::into_inner).take();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    compared(found, i64::try_from(here).unwrap_or(i64::MAX))
}

/// The `Date` header of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServerTime {
    date: String,
    is_of_aws: bool,
}

/// Returns the finding about a clock that shows `here_s`, s since the epoch.
fn compared(found: Option<ServerTime>, here_s: i64) -> Finding {
    let Some(ServerTime { date, is_of_aws }) = found else {
        return unknown("STS sent no time to compare it with");
    };
    if !is_of_aws {
        return unknown(&format!(
            "the server that answers for STS is not AWS, so its time is not compared ({FOREIGN_REMEDY})"
        ));
    }
    match DateTime::parse_from_rfc2822(&date) {
        Ok(there) => finding_about(here_s.saturating_sub(there.timestamp())),
        Err(_) => unknown("STS sent a time that cannot be parsed"),
    }
}

fn unknown(why: &str) -> Finding {
    Finding::warn(format!("{why}; make sure that it is synchronized (chrony, timedatectl)"))
}

/// Returns the finding about a clock that is `ahead_s` ahead of AWS's.
fn finding_about(ahead_s: i64) -> Finding {
    let off_s = ahead_s.saturating_abs();
    let text = format!("{off_s} s {} AWS's", if ahead_s < 0 { "behind" } else { "ahead of" });
    match off_s {
        0..=1 => Finding::ok("equal to AWS's, to the second"),
        _ if off_s > MAX_ACCEPTED_S => {
            Finding::fail(format!("{text}: AWS refuses requests signed with it; {REMEDY}"))
        }
        _ if off_s > MAX_NORMAL_S => Finding::warn(format!(
            "{text}; beyond {MAX_ACCEPTED_S} s AWS refuses requests signed with it; {REMEDY}"
        )),
        _ => Finding::ok(text),
    }
}

/// An interceptor that keeps the `Date` header of the response.
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
        let response = context.response();
        let is_of_aws = has_request_id(response);
        let date = response.headers().get("date").map(|date| ServerTime { date: date.to_owned(), is_of_aws });
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
            (sent(date, true), Verdict::Ok, "equal to AWS's"),
            (sent("Thu, 01 Jan 1970 02:00:00 GMT", true), Verdict::Fail, "3600 s behind"),
            (
                sent("Thu, 01 Jan 1970 02:00:00 GMT", false),
                Verdict::Warn,
                "is not AWS, so its time is not compared",
            ),
            (sent(date, false), Verdict::Warn, "check HTTPS_PROXY"),
            (sent("now", true), Verdict::Warn, "cannot be parsed"),
            (None, Verdict::Warn, "sent no time"),
        ] {
            let finding = compared(found.clone(), 3_600);
            assert!(finding.verdict == verdict && finding.text.contains(words), "{found:?}: {finding:?}");
        }
    }

    #[test]
    fn clocks_by_table() {
        for (ahead_s, verdict, words) in [
            (0, Verdict::Ok, "equal to AWS's"),
            (-1, Verdict::Ok, "equal to AWS's"),
            (30, Verdict::Ok, "30 s ahead of AWS's"),
            (-31, Verdict::Warn, "31 s behind AWS's; beyond 300 s"),
            (300, Verdict::Warn, "300 s ahead"),
            (-301, Verdict::Fail, "301 s behind AWS's: AWS refuses"),
            (i64::MIN, Verdict::Fail, "set it"),
        ] {
            let finding = finding_about(ahead_s);
            assert_eq!(finding.verdict, verdict, "{ahead_s}");
            assert!(finding.text.contains(words), "{ahead_s}: {}", finding.text);
        }
    }
}
