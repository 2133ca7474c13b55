//! The file of a clip: the head of an MP4 and its media times in memory, and the data of its pictures on disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kvs_hls::mp4::FileHead;
use kvs_hls::{AccessUnit, HlsTrack};
use sha2::{Digest, Sha256};

use super::times::ClipTimes;
use crate::base::{hex, make_private_folder, private_file};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// A number for each file of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A finished clip. Its disk space is free once it is dropped.
#[derive(Debug)]
pub struct Mp4Clip {
    head: Bytes,
    /// A file without a name: it cannot outlive the process.
    data: File,
    data_bytes: u64,
    /// The box after the data.
    tail: Bytes,
    etag: String,
    /// The media times that it shows.
    pub times: ClipTimes,
}

impl Mp4Clip {
    /// Returns the size of the MP4 file, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.data_end() + self.tail.len() as u64
    }

    /// Returns the strong entity tag (RFC 9110, 8.8.3), which the content determines, with its quotation marks.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Reads up to `max` bytes from `offset` on, at least one before the end of the file. Blocks for the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read_at(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        let head_bytes = self.head.len() as u64;
        if offset < head_bytes {
            return Ok(part_of(&self.head, offset, max));
        }
        if offset >= self.data_end() {
            return Ok(part_of(&self.tail, offset - self.data_end(), max));
        }
        let left = usize::try_from(self.data_end() - offset).unwrap_or(usize::MAX);
        let mut part = vec![0; left.min(max)];
        self.data.read_exact_at(&mut part, offset - head_bytes)?;
        Ok(part.into())
    }

    /// Returns the place at which the data ends.
    fn data_end(&self) -> u64 {
        self.head.len() as u64 + self.data_bytes
    }

    /// Writes the whole MP4 file. Blocks for the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write_to(&self, out: &mut File) -> io::Result<()> {
        let mut offset = 0;
        // By position and not by a cursor, which players that read the file at the same time would share.
        while offset < self.bytes() {
            let part = self.read_at(offset, COPY_BYTES)?;
            out.write_all(&part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }
}

/// Returns up to `max` bytes from `offset` on.
fn part_of(bytes: &Bytes, offset: u64, max: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(start..bytes.len().min(start.saturating_add(max)))
}

/// A clip that is being written.
#[derive(Debug)]
pub(super) struct ClipWriter {
    data: File,
    data_bytes: u64,
    head: FileHead,
    digest: Sha256,
    /// Media time to which the times of the pictures are relative.
    base_ms: i64,
    start_ms: Option<i64>,
}

impl ClipWriter {
    /// Creates the file in `folder`, which is created where it is missing. Blocks for the disk.
    pub(super) fn create(folder: &Path, base_ms: i64) -> io::Result<Self> {
        make_private_folder(folder)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("clip-{}-{number}.part", std::process::id()));
        let data = private_file().create(true).truncate(true).read(true).write(true).open(&path)?;
        // Without a name, it leaves nothing behind after a crash.
        fs::remove_file(&path)?;
        Ok(Self {
            data,
            data_bytes: 0,
            head: FileHead::default(),
            digest: Sha256::new(),
            base_ms,
            start_ms: None,
        })
    }

    /// Returns the bytes of the pictures so far.
    pub(super) fn bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Appends the pictures of a fragment. Blocks for the disk.
    pub(super) fn append(&mut self, units: &[AccessUnit]) -> io::Result<()> {
        for unit in units {
            self.data.write_all(&unit.data)?;
            self.digest.update(&unit.data);
            self.data_bytes += unit.data.len() as u64;
        }
        let first_ms = units.iter().map(|unit| unit.relative_ms).min();
        self.start_ms = self.start_ms.or(first_ms.map(|first_ms| self.base_ms + first_ms));
        self.head.push(self.base_ms, units);
        Ok(())
    }

    /// Returns the finished clip of `track`.
    pub(super) fn finish(self, track: &HlsTrack) -> Mp4Clip {
        let Self { data, data_bytes, head, mut digest, base_ms, start_ms } = self;
        let (end_ms, head) = (head.end_ms().unwrap_or(base_ms), head.write(track));
        let times = ClipTimes { start_ms: start_ms.unwrap_or(base_ms), end_ms };
        let tail = times.to_box();
        // The head has the sizes and times of all pictures.
        digest.update(&head);
        digest.update(&tail);
        let etag = format!("\"{}\"", hex(digest));
        Mp4Clip { head: head.into(), data, data_bytes, tail: tail.into(), etag, times }
    }
}

#[cfg(test)]
mod tests {
    use kvs_hls::mp4::write_file_head;

    use super::*;
    use crate::clips::TIMES_BYTES;
    use crate::media::Codec;

    fn units(sizes: &[usize]) -> Vec<AccessUnit> {
        let unit = |(size, index): (&usize, u32)| AccessUnit {
            index,
            relative_ms: i64::from(index) * 40,
            key: index == 0,
            data: vec![index as u8; *size].into(),
        };
        sizes.iter().zip(0..).map(unit).collect()
    }

    fn track() -> HlsTrack {
        let codec_private = Bytes::from_static(b"\x01\x4d\x40\x1e\xff\xe0\x00");
        HlsTrack { codec: Codec::H264, codec_private, width_px: 64, height_px: 48 }
    }

    fn clip(folder: &Path, sizes: &[usize]) -> Mp4Clip {
        let mut writer = ClipWriter::create(folder, 1_000).unwrap();
        writer.append(&units(sizes)).unwrap();
        writer.finish(&track())
    }

    #[test]
    fn every_part_is_that_of_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = clip(&folder.path().join("clips"), &[5_000, 1, 300]);
        let mut whole = write_file_head(&track(), &[(0, &units(&[5_000, 1, 300]))]);
        units(&[5_000, 1, 300]).iter().for_each(|unit| whole.extend_from_slice(&unit.data));
        whole.extend_from_slice(&file.times.to_box());
        assert_eq!(file.bytes(), whole.len() as u64);
        for max in [1, 7, 4_096, 1 << 20] {
            let mut read = Vec::new();
            while read.len() < whole.len() {
                read.extend_from_slice(&file.read_at(read.len() as u64, max).unwrap());
            }
            assert_eq!(read, whole, "{max} bytes at a time");
        }
        let path = folder.path().join("clip.mp4");
        for _ in 0..2 {
            file.write_to(&mut File::create(&path).unwrap()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
        assert_eq!(file.times, ClipTimes { start_ms: 1_000, end_ms: 1_120 });
        assert_eq!(ClipTimes::of_end(&whole[whole.len() - TIMES_BYTES..]), Some(file.times));
    }

    #[test]
    fn the_content_determines_the_entity_tag_and_no_name_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let clips = [&[10, 20][..], &[10, 20], &[20, 10], &[30]].map(|sizes| clip(folder.path(), sizes));
        let [one, same, other, third] = clips.each_ref().map(Mp4Clip::etag);
        assert_eq!(one, same);
        assert!(one != other && one != third && one.starts_with('"') && one.ends_with('"'), "{one}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
