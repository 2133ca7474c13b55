//! The records of many cameras as one list, newest first, read page by page.

use std::collections::VecDeque;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::calls::{PageOrder, RecordPage, RecordsQueries, TimeSpan};
use super::item::TableRecord;
use crate::history::HistoryError;
use crate::sinks::DdbItem;

/// Maximum number of pages that are read at a time.
const MAX_CONCURRENT_READS: usize = 32;
/// Bounds of a page's size, items.
const PAGE_ITEMS: (usize, usize) = (25, 1_000);

/// The records of many cameras, newest first.
pub(super) struct CameraMerge<'a> {
    queries: &'a RecordsQueries,
    span: TimeSpan,
    cameras: Vec<CameraRecords>,
    /// Number of pages that may still be read.
    pages_left: usize,
    /// The newest time of which nothing was returned yet, ms since the epoch.
    pub(super) resume_ms: i64,
}

/// The records of one camera that were read and not returned yet.
struct CameraRecords {
    camera: String,
    records: VecDeque<TableRecord>,
    next: NextPage,
    page_items: usize,
}

/// The part of a camera's records that was not read yet.
enum NextPage {
    First,
    After(DdbItem),
    None,
}

/// The next records of a merge.
pub(super) enum MergeStep {
    /// All records of one time.
    Records {
        /// The time, ms since the epoch.
        ts_ms: i64,
        /// The records.
        records: Vec<TableRecord>,
    },
    /// No more pages may be read.
    PagesUsed,
    /// There are no more records.
    End,
}

impl<'a> CameraMerge<'a> {
    /// Returns the records of these cameras in a span. `max_pages`: beside the first page of each camera.
    pub(super) fn new(
        queries: &'a RecordsQueries,
        cameras: &[String],
        span: TimeSpan,
        (wanted_records, max_pages): (usize, usize),
    ) -> Self {
        // With a few cameras, one page of each is enough for a page of incidents.
        let page_items = (wanted_records / cameras.len().max(1)).clamp(PAGE_ITEMS.0, PAGE_ITEMS.1);
        let cameras = cameras.iter().map(|camera| CameraRecords {
            camera: camera.clone(),
            records: VecDeque::new(),
            next: NextPage::First,
            page_items,
        });
        let cameras: Vec<_> = cameras.collect();
        let pages_left = max_pages + cameras.len();
        Self { queries, span, cameras, pages_left, resume_ms: span.to_ms }
    }

    /// Returns the records of the newest time that were not returned yet.
    pub(super) async fn next(&mut self) -> Result<MergeStep, HistoryError> {
        if !self.fill().await? {
            return Ok(MergeStep::PagesUsed);
        }
        let Some(ts_ms) = self.newest() else { return Ok(MergeStep::End) };
        let mut records = Vec::new();
        // The records of a time may continue on the next page of their camera.
        while self.newest() == Some(ts_ms) {
            self.cameras.iter_mut().for_each(|camera| camera.take(ts_ms, &mut records));
            if !self.fill().await? {
                return Ok(MergeStep::PagesUsed);
            }
        }
        self.resume_ms = ts_ms.saturating_sub(1);
        Ok(MergeStep::Records { ts_ms, records })
    }

    fn newest(&self) -> Option<i64> {
        self.cameras.iter().filter_map(CameraRecords::newest).max()
    }

    /// Reads pages until each camera has a record or none left; `false`: no more pages may be read.
    async fn fill(&mut self) -> Result<bool, HistoryError> {
        loop {
            let empty = || self.cameras.iter().enumerate().filter(|(_, camera)| camera.needs_page());
            let count = empty().count();
            if count == 0 {
                return Ok(true);
            }
            let Some(left) = self.pages_left.checked_sub(count) else { return Ok(false) };
            self.pages_left = left;
            let (queries, span) = (self.queries, self.span);
            let reads: Vec<_> = empty().map(|(at, camera)| camera.read(queries, span, at)).collect();
            let pages: Vec<(usize, RecordPage)> =
                stream::iter(reads).buffer_unordered(MAX_CONCURRENT_READS).try_collect().await?;
            for (at, page) in pages {
                if let Some(camera) = self.cameras.get_mut(at) {
                    camera.add(page);
                }
            }
        }
    }
}

impl CameraRecords {
    fn needs_page(&self) -> bool {
        self.records.is_empty() && !matches!(self.next, NextPage::None)
    }

    fn newest(&self) -> Option<i64> {
        self.records.front().map(|record| record.event.payload.ts_ms)
    }

    fn take(&mut self, ts_ms: i64, taken: &mut Vec<TableRecord>) {
        while self.newest() == Some(ts_ms) {
            taken.extend(self.records.pop_front());
        }
    }

    /// Returns the future that reads the next page; `at` comes back with it.
    fn read<'q>(
        &self,
        queries: &'q RecordsQueries,
        span: TimeSpan,
        at: usize,
    ) -> impl Future<Output = Result<(usize, RecordPage), HistoryError>> + use<'q> {
        let after = match &self.next {
            NextPage::After(key) => Some(key.clone()),
            NextPage::First | NextPage::None => None,
        };
        let max_items = i32::try_from(self.page_items).unwrap_or(i32::MAX);
        let (camera, order) = (self.camera.clone(), PageOrder { newest_first: true, max_items });
        async move { Ok((at, queries.by_camera(&camera, span, order, after).await?)) }
    }

    fn add(&mut self, page: RecordPage) {
        self.records.extend(page.records);
        self.next = page.next.map_or(NextPage::None, NextPage::After);
        // A filter that needs many pages needs large ones.
        self.page_items = (self.page_items * 2).min(PAGE_ITEMS.1);
    }
}
