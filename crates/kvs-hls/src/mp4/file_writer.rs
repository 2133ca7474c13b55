//! Writer of complete MP4 files, as GetClip sends them.

use super::segment_writer::{len_to_u32, write_box, write_full_box, write_movie, write_words};
use crate::timing::DecodeSchedule;
use crate::{AccessUnit, HlsTrack};

const MDAT_HEADER_LEN: usize = 8;

/// The sample table of a file: sizes, times and positions of its samples.
#[derive(Debug, Default)]
struct SampleTable {
    sizes: Vec<u32>,
    /// Time from the decoding of each sample to that of the next.
    durations_ms: Vec<u32>,
    /// Time from the decoding of each sample to its presentation.
    composition_offsets_ms: Vec<i32>,
    /// 1-based indices of the samples that can be decoded without another.
    sync_samples: Vec<u32>,
    /// Number of samples and bytes of each fragment, which is one chunk.
    chunks: Vec<(u32, usize)>,
}

/// Returns everything of an MP4 file of one track before the data of its access units, which must follow in
/// order.
///
/// Each of the `fragments` has the time in ms to which the times of its units are relative, on a common
/// timeline. The first frame is presented at 0, and gaps between fragments are kept. A fragment that begins
/// before the end of the one before it is moved to that end.
pub fn write_file_head(track: &HlsTrack, fragments: &[(i64, &[AccessUnit])]) -> Vec<u8> {
    let mut head = FileHead::default();
    for (start_ms, units) in fragments {
        head.push(*start_ms, units);
    }
    head.write(track)
}

/// The head of an MP4 file whose fragments come one by one, so that their data need not stay in memory.
#[derive(Debug, Default)]
pub struct FileHead {
    samples: SampleTable,
    /// End of the last fragment on the timeline of the fragments; `None` before the first.
    end_ms: Option<i64>,
}

impl FileHead {
    /// Adds a fragment, with the conditions of [`write_file_head`].
    pub fn push(&mut self, start_ms: i64, units: &[AccessUnit]) {
        if units.is_empty() {
            return;
        }
        let schedule = DecodeSchedule::of(units);
        let first_ms = schedule.decode_ms.first().copied().unwrap_or(0);
        let begin_ms = start_ms.saturating_add(first_ms);
        let end_ms = self.end_ms.unwrap_or(begin_ms);
        self.samples.extend_last(begin_ms.saturating_sub(end_ms));
        self.samples.push(units, &schedule);
        let span_ms = schedule.decode_ms.last().map_or(0, |last_ms| last_ms.saturating_sub(first_ms));
        let duration_ms = span_ms.saturating_add(schedule.last_ms);
        // A fragment that overlaps the one before begins at its end: a sample table has no negative
        // duration.
        self.end_ms = Some(begin_ms.max(end_ms).saturating_add(duration_ms));
    }

    /// Returns the end of the last fragment in ms on the timeline of the fragments; `None` if there is none.
    pub fn end_ms(&self) -> Option<i64> {
        self.end_ms
    }

    /// Returns everything of the file before the data of the access units, which must follow in order.
    pub fn write(&self, track: &HlsTrack) -> Vec<u8> {
        let samples = &self.samples;
        let mut out = Vec::new();
        write_box(&mut out, b"ftyp", |out| out.extend_from_slice(b"isom\0\0\x02\0isomiso4mp41"));
        // The size of the moov does not depend on the offsets in it, so a first version gives the place of the
        // data.
        let data_offset = out.len() + build_moov(track, samples, 0).len() + MDAT_HEADER_LEN;
        out.extend_from_slice(&build_moov(track, samples, data_offset));
        let data_bytes: usize = samples.chunks.iter().map(|(_, bytes)| bytes).sum();
        write_words(&mut out, &[len_to_u32(MDAT_HEADER_LEN + data_bytes)]);
        out.extend_from_slice(b"mdat");
        out
    }
}

impl SampleTable {
    /// Extends the last sample over a gap after it.
    fn extend_last(&mut self, by_ms: i64) {
        if let Some(last) = self.durations_ms.last_mut() {
            *last = last.saturating_add(ms_to_u32(by_ms));
        }
    }

    fn push(&mut self, units: &[AccessUnit], schedule: &DecodeSchedule) {
        for (index, unit) in units.iter().enumerate() {
            let decode_ms = schedule.decode_ms.get(index).copied().unwrap_or(unit.relative_ms);
            let composition_ms = unit.relative_ms.saturating_sub(decode_ms);
            self.sizes.push(len_to_u32(unit.data.len()));
            self.durations_ms.push(ms_to_u32(schedule.duration_ms(index)));
            self.composition_offsets_ms.push(i32::try_from(composition_ms).unwrap_or(0));
            if unit.key {
                self.sync_samples.push(len_to_u32(self.sizes.len()));
            }
        }
        let bytes = units.iter().map(|unit| unit.data.len()).sum();
        self.chunks.push((len_to_u32(units.len()), bytes));
    }

    fn write(&self, out: &mut Vec<u8>, data_offset: usize) {
        // 8.6.1.2 stts, 8.6.1.3 ctts (version 1: signed), 8.6.2 stss, 8.7.3 stsz, 8.7.4 stsc, 8.7.5 stco.
        write_full_box(out, b"stts", 0, 0, |out| write_runs(out, self.durations_ms.iter().copied()));
        write_full_box(out, b"ctts", 1, 0, |out| {
            write_runs(out, self.composition_offsets_ms.iter().map(|ms| ms.cast_unsigned()));
        });
        write_full_box(out, b"stss", 0, 0, |out| write_table(out, &self.sync_samples));
        write_full_box(out, b"stsz", 0, 0, |out| {
            // sample_size 0: each sample has its own.
            write_words(out, &[0]);
            write_table(out, &self.sizes);
        });
        write_full_box(out, b"stsc", 0, 0, |out| self.write_chunk_lengths(out));
        write_full_box(out, b"stco", 0, 0, |out| self.write_chunk_offsets(out, data_offset));
    }

    fn write_chunk_lengths(&self, out: &mut Vec<u8>) {
        write_words(out, &[len_to_u32(self.chunks.len())]);
        for (index, (samples, _)) in self.chunks.iter().enumerate() {
            // first_chunk, samples_per_chunk, sample_description_index.
            write_words(out, &[len_to_u32(index + 1), *samples, 1]);
        }
    }

    fn write_chunk_offsets(&self, out: &mut Vec<u8>, data_offset: usize) {
        write_words(out, &[len_to_u32(self.chunks.len())]);
        let mut offset = data_offset;
        for (_, bytes) in &self.chunks {
            write_words(out, &[len_to_u32(offset)]);
            offset += bytes;
        }
    }
}

fn build_moov(track: &HlsTrack, samples: &SampleTable, data_offset: usize) -> Vec<u8> {
    let duration_ms = samples.durations_ms.iter().fold(0, |sum: u32, ms| sum.saturating_add(*ms));
    let mut out = Vec::new();
    write_box(&mut out, b"moov", |out| {
        write_movie(out, track, duration_ms, |out| samples.write(out, data_offset));
    });
    out
}

/// Writes the number of values and the values.
fn write_table(out: &mut Vec<u8>, values: &[u32]) {
    write_words(out, &[len_to_u32(values.len())]);
    write_words(out, values);
}

/// Writes the number of runs and the runs: how many times a value repeats, and the value.
fn write_runs(out: &mut Vec<u8>, values: impl Iterator<Item = u32>) {
    let mut runs: Vec<[u32; 2]> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some([count, last]) if *last == value => *count += 1,
            _ => runs.push([1, value]),
        }
    }
    write_words(out, &[len_to_u32(runs.len())]);
    runs.iter().for_each(|run| write_words(out, run));
}

fn ms_to_u32(ms: i64) -> u32 {
    u32::try_from(ms.max(0)).unwrap_or(u32::MAX)
}
