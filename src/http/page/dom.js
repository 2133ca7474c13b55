/* Elements. Everything from the service is inserted as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An HTML element. Attributes named `on...` are listeners; those that are null, undefined or false are left out. */
export function element(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export function setTone(target, tone) {
  if (target.dataset.tone !== tone) target.dataset.tone = tone;
}

/** A label in a rounded box, coloured by its tone. */
export const chip = (words, tone = "idle") => element("span", { class: "chip", "data-tone": tone }, words);

/** Fills a list; without rows it has one that says so. */
export function fillList(list, rows, none) {
  list.replaceChildren(...(rows.length ? rows : [element("li", { class: "none" }, none)]));
}
