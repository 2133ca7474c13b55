/* What an incident is, in words and marks. */

import { colorOf } from "./color.js";
import { element } from "./dom.js";
import { clock, dateOf, dateTime, percent, span } from "./text.js";

export const TYPES = { objects: "Objects", alpr: "Plates", weapon: "Weapons", fire_smoke: "Fire and smoke" };

/** A dot in the colour of the label's boxes. */
export function hueOf(label) {
  const hue = element("i", { class: "hue", "aria-hidden": "true" });
  hue.style.setProperty("--hue", colorOf(label));
  return hue;
}

export const isOpen = (incident) => incident.end_ms === null;

/** The time from the first record to the last sighting; empty for a single record. */
export function durationOf({ start_ms, last_ms }) {
  return last_ms > start_ms ? span(last_ms - start_ms) : "";
}

/** The confidence, or for an activity its counts. */
export function measureOf({ activity, conf }) {
  if (!activity) return percent(conf);
  const labels = Object.entries(activity.by_label).map(([label, n]) => `${n} ${label}`);
  return `${labels.join(", ")} · ${activity.peak} at once`;
}

/** The text that was read, as on a plate. */
export const plate = (text) => element("span", { class: "plate" }, text);

export const zoneChips = (zones) => zones.map((zone) => element("span", { class: "zone" }, zone));

/** Brings an incident up to date with one of its new records. */
export function applyEvent(incident, { payload }) {
  const { phase, text, ocr_conf, zones, activity } = payload.extras;
  const zonesNow = [...new Set([...incident.zones, ...zones])];
  Object.assign(incident, { phase, zones: zonesNow, conf: Math.max(incident.conf, payload.conf) });
  if (text) Object.assign(incident, { text, ocr_conf });
  if (activity) incident.activity = activity;
  if (phase === "end") incident.end_ms = payload.ts_ms;
  const lasted = payload.extras.duration_ms;
  incident.last_ms = Math.max(incident.last_ms, lasted === undefined ? payload.ts_ms : incident.start_ms + lasted);
}

/** The time of a record. A camera's clock may give one that is no date. */
export function timeOf(ms) {
  const at = dateOf(ms);
  if (at === null) return element("time", { title: `${ms} ms since 1970` }, "no date");
  return element("time", { datetime: at.toISOString(), title: dateTime(at) }, clock(at));
}
