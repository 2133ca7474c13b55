/* The view of one incident: its picture or video, the timeline of its records, and its facts. */

import { api, path } from "./api.js";
import { copyButton } from "./clipboard.js";
import { closeUp } from "./closeup.js";
import { chip, element, setText, setTone } from "./dom.js";
import { onEvent } from "./feed.js";
import { filterOf, withFilter } from "./filters.js";
import { TYPES, durationOf, hueOf, isOpen, measureOf, plate, zoneChips } from "./incident_text.js";
import { onKeys } from "./keys.js";
import { neighboursOf } from "./listing.js";
import { RecordList } from "./records.js";
import { Stage } from "./stage.js";
import { counted, dateOf, dateTime, percent } from "./text.js";
import { Timeline } from "./timeline.js";

/** A burst of records of an open incident is read at once. */
const REFRESH_MS = 1500;

export async function show(root, context) {
  const { incident: id, query, signal, go, setTitle } = context;
  setTitle("Incident");
  const filter = filterOf(query);
  root.setAttribute("aria-busy", "true");
  const answer = await api.get(path`/api/incidents/${id}`, { signal });
  root.removeAttribute("aria-busy");
  const view = new IncidentView(root, answer, filter, context);
  setTitle(`${answer.incident.label} · ${answer.incident.camera_id}`);
  view.addNeighbours().catch((error) => api.isAbort(error) || console.error(error));
  onKeys({ Escape: () => go(withFilter("/incidents", filter)) }, signal);
}

class IncidentView {
  constructor(root, { incident, records }, filter, { signal, go }) {
    Object.assign(this, { root, incident, records, filter, signal, go });
    this.neighbours = { newer: null, older: null };
    this.stage = new Stage(incident, signal);
    this.timeline = new Timeline(incident, (record) => this.select(record), (ms) => this.stage.seek(ms));
    this.list = new RecordList(incident, (record) => this.select(record));
    this.build();
    this.stage.onTime = (ms) => this.timeline.showPlayhead(ms);
    this.stage.onSpan = (span) => this.timeline.showSpan(span);
    this.showRecords();
    this.follow();
    this.addKeys();
  }

  build() {
    const { incident } = this;
    const at = dateOf(incident.start_ms);
    this.state = chip("");
    this.when = element("p", { class: "summary" });
    this.whenWords = at === null ? `${incident.start_ms} ms since 1970` : dateTime(at);
    this.text = plate("");
    this.facts = element("dl", { class: "facts" });
    this.json = element("pre", { class: "code", tabindex: "0" });
    this.jsonTitle = element("summary");
    const heading = element("h1", {}, hueOf(incident.label), element("span", {}, incident.label), this.text);
    this.root.append(this.navigation(), element("div", { class: "view-title" }, heading, this.state, this.when),
      element("div", { class: "incident-columns" },
        element("div", { class: "incident-main" }, this.stage.node, this.timeline.node, this.list.node),
        element("aside", { class: "panel incident-facts", "aria-label": "Facts" }, closeUp(incident, this.records, () => this.stage.showPicture(incident.snapshot_event, "crop")), this.facts)),
      this.jsonSection());
  }

  navigation() {
    const link = (key, ...words) => element("a", { class: "button", "aria-disabled": "true", "aria-keyshortcuts": key }, ...words);
    const [newer, older] = ["Newer", "Older"].map((word) => element("span", { class: "word" }, word));
    [this.newer, this.older] = [link("k", "‹ ", newer), link("j", older, " ›")];
    for (const [name, node] of [["newer", this.newer], ["older", this.older]]) {
      node.addEventListener("click", (click) => {
        click.preventDefault();
        this.open(name);
      });
    }
    const address = new URL(path`/incidents/${this.incident.incident_id}`, location.href).href;
    return element("nav", { class: "bar incident-bar", "aria-label": "Incident" },
      element("a", { class: "button plain", href: withFilter("/incidents", this.filter) }, "← Incidents"),
      element("span", { class: "spread" }), copyButton("Copy link", () => address), this.newer, this.older);
  }

  jsonSection() {
    const copy = copyButton("Copy JSON", () => this.json.textContent);
    const raw = element("a", { class: "button plain", href: path`/api/incidents/${this.incident.incident_id}`, target: "_blank", rel: "noopener" }, "Open in the API");
    return element("details", { class: "panel json" }, this.jsonTitle, element("div", { class: "bar" }, copy, raw), this.json);
  }

  showRecords() {
    const { incident, records } = this;
    setText(this.state, isOpen(incident) ? "Open" : "Over");
    setTone(this.state, isOpen(incident) ? "busy" : "idle");
    this.text.hidden = !incident.text;
    setText(this.text, incident.text ?? "");
    setText(this.when, [incident.camera_id, this.whenWords, durationOf(incident)].filter(Boolean).join(" · "));
    this.facts.replaceChildren(...this.factRows());
    this.timeline.showRecords(records);
    this.list.show(records);
    setText(this.jsonTitle, `JSON of ${counted(records.length, "record", "records")}`);
    setText(this.json, JSON.stringify(records, null, 2));
  }

  factRows() {
    const { incident, records } = this;
    const first = records[0]?.payload.extras;
    const camera = element("a", { href: withFilter("/incidents", new URLSearchParams({ camera: incident.camera_id })) }, incident.camera_id);
    const rows = [["Camera", camera], ["Type", TYPES[incident.type] ?? incident.type], [incident.activity ? "Counts" : "Confidence", measureOf(incident)]];
    if (incident.text) rows.push(["Text", `${incident.text}${incident.ocr_conf === undefined ? "" : ` (${percent(incident.ocr_conf)})`}`]);
    rows.push(["Zones", incident.zones.length ? element("span", { class: "zones" }, ...zoneChips(incident.zones)) : "none"]);
    rows.push(["Start", timeWords(incident.start_ms)], ["Last seen", timeWords(incident.last_ms)]);
    rows.push(["End", isOpen(incident) ? "none yet" : timeWords(incident.end_ms)], ["Records", String(records.length)]);
    if (first?.model) rows.push(["Model", first.model.name]);
    if (incident.clip) rows.push(["Stored clip", incident.clip]);
    rows.push(["Id", element("code", {}, incident.incident_id)]);
    return rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  }

  select(record) {
    this.list.mark(record);
    this.timeline.mark(record);
    if (this.stage.isVideo) this.stage.seek(record.payload.ts_ms);
    else if (record.payload.extras.snapshot) this.stage.showPicture(record.event_id, "snapshot");
  }

  /** Reads the records again once the incident has a new one. */
  follow() {
    const known = new Set(this.records.map((record) => record.event_id));
    let timer = null;
    this.signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
    onEvent((event) => {
      if (event.payload.extras.incident_id !== this.incident.incident_id || known.has(event.event_id)) return;
      known.add(event.event_id);
      clearTimeout(timer);
      timer = setTimeout(() => this.refresh().catch(() => {}), REFRESH_MS);
    }, this.signal);
  }

  async refresh() {
    const answer = await api.get(path`/api/incidents/${this.incident.incident_id}`, { signal: this.signal });
    Object.assign(this.incident, answer.incident);
    this.records = answer.records;
    this.showRecords();
  }

  async addNeighbours() {
    this.neighbours = await neighboursOf(this.incident, this.filter, this.signal);
    for (const [name, node] of [["newer", this.newer], ["older", this.older]]) {
      const id = this.neighbours[name];
      if (id === null) continue;
      node.removeAttribute("aria-disabled");
      node.href = withFilter(path`/incidents/${id}`, this.filter);
    }
  }

  /** Opens a neighbour in place of this incident, so that the back button returns to the list. */
  open(name) {
    const id = this.neighbours[name];
    if (id === null) return false;
    this.go(withFilter(path`/incidents/${id}`, this.filter), { replace: true });
  }

  addKeys() {
    const [newer, older] = [() => this.open("newer"), () => this.open("older")];
    onKeys({ ArrowLeft: newer, k: newer, ArrowRight: older, j: older, v: () => this.stage.toggle() }, this.signal);
    onKeys({ " ": (press) => (press.target.closest("button, a, summary") ? false : this.stage.playOrPause()) }, this.signal);
  }
}

function timeWords(ms) {
  const at = dateOf(ms);
  return at === null ? `${ms} ms since 1970` : dateTime(at);
}
