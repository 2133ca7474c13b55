/* The view Incidents: pictures of what happened, newest first, with a filter in the address. */

import { api, wait } from "./api.js";
import { element, setText } from "./dom.js";
import { onEvent } from "./feed.js";
import { filterForm } from "./filter_form.js";
import { filterOf, isShownBy, withFilter } from "./filters.js";
import { IncidentCard } from "./incident_card.js";
import { applyEvent } from "./incident_text.js";
import { onKeys } from "./keys.js";
import { Listing, keep, keptOf } from "./listing.js";
import { onOverview } from "./overview.js";
import { counted, dateOf, dayOf } from "./text.js";

const SOURCES = { local_dir: "from the local sink", ddb_table: "from the table" };
const CLOSE_UPS = "incidents-close-ups";
/** The service answers 503 while it builds the index of the history. */
const RETRY_MS = 3000;
/** More than the service keeps, since these are compared with each listing that is loaded. */
const MAX_RECENT = 500;

export function show(root, context) {
  context.setTitle("Incidents");
  const view = new IncidentsView(root, context);
  view.begin(context.query, context.isBack || context.previous === "incident");
  return { update: (query) => view.begin(query, false) };
}

class IncidentsView {
  constructor(root, { signal, go }) {
    this.signal = signal;
    this.filter = new URLSearchParams();
    this.listing = null;
    this.loading = null;
    this.cards = new Map();
    this.news = new Set();
    this.isCloseUp = sessionStorage.getItem(CLOSE_UPS) === "yes";
    this.form = filterForm((filter, isTyping) => go(withFilter("/incidents", filter), { replace: isTyping }));
    this.build(root);
    this.follow();
    this.addKeys();
  }

  build(root) {
    this.found = element("p", { class: "summary", role: "status" });
    this.closeUps = element("button", { type: "button", class: "button close-ups", hidden: true, "aria-pressed": String(this.isCloseUp), onclick: () => this.toggleCloseUps() }, "Close-ups");
    this.announcement = element("button", { type: "button", class: "button primary news", hidden: true, onclick: () => this.reload() });
    const status = element("div", { class: "news-bar", role: "status" }, this.announcement);
    this.days = element("div", { class: "days" });
    this.none = element("p", { class: "empty", hidden: true });
    this.fault = element("p", { class: "fault panel", role: "alert", hidden: true });
    this.more = element("button", { type: "button", class: "button more-incidents", hidden: true, onclick: () => this.load() }, "Show older incidents");
    root.append(element("div", { class: "view-title" }, element("h1", {}, "Incidents"), this.found, this.closeUps),
      this.form.form, status, this.fault, this.days, this.none, this.more);
  }

  /** Shows the incidents of a filter: those that are kept, where the user comes back to them. */
  begin(query, isReturn) {
    this.filter = filterOf(query);
    this.form.show(this.filter);
    const kept = isReturn ? keptOf(this.filter) : null;
    if (kept === null) return this.reload();
    this.take(kept);
    this.append(kept.incidents);
    this.showState();
    scrollTo(0, kept.scrollY);
    this.cards.get(kept.opened)?.link.focus({ preventScroll: true });
    this.replayNews();
  }

  take(listing) {
    this.loading?.abort();
    this.listing = listing;
    keep(listing);
    this.cards.clear();
    this.news.clear();
    this.days.replaceChildren();
    this.showNews();
  }

  async reload() {
    const listing = new Listing(this.filter);
    const loaded = await this.attempt((signal) => listing.load(signal));
    if (loaded === null) return;
    this.take(listing);
    scrollTo(0, 0);
    this.append(loaded);
    this.showState();
    this.replayNews();
  }

  async load() {
    const { listing } = this;
    this.more.disabled = true;
    const added = await this.attempt((signal) => listing.load(signal));
    this.more.disabled = false;
    if (added === null || listing !== this.listing) return;
    this.append(added);
    this.showState();
    // The button may be gone, and with it the place of the keyboard.
    if (added.length > 0) this.cards.get(added[0].incident_id)?.link.focus({ preventScroll: true });
  }

  /** Runs a request, the newest only, and shows its error. Returns null where it has no result. */
  async attempt(request) {
    this.loading?.abort();
    const mine = new AbortController();
    this.loading = mine;
    this.days.setAttribute("aria-busy", "true");
    try {
      const result = await request(AbortSignal.any([mine.signal, this.signal]));
      this.fault.hidden = true;
      return result;
    } catch (error) {
      if (api.isAbort(error)) return null;
      if (error.status === 503) wait(RETRY_MS, mine.signal).then(() => mine.signal.aborted || this.signal.aborted || this.reload());
      this.days.removeAttribute("aria-busy");
      this.fault.hidden = false;
      setText(this.fault, error.status === undefined ? "The service does not answer. Try again." : error.message);
      return null;
    }
  }

  append(incidents) {
    for (const incident of incidents) {
      const card = new IncidentCard(incident, this.filter, this.isCloseUp);
      card.link.addEventListener("click", () => this.remember(incident.incident_id));
      this.cards.set(incident.incident_id, card);
      this.gridOf(incident.start_ms).append(card.row);
    }
    const labels = new Set(incidents.map((one) => one.label));
    const zones = new Set(incidents.flatMap((one) => one.zones));
    this.form.offer({ cameras: [], labels, zones });
  }

  /** The grid of a day, which is the last one or a new one, because incidents come in order. */
  gridOf(ms) {
    const at = dateOf(ms);
    const day = at === null ? "No date" : dayOf(at);
    const last = this.days.lastElementChild;
    if (last?.dataset.day === day) return last.querySelector("ol");
    const grid = element("ol", { class: "grid" });
    const section = element("section", { class: "day" }, element("h2", {}, day), grid);
    section.dataset.day = day;
    this.days.append(section);
    return grid;
  }

  showState() {
    const { incidents, next, source } = this.listing;
    this.days.removeAttribute("aria-busy");
    const more = next === null ? "" : ", and older ones";
    setText(this.found, `${counted(incidents.length, "incident", "incidents")}${more} · ${SOURCES[source] ?? source}`);
    this.more.hidden = next === null;
    this.none.hidden = incidents.length > 0;
    const isFiltered = this.filter.toString() !== "";
    setText(this.none, isFiltered ? "No incident matches this filter." : "No incident yet. They appear here as they happen.");
  }

  remember(id) {
    Object.assign(this.listing, { scrollY, opened: id });
  }

  toggleCloseUps() {
    this.isCloseUp = !this.isCloseUp;
    sessionStorage.setItem(CLOSE_UPS, this.isCloseUp ? "yes" : "no");
    this.closeUps.setAttribute("aria-pressed", String(this.isCloseUp));
    for (const card of this.cards.values()) card.showPicture(this.isCloseUp);
  }

  /* New incidents are announced; the list moves only when the user asks for it. */

  follow() {
    onOverview((overview) => {
      this.form.offer({ cameras: overview.cameras.map((one) => one.id), labels: [], zones: [] });
      // The local sink stores no close-ups.
      this.closeUps.hidden = !overview.sinks.some((sink) => sink.name === "s3");
    }, this.signal);
    this.recent = new Map();
    onEvent((event) => {
      const id = event.payload.extras.incident_id;
      this.recent.set(event.event_id, event);
      if (this.recent.size > MAX_RECENT) this.recent.delete(this.recent.keys().next().value);
      const card = this.cards.get(id);
      if (card) {
        applyEvent(card.incident, event);
        card.show();
      } else {
        this.announce(event);
      }
    }, this.signal);
  }

  /** Announces what has happened since the listing was loaded: it may have been kept, or the history may lag behind the events. */
  replayNews() {
    for (const event of this.recent.values()) if (!this.cards.has(event.payload.extras.incident_id)) this.announce(event);
  }

  announce(event) {
    const { extras, ts_ms } = event.payload;
    if (this.listing === null || extras.phase !== "start" || !isShownBy(this.filter, event)) return;
    const newest = this.listing.incidents[0]?.start_ms ?? -Infinity;
    if (ts_ms <= newest) return;
    this.news.add(extras.incident_id);
    this.showNews();
  }

  showNews() {
    this.announcement.hidden = this.news.size === 0;
    if (this.news.size > 0) setText(this.announcement, `Show ${counted(this.news.size, "new incident", "new incidents")}`);
  }

  /* Keys: arrows, j and k move through the cards, / goes to the search. */

  addKeys() {
    const step = (by) => () => this.step(by);
    onKeys({
      ArrowRight: step(1), ArrowLeft: step(-1), j: step(1), k: step(-1), ArrowDown: () => this.stepRow(1), ArrowUp: () => this.stepRow(-1),
      "/": () => this.form.search.focus(),
    }, this.signal);
    this.form.search.addEventListener("keydown", (press) => press.key === "Escape" && this.form.search.value === "" && this.form.search.blur());
  }

  get links() {
    return [...this.cards.values()].map((card) => card.link);
  }

  step(by) {
    const { links } = this;
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? links.find((link) => link.getBoundingClientRect().bottom > 0) : links[at + by];
    if (!next) return false;
    next.focus();
  }

  /** Goes to the card of the next row that is nearest to the column of the focused one. */
  stepRow(by) {
    const from = this.links.includes(document.activeElement) ? document.activeElement.getBoundingClientRect() : null;
    if (from === null) return this.step(0);
    const boxes = this.links.map((link) => ({ link, box: link.getBoundingClientRect() }));
    const beyond = boxes.filter(({ box }) => (box.top - from.top) * by > 1);
    if (beyond.length === 0) return false;
    const row = beyond.reduce((best, one) => ((one.box.top - best.box.top) * by < 0 ? one : best)).box.top;
    const inRow = beyond.filter(({ box }) => Math.abs(box.top - row) <= 1);
    const nearest = inRow.reduce((best, one) => (Math.abs(one.box.left - from.left) < Math.abs(best.box.left - from.left) ? one : best));
    nearest.link.focus();
  }
}
