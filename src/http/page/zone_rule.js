/* The rule by which a box is in a zone, and the filters before it: as `roi.rs` and `filter.rs` in src/decide, operation by operation.
   testdata/zones/cases.json has cases that both must judge alike. */

/** The precision of the service's coordinates and confidences. */
const f32 = Math.fround;

/** As `SHARE_EPSILON` in roi.rs. */
const SHARE_EPSILON = 1e-6;

/**
 * The names of the zones that contain a box `[x1, y1, x2, y2]`, px.
 * `roi`: { zones: [{ name, points }], filter, min_overlap, normalized }; `frame`: [width, height], px.
 */
export function zonesOf(roi, bbox, frame) {
  const [across, down] = roi.normalized ? frame : [1, 1];
  const box = bbox.map(f32);
  const contains = ({ points }) => boxIsIn(points.map(([x, y]) => [f32(x) * across, f32(y) * down]), box, roi);
  return roi.zones.filter(contains).map((zone) => zone.name);
}

/**
 * The first filter that a detection does not pass: "confidence", "class", "size" or "zone"; null if it passes all.
 * `entry`: { conf_threshold, classes, min_box }; `roi` is null where no zone applies.
 */
export function rejection({ label, conf, bbox }, entry, roi, frame) {
  const [x1, y1, x2, y2] = bbox.map(f32);
  const [width, height] = minSize(entry.min_box, roi, frame);
  if (!(f32(conf) >= f32(entry.conf_threshold))) return "confidence";
  if (entry.classes && !entry.classes.includes(label)) return "class";
  if (!(f32(x2 - x1) >= width && f32(y2 - y1) >= height)) return "size";
  return roi && zonesOf(roi, bbox, frame).length === 0 ? "zone" : null;
}

/** The minimum width and height of a box, px. */
export function minSize(minBox, roi, [width, height]) {
  if (!minBox) return [0, 0];
  const [across, down] = roi?.normalized ? [width, height] : [1, 1];
  return [f32(f32(minBox.width) * across), f32(f32(minBox.height) * down)];
}

function boxIsIn(polygon, [x1, y1, x2, y2], { filter, min_overlap: minOverlap }) {
  if (filter === "center" || areaOfBox(x1, y1, x2, y2) <= 0) {
    return containsPoint(polygon, f32((x1 + x2) / 2), f32((y1 + y2) / 2));
  }
  const share = area(clipToBox(polygon, x1, y1, x2, y2)) / ((x2 - x1) * (y2 - y1));
  if (filter === "any") return share > SHARE_EPSILON;
  if (filter === "all") return share >= 1 - SHARE_EPSILON;
  return share > 0 && share >= f32(minOverlap) - SHARE_EPSILON;
}

const areaOfBox = (x1, y1, x2, y2) => f32(Math.max(f32(x2 - x1), 0) * Math.max(f32(y2 - y1), 0));

/** By the even-odd rule. `>` on one end and not on the other counts a corner on the ray once. */
export function containsPoint(polygon, x, y) {
  const crosses = ([[x1, y1], [x2, y2]]) => (y1 > y) !== (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1;
  return edges(polygon).filter(crosses).length % 2 === 1;
}

/** The part of the polygon in the box, by Sutherland-Hodgman. */
function clipToBox(polygon, x1, y1, x2, y2) {
  const swapped = (points) => points.map(([x, y]) => [y, x]);
  const middle = clip(clip(polygon, x1, 1), x2, -1);
  return clip(clip(swapped(middle), y1, 1), y2, -1);
}

/** The part of the polygon where `sign * x >= sign * limit`. */
function clip(polygon, limit, sign) {
  const kept = [];
  for (const [from, to] of edges(polygon)) {
    const before = sign * (from[0] - limit);
    const after = sign * (to[0] - limit);
    if ((before < 0) !== (after < 0)) kept.push([limit, from[1] + (before / (before - after)) * (to[1] - from[1])]);
    if (after >= 0) kept.push(to);
  }
  return kept;
}

/** By the shoelace formula, relative to the first corner. */
function area(polygon) {
  if (polygon.length === 0) return 0;
  const [[x0, y0]] = polygon;
  let twice = 0;
  for (const [[x1, y1], [x2, y2]] of edges(polygon)) twice += (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0);
  return Math.abs(twice) / 2;
}

const edges = (polygon) => polygon.map((corner, i) => [corner, polygon[(i + 1) % polygon.length]]);
