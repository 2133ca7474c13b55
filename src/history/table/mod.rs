//! Incidents from the table of records, by Query alone.
//!
//! A page of incidents merges the records of the cameras by the index `camera_id-ts_ms-index`, newest first. An incident is complete
//! when its start record is reached: all others are newer. Where the page does not begin at the newest record, the records above its
//! beginning are read forward, until the ends of its incidents.
//!
//! Not found in a table are an incident whose start record is not in it (it expired, or the best-effort sink dropped it), and
//! one that began more than [`LONGEST_MS`] before `from`.

mod calls;
mod camera_merge;
mod item;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;
use tokio::time::timeout;

use self::calls::{PageOrder, RecordsQueries, TimeSpan};
use self::camera_merge::{CameraMerge, MergeStep};
use self::item::TableRecord;
use super::summary::{IncidentDraft, StoredEvent};
use super::{
    HistoryError, IncidentCursor, IncidentDetail, IncidentPage, IncidentQuery, IncidentSummary, MAX_RECORDS,
    ReadTurn,
};
use crate::aws::AwsFailure;
use crate::delivery::Clients;
use crate::media::Phase;

/// Limit on the time of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
/// Time before `from` in which incidents that last until `from` are searched for, ms.
const LONGEST_MS: i64 = 6 * 60 * 60 * 1000;
/// Maximum number of pages that a page of incidents reads, beside the first one of each camera.
const MAX_PAGES: usize = 40;
/// Records that are read for one incident, at first: its start, its end, and a few between them and of others.
const RECORDS_PER_INCIDENT: usize = 6;
/// Maximum number of pages in which the ends of a camera's incidents are searched for.
const MAX_END_PAGES: usize = 3;
/// Maximum number of pages that the records of one incident are searched in.
const MAX_INCIDENT_PAGES: usize = 20;
/// Items of a page that is read forward.
const FORWARD_ITEMS: i32 = 300;
/// Cameras whose ends are searched for at a time.
const MAX_CONCURRENT_ENDS: usize = 8;

/// The incidents of a table of records.
pub(super) struct TableHistory {
    queries: RecordsQueries,
    runtime: Handle,
}

/// The records of an incident whose start was reached.
struct FoundIncident {
    id: String,
    camera: String,
    events: Vec<StoredEvent>,
}

/// The state of a search after some incidents.
enum SearchState {
    /// There may be more.
    Open,
    /// No more pages may be read; another search resumes at the cursor.
    PagesUsed(IncidentCursor),
    /// There are no more.
    End,
}

/// One question for a page.
struct PageSearch {
    queries: RecordsQueries,
    query: IncidentQuery,
    cameras: Vec<String>,
    span: TimeSpan,
}

impl TableHistory {
    /// Returns the incidents of a table. Nothing is called yet.
    pub(super) fn new(clients: &Clients, table: &str, runtime: Handle) -> Self {
        Self { queries: RecordsQueries::new(clients, table), runtime }
    }

    /// Returns a page of incidents of the wanted cameras, of all `configured` ones where none is named.
    pub(super) async fn page(
        &self,
        query: IncidentQuery,
        configured: Vec<String>,
        turn: ReadTurn,
    ) -> Result<IncidentPage, HistoryError> {
        let search = PageSearch::new(self.queries.clone(), query, configured);
        self.call(turn, search.page()).await
    }

    /// Returns an incident with its records.
    pub(super) async fn incident(
        &self,
        id: String,
        turn: ReadTurn,
    ) -> Result<Option<IncidentDetail>, HistoryError> {
        let queries = self.queries.clone();
        self.call(turn, async move { incident(&queries, &id).await }).await
    }

    /// Returns a record of an incident.
    pub(super) async fn record(
        &self,
        incident: String,
        event: String,
        turn: ReadTurn,
    ) -> Result<Option<StoredEvent>, HistoryError> {
        let queries = self.queries.clone();
        let found = self.call(turn, async move { queries.by_event(&event).await }).await?;
        Ok(found.map(|record| record.event).filter(|event| event.incident_id() == incident))
    }

    /// Runs calls where the connections of the clients are. They end by their limit, also where no client waits any more.
    async fn call<T: Send + 'static>(
        &self,
        turn: ReadTurn,
        calls: impl Future<Output = Result<T, HistoryError>> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let read = async move {
            let _turn = turn;
            timeout(ANSWER_LIMIT, calls).await
        };
        let answer = self.runtime.spawn(read).await;
        match answer.map_err(|error| HistoryError::Stopped(error.to_string()))? {
            Ok(answer) => answer,
            Err(_) => Err(self.queries.failed(&AwsFailure::new("timeout", "no answer within 12 s"))),
        }
    }
}

impl PageSearch {
    fn new(queries: RecordsQueries, query: IncidentQuery, configured: Vec<String>) -> Self {
        let filter = &query.filter;
        let cameras = if filter.cameras.is_empty() { configured } else { filter.cameras.clone() };
        let from_ms = filter.from_ms.map_or(i64::MIN, |from| from.saturating_sub(LONGEST_MS));
        let cursor_ms = query.cursor.as_ref().map(|cursor| cursor.start_ms);
        let to_ms = filter.to_ms.into_iter().chain(cursor_ms).min().unwrap_or(i64::MAX);
        Self { queries, query, cameras, span: TimeSpan { from_ms, to_ms } }
    }

    async fn page(self) -> Result<IncidentPage, HistoryError> {
        let limit = self.query.limit;
        let mut found: Vec<IncidentSummary> = Vec::new();
        let mut next = None;
        if self.span.from_ms <= self.span.to_ms {
            let sizes = (limit.saturating_mul(RECORDS_PER_INCIDENT), MAX_PAGES);
            let mut merge = CameraMerge::new(&self.queries, &self.cameras, self.span, sizes);
            let mut open = HashMap::new();
            let mut state = SearchState::Open;
            while found.len() <= limit && matches!(state, SearchState::Open) {
                let batch;
                (batch, state) = self.next_incidents(&mut merge, &mut open, limit + 1 - found.len()).await?;
                found.extend(self.summaries(batch).await?);
            }
            if let SearchState::PagesUsed(cursor) = state {
                next = Some(cursor);
            }
        }
        if found.len() > limit {
            found.truncate(limit);
            next = found.last().map(IncidentCursor::after);
        }
        Ok(IncidentPage { source: "ddb_table", incidents: found, next: next.map(|next| next.to_string()) })
    }

    /// Returns the next incidents, about `wanted` of them. `open` keeps the records of incidents whose start was not reached.
    async fn next_incidents(
        &self,
        merge: &mut CameraMerge<'_>,
        open: &mut HashMap<String, Vec<StoredEvent>>,
        wanted: usize,
    ) -> Result<(Vec<FoundIncident>, SearchState), HistoryError> {
        let mut found = Vec::new();
        while found.len() < wanted {
            match merge.next().await? {
                MergeStep::Records { ts_ms, records } => found.extend(self.started(ts_ms, records, open)),
                MergeStep::PagesUsed => {
                    let cursor = IncidentCursor { start_ms: merge.resume_ms, incident_id: None };
                    return Ok((found, SearchState::PagesUsed(cursor)));
                }
                MergeStep::End => return Ok((found, SearchState::End)),
            }
        }
        Ok((found, SearchState::Open))
    }

    /// Adds the records of one time to their incidents, and returns those that began at it and are behind the cursor.
    fn started(
        &self,
        ts_ms: i64,
        records: Vec<TableRecord>,
        open: &mut HashMap<String, Vec<StoredEvent>>,
    ) -> Vec<FoundIncident> {
        let mut starts = Vec::new();
        for TableRecord { event, .. } in records {
            let id = event.incident_id().to_owned();
            if event.event_id == id {
                starts.push((id.clone(), event.camera().to_owned()));
            }
            open.entry(id).or_default().push(event);
        }
        // The list is sorted by start and then by id, newest first.
        starts.sort();
        let mut found = Vec::new();
        for (id, camera) in starts.into_iter().rev() {
            let events = open.remove(&id).unwrap_or_default();
            if self.query.is_after_cursor(ts_ms, &id) {
                found.push(FoundIncident { id, camera, events });
            }
        }
        found
    }

    /// Returns the summaries of the wanted incidents, with their records above the beginning of the page.
    async fn summaries(&self, mut found: Vec<FoundIncident>) -> Result<Vec<IncidentSummary>, HistoryError> {
        if self.span.to_ms < i64::MAX {
            self.add_later_records(&mut found).await?;
        }
        let summaries = found.iter_mut().filter_map(|incident| {
            incident.events.sort_by(|a, b| a.order().cmp(&b.order()));
            IncidentDraft::of(&incident.events).map(|draft| draft.summary)
        });
        Ok(summaries.filter(|summary| self.query.filter.matches_summary(summary)).collect())
    }

    async fn add_later_records(&self, found: &mut [FoundIncident]) -> Result<(), HistoryError> {
        let mut unended: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for incident in found.iter().filter(|incident| !incident.has_end()) {
            unended.entry(incident.camera.clone()).or_default().push(incident.id.clone());
        }
        let reads: Vec<_> =
            unended.into_iter().map(|(camera, ids)| self.later_records(camera, ids)).collect();
        let later: Vec<Vec<StoredEvent>> =
            stream::iter(reads).buffer_unordered(MAX_CONCURRENT_ENDS).try_collect().await?;
        for event in later.into_iter().flatten() {
            if let Some(incident) = found.iter_mut().find(|incident| incident.id == event.incident_id()) {
                incident.events.push(event);
            }
        }
        Ok(())
    }

    /// Returns the records of a camera's incidents above the beginning of the page, up to their ends.
    async fn later_records(
        &self,
        camera: String,
        mut unended: Vec<String>,
    ) -> Result<Vec<StoredEvent>, HistoryError> {
        let span = TimeSpan { from_ms: self.span.to_ms.saturating_add(1), to_ms: i64::MAX };
        let order = PageOrder { newest_first: false, max_items: FORWARD_ITEMS };
        let (mut later, mut after) = (Vec::new(), None);
        for _ in 0..MAX_END_PAGES {
            let page = self.queries.by_camera(&camera, span, order, after).await?;
            for TableRecord { event, .. } in page.records {
                let Some(at) = unended.iter().position(|id| id == event.incident_id()) else { continue };
                if event.payload.extras.phase == Phase::End {
                    unended.swap_remove(at);
                }
                later.push(event);
            }
            after = page.next;
            if after.is_none() || unended.is_empty() {
                break;
            }
        }
        Ok(later)
    }
}

impl FoundIncident {
    fn has_end(&self) -> bool {
        self.events.iter().any(|event| event.payload.extras.phase == Phase::End)
    }
}

/// Returns an incident with its records: from its start on, until its end.
async fn incident(queries: &RecordsQueries, id: &str) -> Result<Option<IncidentDetail>, HistoryError> {
    let start = queries.by_event(id).await?;
    let Some(start) = start.filter(|start| start.event.incident_id() == id) else { return Ok(None) };
    let span = TimeSpan { from_ms: start.event.payload.ts_ms, to_ms: i64::MAX };
    let order = PageOrder { newest_first: false, max_items: FORWARD_ITEMS };
    let (mut records, mut after) = (Vec::new(), None);
    for _ in 0..MAX_INCIDENT_PAGES {
        let page = queries.by_camera(start.event.camera(), span, order, after).await?;
        records.extend(page.records.into_iter().filter(|record| record.event.incident_id() == id));
        let is_ended = records.iter().any(|record| record.event.payload.extras.phase == Phase::End);
        after = page.next;
        if is_ended || after.is_none() {
            break;
        }
    }
    // The index follows the table by up to a second or so.
    if records.is_empty() {
        records.push(start);
    }
    Ok(detail(records))
}

fn detail(mut records: Vec<TableRecord>) -> Option<IncidentDetail> {
    records.sort_by(|a, b| a.event.order().cmp(&b.event.order()));
    let incident = IncidentDraft::of(records.iter().map(|record| &record.event))?.summary;
    let newest = records.split_off(records.len().saturating_sub(MAX_RECORDS));
    Some(IncidentDetail { incident, records: newest.iter().filter_map(|record| record.raw().ok()).collect() })
}
