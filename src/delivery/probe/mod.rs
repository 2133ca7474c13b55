//! The parts that the probes of `check --live` share: folders, DynamoDB tables, and findings of failed calls.

mod folder;
mod table;

pub(crate) use folder::{local_folder, state_folder};
pub(crate) use table::{describe_table, judge_condition, judge_key, probe_key};

use crate::aws::{AwsFailure, AwsResource};
use crate::base::Finding;

/// Name where a question must name a camera, an event or a key: no real one can have it.
pub(crate) const CHECK_NAME: &str = ".kvs-infer-check";
/// The remedy where no better one is known.
const CORRECT_IT: &str = "correct what it names; the service would try again for ever";

/// Returns the failure of an answer that describes nothing.
pub(crate) fn nothing_described() -> AwsFailure {
    AwsFailure::new("bad_response", "the answer describes nothing")
}

/// Returns the finding of a failure that keeps the service from working.
pub(crate) fn failed(failure: &AwsFailure, resource: &AwsResource) -> Finding {
    let remedy = resource.remedy(&failure.code);
    let advice = failure.advice(remedy.as_deref(), CORRECT_IT);
    Finding::fail(format!("{}: {}: {}", resource.place(), failure.code, failure.text)).with_remedy(advice)
}

/// Returns the finding of a failed description. A missing permission is a warning, since only `check --live` uses it.
pub(crate) fn undescribed(failure: &AwsFailure, resource: &AwsResource, action: &str) -> Finding {
    if failure.is_denied() {
        let place = resource.place();
        return Finding::warn(format!("{place}: {action} is not allowed; only this check asks for it"));
    }
    failed(failure, resource)
}
