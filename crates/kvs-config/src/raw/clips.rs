//! The section `clips`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The clips of incidents: MP4 files of the footage that Kinesis Video Streams stores. The stream needs a data retention.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClipsSection {
    /// `true` to store the clip of each incident in `publishers.s3_bucket` at the incident's end.
    pub to_s3: bool,
    /// `true` to store the clip of each incident in `clips/` of `publishers.local_dir` at the incident's end. The oldest are removed
    /// beyond 4 GiB.
    pub to_local: bool,
    /// Footage before the first sighting, seconds.
    #[schemars(range(min = 0, max = 60))]
    pub before_seconds: f64,
    /// Footage after the last sighting, seconds.
    #[schemars(range(min = 0, max = 60))]
    pub after_seconds: f64,
    /// Maximum length of a clip, seconds. The clip of a longer incident shows its beginning.
    #[schemars(range(min = 10, max = 600))]
    pub max_seconds: u32,
    /// `true` to make clips of cameras with `masks`, too. Masks do not cover stored video: the clips show what the masks hide.
    pub ignore_masks: bool,
}

impl Default for ClipsSection {
    fn default() -> Self {
        Self {
            to_s3: false,
            to_local: false,
            before_seconds: 5.0,
            after_seconds: 5.0,
            max_seconds: 120,
            ignore_masks: false,
        }
    }
}
