//! Writing a whole MP4 file, as GetClip sends it.

use super::write::{boxed, clamped, full, movie, words};
use crate::timing::Schedule;
use crate::{AccessUnit, VideoTrack};

const MDAT_HEAD_BYTES: usize = 8;

/// Where and when the samples of a file are.
#[derive(Debug, Default)]
struct Samples {
    /// Bytes of each.
    sizes: Vec<u32>,
    /// From the decoding of each to that of the next, ms.
    lengths_ms: Vec<u32>,
    /// From the decoding of each to its showing, ms.
    compositions_ms: Vec<i32>,
    /// 1-based, of those that can be decoded without another.
    key_frames: Vec<u32>,
    /// Samples and bytes of each fragment: a chunk.
    chunks: Vec<(u32, usize)>,
}

/// Writes the head of an MP4 file of one track; the data of the units, in their order, makes it whole.
///
/// `fragments`: each with the time to which the times of its units are relative, ms, on a time line of all of them. The first
/// frame is shown at 0, and gaps between fragments stay. A fragment that begins before the end of the one before it is moved there.
pub fn write_file_head(track: &VideoTrack, fragments: &[(i64, &[AccessUnit])]) -> Vec<u8> {
    let samples = Samples::of(fragments);
    let mut out = Vec::new();
    boxed(&mut out, b"ftyp", |out| out.extend_from_slice(b"isom\0\0\x02\0isomiso4mp41"));
    let data_offset = out.len() + moov(track, &samples, 0).len() + MDAT_HEAD_BYTES;
    out.extend_from_slice(&moov(track, &samples, data_offset));
    let data_bytes: usize = samples.chunks.iter().map(|(_, bytes)| bytes).sum();
    words(&mut out, &[clamped(MDAT_HEAD_BYTES + data_bytes)]);
    out.extend_from_slice(b"mdat");
    out
}

impl Samples {
    fn of(fragments: &[(i64, &[AccessUnit])]) -> Self {
        let mut samples = Self::default();
        let mut end_ms = None;
        for (start_ms, units) in fragments.iter().filter(|(_, units)| !units.is_empty()) {
            let schedule = Schedule::of(units);
            let first_ms = schedule.decode_ms.first().copied().unwrap_or(0);
            let begin_ms = start_ms.saturating_add(first_ms);
            samples.stretch_last(begin_ms.saturating_sub(end_ms.unwrap_or(begin_ms)));
            samples.push(units, &schedule);
            let span_ms = schedule.decode_ms.last().map_or(0, |last_ms| last_ms.saturating_sub(first_ms));
            let length_ms = span_ms.saturating_add(schedule.last_ms);
            end_ms = Some(begin_ms.max(end_ms.unwrap_or(begin_ms)).saturating_add(length_ms));
        }
        samples
    }

    /// Lets the last sample last so much longer, where a gap follows.
    fn stretch_last(&mut self, by_ms: i64) {
        if let Some(last) = self.lengths_ms.last_mut() {
            *last = last.saturating_add(clamped_ms(by_ms));
        }
    }

    fn push(&mut self, units: &[AccessUnit], schedule: &Schedule) {
        for (index, unit) in units.iter().enumerate() {
            let decode_ms = schedule.decode_ms.get(index).copied().unwrap_or(unit.relative_ms);
            let composition_ms = unit.relative_ms.saturating_sub(decode_ms);
            self.sizes.push(clamped(unit.data.len()));
            self.lengths_ms.push(clamped_ms(schedule.length_ms(index)));
            self.compositions_ms.push(i32::try_from(composition_ms).unwrap_or(0));
            if unit.key {
                self.key_frames.push(clamped(self.sizes.len()));
            }
        }
        let bytes = units.iter().map(|unit| unit.data.len()).sum();
        self.chunks.push((clamped(units.len()), bytes));
    }

    fn write(&self, out: &mut Vec<u8>, data_offset: usize) {
        full(out, b"stts", 0, 0, |out| runs(out, self.lengths_ms.iter().copied()));
        full(out, b"ctts", 1, 0, |out| runs(out, self.compositions_ms.iter().map(|ms| ms.cast_unsigned())));
        full(out, b"stss", 0, 0, |out| table(out, &self.key_frames));
        full(out, b"stsz", 0, 0, |out| {
            words(out, &[0]);
            table(out, &self.sizes);
        });
        full(out, b"stsc", 0, 0, |out| {
            words(out, &[clamped(self.chunks.len())]);
            for (index, (samples, _)) in self.chunks.iter().enumerate() {
                words(out, &[clamped(index + 1), *samples, 1]);
            }
        });
        full(out, b"stco", 0, 0, |out| {
            words(out, &[clamped(self.chunks.len())]);
            let mut offset = data_offset;
            for (_, bytes) in &self.chunks {
                words(out, &[clamped(offset)]);
                offset += bytes;
            }
        });
    }
}

fn moov(track: &VideoTrack, samples: &Samples, data_offset: usize) -> Vec<u8> {
    let length_ms = samples.lengths_ms.iter().fold(0, |sum: u32, ms| sum.saturating_add(*ms));
    let mut out = Vec::new();
    boxed(&mut out, b"moov", |out| movie(out, track, length_ms, |out| samples.write(out, data_offset)));
    out
}

/// A count and its values.
fn table(out: &mut Vec<u8>, values: &[u32]) {
    words(out, &[clamped(values.len())]);
    words(out, values);
}

/// A count and values, each after the number of times that it comes in a row.
fn runs(out: &mut Vec<u8>, values: impl Iterator<Item = u32>) {
    let mut runs: Vec<[u32; 2]> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some([count, last]) if *last == value => *count += 1,
            _ => runs.push([1, value]),
        }
    }
    words(out, &[clamped(runs.len())]);
    runs.iter().for_each(|run| words(out, run));
}

fn clamped_ms(ms: i64) -> u32 {
    u32::try_from(ms.max(0)).unwrap_or(u32::MAX)
}
