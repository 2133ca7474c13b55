//! An AWS resource that the configuration names, and the remedies for failed calls on it, by error code.

use super::AwsFailure;

/// A stream, table, bucket or topic that the configuration names.
#[derive(Clone, Debug)]
pub struct AwsResource {
    /// Kind, as a person calls it: `data stream`.
    pub kind: &'static str,
    /// Name, as the configuration gives it.
    pub name: String,
    /// Key of the configuration that names it: `publishers.kds_stream`.
    pub key: &'static str,
    /// Permission that the calls need: `kinesis:PutRecords`.
    pub action: &'static str,
    /// Environment variable of the service's endpoint: `AWS_ENDPOINT_URL_KINESIS`.
    pub endpoint_variable: &'static str,
    /// Remedies that only this kind of resource has, by error code. They come before the common ones.
    pub own_remedy: fn(&str) -> Option<&'static str>,
}

impl AwsResource {
    /// Returns the kind and name, with which a message begins: `data stream events`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Returns the remedy for an error code; `None` where the resource makes no difference.
    #[must_use]
    pub fn remedy(&self, code: &str) -> Option<String> {
        let Self { kind, key, action, endpoint_variable, own_remedy, .. } = self;
        if let Some(remedy) = own_remedy(code) {
            return Some(remedy.to_owned());
        }
        match code {
            "ResourceNotFoundException" | "NoSuchBucket" | "NotFound" => {
                Some(format!("create the {kind}, or correct {key}"))
            }
            "unreachable" | "timeout" => {
                Some(format!("check the network, and {endpoint_variable} where it is set"))
            }
            // A refusal without a code comes from a server that only speaks HTTP.
            "http_403" => Some(format!("allow {action} on it")),
            code if AwsFailure::is_denial(code) => Some(format!("allow {action} on it")),
            _ => None,
        }
    }

    /// Returns one line for a person: the resource, the failure and the remedy.
    #[must_use]
    pub fn explain(&self, failure: &AwsFailure) -> String {
        failure.at_place(&self.place(), self.remedy(&failure.code).as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(code: &str) -> Option<&'static str> {
        (code == "SlowDown").then_some("wait")
    }

    #[test]
    fn remedies_by_code() {
        let resource = AwsResource {
            kind: "data stream",
            name: "events".to_owned(),
            key: "publishers.kds_stream",
            action: "kinesis:PutRecords",
            endpoint_variable: "AWS_ENDPOINT_URL_KINESIS",
            own_remedy: own,
        };
        for (code, remedy) in [
            ("ResourceNotFoundException", Some("create the data stream, or correct publishers.kds_stream")),
            ("AccessDeniedException", Some("allow kinesis:PutRecords on it")),
            ("http_403", Some("allow kinesis:PutRecords on it")),
            ("timeout", Some("check the network, and AWS_ENDPOINT_URL_KINESIS where it is set")),
            ("SlowDown", Some("wait")),
            ("NewException", None),
        ] {
            assert_eq!(resource.remedy(code).as_deref(), remedy, "{code}");
        }
        let text = resource.explain(&AwsFailure::new("SlowDown", "too fast"));
        assert_eq!(text, "data stream events: SlowDown: too fast; wait");
    }
}
