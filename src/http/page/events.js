/* The list of events in the view Live: each leads to its incident. */

import { path } from "./api.js";
import { element, setText } from "./dom.js";
import { onEvent, onFeedState } from "./feed.js";
import { hueOf, timeOf, zoneChips } from "./incident_text.js";
import { percent, span } from "./text.js";
import { isRecent, thumbnail } from "./pictures.js";

const EVENTS_SHOWN = 200;

export function eventList(signal) {
  const state = element("span", { id: "feed-state", class: "feed-state" });
  const list = element("ol", { id: "events", class: "events", role: "log", "aria-labelledby": "events-title", tabindex: "-1" });
  const none = element("p", { id: "no-events", class: "empty" }, "No event yet. They appear here as they happen.");
  onEvent((event, isNew) => {
    list.prepend(eventRow(event, isNew));
    none.hidden = true;
    while (list.childElementCount > EVENTS_SHOWN) list.lastElementChild.remove();
  }, signal);
  onFeedState((words) => setText(state, words), signal);
  return element("section", { id: "feed", class: "feed panel", "aria-labelledby": "events-title" },
    element("h2", { id: "events-title" }, "Events ", state), list, none);
}

function eventRow({ event_id, payload }, isNew) {
  const what = element("div", { class: "what" },
    element("p", {}, element("strong", {}, payload.label), " ", element("span", { class: "conf" }, partsOf(payload).join(" · "))),
    element("p", { class: "where" }, payload.camera_id, ...zoneChips(payload.extras.zones)));
  const picture = element("span", { class: "thumbnail" });
  if (payload.extras.snapshot) thumbnail(picture, payload.extras.incident_id, event_id, isNew && isRecent(payload.ts_ms));
  const link = element("a", { href: path`/incidents/${payload.extras.incident_id}` }, hueOf(payload.label), picture, what, timeOf(payload.ts_ms));
  const row = element("li", { class: isNew ? "event new" : "event" }, link);
  row.dataset.id = event_id;
  return row;
}

/* The text that was read, the confidence, and the duration of an incident that is not new; for an activity its counts. */
function partsOf({ conf, extras }) {
  if (extras.activity) return countedBy(extras);
  const parts = extras.text ? [extras.text] : [];
  parts.push(percent(conf));
  if (extras.phase === "update") parts.push(`here for ${span(extras.duration_ms)}`);
  if (extras.phase === "end") parts.push(`gone after ${span(extras.duration_ms)}`);
  return parts;
}

function countedBy({ activity, phase, duration_ms }) {
  const labels = Object.entries(activity.by_label).map(([label, count]) => `${count} ${label}`);
  const parts = [labels.join(", "), `${activity.peak} at once`];
  if (phase === "end") parts.push(`over after ${span(duration_ms)}`);
  return parts;
}
