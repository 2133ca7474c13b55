/* The picture with the shapes on it: drawn and changed with mouse, touch and keyboard. */

import { svg } from "./dom.js";
import { MIN_CORNERS } from "./zone_drawing.js";

/** Sizes on the screen, px. */
const CORNER = 6;
const TOUCH = 16;
/** A click this near to the first corner closes the shape, and a second click this near to the last one. */
const NEAR_FIRST = 12;
const NEAR_LAST = 4;
const DRAG_FROM = 3;

/** Arrow keys as directions. */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const distance = ([x1, y1], [x2, y2]) => Math.hypot(x1 - x2, y1 - y2);
const whole = ([x, y]) => `${Math.round(x)}, ${Math.round(y)}`;
const pointsOf = (corners) => corners.map(([x, y]) => `${x},${y}`).join(" ");

export class Canvas {
  /**
   * `root`: the <svg> over the picture. `events`: { changed(): the drawing has changed; said(text): for the status line; added(shape,
   * byTouch): a shape was closed; rename(): a name is wanted }.
   */
  constructor(root, drawing, events, signal) {
    Object.assign(this, { root, drawing, events });
    /** The shape that is being drawn: { kind, corners, cursor }, px; null: none. */
    this.draft = null;
    this.drag = null;
    this.layers = Object.fromEntries(["boxes", "shapes", "handles", "draft"].map((name) => [name, svg("g", { class: name })]));
    root.replaceChildren(...Object.values(this.layers));
    const listen = (type, listener) => root.addEventListener(type, listener, { signal });
    listen("pointerdown", (event) => this.pressed(event));
    listen("pointermove", (event) => this.moved(event));
    listen("pointerup", (event) => this.released(event));
    listen("pointercancel", (event) => this.released(event));
    listen("keydown", (event) => this.keyed(event));
    listen("focus", () => this.events.said(this.summary()));
    new ResizeObserver(() => this.show()).observe(root);
  }

  /** Frame px per px of the screen. */
  get unit() {
    const { width } = this.root.getBoundingClientRect();
    return this.drawing.frame && width > 0 ? this.drawing.frame.width_px / width : 1;
  }

  /* Showing. */

  show() {
    const { frame } = this.drawing;
    if (!frame) return;
    this.root.setAttribute("viewBox", `0 0 ${frame.width_px} ${frame.height_px}`);
    this.root.classList.toggle("drafting", this.draft !== null);
    this.layers.shapes.replaceChildren(...this.drawing.shapes.map((shape) => this.shapeNode(shape)));
    this.layers.handles.replaceChildren(...this.handleNodes());
    this.layers.draft.replaceChildren(...this.draftNodes());
  }

  /** Shows example boxes: [{ bbox, state }], the last one on top. */
  showBoxes(boxes) {
    const node = ({ bbox: [x1, y1, x2, y2], state, title }) =>
      svg("rect", { class: `box box-${state}`, x: x1, y: y1, width: x2 - x1, height: y2 - y1 }, svg("title", {}, title));
    this.layers.boxes.replaceChildren(...boxes.map(node));
  }

  shapeNode(shape) {
    const corners = this.drawing.pixels(shape);
    const points = pointsOf(corners);
    const selected = shape.key === this.drawing.selected ? " selected" : "";
    const [x, y] = corners.reduce((a, b) => (b[1] < a[1] ? b : a), corners[0] ?? [0, 0]);
    const size = 13 * this.unit;
    // A dark line below a light one is seen on any picture.
    return svg("g", { class: `shape of-${shape.kind}${selected}`, "data-key": shape.key },
      svg("polygon", { class: "shade", points }), svg("polygon", { class: "line", points }),
      svg("text", {
        x, y: Math.max(y - 8 * this.unit, 1.4 * size), "font-size": size, "stroke-width": 3 * this.unit,
        "text-anchor": x > 0.6 * this.drawing.frame.width_px ? "end" : "start",
      }, shape.kind === "zone" ? this.drawing.nameOf(shape) : this.drawing.describe(shape)));
  }

  handleNodes() {
    const { shape, corner } = this.drawing;
    if (!shape || this.draft) return [];
    const corners = this.drawing.pixels(shape);
    const middles = corners.map(([x, y], i) => {
      const [x2, y2] = corners[(i + 1) % corners.length];
      return this.handle([(x + x2) / 2, (y + y2) / 2], { class: "middle", "data-edge": i }, CORNER * 0.7);
    });
    const handles = corners.map((at, i) =>
      this.handle(at, { class: i === corner ? "corner current" : "corner", "data-corner": i }, i === corner ? CORNER * 1.4 : CORNER));
    return [...middles, ...handles];
  }

  /** A handle with a larger invisible one around it, for fingers. */
  handle([cx, cy], attributes, radius) {
    return svg("g", attributes, svg("circle", { class: "reach", cx, cy, r: TOUCH * this.unit }), svg("circle", { class: "dot", cx, cy, r: radius * this.unit }));
  }

  draftNodes() {
    if (!this.draft) return [];
    const { corners, cursor } = this.draft;
    const points = pointsOf([...corners, ...(cursor ? [cursor] : [])]);
    const dots = corners.map(([cx, cy], i) => svg("circle", { class: i === 0 ? "first" : "dot", cx, cy, r: (i === 0 ? CORNER * 1.4 : CORNER) * this.unit }));
    return [svg("polyline", { class: "shade", points }), svg("polyline", { class: "line", points }), ...dots, ...this.cursorNodes(cursor)];
  }

  cursorNodes(cursor) {
    if (!cursor) return [];
    const [x, y] = cursor;
    const arm = 12 * this.unit;
    const d = `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`;
    return [svg("path", { class: "shade", d }), svg("path", { class: "line", d })];
  }

  /* Drafts. */

  /** Begins a shape, with the cursor in the middle of the picture. */
  begin(kind) {
    if (!this.drawing.frame) return;
    const { width_px: width, height_px: height } = this.drawing.frame;
    this.drawing.select(null);
    this.draft = { kind, corners: [], cursor: [Math.round(width / 2), Math.round(height / 2)] };
    this.root.focus();
    this.events.said(`New ${kind}: click the corners, or move the cross with the arrow keys and press Enter at each corner. C closes the shape, Escape ends it.`);
    this.events.changed();
  }

  /** Adds a corner, or closes the shape at the first corner or at the last one; `reach`: 1 for a pointer, 0 for the keyboard. */
  addCorner(position, reach) {
    const { corners } = this.draft;
    const isAt = (corner, near) => corner !== undefined && distance(corner, position) <= near * reach * this.unit;
    const isLast = isAt(corners.at(-1), NEAR_LAST);
    if (corners.length >= MIN_CORNERS && (isLast || isAt(corners[0], NEAR_FIRST))) return this.close();
    if (isLast) return this.events.said("There is a corner already.");
    corners.push(position);
    this.draft.cursor = position;
    this.events.said(`Corner ${corners.length} at ${whole(position)}.`);
    this.events.changed();
  }

  removeLast() {
    const { corners } = this.draft;
    if (corners.length === 0) return this.cancel();
    corners.pop();
    this.events.said(`Corner removed, ${corners.length} left.`);
    this.events.changed();
  }

  close() {
    const { kind, corners } = this.draft;
    if (corners.length < MIN_CORNERS) return this.events.said(`A ${kind} needs at least ${MIN_CORNERS} corners: ${corners.length} so far.`);
    this.draft = null;
    const shape = this.drawing.add(kind, corners);
    this.events.said(`${this.drawing.describe(shape)} closed, with ${corners.length} corners.`);
    this.events.changed();
    this.events.added(shape, this.byTouch);
  }

  cancel() {
    if (!this.draft) return;
    this.events.said(`The ${this.draft.kind} is not drawn.`);
    this.draft = null;
    this.events.changed();
  }

  /* Mouse and touch. */

  /** The position of an event in the frame, px, within it. */
  positionOf(event) {
    const { width_px: width, height_px: height } = this.drawing.frame;
    const area = this.root.getBoundingClientRect();
    const part = (at, from, size, most) => Math.min(Math.max(((at - from) / size) * most, 0), most);
    return [part(event.clientX, area.left, area.width, width), part(event.clientY, area.top, area.height, height)];
  }

  pressed(event) {
    if (!this.drawing.frame || !event.isPrimary || event.button !== 0) return;
    this.byTouch = event.pointerType === "touch";
    if (this.draft) return this.pressedInDraft(event);
    const edge = event.target.closest("[data-edge]");
    const corner = event.target.closest("[data-corner]");
    const shape = event.target.closest("[data-key]");
    if (edge) this.drawing.splitEdge(Number(edge.dataset.edge));
    else if (corner) this.drawing.select(this.drawing.selected, Number(corner.dataset.corner));
    else this.drawing.select(shape ? Number(shape.dataset.key) : null);
    if (this.drawing.shape) this.startDrag(event, edge !== null);
    this.events.said(this.summary());
    this.events.changed();
  }

  pressedInDraft(event) {
    event.preventDefault();
    this.root.focus();
    const [x, y] = this.positionOf(event);
    this.addCorner([Math.round(x), Math.round(y)], 1);
  }

  startDrag(event, isStored) {
    this.root.setPointerCapture(event.pointerId);
    this.drag = { from: this.positionOf(event), before: this.drawing.pixels(this.drawing.shape), isStored, hasMoved: false };
  }

  moved(event) {
    if (!this.drawing.frame || !event.isPrimary) return;
    const at = this.positionOf(event);
    if (this.draft) {
      this.draft.cursor = at.map(Math.round);
      return this.show();
    }
    const { drag } = this;
    if (!drag || (!drag.hasMoved && distance(drag.from, at) < DRAG_FROM * this.unit)) return;
    if (!drag.hasMoved && !drag.isStored) this.drawing.change();
    drag.hasMoved = true;
    this.drawing.drag(this.drawing.corner, drag.before, [at[0] - drag.from[0], at[1] - drag.from[1]]);
    this.events.changed();
  }

  released() {
    if (this.drag?.hasMoved) this.events.said(this.summary());
    this.drag = null;
  }

  /* Keyboard. */

  keyed(event) {
    if (!this.drawing.frame || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isCommand = event.ctrlKey || event.metaKey;
    const action = isCommand ? this.commandOf(key, event.shiftKey) : this.draft ? this.draftActionOf(key, event.shiftKey) : this.actionOf(key, event.shiftKey);
    if (!action) return;
    event.preventDefault();
    this.byTouch = false;
    action();
  }

  commandOf(key, shift) {
    if (this.draft) return key === "z" ? () => this.removeLast() : null;
    if (key === "z") return () => this.undo(shift);
    return key === "y" ? () => this.undo(true) : null;
  }

  draftActionOf(key, shift) {
    if (ARROWS[key]) return () => this.moveCursor(ARROWS[key], shift ? 10 : 1);
    return {
      Enter: () => this.addCorner(this.draft.cursor, 0), " ": () => this.addCorner(this.draft.cursor, 0), c: () => this.close(),
      Backspace: () => this.removeLast(), Delete: () => this.removeLast(), Escape: () => this.cancel(),
    }[key];
  }

  actionOf(key, shift) {
    const { shape } = this.drawing;
    const always = {
      n: () => this.begin("zone"), m: () => this.begin("mask"), PageDown: () => this.selectNext(1), PageUp: () => this.selectNext(-1),
    }[key];
    if (always || !shape) return always;
    if (ARROWS[key]) return () => this.moveBy(ARROWS[key], shift ? 10 : 1);
    return {
      " ": () => this.selectCorner(shift ? -1 : 1), a: () => this.splitEdge(), Insert: () => this.splitEdge(), F2: () => this.events.rename(),
      Delete: () => this.remove(shift), Backspace: () => this.remove(shift), Escape: () => this.unselect(),
    }[key];
  }

  moveCursor([dx, dy], by) {
    const { width_px: width, height_px: height } = this.drawing.frame;
    const [x, y] = this.draft.cursor;
    this.draft.cursor = [Math.min(Math.max(x + dx * by, 0), width), Math.min(Math.max(y + dy * by, 0), height)];
    this.events.said(whole(this.draft.cursor));
    this.show();
  }

  moveBy([dx, dy], by) {
    this.drawing.move([dx * by, dy * by]);
    this.events.said(this.summary());
    this.events.changed();
  }

  selectNext(by) {
    this.drawing.selectNext(by);
    this.events.said(this.summary());
    this.events.changed();
  }

  selectCorner(by) {
    this.drawing.selectCorner(by);
    this.events.said(this.summary());
    this.events.changed();
  }

  splitEdge() {
    this.drawing.splitEdge(this.drawing.corner ?? 0);
    this.events.said(`Corner added. ${this.summary()}`);
    this.events.changed();
  }

  /** Removes the selected corner, or the shape. */
  remove(wholeShape) {
    const { shape, corner } = this.drawing;
    if (!shape) return;
    if (wholeShape || corner === null) {
      const name = this.drawing.describe(shape);
      this.drawing.removeShape();
      this.events.said(`${name} deleted.`);
    } else if (this.drawing.removeCorner()) {
      this.events.said(`Corner deleted. ${this.summary()}`);
    } else {
      this.events.said(`A shape needs ${MIN_CORNERS} corners. Shift+Delete deletes all of it.`);
    }
    this.events.changed();
  }

  unselect() {
    this.drawing.select(this.drawing.corner === null ? null : this.drawing.selected);
    this.events.said(this.summary());
    this.events.changed();
  }

  undo(again) {
    const done = again ? this.drawing.redo() : this.drawing.undo();
    const word = again ? "Redone" : "Undone";
    this.events.said(done ? `${word}. ${this.summary()}` : `There is nothing to ${again ? "redo" : "undo"}.`);
    this.events.changed();
  }

  /** The selection in words. */
  summary() {
    const { shape, corner, shapes } = this.drawing;
    if (!shape) return shapes.length ? `${shapes.length} shapes. Page Down selects the next one, N begins a zone, M a mask.` : "No shapes yet. N begins a zone, M a mask.";
    const corners = this.drawing.pixels(shape);
    const name = this.drawing.describe(shape);
    return corner === null ? `${name}, ${corners.length} corners.` : `${name}, corner ${corner + 1} of ${corners.length} at ${whole(corners[corner])}.`;
  }
}
