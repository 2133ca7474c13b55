/* The list of the records of an incident. */

import { element } from "./dom.js";
import { plate, timeOf, zoneChips } from "./incident_text.js";
import { thumbnail } from "./pictures.js";
import { percent, span } from "./text.js";

const PHASES = { start: "Start", update: "Update", end: "End" };

export class RecordList {
  constructor(incident, onRecord) {
    this.incident = incident;
    this.onRecord = onRecord;
    this.list = element("ol", { class: "records" });
    this.node = element("section", { class: "records-section", "aria-labelledby": "records-title" }, element("h2", { id: "records-title" }, "Records"), this.list);
  }

  show(records) {
    this.list.replaceChildren(...records.map((record) => this.row(record)));
  }

  row(record) {
    const { payload, event_id } = record;
    const { phase, text, zones, duration_ms, snapshot } = payload.extras;
    const box = element("span", { class: "thumbnail" });
    if (snapshot) thumbnail(box, this.incident.incident_id, event_id, false);
    const about = [percent(payload.conf)];
    if (duration_ms !== undefined) about.push(`after ${span(duration_ms)}`);
    const button = element("button", { type: "button", class: "record", onclick: () => this.onRecord(record) }, box,
      element("strong", {}, PHASES[phase] ?? phase), element("span", { class: "conf" }, about.join(" · ")),
      text && plate(text), element("span", {}, ...zoneChips(zones)), timeOf(payload.ts_ms));
    button.dataset.id = event_id;
    return element("li", {}, button);
  }

  mark(record) {
    for (const button of this.list.querySelectorAll(".record")) button.toggleAttribute("aria-current", button.dataset.id === record.event_id);
  }
}
