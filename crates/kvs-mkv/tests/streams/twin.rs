//! A simple twin of the reader: reads documents from one slice, by recursion, and keeps everything.

#![expect(clippy::unwrap_used, reason = "a test panics on the first failure")]

use bytes::Bytes;
use kvs_mkv::{Block, BlockKind, MkvEvent, MkvLimits, Tag, TrackEntry, TrackKind};

/// The way in which the bytes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Between two elements, where a stream may end.
    Whole,
    /// Inside an element.
    Cut,
    /// At invalid bytes.
    Bad,
}

/// Returns all events of the bytes up to their end or the first error.
pub(crate) fn read(bytes: &[u8], limits: &MkvLimits) -> (Vec<MkvEvent>, Ending) {
    let mut twin = Twin { bytes, at: 0, stretch: 0, limits, events: Vec::new() };
    let ending = match twin.top() {
        Ok(()) => Ending::Whole,
        Err(ending) => ending,
    };
    (twin.events, ending)
}

type Read<T> = Result<T, Ending>;

struct Twin<'a> {
    bytes: &'a [u8],
    at: usize,
    stretch: usize,
    limits: &'a MkvLimits,
    events: Vec<MkvEvent>,
}

struct Head {
    id: u32,
    size: Option<u64>,
    len: usize,
}

fn is_top(id: u32) -> bool {
    [0x1A45_DFA3, 0x1853_8067].contains(&id)
}

fn is_level_1(id: u32) -> bool {
    [0x114D_9B74, 0x1549_A966, 0x1654_AE6B, 0x1254_C367, 0x1F43_B675, 0x1C53_BB6B, 0x1043_A770, 0x1941_A469]
        .contains(&id)
}

impl<'a> Twin<'a> {
    fn top(&mut self) -> Read<()> {
        let mut after_header = false;
        while self.at < self.bytes.len() {
            let head = self.head(None)?;
            match head.id {
                0xEC | 0xBF => self.skip(&head)?,
                0x1A45_DFA3 => {
                    self.stretch = self.at;
                    let body = self.hold(&head, self.limits.header_bytes)?;
                    check_header(body).ok_or(Ending::Bad)?;
                    self.events.push(MkvEvent::DocumentStart);
                    after_header = true;
                }
                0x1853_8067 if after_header => {
                    self.at += head.len;
                    self.segment(head.size.map(|size| self.at as u64 + size))?;
                    after_header = false;
                }
                _ => return Err(Ending::Bad),
            }
        }
        Ok(())
    }

    /// Returns the ending for bytes that end inside elements with these known ends.
    fn end_of_bytes(&self, ends: [Option<u64>; 2]) -> Ending {
        if ends == [None, None] { Ending::Whole } else { Ending::Cut }
    }

    fn segment(&mut self, end: Option<u64>) -> Read<()> {
        while Some(self.at as u64) != end {
            if self.at == self.bytes.len() {
                return Err(self.end_of_bytes([end, None]));
            }
            if end.is_none() && is_top(id(&self.bytes[self.at..])?.0) {
                return Ok(());
            }
            let head = self.head(end)?;
            match head.id {
                0x1549_A966 => {
                    let from = self.at;
                    let body = self.hold(&head, self.limits.header_bytes)?;
                    self.events.push(info(&self.bytes[from..self.at], body).ok_or(Ending::Bad)?);
                }
                0x1654_AE6B => {
                    let body = self.hold(&head, self.limits.header_bytes)?;
                    self.events.push(MkvEvent::Tracks(tracks(body).ok_or(Ending::Bad)?.into()));
                }
                0x1254_C367 => {
                    let body = self.hold(&head, self.limits.header_bytes)?;
                    self.events.push(MkvEvent::Tags(tags(body).ok_or(Ending::Bad)?));
                }
                0x1F43_B675 => {
                    self.stretch = self.at;
                    self.check(&head, None)?;
                    self.at += head.len;
                    self.cluster(head.size.map(|size| self.at as u64 + size), end)?;
                }
                0xE7 | 0xA3 | 0xA0 | 0x1A45_DFA3 | 0x1853_8067 => return Err(Ending::Bad),
                _ => self.skip(&head)?,
            }
        }
        Ok(())
    }

    fn cluster(&mut self, end: Option<u64>, segment_end: Option<u64>) -> Read<()> {
        let mut after_timestamp = false;
        loop {
            let here = Some(self.at as u64);
            let mut over = here == end || here == segment_end;
            if !over && self.at == self.bytes.len() {
                return Err(self.end_of_bytes([end, segment_end]));
            }
            if !over && end.is_none() {
                let id = id(&self.bytes[self.at..])?.0;
                over = is_top(id) || is_level_1(id);
            }
            if over {
                if !after_timestamp {
                    return Err(Ending::Bad);
                }
                self.events.push(MkvEvent::ClusterEnd);
                return Ok(());
            }
            let head = self.head(end.or(segment_end))?;
            match head.id {
                0xE7 if !after_timestamp => {
                    let body = self.hold(&head, self.limits.header_bytes)?;
                    let timestamp = uint(body, 0).ok_or(Ending::Bad)?;
                    self.events.push(MkvEvent::ClusterStart { timestamp });
                    after_timestamp = true;
                }
                0xA3 if after_timestamp => {
                    let body = self.hold(&head, self.limits.element_bytes)?;
                    self.frames(frames(body, BlockKind::Simple, None))?;
                }
                0xA0 if after_timestamp => {
                    let body = self.hold(&head, self.limits.element_bytes)?;
                    self.frames(group(body))?;
                }
                0xE7 | 0xA3 | 0xA0 => return Err(Ending::Bad),
                id if is_top(id) || is_level_1(id) => return Err(Ending::Bad),
                _ => self.skip(&head)?,
            }
        }
    }

    /// Adds the frames of a block, all or none.
    fn frames(&mut self, frames: Option<Vec<Block>>) -> Read<()> {
        self.events.extend(frames.ok_or(Ending::Bad)?.into_iter().map(MkvEvent::Block));
        Ok(())
    }

    fn head(&self, end: Option<u64>) -> Read<Head> {
        let rest = &self.bytes[self.at..];
        let (id, id_len) = id(rest)?;
        let (value, size_len) = vint(&rest[id_len..])?;
        let size = (value != (1 << (7 * size_len)) - 1).then_some(value);
        let len = id_len + size_len;
        let whole = self.at as u64 + len as u64 + size.unwrap_or(0);
        if size.is_none() && ![0x1853_8067, 0x1F43_B675].contains(&id) || end.is_some_and(|end| whole > end) {
            return Err(Ending::Bad);
        }
        Ok(Head { id, size, len })
    }

    fn check(&self, head: &Head, limit: Option<usize>) -> Read<()> {
        let whole = head.len as u64 + head.size.unwrap_or(0);
        let stretch = (self.at - self.stretch) as u64 + whole;
        let over =
            limit.is_some_and(|limit| whole > limit as u64) || stretch > self.limits.fragment_bytes as u64;
        if over { Err(Ending::Bad) } else { Ok(()) }
    }

    fn skip(&mut self, head: &Head) -> Read<()> {
        self.check(head, None)?;
        self.body(head).map(|_| ())
    }

    fn hold(&mut self, head: &Head, limit: usize) -> Read<&'a [u8]> {
        self.check(head, Some(limit))?;
        self.body(head)
    }

    fn body(&mut self, head: &Head) -> Read<&'a [u8]> {
        let (from, size) = (self.at + head.len, head.size.unwrap() as usize);
        let body = self.bytes.get(from..from + size).ok_or(Ending::Cut)?;
        self.at = from + size;
        Ok(body)
    }
}

fn id(bytes: &[u8]) -> Read<(u32, usize)> {
    let first = *bytes.first().ok_or(Ending::Cut)?;
    let len = match first {
        0x80.. => 1,
        0x40.. => 2,
        0x20.. => 3,
        0x10.. => 4,
        _ => return Err(Ending::Bad),
    };
    let coded = bytes.get(..len).ok_or(Ending::Cut)?;
    let value = coded.iter().fold(0u32, |value, &byte| value * 256 + u32::from(byte));
    let marker = 1u32 << (7 * len);
    let bits = value - marker;
    if bits == 0 || bits == marker - 1 { Err(Ending::Bad) } else { Ok((value, len)) }
}

fn vint(bytes: &[u8]) -> Read<(u64, usize)> {
    let first = *bytes.first().ok_or(Ending::Cut)?;
    let len = (1..=8).find(|len| first >> (8 - len) == 1).ok_or(Ending::Bad)?;
    let coded = bytes.get(..len).ok_or(Ending::Cut)?;
    let value = coded.iter().fold(0u64, |value, &byte| value * 256 + u64::from(byte));
    Ok((value - (1 << (7 * len)), len))
}

/// The id of a child, its header and body together, and its body alone.
type Child<'a> = (u32, &'a [u8], &'a [u8]);

fn children(mut body: &[u8]) -> Option<Vec<Child<'_>>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let (id, id_len) = id(body).ok()?;
        let (size, size_len) = vint(&body[id_len..]).ok()?;
        let head = id_len + size_len;
        let whole = body.get(..head.checked_add(usize::try_from(size).ok()?)?)?;
        if size == (1 << (7 * size_len)) - 1 {
            return None;
        }
        found.push((id, whole, &whole[head..]));
        body = &body[whole.len()..];
    }
    Some(found)
}

fn uint(body: &[u8], default: u64) -> Option<u64> {
    let value =
        body.iter().try_fold(0u64, |value, &byte| value.checked_mul(256)?.checked_add(u64::from(byte)));
    if body.is_empty() { Some(default) } else { value.filter(|_| body.len() <= 8) }
}

fn text(body: &[u8]) -> String {
    let text = body.split(|&byte| byte == 0).next().unwrap();
    String::from_utf8_lossy(text).into_owned()
}

fn check_header(body: &[u8]) -> Option<()> {
    children(body)?
        .into_iter()
        .all(|(id, _, body)| match id {
            0x4282 => ["matroska", "webm"].contains(&text(body).as_str()),
            0x42F2 => uint(body, 4).is_some_and(|len| len <= 4),
            0x42F3 => uint(body, 8).is_some_and(|len| len <= 8),
            _ => true,
        })
        .then_some(())
}

fn info(raw: &[u8], body: &[u8]) -> Option<MkvEvent> {
    let mut timestamp_scale_ns = 1_000_000;
    for (id, _, body) in children(body)? {
        if id == 0x2A_D7B1 {
            timestamp_scale_ns = uint(body, 1_000_000).filter(|&scale| scale > 0)?;
        }
    }
    Some(MkvEvent::Info { timestamp_scale_ns, raw: Bytes::copy_from_slice(raw) })
}

fn tracks(body: &[u8]) -> Option<Vec<TrackEntry>> {
    let entries = children(body)?.into_iter().filter(|(id, ..)| *id == 0xAE);
    entries.map(|(_, raw, body)| track(raw, body)).collect()
}

fn track(raw: &[u8], body: &[u8]) -> Option<TrackEntry> {
    let fields = children(body)?;
    let last = |wanted: u32| fields.iter().rev().find(|(id, ..)| *id == wanted).map(|(.., body)| *body);
    let mut sides = [0, 0];
    for (id, _, body) in &fields {
        let numbers = [0xD7, 0x83, 0x23_E383];
        if numbers.contains(id) {
            uint(body, 0)?;
        }
        for (id, _, body) in if *id == 0xE0 { children(body)? } else { Vec::new() } {
            if let Some(side) = [0xB0, 0xBA].iter().position(|side| *side == id) {
                sides[side] = u32::try_from(uint(body, 0)?).ok()?;
            }
        }
    }
    let kind = last(0x83).and_then(|body| uint(body, 0)).unwrap_or(0);
    Some(TrackEntry {
        number: uint(last(0xD7)?, 0)?,
        kind: match kind {
            1 => TrackKind::Video,
            2 => TrackKind::Audio,
            other => TrackKind::Other(other),
        },
        codec_id: last(0x86).map(text).unwrap_or_default(),
        codec_private: Bytes::copy_from_slice(last(0x63A2).unwrap_or_default()),
        width_px: sides[0],
        height_px: sides[1],
        default_duration_ns: last(0x23_E383).and_then(|body| uint(body, 0)),
        raw: Bytes::copy_from_slice(raw),
    })
}

fn tags(body: &[u8]) -> Option<Vec<Tag>> {
    let mut found = Vec::new();
    for (id, _, body) in children(body)? {
        if id == 0x7373 {
            found.extend(simple_tags(body)?);
        }
    }
    Some(found)
}

fn simple_tags(body: &[u8]) -> Option<Vec<Tag>> {
    let mut found = Vec::new();
    for (id, _, body) in children(body)? {
        if id != 0x67C8 {
            continue;
        }
        let fields = children(body)?;
        let last = |wanted: u32| fields.iter().rev().find(|(id, ..)| *id == wanted).map(|(.., body)| *body);
        found.push(Tag::new(
            last(0x45A3).map_or_else(String::new, text),
            last(0x4487).map_or_else(String::new, text),
        ));
        found.extend(simple_tags(body)?);
    }
    Some(found)
}

fn group(body: &[u8]) -> Option<Vec<Block>> {
    let fields = children(body)?;
    let blocks: Vec<_> = fields.iter().filter(|(id, ..)| *id == 0xA1).collect();
    let key = fields.iter().all(|(id, ..)| *id != 0xFB);
    let [(_, _, block)] = blocks[..] else { return None };
    frames(block, BlockKind::Group, Some(key))
}

fn frames(body: &[u8], kind: BlockKind, key: Option<bool>) -> Option<Vec<Block>> {
    let (track, len) = vint(body).ok()?;
    let rest = &body[len..];
    let (relative, flags) = (i16::from_be_bytes([*rest.first()?, *rest.get(1)?]), *rest.get(2)?);
    let key = key.unwrap_or(flags >= 0x80);
    let payload = &rest[3..];
    let laced = match flags & 6 {
        0 => vec![payload],
        2 => xiph(payload)?,
        4 => fixed(payload)?,
        _ => ebml(payload)?,
    };
    let block =
        |frame: &[u8]| Block { track, relative, key, flags, kind, data: Bytes::copy_from_slice(frame) };
    Some(laced.into_iter().map(block).collect())
}

fn fixed(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, frames) = payload.split_first()?;
    let count = usize::from(*count) + 1;
    let whole = !frames.is_empty() && frames.len() % count == 0;
    whole.then(|| frames.chunks(frames.len() / count).collect())
}

fn xiph(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = payload.split_first()?;
    let mut sizes = Vec::new();
    for _ in 0..*count {
        let full = rest.iter().take_while(|&&byte| byte == 255).count();
        sizes.push(full * 255 + usize::from(*rest.get(full)?));
        rest = &rest[full + 1..];
    }
    split(rest, &sizes)
}

fn ebml(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = payload.split_first()?;
    let mut sizes: Vec<usize> = Vec::new();
    for _ in 0..*count {
        let (value, len) = vint(rest).ok()?;
        rest = &rest[len..];
        let size = match sizes.last() {
            None => i128::from(value),
            Some(&previous) => previous as i128 + i128::from(value) - ((1 << (7 * len - 1)) - 1),
        };
        sizes.push(usize::try_from(size).ok()?);
    }
    split(rest, &sizes)
}

/// Returns frames of these sizes, and the rest as the last frame.
fn split<'a>(mut rest: &'a [u8], sizes: &[usize]) -> Option<Vec<&'a [u8]>> {
    let mut frames = Vec::new();
    for &size in sizes {
        frames.push(rest.get(..size)?);
        rest = &rest[size..];
    }
    frames.push(rest);
    Some(frames)
}
