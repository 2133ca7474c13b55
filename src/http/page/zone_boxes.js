/* Example boxes of the last minutes, judged by the drawing. */

import { containsPoint, rejection, zonesOf } from "./zone_rule.js";

/** Boxes that are shown on the picture, the newest; all are counted. */
const SHOWN = 120;
const SHOWN_FILTERED = 40;

export const STATES = {
  in: "In a zone", zone: "Outside the zones", confidence: "Below the confidence", class: "Another class", size: "Too small",
  second: "Second box of an object", masked: "Below a new mask",
};

/**
 * Judges boxes by a drawing.
 * Returns { counts by state, kept: number that the drawing keeps, running: number that the running configuration kept, inZone: numbers
 * by zone name, shown: [{ bbox, state, title }], oldest first }.
 */
export function judged(boxes, drawing, entryName) {
  const result = { counts: Object.fromEntries(Object.keys(STATES).map((state) => [state, 0])), kept: 0, running: 0, total: 0, inZone: new Map(), shown: [] };
  const judge = judgeOf(drawing);
  for (const box of boxes) {
    if (entryName !== null && box.entry !== entryName) continue;
    const verdict = judge(box);
    if (verdict === null) continue;
    result.total += 1;
    result.counts[verdict.state] += 1;
    result.kept += verdict.state === "in" ? 1 : 0;
    result.running += box.kept ? 1 : 0;
    for (const name of verdict.zones) result.inZone.set(name, (result.inZone.get(name) ?? 0) + 1);
    result.shown.push({ bbox: box.bbox, state: verdict.state, title: titleOf(box, verdict) });
  }
  return result;
}

/** The boxes for the picture, with those that count on top; the filtered ones only if they are wanted. */
export function onPicture({ shown }, withFiltered) {
  const of = (...states) => shown.filter((box) => states.includes(box.state)).slice(-SHOWN);
  const filtered = withFiltered ? shown.filter((box) => !["in", "zone"].includes(box.state)).slice(-SHOWN_FILTERED) : [];
  return [...filtered, ...of("zone"), ...of("in")];
}

/** The name of a state; without zones, a box is in the frame. */
export const nameOf = (state, drawing) => (state === "in" && !drawing.rule() ? "In the frame" : STATES[state]);

function titleOf({ label, conf, entry }, { state, zones }) {
  const where = state === "in" && zones.length ? `in ${zones.join(", ")}` : STATES[state].toLowerCase();
  return `${label} ${Math.round(conf * 100)} % (${entry}): ${where}`;
}

/** The judgement of one box: { state, zones }; null for an entry that the configuration no longer has. */
function judgeOf(drawing) {
  const roi = drawing.rule();
  const frame = [drawing.frame.width_px, drawing.frame.height_px];
  const running = runningRule(drawing.running);
  const isNew = newMasks(drawing);
  const entries = new Map(drawing.running.entries.map((entry) => [entry.entry, { now: entry, drawn: { ...entry, min_box: drawing.minBox(entry) } }]));
  return (box) => {
    const entry = entries.get(box.entry);
    if (!entry) return null;
    const [x1, y1, x2, y2] = box.bbox;
    if (isNew.some((mask) => containsPoint(mask, (x1 + x2) / 2, (y1 + y2) / 2))) return { state: "masked", zones: [] };
    const reason = rejection(box, entry.drawn, roi, frame);
    if (reason) return { state: reason, zones: [] };
    // The running filters passed it, and yet it was not kept: `agnostic_nms` preferred another box.
    const isSecond = !box.kept && entry.now.agnostic_nms && rejection(box, entry.now, running, frame) === null;
    return isSecond ? { state: "second", zones: [] } : { state: "in", zones: roi ? zonesOf(roi, box.bbox, frame) : [] };
  };
}

function runningRule({ enabled, units, filter, min_overlap: minOverlap, zones }) {
  if (!enabled || zones.length === 0) return null;
  const named = zones.map(({ event_name: name, points }) => ({ name, points }));
  return { zones: named, filter, min_overlap: minOverlap, normalized: units === "normalized" };
}

/** The masks that do not run yet, px: the boxes below them were still found. */
function newMasks(drawing) {
  const running = new Set(drawing.running.masks.map(({ points }) => JSON.stringify(points)));
  const isNew = ({ points }) => drawing.units !== drawing.running.units || !running.has(JSON.stringify(points));
  return drawing.masks.filter(isNew).map((mask) => drawing.pixels(mask));
}
