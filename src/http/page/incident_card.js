/* The card of an incident in the grid. */

import { path } from "./api.js";
import { element, setText } from "./dom.js";
import { withFilter } from "./filters.js";
import { durationOf, hueOf, isOpen, measureOf, timeOf, zoneChips } from "./incident_text.js";
import { isRecent, loadPicture, pictureOf } from "./pictures.js";

export class IncidentCard {
  constructor(incident, filter, isCloseUp) {
    this.incident = incident;
    this.img = element("img", { alt: "", loading: "lazy", decoding: "async" });
    this.notice = element("span", { class: "shot-notice" });
    this.open = element("span", { class: "chip", "data-tone": "busy" }, "Open");
    this.duration = element("span", { class: "duration" });
    this.text = element("span", { class: "plate" });
    this.measure = element("span", { class: "conf" });
    this.zones = element("span");
    const shot = element("span", { class: "shot" }, this.img, this.notice, this.open, this.duration);
    this.link = element("a", { class: "incident panel", href: withFilter(path`/incidents/${incident.incident_id}`, filter) }, shot,
      element("span", { class: "incident-text" },
        element("span", { class: "incident-name" }, hueOf(incident.label), element("strong", {}, incident.label), this.text, this.measure),
        element("span", { class: "where" }, incident.camera_id, this.zones), timeOf(incident.start_ms)));
    this.row = element("li", {}, this.link);
    this.row.dataset.id = incident.incident_id;
    this.show();
    this.showPicture(isCloseUp);
  }

  /** Shows what may change while the incident is open. */
  show() {
    const { incident } = this;
    this.open.hidden = !isOpen(incident);
    const duration = durationOf(incident);
    this.duration.hidden = duration === "";
    setText(this.duration, duration);
    this.text.hidden = !incident.text;
    setText(this.text, incident.text ?? "");
    setText(this.measure, measureOf(incident));
    this.zones.replaceChildren(...zoneChips(incident.zones));
  }

  showPicture(isCloseUp) {
    const { incident_id, snapshot_event, has_snapshot, start_ms } = this.incident;
    this.img.hidden = !has_snapshot;
    setText(this.notice, has_snapshot ? "" : "No snapshot");
    if (!has_snapshot) return;
    const kinds = isCloseUp ? ["crop", "snapshot"] : ["snapshot"];
    const missing = () => {
      this.img.hidden = true;
      setText(this.notice, "The picture cannot be shown");
    };
    loadPicture(this.img, kinds.map((kind) => pictureOf(incident_id, snapshot_event, kind)), { recent: isRecent(start_ms), missing });
  }
}
