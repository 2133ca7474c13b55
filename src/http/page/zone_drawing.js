/* The zones and masks that are being drawn: shapes, settings, selection, undo. Nothing here touches the document. */

const MAX_UNDO = 200;
/** A position as fraction of the frame has this many digits: a tenth of a pixel of an 8K frame. */
const DIGITS = 5;

export const MIN_CORNERS = 3;

const rounded = (number, digits) => Number(number.toFixed(digits));
const clamped = (number, most) => Math.min(Math.max(number, 0), most);

export class Drawing {
  /** `running`: the answer of /api/cameras/{id}/zones. */
  constructor(running) {
    this.undoStack = [];
    this.redoStack = [];
    this.nextKey = 1;
    this.running = running;
    this.begin();
  }

  /** Takes over a newer running configuration; the drawing becomes it, unless it was edited. */
  follow(running) {
    this.running = running;
    if (!this.isEdited) this.begin();
  }

  /** Begins again with the running configuration; that can be undone. */
  restart() {
    this.change();
    this.begin();
  }

  begin() {
    const { running } = this;
    const { enabled, units, filter, min_overlap: minOverlap, zones, masks } = running;
    this.enabled = enabled || zones.length === 0;
    this.units = units;
    this.filter = filter;
    this.minOverlap = minOverlap ?? 0.5;
    const shape = (kind) => ({ points, name = null, event_name: eventName = null }) =>
      ({ key: this.nextKey++, kind, name: name ?? "", eventName, points: structuredClone(points) });
    this.shapes = [...zones.map(shape("zone")), ...masks.map(shape("mask"))];
    this.select(null);
  }

  get frame() {
    return this.running.frame;
  }

  /** The pixels of one unit of a coordinate: [across, down]. */
  get scale() {
    return this.units === "normalized" && this.frame ? [this.frame.width_px, this.frame.height_px] : [1, 1];
  }

  get zones() {
    return this.shapes.filter((shape) => shape.kind === "zone");
  }

  get masks() {
    return this.shapes.filter((shape) => shape.kind === "mask");
  }

  get shape() {
    return this.shapes.find((shape) => shape.key === this.selected) ?? null;
  }

  get isEdited() {
    return this.undoStack.length > 0;
  }

  /** The corners of a shape, px. */
  pixels(shape) {
    const [across, down] = this.scale;
    return shape.points.map(([x, y]) => [x * across, y * down]);
  }

  /** A position in px as a point in the units of the drawing, within the frame. */
  point([x, y]) {
    const { width_px: width, height_px: height } = this.frame;
    return this.inUnits([clamped(x, width), clamped(y, height)]);
  }

  inUnits([x, y]) {
    const { width_px: width, height_px: height } = this.frame;
    if (this.units === "normalized") return [rounded(x / width, DIGITS), rounded(y / height, DIGITS)];
    return [Math.round(x), Math.round(y)];
  }

  /** The name of a zone in events. */
  nameOf(shape) {
    return this.nameInFile(shape) ?? `zone-${this.zones.indexOf(shape) + 1}`;
  }

  /* A zone without a name is named by its place. One that has moved to another place gets its name written, so that events keep it. */
  nameInFile(shape) {
    if (shape.name !== "") return shape.name;
    const place = `zone-${this.zones.indexOf(shape) + 1}`;
    return shape.eventName !== null && shape.eventName !== place ? shape.eventName : null;
  }

  /** What a person calls a shape. */
  describe(shape) {
    return shape.kind === "zone" ? `Zone ${this.nameOf(shape)}` : `Mask ${this.masks.indexOf(shape) + 1}`;
  }

  unusedName() {
    const used = new Set(this.zones.map((shape) => this.nameOf(shape)));
    let number = used.size + 1;
    while (used.has(`zone-${number}`)) number += 1;
    return `zone-${number}`;
  }

  /* Undo. A state is a copy of everything that a change may change. */

  state() {
    const { enabled, units, filter, minOverlap, shapes, selected, corner } = this;
    return structuredClone({ enabled, units, filter, minOverlap, shapes, selected, corner });
  }

  load(state) {
    Object.assign(this, structuredClone(state));
    this.nextKey = Math.max(this.nextKey, ...this.shapes.map((shape) => shape.key + 1));
    if (!this.shape) this.select(null);
  }

  /** Stores the state before a change. Changes of one `series` are undone together, if nothing else is done between them. */
  change(series = null) {
    const continues = series !== null && series === this.series;
    this.series = series;
    this.redoStack = [];
    if (continues) return;
    this.undoStack.push(this.state());
    if (this.undoStack.length > MAX_UNDO) this.undoStack.shift();
  }

  undo() {
    return this.step(this.undoStack, this.redoStack);
  }

  redo() {
    return this.step(this.redoStack, this.undoStack);
  }

  step(from, to) {
    if (from.length === 0) return false;
    to.push(this.state());
    this.series = null;
    this.load(from.pop());
    return true;
  }

  /* Selection. */

  select(key, corner = null) {
    this.series = null;
    this.selected = key;
    this.corner = corner;
  }

  /** Selects the shape `by` places after the selected one. */
  selectNext(by) {
    if (this.shapes.length === 0) return null;
    const at = this.shapes.findIndex((shape) => shape.key === this.selected);
    const next = at < 0 ? (by > 0 ? 0 : this.shapes.length - 1) : (at + by + this.shapes.length) % this.shapes.length;
    this.select(this.shapes[next].key);
    return this.shape;
  }

  /** Selects the corner `by` places after the selected one. */
  selectCorner(by) {
    const count = this.shape?.points.length ?? 0;
    if (count === 0) return null;
    this.series = null;
    this.corner = this.corner === null ? (by > 0 ? 0 : count - 1) : (this.corner + by + count) % count;
    return this.corner;
  }

  /* Changes of shapes. */

  /** Adds a shape with corners in px. */
  add(kind, corners) {
    this.change();
    const name = kind === "zone" ? this.unusedName() : "";
    const shape = { key: this.nextKey++, kind, name, eventName: null, points: corners.map((corner) => this.point(corner)) };
    // Zones first, as in the file.
    const at = kind === "zone" ? this.zones.length : this.shapes.length;
    this.shapes.splice(at, 0, shape);
    this.select(shape.key);
    return shape;
  }

  removeShape() {
    const { shape } = this;
    if (!shape) return null;
    this.change();
    this.shapes = this.shapes.filter((other) => other !== shape);
    this.select(null);
    return shape;
  }

  /** Removes the selected corner; false: the shape would have less than three. */
  removeCorner() {
    const { shape } = this;
    if (shape.points.length <= MIN_CORNERS) return false;
    this.change();
    shape.points.splice(this.corner, 1);
    this.corner %= shape.points.length;
    return true;
  }

  /** Adds a corner in the middle of the edge that begins at a corner, and selects it. */
  splitEdge(from) {
    const corners = this.pixels(this.shape);
    const [[x1, y1], [x2, y2]] = [corners[from], corners[(from + 1) % corners.length]];
    this.change();
    this.shape.points.splice(from + 1, 0, this.inUnits([(x1 + x2) / 2, (y1 + y2) / 2]));
    this.corner = from + 1;
  }

  /** Moves the selected corner, or else the selected shape, by px. */
  move([dx, dy], series = `move ${this.selected} ${this.corner}`) {
    const { shape, corner } = this;
    const corners = this.pixels(shape);
    const moved = corner === null ? corners : [corners[corner]];
    const [across, down] = this.withinFrame(moved, [dx, dy]);
    if (across === 0 && down === 0) return;
    this.change(series);
    const place = ([x, y]) => this.inUnits([x + across, y + down]);
    if (corner === null) shape.points = corners.map(place);
    else shape.points[corner] = place(corners[corner]);
  }

  /** Moves a corner of the selected shape, or all of it (null), by px from where its corners were; the caller has stored the state. */
  drag(corner, before, [dx, dy]) {
    const moved = corner === null ? before : [before[corner]];
    const [across, down] = this.withinFrame(moved, [dx, dy]);
    const place = ([x, y]) => this.inUnits([x + across, y + down]);
    if (corner === null) this.shape.points = before.map(place);
    else this.shape.points[corner] = place(before[corner]);
  }

  /** The part of a move that keeps corners in the frame; those that are outside may come nearer. */
  withinFrame(corners, [dx, dy]) {
    const { width_px: width, height_px: height } = this.frame;
    const part = (places, by, most) => {
      const [low, high] = [Math.min(...places), Math.max(...places)];
      return by < 0 ? Math.min(0, Math.max(by, -low)) : Math.max(0, Math.min(by, most - high));
    };
    return [part(corners.map(([x]) => x), dx, width), part(corners.map(([, y]) => y), dy, height)];
  }

  rename(shape, name) {
    if (shape.name === name) return;
    this.change(`rename ${shape.key}`);
    shape.name = name;
  }

  set(setting, value) {
    if (this[setting] === value) return;
    this.change(`set ${setting}`);
    this[setting] = value;
  }

  /** Changes the units of all points. */
  setUnits(units) {
    if (units === this.units || !this.frame) return;
    this.change();
    const corners = this.shapes.map((shape) => this.pixels(shape));
    this.units = units;
    this.shapes.forEach((shape, i) => { shape.points = corners[i].map((corner) => this.inUnits(corner)); });
  }

  /* What the service is asked for. */

  /** The drawing as it is posted to /api/cameras/{id}/zones: the keys of the configuration. */
  request() {
    const masks = this.masks.map(({ points }) => ({ points }));
    return { roi: this.roi(), masks, min_boxes: this.running.entries.map((entry) => this.minBox(entry)) };
  }

  roi() {
    const { units, filter, enabled } = this;
    const polygons = this.zones.map((shape) => ({ name: this.nameInFile(shape), points: shape.points }));
    if (polygons.length > 0) {
      return { enabled, units, polygons, filter, min_overlap: filter === "overlap" ? this.minOverlap : null };
    }
    // The units of masks are those of `roi`, also if it is not enabled.
    return units === "normalized" && this.masks.length > 0 ? { enabled: false, units } : null;
  }

  /** The zones as the rule takes them; null: none applies. */
  rule() {
    if (!this.enabled || this.zones.length === 0) return null;
    const zones = this.zones.map((shape) => ({ name: this.nameOf(shape), points: shape.points }));
    return { zones, filter: this.filter, min_overlap: this.minOverlap, normalized: this.units === "normalized" };
  }

  /** The minimum size of an entry, whose units are those of an enabled `roi`. */
  minBox(entry) {
    const { min_box: minBox } = entry;
    const was = this.running.enabled && this.running.units === "normalized";
    const is = this.enabled && this.zones.length > 0 && this.units === "normalized";
    if (!minBox || was === is || !this.frame) return minBox;
    const { width_px: width, height_px: height } = this.frame;
    if (is) return { width: rounded(minBox.width / width, DIGITS), height: rounded(minBox.height / height, DIGITS) };
    return { width: Math.round(minBox.width * width), height: Math.round(minBox.height * height) };
  }
}
