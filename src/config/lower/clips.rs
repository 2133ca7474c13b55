//! The section `clips`: the clips of incidents, and where they are stored.

use kvs_config::raw::CameraSection;

use crate::clips::{ClipBucket, ClipRoute, ClipRules, ClipSettings};

use super::sinks::camera_prefix;
use super::{SettingsBuilder, root_key};

impl SettingsBuilder<'_> {
    /// Returns the settings of clips.
    pub(super) fn clips(&mut self) -> ClipSettings {
        let (raw, publishers) = (&self.raw.clips, &self.raw.publishers);
        let at = root_key("clips");
        if raw.to_s3 && publishers.s3_bucket.is_none() {
            let remedy = "name a bucket as `publishers.s3_bucket`, or remove `to_s3`";
            self.problem(&at.key("to_s3"), "`to_s3` is true, but no S3 bucket is named", remedy);
        }
        if raw.to_local && publishers.local_dir.is_none() {
            let remedy = "name a folder as `publishers.local_dir`, or remove `to_local`";
            self.problem(&at.key("to_local"), "`to_local` is true, but no folder is named", remedy);
        }
        let rules = self.clip_rules();
        if rules.before_ms + rules.after_ms >= rules.max_ms {
            let message = "a clip of this length has no room for the incident between `before_seconds` and `after_seconds`";
            self.problem(&at.key("max_seconds"), message, "raise it, or lower the other two");
        }
        ClipSettings { rules, ignore_masks: raw.ignore_masks, to_s3: raw.to_s3, to_local: raw.to_local }
    }

    /// Returns the clips of a camera that are stored.
    pub(super) fn clip_route(&self, camera: &CameraSection) -> Option<ClipRoute> {
        let (raw, publishers) = (&self.raw.clips, &self.raw.publishers);
        let has_masks = camera.masks.as_ref().is_some_and(|masks| !masks.is_empty());
        // Stored video is passed on as it is.
        if has_masks && !raw.ignore_masks {
            return None;
        }
        // A camera whose pictures are not to be in the bucket has no video there, either.
        let uploads = raw.to_s3 && camera.routing.snapshot.to_s3 != Some(false);
        let bucket = publishers.s3_bucket.as_ref().filter(|_| uploads);
        let bucket = bucket.map(|bucket| ClipBucket {
            bucket: bucket.clone(),
            prefix: key_prefix(&publishers.s3_prefix, &camera_prefix(camera)),
        });
        let local = raw.to_local && publishers.local_dir.is_some();
        let stream = camera.kvs_stream_name.clone();
        (bucket.is_some() || local).then(|| ClipRoute { stream, rules: self.clip_rules(), bucket, local })
    }

    #[expect(clippy::cast_possible_truncation, reason = "the schema limits the seconds to a minute")]
    fn clip_rules(&self) -> ClipRules {
        let raw = &self.raw.clips;
        ClipRules {
            before_ms: (raw.before_seconds * 1000.0) as i64,
            after_ms: (raw.after_seconds * 1000.0) as i64,
            max_ms: i64::from(raw.max_seconds) * 1000,
        }
    }
}

/// Returns the first part of the keys of a camera, with one slash between its two parts.
fn key_prefix(all: &str, camera: &str) -> String {
    match all.trim_matches('/') {
        "" => camera.to_owned(),
        all => format!("{all}/{camera}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_beside_those_of_the_snapshots() {
        for (all, camera, expected) in [
            ("snapshots", "front/", "snapshots/front/"),
            ("/a/b/", "front/", "a/b/front/"),
            ("", "front/", "front/"),
            ("snapshots", "", "snapshots/"),
        ] {
            assert_eq!(key_prefix(all, camera), expected);
        }
    }
}
