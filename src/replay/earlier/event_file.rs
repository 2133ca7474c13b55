//! Records of an earlier run in `events.jsonl`, with the files before it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{EarlierError, WantedRecords};
use crate::base::open_regular;
use crate::delivery::aged;
use crate::media::Event;
use crate::sinks::{EVENTS_FILE, EVENTS_FILES};

/// Returns the files of records at `path`, oldest first: those of a folder, or the file itself.
///
/// # Errors
/// There is none.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, EarlierError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let newest = path.join(EVENTS_FILE);
    let ages = (0..EVENTS_FILES).rev().map(|age| aged(&newest, age));
    let files: Vec<PathBuf> = ages.filter(|file| file.exists()).collect();
    if files.is_empty() {
        return Err(error(
            path,
            format!("it has no {EVENTS_FILE}; give the folder of publishers.local_dir or of a replay"),
        ));
    }
    Ok(files)
}

/// Reads the records of a file.
///
/// # Errors
/// The file cannot be read, or a line of it is not a record.
pub(super) fn read(path: &Path, records: &mut WantedRecords<'_>) -> Result<(), EarlierError> {
    let remedy = "give events.jsonl or its folder, local, table, stream, ddb:TABLE or kds:STREAM";
    let file = open_regular(path).map_err(|why| error(path, format!("{why}; {remedy}")))?;
    let (mut reader, mut line, mut number) = (BufReader::new(file), Vec::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        let read = reader.read_until(b'\n', &mut line).map_err(|why| error(path, why.to_string()))?;
        // A service may be writing the last line.
        if read == 0 || line.last() != Some(&b'\n') && serde_json::from_slice::<Event>(&line).is_err() {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_slice(&line)
            .map_err(|why| error(path, format!("line {number} is not an event: {why}; {remedy}")))?;
        records.take(&event);
    }
}

fn error(path: &Path, why: String) -> EarlierError {
    EarlierError::File { path: path.display().to_string(), why }
}
