/* The records of an incident along the time of its video. */

import { element, setText } from "./dom.js";
import { clock, dateOf, span as spanWords } from "./text.js";

const MARGIN_MS = 5000;
const PHASES = { start: "Start", update: "Update", end: "End" };

export class Timeline {
  constructor(incident, onRecord, onSeek) {
    this.incident = incident;
    this.onRecord = onRecord;
    this.records = [];
    this.markers = new Map();
    this.span = null;
    this.extent = element("span", { class: "extent" });
    this.playhead = element("span", { class: "playhead", hidden: true });
    this.marks = element("span", { class: "marks" });
    this.rail = element("div", { class: "rail" }, this.extent, this.marks, this.playhead);
    this.rail.addEventListener("click", (click) => {
      if (click.target.closest("button")) return;
      const box = this.rail.getBoundingClientRect();
      onSeek(this.span.start + ((click.clientX - box.left) / box.width) * (this.span.end - this.span.start));
    });
    [this.from, this.now, this.to] = [element("span"), element("span"), element("span")];
    this.node = element("section", { class: "timeline panel", "aria-label": "Timeline" }, this.rail,
      element("div", { class: "scale" }, this.from, this.now, this.to));
  }

  showRecords(records) {
    this.records = records;
    this.markers.clear();
    for (const record of records) {
      const { phase } = record.payload.extras;
      const words = `${PHASES[phase] ?? phase}, ${this.offset(record.payload.ts_ms)}`;
      const marker = element("button", { type: "button", class: "marker", title: words, "aria-label": words, onclick: () => this.onRecord(record) });
      marker.dataset.phase = phase;
      this.markers.set(record.event_id, marker);
    }
    this.marks.replaceChildren(...this.markers.values());
    if (this.isGuess ?? true) this.span = this.guess();
    this.place();
  }

  /** The span before the video is known: the incident with a margin. */
  guess() {
    const { start_ms, last_ms, end_ms } = this.incident;
    this.isGuess = true;
    return { start: start_ms - MARGIN_MS, end: Math.max(last_ms, end_ms ?? last_ms) + MARGIN_MS };
  }

  showSpan(span) {
    this.isGuess = false;
    this.span = span;
    this.place();
  }

  place() {
    const { start_ms, last_ms } = this.incident;
    this.extent.style.setProperty("left", this.share(start_ms));
    this.extent.style.setProperty("right", `calc(100% - ${this.share(last_ms)})`);
    for (const record of this.records) this.markers.get(record.event_id).style.setProperty("left", this.share(record.payload.ts_ms));
    setText(this.from, timeOf(this.span.start));
    setText(this.to, timeOf(this.span.end));
  }

  /** The place of a time on the rail. */
  share(ms) {
    const { start, end } = this.span;
    return `${Math.min(100, Math.max(0, ((ms - start) / Math.max(1, end - start)) * 100))}%`;
  }

  offset(ms) {
    const after = ms - this.incident.start_ms;
    return after === 0 ? "at the start" : `${spanWords(Math.abs(after))} ${after < 0 ? "before" : "after"} the start`;
  }

  showPlayhead(ms) {
    this.playhead.hidden = false;
    this.playhead.style.setProperty("left", this.share(ms));
    setText(this.now, timeOf(ms));
  }

  mark(record) {
    for (const [id, marker] of this.markers) marker.toggleAttribute("aria-current", id === record.event_id);
  }
}

function timeOf(ms) {
  const at = dateOf(ms);
  return at === null ? "" : clock(at);
}
