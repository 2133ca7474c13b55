//! The clips that a sink stores: of an incident, at its end.

use serde::{Deserialize, Serialize};

use super::span::{ClipRules, ClipSpan};

/// The folder of clips in the local sink's folder.
pub(crate) const CLIPS_FOLDER: &str = "clips";
/// Characters of the incident's id in a clip's name.
const ID_CHARS: usize = 12;

/// The section `clips` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipSettings {
    /// The lengths of clips.
    pub rules: ClipRules,
    /// `true`: clips of cameras with masks are made, too. Masks do not cover what they show.
    pub ignore_masks: bool,
    /// `true`: clips are stored in the bucket of snapshots.
    pub to_s3: bool,
    /// `true`: clips are stored in the local sink's folder.
    pub to_local: bool,
}

impl Default for ClipSettings {
    fn default() -> Self {
        let rules = ClipRules { before_ms: 5_000, after_ms: 5_000, max_ms: 120_000 };
        Self { rules, ignore_masks: false, to_s3: false, to_local: false }
    }
}

/// The clips of one camera that are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClipRoute {
    /// The name of its Kinesis video stream.
    pub stream: String,
    /// The lengths of its clips.
    pub rules: ClipRules,
    /// The bucket, and the first part of its keys; `None`: not in S3.
    pub bucket: Option<ClipBucket>,
    /// `true`: in the local sink's folder.
    pub local: bool,
}

/// A bucket, and the first part of the keys of one camera in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClipBucket {
    /// The bucket's name.
    pub bucket: String,
    /// Everything of a key before the file's name.
    pub prefix: String,
}

/// A clip to be stored, and its places.
///
/// On disk in the header of the incident's end record: fields keep their names, and new ones need a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClipOrder {
    /// The name of the Kinesis video stream.
    pub(crate) stream: String,
    pub(crate) span: ClipSpan,
    /// Path relative to the local sink's folder.
    pub(crate) local: Option<String>,
    pub(crate) s3: Option<ClipObject>,
}

/// The place of a clip in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClipObject {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl ClipOrder {
    /// Returns the order for an incident that was sighted from `first_ms` to `last_ms`, ms since the epoch.
    pub(crate) fn of(route: &ClipRoute, camera: &str, incident: &str, first_ms: i64, last_ms: i64) -> Self {
        // By the incident and not by its end record, which another worker may report again: it is one clip.
        let name = format!("{first_ms}{}", name_end(incident));
        let object = |bucket: &ClipBucket| ClipObject {
            bucket: bucket.bucket.clone(),
            key: format!("{}{name}", bucket.prefix),
        };
        Self {
            stream: route.stream.clone(),
            span: route.rules.span(first_ms, last_ms),
            s3: route.bucket.as_ref().map(object),
            local: route.local.then(|| format!("{CLIPS_FOLDER}/{camera}/{name}")),
        }
    }

    /// Returns the address that the event names: the place in S3, else the local path.
    pub(crate) fn url(&self) -> Option<String> {
        let s3 = self.s3.as_ref().map(|s3| format!("s3://{}/{}", s3.bucket, s3.key));
        s3.or_else(|| self.local.clone())
    }
}

/// Returns whether a file has the name of the clip of this incident.
pub(crate) fn is_clip_of(incident: &str, file: &str) -> bool {
    file.strip_suffix(&name_end(incident)).is_some_and(|first_ms| first_ms.parse::<i64>().is_ok())
}

/// Returns the part of a clip's name after the time.
fn name_end(incident: &str) -> String {
    format!("-{}.mp4", incident.get(..ID_CHARS).unwrap_or(incident))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_clip_is_that_of_its_incident_alone() {
        let (incident, route) = ("0123456789abcdef", ClipSettings::default().rules);
        let route = ClipRoute { stream: "s".to_owned(), rules: route, bucket: None, local: true };
        let path = ClipOrder::of(&route, "gate", incident, 1_000, 2_000).local.unwrap();
        assert_eq!(path, "clips/gate/1000-0123456789ab.mp4");
        for (file, expected) in [
            ("1000-0123456789ab.mp4", true),
            ("2000-0123456789ab.mp4", true),
            ("1000-0123456789ac.mp4", false),
            ("1000-0123456789ab.jpg", false),
            ("x-0123456789ab.mp4", false),
            ("-0123456789ab.mp4", false),
            ("1000-0123456789ab.mp4/x", false),
        ] {
            assert_eq!(is_clip_of(incident, file), expected, "{file}");
        }
    }
}
