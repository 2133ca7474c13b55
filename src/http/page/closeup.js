/* The close-up of an incident's object: the stored one, or a part of its snapshot. */

import { element } from "./dom.js";
import { loadPicture, pictureOf } from "./pictures.js";

/** The part of the box's size that is shown around it. */
const MARGIN = 0.35;
const MIN_SIDE_PX = 48;

/** A button with the close-up, which it shows large by `onOpen` where one is stored; without a picture it is removed. */
export function closeUp(incident, records, onOpen) {
  const { incident_id, snapshot_event, has_snapshot } = incident;
  const img = element("img", { alt: "Close-up of the object" });
  const button = element("button", { type: "button", class: "close-up", hidden: true, "aria-label": "Show the close-up large", onclick: onOpen }, img);
  img.addEventListener("load", () => (button.hidden = false), { once: true });
  const missing = () => showPart(button, incident, records);
  if (has_snapshot) loadPicture(img, [pictureOf(incident_id, snapshot_event, "crop")], { missing });
  return button;
}

/** Shows the part of the snapshot around the box: the local sink stores no close-ups. */
function showPart(button, incident, records) {
  const record = recordOf(incident, records);
  if (record === null) return button.remove();
  const snapshot = element("img", { alt: "" });
  snapshot.addEventListener("load", () => {
    const part = partOf(record.payload, snapshot);
    const canvas = element("canvas", { role: "img", "aria-label": "Close-up of the object", width: part.width, height: part.height });
    canvas.getContext("2d").drawImage(snapshot, part.x, part.y, part.width, part.height, 0, 0, part.width, part.height);
    button.replaceWith(element("div", { class: "close-up" }, canvas));
  });
  snapshot.addEventListener("error", () => button.remove());
  snapshot.src = pictureOf(incident.incident_id, record.event_id);
}

/** The record whose box is in the snapshot: an end has the picture of an earlier record. */
function recordOf(incident, records) {
  const shown = records.find((record) => record.event_id === incident.snapshot_event);
  const address = shown?.payload.extras.snapshot;
  const isOfBox = ({ payload }) => payload.extras.snapshot === address && payload.extras.phase !== "end";
  return records.find((record) => address !== undefined && isOfBox(record)) ?? null;
}

/** The part of the picture around the box, px of the picture. */
function partOf({ bbox: [x1, y1, x2, y2], extras }, { naturalWidth, naturalHeight }) {
  const [scaleX, scaleY] = [naturalWidth / extras.frame_width, naturalHeight / extras.frame_height];
  const along = (from, to, scale, limit) => {
    const side = Math.min(limit, Math.max(MIN_SIDE_PX, (to - from) * scale * (1 + 2 * MARGIN)));
    const start = Math.min(limit - side, Math.max(0, ((from + to) / 2) * scale - side / 2));
    return [Math.round(start), Math.max(1, Math.round(side))];
  };
  const [x, width] = along(x1, x2, scaleX, naturalWidth);
  const [y, height] = along(y1, y2, scaleY, naturalHeight);
  return { x, y, width, height };
}
