//! Invariants for any bytes, cut anywhere, checked by the fuzz target and by the tests that replay its
//! corpus.

use kvs_mkv::{FragmentEvent, FragmentReader, MkvError, MkvEvent, MkvLimits, MkvReader};

/// Number of bytes at the start of an input that are piece lengths; the rest is the stream.
pub const CUTS: usize = 8;

/// Returns small limits, so that short inputs reach them.
fn limits() -> MkvLimits {
    MkvLimits {
        element_bytes: 4 << 10,
        fragment_bytes: 64 << 10,
        header_bytes: 2 << 10,
        tags: 32,
        tracks: 4,
        depth: 3,
    }
}

/// Reads the input in the pieces that it describes and in one piece, and checks the events.
pub fn check(input: &[u8]) {
    let (cuts, stream) = input.split_at(CUTS.min(input.len()));
    let pieces = pieces(cuts, stream);
    let (events, end) = read_documents(&pieces);
    assert_eq!(
        (&events, &end),
        (&read_documents(&[stream]).0, &read_documents(&[stream]).1),
        "cuts change nothing"
    );
    assert_clusters(&events);
    let (events, end) = read_fragments(&pieces);
    assert_eq!(
        (&events, &end),
        (&read_fragments(&[stream]).0, &read_fragments(&[stream]).1),
        "cuts change nothing"
    );
    assert_fragments(&events);
}

/// Cuts the stream into pieces of the lengths in `cuts` in turn, 1 to 256 bytes.
fn pieces<'a>(cuts: &[u8], mut stream: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut lengths = cuts.iter().chain(std::iter::once(&255)).cycle();
    while !stream.is_empty() {
        let len = lengths.next().map_or(1, |&len| usize::from(len) + 1).min(stream.len());
        let (piece, rest) = stream.split_at(len);
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

fn read_documents(pieces: &[&[u8]]) -> (Vec<MkvEvent>, Result<(), MkvError>) {
    let limits = limits();
    let mut reader = MkvReader::new(limits.clone());
    let mut events = Vec::new();
    let mut pushed = 0;
    for piece in pieces {
        reader.push(piece);
        pushed += piece.len() as u64;
        loop {
            let before = reader.offset();
            match reader.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(), Err(error.clone()), "the same error again");
                    assert_eq!(reader.finish(), Err(error.clone()), "the same error again");
                    return (events, Err(error));
                }
            }
            assert!(before <= reader.offset() && reader.offset() <= pushed);
        }
        let held = pushed - reader.offset();
        assert!(held <= limits.element_bytes.max(limits.header_bytes) as u64, "{held} bytes in memory");
    }
    let end = reader.finish();
    assert!(matches!(end, Ok(()) | Err(MkvError::Truncated { .. })), "{end:?}");
    (events, end)
}

fn read_fragments(pieces: &[&[u8]]) -> (Vec<FragmentEvent>, Result<(), MkvError>) {
    let mut reader = FragmentReader::new(limits());
    let mut events = Vec::new();
    let mut failed = false;
    for piece in pieces {
        reader.push(piece);
        while !failed {
            match reader.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(), Err(error), "the same error again");
                    failed = true;
                }
            }
        }
    }
    loop {
        match reader.finish() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => {
                assert!(!failed, "the error is returned after the events");
                return (events, Ok(()));
            }
            Err(error) => return (events, Err(error)),
        }
    }
}

/// Checks that Clusters do not nest and that blocks are inside them.
fn assert_clusters(events: &[MkvEvent]) {
    let mut inside = false;
    for event in events {
        match event {
            MkvEvent::ClusterStart { .. } => assert!(!std::mem::replace(&mut inside, true)),
            MkvEvent::ClusterEnd => assert!(std::mem::replace(&mut inside, false)),
            MkvEvent::Block(_) => assert!(inside),
            MkvEvent::Tags(tags) => assert!(!inside && tags.len() <= limits().tags),
            MkvEvent::Tracks(tracks) => assert!(!inside && tracks.len() <= limits().tracks),
            MkvEvent::DocumentStart | MkvEvent::Info { .. } => assert!(!inside),
        }
    }
}

/// Checks that each start has its end, that the blocks between them are counted, and that an end without a
/// Cluster is not complete.
fn assert_fragments(events: &[FragmentEvent]) {
    let mut open = None;
    for event in events {
        match event {
            FragmentEvent::Start(start) => {
                assert!(open.is_none() && start.tags.len() <= limits().tags);
                open = Some((start.clone(), 0, 0, 0));
            }
            FragmentEvent::Block(block) => {
                let Some((start, frames, keys, bytes)) = &mut open else {
                    unreachable!("a block outside a fragment")
                };
                assert_eq!(block.index, *frames);
                assert!(start.cluster_timestamp.is_some());
                *frames += 1;
                *keys += u32::from(block.block.key);
                *bytes += block.block.data.len() as u64;
            }
            FragmentEvent::End(end) => {
                let Some((start, frames, keys, bytes)) = open.take() else {
                    unreachable!("an end outside a fragment")
                };
                assert_eq!((&end.number, end.frames, end.bytes), (&start.number, frames, bytes));
                assert!(end.keyframes <= keys && end.tags.len() <= limits().tags);
                assert!(!end.complete || start.cluster_timestamp.is_some());
            }
            FragmentEvent::Error(_) => assert!(open.is_none()),
        }
    }
    assert!(open.is_none());
}
