/* The form that edits the filter of the incidents. */

import { element } from "./dom.js";
import { SPANS, filterOf } from "./filters.js";
import { TYPES } from "./incident_text.js";

const TYPING_MS = 300;
const ANY_TIME = "";
const FROM_TO = "from-to";

/** Returns the form, and functions that show a filter in it and offer values. `onFilter` gets the new filter and whether the user types. */
export function filterForm(onFilter) {
  const fields = new Fields();
  let typing = null;
  const apply = (isTyping = false) => {
    clearTimeout(typing);
    onFilter(fields.filter(), isTyping);
  };
  const form = element("form", { class: "filters panel", role: "search", "aria-label": "Filter incidents" }, ...fields.nodes());
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    apply();
  });
  form.addEventListener("input", (input) => {
    if (input.target.matches("select, [type=datetime-local]")) return;
    clearTimeout(typing);
    typing = setTimeout(() => apply(true), TYPING_MS);
  });
  form.addEventListener("change", () => {
    fields.showSpan();
    apply();
  });
  fields.toggle.addEventListener("click", () => {
    const isOpen = form.classList.toggle("open");
    fields.toggle.setAttribute("aria-expanded", String(isOpen));
  });
  fields.clear.addEventListener("click", () => onFilter(new URLSearchParams(), false));
  return { form, search: fields.text, show: (filter) => fields.show(filter), offer: (values) => fields.offer(values) };
}

class Fields {
  constructor() {
    this.text = element("input", { type: "search", name: "text", placeholder: "Plate or text", "aria-label": "Plate or text", "aria-keyshortcuts": "/", autocomplete: "off", maxlength: 64 });
    this.camera = new Select("camera", "Any camera");
    this.type = new Select("type", "Any type", TYPES);
    this.label = new Suggested("label", "Any label");
    this.zone = new Suggested("zone", "Any zone");
    const spans = Object.fromEntries(Object.entries(SPANS).map(([name, [words]]) => [name, words]));
    this.span = new Select("span", "Any time", { ...spans, [FROM_TO]: "From … to …" });
    this.from = element("input", { type: "datetime-local", step: "1" });
    this.to = element("input", { type: "datetime-local", step: "1" });
    this.ends = [["From", this.from], ["To", this.to]].map(([name, input]) => element("label", { class: "field end", hidden: true }, element("span", {}, name), input));
    this.toggle = element("button", { type: "button", class: "button toggle", "aria-expanded": "false" }, "Filter");
    this.clear = element("button", { type: "button", class: "button plain clear" }, "Clear");
  }

  nodes() {
    const named = [["Camera", this.camera.node], ["Label", ...this.label.nodes], ["Type", this.type.node], ["Zone", ...this.zone.nodes], ["Time", this.span.node]];
    const boxes = named.map(([name, ...nodes]) => element("label", { class: "field more" }, element("span", {}, name), ...nodes));
    const search = element("label", { class: "field search" }, element("span", {}, "Search"), this.text);
    return [search, this.toggle, ...boxes, ...this.ends, this.clear];
  }

  filter() {
    const query = new URLSearchParams();
    query.set("text", this.text.value);
    query.set("camera", this.camera.node.value);
    query.set("label", this.label.input.value);
    query.set("type", this.type.node.value);
    query.set("zone", this.zone.input.value);
    if (this.span.node.value === FROM_TO) {
      query.set("from", utcOf(this.from.value));
      query.set("to", utcOf(this.to.value));
    } else {
      query.set("last", this.span.node.value);
    }
    return filterOf(query);
  }

  show(filter) {
    const of = (name) => filter.get(name) ?? "";
    this.text.value = of("text");
    this.camera.show(of("camera"));
    this.label.input.value = of("label");
    this.type.show(of("type"));
    this.zone.input.value = of("zone");
    const isFromTo = filter.has("from") || filter.has("to");
    // Chosen, but without times yet: it stays chosen.
    const isWaiting = this.span.node.value === FROM_TO && !filter.has("last");
    this.span.show(isFromTo || (isWaiting && document.activeElement?.closest(".end, .field") !== null) ? FROM_TO : of("last") || ANY_TIME);
    this.from.value = localOf(of("from"));
    this.to.value = localOf(of("to"));
    this.showSpan();
    const set = [...filter.keys()].filter((name) => name !== "text").length;
    this.toggle.textContent = set ? `Filter (${set})` : "Filter";
    this.clear.hidden = filter.toString() === "";
  }

  showSpan() {
    for (const end of this.ends) end.hidden = this.span.node.value !== FROM_TO;
  }

  offer({ cameras, labels, zones }) {
    this.camera.offer(cameras);
    this.label.offer(labels);
    this.zone.offer(zones);
  }
}

/** A select with the option of no choice. */
class Select {
  constructor(name, none, options = {}) {
    this.node = element("select", { name }, element("option", { value: "" }, none));
    for (const [value, words] of Object.entries(options)) this.add(value, words);
  }

  add(value, words = value) {
    this.node.append(element("option", { value }, words));
  }

  has(value) {
    return [...this.node.options].some((option) => option.value === value);
  }

  show(value) {
    if (!this.has(value)) this.add(value);
    this.node.value = value;
  }

  offer(values) {
    for (const value of values) if (!this.has(value)) this.add(value);
  }
}

/** A text field that suggests values. */
class Suggested {
  constructor(name, none) {
    this.list = element("datalist", { id: `known-${name}` });
    this.input = element("input", { type: "text", name, placeholder: none, list: this.list.id, autocomplete: "off", maxlength: 128 });
    this.nodes = [this.input, this.list];
  }

  offer(values) {
    const known = new Set([...this.list.options].map((option) => option.value));
    for (const value of values) if (!known.has(value)) this.list.append(element("option", { value }));
  }
}

/** The time of a field, which is local, as RFC 3339. */
function utcOf(local) {
  const at = new Date(local);
  return Number.isNaN(at.getTime()) ? "" : at.toISOString().replace(".000Z", "Z");
}

/** A time of the address, RFC 3339 or ms since 1970, as the field wants it. */
function localOf(text) {
  const at = new Date(/^-?\d+$/.test(text) ? Number(text) : text);
  if (text === "" || Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
