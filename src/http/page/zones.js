/* The view Zones: zones and masks of a camera, drawn on its picture and given as YAML. It writes nothing. */

import { api, path, wait } from "./api.js";
import { copied } from "./clipboard.js";
import { element, setText, svg } from "./dom.js";
import { onOverview } from "./overview.js";
import { age } from "./text.js";
import { judged, nameOf, onPicture, STATES } from "./zone_boxes.js";
import { Canvas } from "./zone_canvas.js";
import { Drawing } from "./zone_drawing.js";
import { BoxPanel, isSame, RulePanel, ShapeList, showState, YamlPanel } from "./zone_panels.js";

const PICTURE_MS = 1000;
const BOXES_MS = 10_000;
const RUNNING_MS = 5000;
/** The drawing is checked when it has not changed for this time. */
const CHECK_AFTER_MS = 150;
const MAX_PICTURE_PX = 1920;

export async function show(root, context) {
  if (context.camera === null) return showCameras(root, context);
  const { camera, signal } = context;
  context.setTitle(`Zones of ${camera}`);
  const running = await api.get(path`/api/cameras/${camera}/zones`, { signal });
  new ZoneEditor(root, context, running).start();
}

/** The cameras to choose from; a single one is opened. */
function showCameras(root, { signal, go, setTitle }) {
  setTitle("Zones");
  const list = element("ul", { class: "choice" });
  const none = element("p", { class: "empty" }, "No camera runs on this host.");
  root.append(element("div", { class: "view-title" }, element("h1", {}, "Zones of a camera")), list, none);
  onOverview(({ cameras }) => {
    if (cameras.length === 1) return go(path`/zones/${cameras[0].id}`, { replace: true });
    const ids = cameras.map((camera) => camera.id);
    none.hidden = ids.length > 0;
    if (list.dataset.ids === JSON.stringify(ids)) return;
    list.dataset.ids = JSON.stringify(ids);
    list.replaceChildren(...cameras.map((camera) => element("li", {}, element("a", { class: "panel", href: path`/zones/${camera.id}` },
      element("b", {}, camera.id), element("small", {}, camera.width_px === null ? "no picture yet" : `${camera.width_px} × ${camera.height_px}`)))));
  }, signal);
}

class ZoneEditor {
  constructor(root, { camera, signal, go }, running) {
    Object.assign(this, { root, camera, signal, go });
    this.key = `zones:${camera}`;
    this.drawing = new Drawing(running);
    this.restore();
    this.boxes = [];
    this.report = null;
    this.build();
  }

  start() {
    const { signal } = this;
    onOverview((overview) => this.showOverview(overview), signal);
    api.every(PICTURE_MS, () => this.fetchPicture(), signal);
    api.every(BOXES_MS, () => this.fetchBoxes(), signal);
    api.every(RUNNING_MS, () => this.fetchRunning(), signal);
    signal.addEventListener("abort", () => URL.revokeObjectURL(this.img.src), { once: true });
    this.changed();
  }

  /* The document. */

  build() {
    this.chip = element("span", { class: "chip", "data-tone": "idle" }, "Checking");
    this.cameras = element("select", { "aria-label": "Camera", onchange: () => this.go(path`/zones/${this.cameras.value}`) });
    this.said = element("p", { class: "said", role: "status", "aria-live": "polite" });
    this.buildStage();
    this.shapes = new ShapeList(this.drawing, {
      pick: (key) => this.pick(key), back: () => this.svg.focus(),
      rename: (shape, name) => {
        this.drawing.rename(shape, name);
        this.changed();
      },
    });
    this.rule = new RulePanel(this.drawing, () => this.changed());
    this.boxPanel = new BoxPanel(() => this.showBoxes());
    this.yaml = new YamlPanel((text, button) => this.copy(text, button));
    const title = element("div", { class: "view-title" }, element("h1", {}, "Zones"), element("label", { class: "field" }, this.cameras), this.chip, this.buildReset());
    const work = element("div", { class: "work" }, this.buildTools(), this.stage, this.said, this.buildOptions(), keyHelp());
    const side = element("div", { class: "side" }, this.shapes.root, this.rule.root, this.boxPanel.root);
    this.root.append(title, element("div", { class: "editor" }, work, side, this.yaml.root));
    setText(this.said, this.canvas.summary());
  }

  buildStage() {
    this.img = element("img", { alt: `Picture of ${this.camera}, without boxes`, hidden: true });
    this.notice = element("span", { class: "notice" });
    this.svg = svg("svg", {
      tabindex: 0, role: "application", "aria-roledescription": "drawing", "aria-label": `Zones and masks on the picture of ${this.camera}`,
      "aria-describedby": "zone-keys", preserveAspectRatio: "none",
    });
    this.stage = element("div", { class: "screen stage" }, this.img, this.svg, this.notice);
    this.canvas = new Canvas(this.svg, this.drawing, {
      changed: () => this.changed(), said: (text) => setText(this.said, text),
      added: (shape, byTouch) => shape.kind === "zone" && !byTouch && this.shapes.focusName(shape.key),
      rename: () => this.drawing.shape?.kind === "zone" && this.shapes.focusName(this.drawing.selected),
    }, this.signal);
  }

  buildTools() {
    const { canvas } = this;
    const tool = (words, key, action) => element("button", { type: "button", class: "button", title: key ? `Key: ${key}` : null, onclick: action }, words);
    this.idle = [
      tool("New zone", "N", () => canvas.begin("zone")), tool("New mask", "M", () => canvas.begin("mask")),
      this.addCorner = tool("Add corner", "A", () => canvas.splitEdge()), this.remove = tool("Delete", "Delete", () => canvas.remove(false)),
    ];
    this.drafting = [
      this.close = tool("Close shape", "C", () => canvas.close()), tool("Remove corner", "Backspace", () => canvas.removeLast()),
      tool("Cancel", "Escape", () => canvas.cancel()),
    ];
    this.close.classList.add("primary");
    this.idle[0].classList.add("primary");
    this.undo = tool("Undo", "Ctrl+Z", () => canvas.undo(false));
    this.redo = tool("Redo", "Ctrl+Shift+Z", () => canvas.undo(true));
    return element("div", { class: "bar tools", role: "toolbar", "aria-label": "Drawing" }, ...this.idle, ...this.drafting, this.undo, this.redo);
  }

  buildReset() {
    const reset = () => {
      this.drawing.restart();
      setText(this.said, "The drawing is the running configuration again. Undo brings yours back.");
      this.changed();
    };
    this.reset = element("button", { type: "button", class: "button plain", hidden: true, onclick: reset }, "Back to the running configuration");
    return this.reset;
  }

  buildOptions() {
    const tick = (words, checked, action) => {
      const input = element("input", { type: "checkbox", checked, onchange: action });
      return [input, element("label", { class: "tick" }, input, words)];
    };
    const [live, liveLabel] = tick("Live picture", true, () => this.fetchPicture());
    const [boxes, boxesLabel] = tick("Example boxes", true, () => this.showBoxes());
    const [filtered, filteredLabel] = tick("also the filtered ones", false, () => this.showBoxes());
    [this.live, this.withBoxes, this.withFiltered] = [live, boxes, filtered];
    this.legend = element("span", { class: "legend" });
    this.maskNote = element("p", { class: "note" }, "Running masks are black in this picture, as everywhere: the camera's picture below them is not available here.");
    return element("div", { class: "options" }, element("div", { class: "bar" }, liveLabel, boxesLabel, filteredLabel, this.legend), this.maskNote);
  }

  /* Changes. */

  changed() {
    this.showDrawing();
    this.scheduleCheck();
    if (this.report && this.drawing.isEdited) sessionStorage.setItem(this.key, JSON.stringify(this.drawing.state()));
  }

  showDrawing() {
    const { drawing, canvas } = this;
    const isDrafting = canvas.draft !== null;
    this.idle.forEach((button) => { button.hidden = isDrafting; });
    this.drafting.forEach((button) => { button.hidden = !isDrafting; });
    this.idle.slice(0, 2).forEach((button) => { button.disabled = !drawing.frame; });
    this.addCorner.disabled = this.remove.disabled = !drawing.shape;
    setText(this.remove, drawing.corner === null ? "Delete shape" : "Delete corner");
    this.undo.disabled = drawing.undoStack.length === 0 || isDrafting;
    this.redo.disabled = drawing.redoStack.length === 0 || isDrafting;
    this.showFrame();
    this.rule.show();
    this.showBoxes();
    canvas.show();
  }

  showFrame() {
    const { frame, running } = this.drawing;
    this.svg.toggleAttribute("hidden", !frame);
    if (frame) this.stage.style.setProperty("--aspect", frame.width_px / frame.height_px);
    this.maskNote.hidden = running.masks.length === 0;
    if (!frame) this.showNotice("No picture yet", "Zones can be drawn as soon as the camera has shown one on this host.");
  }

  showNotice(title, text) {
    this.notice.replaceChildren(...(title ? [element("b", {}, title), element("span", {}, text)] : []));
  }

  pick(key) {
    this.drawing.select(key);
    setText(this.said, this.canvas.summary());
    this.changed();
  }

  restore() {
    const stored = sessionStorage.getItem(this.key);
    if (stored === null) return;
    try {
      this.drawing.change();
      this.drawing.load(JSON.parse(stored));
    } catch {
      sessionStorage.removeItem(this.key);
      this.drawing.undo();
    }
  }

  /* The check. */

  async scheduleCheck() {
    const request = JSON.stringify(this.drawing.request());
    if (request === this.checked) return;
    this.checked = request;
    this.root.dataset.state = "checking";
    this.checking?.abort();
    const checking = this.checking = new AbortController();
    const signal = AbortSignal.any([checking.signal, this.signal]);
    await wait(CHECK_AFTER_MS, signal);
    if (signal.aborted) return;
    try {
      this.showReport(await api.post(path`/api/cameras/${this.camera}/zones`, { body: request, signal }));
    } catch (error) {
      if (api.isAbort(error)) return;
      this.checked = null;
      this.showUnchecked(error);
    }
  }

  showReport(report) {
    this.report = report;
    this.root.dataset.state = "checked";
    const problems = this.problemsOf(report);
    this.yaml.show(report, this.drawing.running.place, problems);
    this.shapes.show(this.judged?.inZone ?? null, problems);
    showState(this.chip, report);
    this.reset.hidden = isSame(report.diff);
    if (isSame(report.diff)) sessionStorage.removeItem(this.key);
  }

  showUnchecked(error) {
    this.chip.dataset.tone = "bad";
    setText(this.chip, "Not checked");
    setText(this.said, `The service did not check the drawing: ${error.message}`);
  }

  /** Mistakes and warnings, each with its shape. */
  problemsOf({ mistakes, warnings }) {
    const { zones, masks } = this.drawing;
    const withShape = (isMistake) => (problem) => {
      const [, kind, index] = problem.key.match(/^(roi\.polygons|masks)\[(\d+)\]/) ?? [];
      return { ...problem, isMistake, shape: (kind === "masks" ? masks : kind ? zones : [])[index] ?? null };
    };
    return [...mistakes.map(withShape(true)), ...warnings.map(withShape(false))];
  }

  async copy(text, button) {
    const isCopied = await copied(text);
    setText(button, isCopied ? "Copied" : "Not copied");
    setText(this.said, isCopied ? "The YAML is in the clipboard." : "The YAML could not be copied.");
    await wait(2000, this.signal);
    setText(button, "Copy");
  }

  /* Boxes. */

  showBoxes() {
    const { drawing } = this;
    this.boxPanel.showEntries(drawing.running.entries);
    this.judged = drawing.frame ? judged(this.boxes, drawing, this.boxPanel.entryName) : null;
    this.boxPanel.show(drawing, this.judged);
    const shown = this.withBoxes.checked && this.judged ? onPicture(this.judged, this.withFiltered.checked) : [];
    this.withFiltered.disabled = !this.withBoxes.checked;
    this.canvas.showBoxes(shown);
    const states = Object.keys(STATES).filter((state) => shown.some((box) => box.state === state));
    this.legend.replaceChildren(...states.map((state) => element("span", {}, element("i", { class: `swatch box box-${state}` }), nameOf(state, drawing))));
    this.shapes.show(this.judged?.inZone ?? null, this.report ? this.problemsOf(this.report) : []);
  }

  async fetchBoxes() {
    const { signal } = this;
    const { frame, boxes } = await api.get(path`/api/cameras/${this.camera}/boxes`, { signal });
    const is = this.drawing.frame;
    // Boxes of frames of another size are at other places.
    const fits = frame && is && frame.width_px === is.width_px && frame.height_px === is.height_px;
    this.boxes = fits ? boxes : [];
    this.showBoxes();
  }

  /* The service. */

  async fetchRunning() {
    const { signal, drawing } = this;
    const running = await api.get(path`/api/cameras/${this.camera}/zones`, { signal });
    if (JSON.stringify(running) === JSON.stringify(drawing.running)) return;
    drawing.follow(running);
    this.checked = null;
    this.changed();
  }

  async fetchPicture() {
    if (!this.live.checked && this.img.src) return;
    const width = Math.min(Math.round((this.stage.clientWidth || 640) * devicePixelRatio), MAX_PICTURE_PX);
    const headers = this.etag ? { "if-none-match": this.etag } : {};
    const address = `${path`/api/cameras/${this.camera}/snapshot.jpg`}?boxes=false&w=${width}`;
    const reply = await fetch(address, { cache: "no-store", headers, signal: this.signal });
    if (reply.status !== 200) return;
    const blob = await reply.blob();
    const before = this.img.src;
    this.img.src = URL.createObjectURL(blob);
    if (before) URL.revokeObjectURL(before);
    this.img.hidden = false;
    this.etag = reply.headers.get("etag");
    if (!this.drawing.frame) await this.fetchRunning();
    this.showNotice(null);
  }

  showOverview({ cameras }) {
    const ids = cameras.map((camera) => camera.id);
    if (!ids.includes(this.camera)) ids.unshift(this.camera);
    if (this.cameras.dataset.ids !== JSON.stringify(ids)) {
      this.cameras.dataset.ids = JSON.stringify(ids);
      this.cameras.replaceChildren(...ids.map((id) => element("option", { value: id }, id)));
      this.cameras.value = this.camera;
    }
    const camera = cameras.find((one) => one.id === this.camera);
    const isOld = camera?.state !== "streaming" && camera?.last_frame_age_ms > RUNNING_MS;
    this.stage.dataset.age = isOld ? `Last picture, ${age(camera.last_frame_age_ms)} ago` : "";
  }
}

const KEYS = [
  ["N, M", "new zone, new mask"], ["Arrows", "move the cross, the corner or the shape by 1 px; with Shift by 10 px"],
  ["Enter or Space", "set a corner where the cross is"], ["C", "close the shape"], ["Backspace", "remove the last corner"],
  ["Escape", "end the shape; leave the corner or the selection"], ["Page Up, Page Down", "previous, next shape"],
  ["Space, Shift+Space", "next, previous corner of the selected shape"], ["A", "add a corner behind the selected one"],
  ["Delete", "delete the corner or the shape; with Shift the shape"], ["F2", "name the zone"], ["Ctrl+Z, Ctrl+Shift+Z", "undo, redo"],
];

function keyHelp() {
  const rows = KEYS.map(([key, words]) => element("div", {}, element("dt", {}, key), element("dd", {}, words)));
  return element("details", { class: "keys" }, element("summary", {}, "Mouse, touch and keyboard"),
    element("p", { class: "note" }, "Click or tap corners; the first corner again, or the last one twice, closes the shape. Drag a corner, the middle of an edge (adds a corner) or the whole shape."),
    element("dl", { id: "zone-keys" }, ...rows));
}
