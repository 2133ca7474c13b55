/* The panels beside the picture: the shapes, the rule, the example boxes, and the YAML with its difference. */

import { element, setText, setTone } from "./dom.js";
import { nameOf, STATES } from "./zone_boxes.js";

const FILTERS = {
  center: "the centre of the box is in it", any: "any part of the box is in it", all: "the whole box is in it",
  overlap: "a share of the box is in it",
};
const UNITS = { pixels: "Pixels of the frame", normalized: "Fractions of the frame, 0 to 1" };
const MAX_NAME = 128;

const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
const option = ([value, words]) => element("option", { value }, words);
const field = (name, control) => element("label", { class: "field" }, element("span", {}, name), control);
const panel = (name, ...content) => element("section", { class: `panel ${name.class}` }, element("h2", {}, name.title), ...content);

/** The shapes by name. `events`: { pick(key), rename(shape, name), back() }. */
export class ShapeList {
  constructor(drawing, events) {
    Object.assign(this, { drawing, events, rows: new Map() });
    this.list = element("ul", { class: "shapes" });
    this.none = element("p", { class: "empty" }, "No zone: boxes anywhere in the frame are reported. No mask: nothing is blacked out.");
    this.root = panel({ class: "shape-panel", title: "Zones and masks" }, this.list, this.none);
  }

  show(inZone, problems) {
    const { drawing, rows } = this;
    const shapes = new Set(drawing.shapes.map((shape) => shape.key));
    for (const [key, row] of rows) {
      if (shapes.has(key)) continue;
      row.root.remove();
      rows.delete(key);
    }
    this.none.hidden = shapes.size > 0;
    drawing.shapes.forEach((shape, i) => {
      if (!rows.has(shape.key)) rows.set(shape.key, this.rowOf(shape));
      const row = rows.get(shape.key);
      // Moved only where the order differs: a field keeps its focus.
      if (this.list.children[i] !== row.root) this.list.insertBefore(row.root, this.list.children[i] ?? null);
      this.showRow(row, shape, inZone, problems.filter((problem) => problem.shape === shape));
    });
  }

  rowOf({ key, kind }) {
    const words = element("span");
    const boxes = element("small");
    const pick = element("button", { type: "button", class: "pick", onclick: () => this.events.pick(key) }, element("i", { class: `swatch of-${kind}` }), words, boxes);
    const row = { pick, words, boxes, input: null, problems: element("ul", { class: "problems" }) };
    row.root = element("li", { class: `of-${kind}`, "data-key": key }, pick, kind === "zone" ? this.nameField(key, row) : null, row.problems);
    return row;
  }

  nameField(key, row) {
    const shape = () => this.drawing.shapes.find((one) => one.key === key);
    row.input = element("input", {
      maxlength: MAX_NAME, autocomplete: "off", spellcheck: "false",
      oninput: () => this.events.rename(shape(), row.input.value),
      onfocus: () => this.drawing.selected !== key && this.events.pick(key),
      onkeydown: (press) => {
        if (press.key !== "Enter" && press.key !== "Escape") return;
        press.preventDefault();
        this.events.back();
      },
    });
    return row.input;
  }

  showRow(row, shape, inZone, problems) {
    const number = this.drawing[shape.kind === "zone" ? "zones" : "masks"].indexOf(shape) + 1;
    const title = shape.kind === "zone" ? `Zone ${number}` : `Mask ${number}`;
    setText(row.words, title);
    row.pick.setAttribute("aria-pressed", shape.key === this.drawing.selected);
    row.root.classList.toggle("current", shape.key === this.drawing.selected);
    const boxes = inZone === null || shape.kind === "mask" ? plural(shape.points.length, "corner") : `${plural(shape.points.length, "corner")} · ${plural(inZone.get(this.drawing.nameOf(shape)) ?? 0, "box", "boxes")}`;
    setText(row.boxes, boxes);
    if (row.input) {
      if (row.input.value !== shape.name) row.input.value = shape.name;
      row.input.placeholder = this.drawing.nameOf(shape);
      row.input.setAttribute("aria-label", `Name of zone ${number} in events`);
    }
    showProblems(row.problems, problems);
  }

  /** Moves the focus to the name of a zone. */
  focusName(key) {
    const input = this.rows.get(key)?.input;
    input?.focus();
    input?.select();
  }
}

function showProblems(list, problems) {
  const words = problems.map(({ isMistake, message, remedy }) => [isMistake, remedy ? `${message}: ${remedy}` : message]);
  const described = JSON.stringify(words);
  if (list.dataset.shown === described) return;
  list.dataset.shown = described;
  list.replaceChildren(...words.map(([isMistake, text]) => element("li", { class: isMistake ? "fault" : "advice" }, text)));
}

/** The settings of all zones. `changed()` is called after a change. */
export class RulePanel {
  constructor(drawing, changed) {
    this.drawing = drawing;
    const change = (action) => () => {
      action();
      changed();
    };
    this.filter = element("select", { onchange: change(() => drawing.set("filter", this.filter.value)) }, ...Object.entries(FILTERS).map(option));
    this.share = element("input", { type: "number", min: 0.01, max: 1, step: 0.01, oninput: change(() => this.setShare()) });
    this.units = element("select", { onchange: change(() => drawing.setUnits(this.units.value)) }, ...Object.entries(UNITS).map(option));
    this.enabled = element("input", { type: "checkbox", onchange: change(() => drawing.set("enabled", this.enabled.checked)) });
    this.shareField = field("Share of the box's area (min_overlap)", this.share);
    this.root = panel({ class: "rule-panel", title: "Rule" },
      field("A box is in a zone if (filter)", this.filter), this.shareField, field("Coordinates (units)", this.units),
      element("label", { class: "tick" }, this.enabled, "Zones apply (enabled)"),
      element("p", { class: "note" }, "Zones belong to the camera: each entry of its pipeline uses all of them. The configuration has no lines."));
  }

  setShare() {
    const share = Number(this.share.value);
    if (share > 0) this.drawing.set("minOverlap", share);
  }

  show() {
    const { drawing } = this;
    this.filter.value = drawing.filter;
    this.units.value = drawing.units;
    this.units.disabled = !drawing.frame;
    this.enabled.checked = drawing.enabled;
    this.shareField.hidden = drawing.filter !== "overlap";
    if (Number(this.share.value) !== drawing.minOverlap) this.share.value = drawing.minOverlap;
  }
}

/** The judgement of the example boxes. */
export class BoxPanel {
  constructor(changed) {
    this.entry = element("select", { onchange: changed });
    this.filters = element("p", { class: "note" });
    this.table = element("tbody");
    this.verdict = element("p", { class: "verdict" });
    this.root = panel({ class: "box-panel", title: "Boxes of the last 10 minutes" }, field("Entry of the pipeline", this.entry), this.filters,
      element("table", {}, this.table), this.verdict);
  }

  /** The chosen entry; null: all. */
  get entryName() {
    return this.entry.value === "" ? null : this.entry.value;
  }

  showEntries(entries) {
    const names = entries.filter((entry) => entry.enabled).map((entry) => entry.entry);
    if (this.entry.dataset.names === names.join()) return;
    this.entry.dataset.names = names.join();
    this.entry.replaceChildren(option(["", "All entries"]), ...names.map((name) => option([name, name])));
  }

  show(drawing, result) {
    this.showEntries(drawing.running.entries);
    const entries = drawing.running.entries.filter((entry) => entry.enabled && (this.entryName === null || entry.entry === this.entryName));
    setText(this.filters, entries.map((entry) => filtersOf(entry, drawing)).join(" "));
    this.table.replaceChildren(...rowsOf(result, drawing));
    setText(this.verdict, verdictOf(result));
  }
}

function filtersOf(entry, drawing) {
  const minBox = drawing.minBox(entry);
  const unit = drawing.rule()?.normalized ? "of the frame" : "px";
  const parts = [`from ${Math.round(entry.conf_threshold * 100)} % confidence`];
  if (entry.classes) parts.push(`only ${entry.classes.join(", ")}`);
  if (minBox) parts.push(`at least ${minBox.width} × ${minBox.height} ${unit}`);
  if (entry.agnostic_nms) parts.push("one box per object of any class");
  return `${entry.entry}: ${parts.join(", ")}.`;
}

function rowsOf(result, drawing) {
  if (!result) return [];
  const states = Object.keys(STATES).filter((state) => state === "in" || (state === "zone" && drawing.rule()) || result.counts[state] > 0);
  return states.map((state) => element("tr", {}, element("th", { scope: "row" }, element("i", { class: `swatch box box-${state}` }), nameOf(state, drawing)), element("td", {}, String(result.counts[state]))));
}

function verdictOf(result) {
  if (!result) return "The size of the frame is unknown until the camera has a picture.";
  if (result.total === 0) return "No box was found in this time. Draw by the picture, and look again when objects have passed.";
  const difference = result.kept - result.running;
  const words = difference === 0 ? "as many as" : `${Math.abs(difference)} ${difference > 0 ? "more" : "fewer"} than`;
  return `The drawing keeps ${plural(result.kept, "box", "boxes")} of ${result.total}, ${words} the running configuration (${result.running}).`;
}

/** The YAML of the drawing, its mistakes, and the difference. `copied(text)` copies. */
export class YamlPanel {
  constructor(copied) {
    this.where = element("p", { class: "note" });
    this.problems = element("ul", { class: "problems" });
    this.yaml = element("pre", { class: "code yaml", tabindex: 0, "aria-label": "YAML of the drawing" });
    this.copy = element("button", { type: "button", class: "button primary copy", onclick: () => copied(this.yaml.textContent, this.copy) }, "Copy");
    this.minBoxes = element("pre", { class: "code", tabindex: 0, "aria-label": "YAML of the minimum sizes" });
    this.minBoxNote = element("div", {}, element("p", { class: "note" }, "The units of min_box follow those of enabled zones. Change it in the camera's pipeline too:"), this.minBoxes);
    this.difference = element("p", { class: "note" });
    this.diff = element("div", { class: "code diff", tabindex: 0, role: "region", "aria-label": "Difference from the running configuration" });
    this.root = element("div", { class: "result" },
      panel({ class: "yaml-panel", title: "YAML" }, element("div", { class: "bar" }, this.where, this.copy), this.problems, this.yaml, this.minBoxNote),
      panel({ class: "diff-panel", title: "Difference from the running configuration" }, this.difference, this.diff));
  }

  show(report, place, problems) {
    setText(this.where, placeOf(report, place));
    showProblems(this.problems, problems);
    setText(this.yaml, report.yaml);
    this.yaml.hidden = this.copy.hidden = report.yaml === "";
    this.minBoxNote.hidden = report.min_boxes_yaml === "";
    setText(this.minBoxes, report.min_boxes_yaml);
    setText(this.difference, differenceOf(report.diff));
    this.diff.hidden = isSame(report.diff);
    this.diff.replaceChildren(element("div", {}, ...report.diff.map(diffRow)));
  }
}

export const isSame = (diff) => diff.every((line) => line.change === "same");

function placeOf({ yaml, diff }, { file, line, indent }) {
  const where = `${file}, camera in line ${line}`;
  if (yaml === "") return `No zone and no mask is drawn.${isSame(diff) ? "" : ` Remove roi and masks from the camera (${where}).`}`;
  const braces = indent === null ? " The camera is written in braces there: write one key per line first." : "";
  return `Replace roi and masks of the camera with this (${where}).${braces} This page never writes the file.`;
}

const MARKS = { same: " ", added: "+", removed: "-" };

function diffRow({ change, text }) {
  const words = change === "same" ? "" : `${change}: `;
  return element("div", { class: change }, element("span", { class: "mark", "aria-hidden": "true" }, MARKS[change]), element("span", { class: "unseen" }, words), text);
}

/* Removed lines that are followed by added ones are changed lines. */
function differenceOf(diff) {
  let [added, removed, changed, waiting] = [0, 0, 0, 0];
  for (const { change } of diff) {
    if (change === "removed") waiting += 1;
    else if (change === "added" && waiting > 0) [changed, waiting] = [changed + 1, waiting - 1];
    else {
      removed += waiting;
      waiting = 0;
      added += change === "added" ? 1 : 0;
    }
  }
  removed += waiting;
  const parts = [[changed, "changed"], [added, "added"], [removed, "removed"]].filter(([count]) => count > 0);
  if (parts.length === 0) return "None: the drawing is what runs.";
  return `${parts.map(([count, words]) => `${plural(count, "line")} ${words}`).join(", ")}. Comments and spelling of the file are left out.`;
}

/** The state of the drawing in the title. */
export function showState(chip, report) {
  const mistakes = report.mistakes.length;
  const [words, tone] = mistakes > 0 ? [plural(mistakes, "mistake"), "bad"] : isSame(report.diff) ? ["Runs", "ok"] : ["Not in the configuration yet", "warn"];
  setText(chip, words);
  setTone(chip, tone);
}
