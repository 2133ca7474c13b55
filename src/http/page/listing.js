/* The incidents that match a filter, newest first: kept while the user is in one of them. */

import { api } from "./api.js";
import { apiQuery } from "./filters.js";

const PAGE_SIZE = 48;
const NEWER_SPANS_MS = [60_000, 3_600_000, 86_400_000, 30 * 86_400_000];
const NEWER_LIMIT = 200;

export class Listing {
  constructor(filter) {
    this.filter = filter;
    this.query = apiQuery(filter);
    this.incidents = [];
    this.next = null;
    this.source = null;
    /** The place of the window, and the incident that was opened last. */
    this.scrollY = 0;
    this.opened = null;
  }

  /** Loads the first page, or the next one. Returns its incidents. */
  async load(signal) {
    const query = new URLSearchParams(this.query);
    query.set("limit", String(PAGE_SIZE));
    if (this.next !== null) query.set("cursor", this.next);
    const answer = await api.get(`/api/incidents?${query}`, { signal });
    // Two pages may share an incident that was updated between them.
    const added = answer.incidents.filter((one) => !this.has(one.incident_id));
    this.incidents.push(...added);
    this.next = answer.next;
    this.source = answer.source;
    return added;
  }

  has(id) {
    return this.find(id) !== undefined;
  }

  find(id) {
    return this.incidents.find((one) => one.incident_id === id);
  }
}

let kept = null;

export function keep(listing) {
  kept = listing;
}

/** The listing that was shown last, if it has this filter. */
export const keptOf = (filter) => (kept?.filter.toString() === filter.toString() ? kept : null);

/** The ids of the newer and the older neighbour of an incident; null where there is none. */
export async function neighboursOf(incident, filter, signal) {
  const listing = keptOf(filter);
  const at = listing?.incidents.findIndex((one) => one.incident_id === incident.incident_id) ?? -1;
  if (at < 0) {
    const [newer, older] = await Promise.all([newerThan(incident, filter, signal), olderThan(incident, filter, signal)]);
    return { newer, older };
  }
  if (at === listing.incidents.length - 1 && listing.next !== null) await listing.load(signal);
  const id = (index) => listing.incidents[index]?.incident_id ?? null;
  return { newer: at > 0 ? id(at - 1) : null, older: id(at + 1) };
}

async function ask(filter, parameters, signal) {
  const query = apiQuery(filter);
  for (const [name, value] of Object.entries(parameters)) query.set(name, String(value));
  return api.get(`/api/incidents?${query}`, { signal });
}

/** The order of the history: by start, then by id. */
function isNewer(one, other) {
  return one.start_ms === other.start_ms ? one.incident_id > other.incident_id : one.start_ms > other.start_ms;
}

async function olderThan(incident, filter, signal) {
  // Those with the same start come first; with more of them than this, there is no way back.
  const { incidents } = await ask(filter, { to: incident.start_ms, limit: 20 }, signal);
  return incidents.find((one) => isNewer(incident, one))?.incident_id ?? null;
}

/** The API lists the newest first, so the next newer one is the last of a span that is short enough for one answer. */
async function newerThan(incident, filter, signal) {
  let newest = null;
  for (const length of NEWER_SPANS_MS) {
    const span = { from: incident.start_ms, to: incident.start_ms + length, limit: NEWER_LIMIT };
    const { incidents, next } = await ask(filter, span, signal);
    const newer = incidents.filter((one) => isNewer(one, incident));
    newest = newer.at(-1) ?? null;
    if (newest !== null || next !== null) break;
  }
  return newest?.incident_id ?? null;
}
