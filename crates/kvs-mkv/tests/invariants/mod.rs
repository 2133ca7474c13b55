//! What holds for any bytes, cut anywhere: used by the fuzz target and by the tests that replay its corpus.

use kvs_mkv::{Error, Event, FragmentReader, Item, Limits, Reader};

/// Bytes at the head of an input that say how long the pieces are; the rest is the stream.
pub(crate) const CUTS: usize = 8;

/// Small limits, so that short inputs reach them.
fn limits() -> Limits {
    Limits {
        element_bytes: 4 << 10,
        fragment_bytes: 64 << 10,
        header_bytes: 2 << 10,
        tags: 32,
        tracks: 4,
        depth: 3,
    }
}

/// Reads the input in the pieces that it names and in one, and checks what must hold.
pub(crate) fn check(input: &[u8]) {
    let (cuts, stream) = input.split_at(CUTS.min(input.len()));
    let pieces = pieces(cuts, stream);
    let (items, end) = read_items(&pieces);
    assert_eq!((&items, &end), (&read_items(&[stream]).0, &read_items(&[stream]).1), "the cuts show");
    assert_clusters(&items);
    let (events, end) = read_events(&pieces);
    assert_eq!((&events, &end), (&read_events(&[stream]).0, &read_events(&[stream]).1), "the cuts show");
    assert_fragments(&events);
}

/// The stream in pieces of the lengths that `cuts` names in turn, 1 to 256 bytes.
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

fn read_items(pieces: &[&[u8]]) -> (Vec<Item>, Result<(), Error>) {
    let limits = limits();
    let mut reader = Reader::new(limits.clone());
    let mut items = Vec::new();
    let mut pushed = 0;
    for piece in pieces {
        reader.push(piece);
        pushed += piece.len() as u64;
        loop {
            let before = reader.offset();
            match reader.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(), Err(error.clone()), "an error lasts");
                    assert_eq!(reader.finish(), Err(error.clone()), "an error lasts");
                    return (items, Err(error));
                }
            }
            assert!(before <= reader.offset() && reader.offset() <= pushed);
        }
        let held = pushed - reader.offset();
        assert!(held <= limits.element_bytes.max(limits.header_bytes) as u64, "{held} bytes in memory");
    }
    let end = reader.finish();
    assert!(matches!(end, Ok(()) | Err(Error::Truncated { .. })), "{end:?}");
    (items, end)
}

fn read_events(pieces: &[&[u8]]) -> (Vec<Event>, Result<(), Error>) {
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
                    assert_eq!(reader.next(), Err(error), "an error lasts");
                    failed = true;
                }
            }
        }
    }
    loop {
        match reader.finish() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => {
                assert!(!failed, "an error was forgotten");
                return (events, Ok(()));
            }
            Err(error) => return (events, Err(error)),
        }
    }
}

/// Clusters do not nest, and blocks stand in them.
fn assert_clusters(items: &[Item]) {
    let mut inside = false;
    for item in items {
        match item {
            Item::ClusterStart { .. } => assert!(!std::mem::replace(&mut inside, true)),
            Item::ClusterEnd => assert!(std::mem::replace(&mut inside, false)),
            Item::Block(_) => assert!(inside),
            Item::Tags(tags) => assert!(!inside && tags.len() <= limits().tags),
            Item::Tracks(tracks) => assert!(!inside && tracks.len() <= limits().tracks),
            Item::Document | Item::Info { .. } => assert!(!inside),
        }
    }
}

/// Every start has its end, blocks stand between them and are counted, an end without them is not complete.
fn assert_fragments(events: &[Event]) {
    let mut open = None;
    for event in events {
        match event {
            Event::Start(start) => {
                assert!(open.is_none() && start.tags.len() <= limits().tags);
                open = Some((start.clone(), 0, 0, 0));
            }
            Event::Block(block) => {
                let Some((start, frames, keys, bytes)) = &mut open else { unreachable!("a block outside") };
                assert_eq!(block.index, *frames);
                assert!(start.cluster_timestamp.is_some());
                *frames += 1;
                *keys += u32::from(block.block.key);
                *bytes += block.block.data.len() as u64;
            }
            Event::End(end) => {
                let Some((start, frames, keys, bytes)) = open.take() else { unreachable!("an end outside") };
                assert_eq!((&end.number, end.frames, end.bytes), (&start.number, frames, bytes));
                assert!(end.keyframes <= keys && end.tags.len() <= limits().tags);
                assert!(!end.complete || start.cluster_timestamp.is_some());
            }
            Event::Error(_) => assert!(open.is_none()),
        }
    }
    assert!(open.is_none());
}
