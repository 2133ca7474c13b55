/* The router: one view at a time, by the address. */

import { api } from "./api.js";
import { byId, element, setText, setTone } from "./dom.js";
import { follow } from "./feed.js";
import { onHealth, poll } from "./overview.js";

const REASONS_SHOWN = 5;
const NO_PARAMETERS = { camera: null, incident: null };

/* A module is loaded when its view is first opened, so that a mistake in one leaves the others usable. */
const VIEWS = {
  live: () => import("./live.js"),
  incidents: () => import("./incidents.js"),
  incident: () => import("./incident.js"),
  zones: () => import("./zones.js"),
  system: () => import("./system.js"),
};

/** The view of a path with its parameters, or null. */
function routeOf(pathname) {
  const [first, second, ...rest] = pathname.split("/").slice(1);
  if (rest.length > 0) return null;
  const id = decoded(second);
  if (first === "" && second === undefined) return { name: "live", ...NO_PARAMETERS };
  if (first === "incidents") return id === null ? { name: "incidents", ...NO_PARAMETERS } : { name: "incident", ...NO_PARAMETERS, incident: id };
  if (first === "zones") return { name: "zones", ...NO_PARAMETERS, camera: id };
  if (first === "system" && id === null) return { name: "system", ...NO_PARAMETERS };
  return null;
}

/** A part of a path as text; null where there is none. */
function decoded(part) {
  if (!part) return null;
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

let current = null;

async function render({ isBack = false } = {}) {
  const [key, address] = [location.pathname, location.pathname + location.search];
  // Only the fragment has changed, as by a link to a part of the view.
  if (current?.address === address) return;
  const previous = current?.name ?? null;
  const query = new URLSearchParams(location.search);
  if (current?.key === key && current.view?.update) {
    current.address = address;
    return current.view.update(query);
  }
  current?.controller.abort();
  const controller = new AbortController();
  const route = routeOf(location.pathname);
  const mine = { key, address, name: route?.name, controller, view: null };
  current = mine;
  const root = element("section", { class: `view view-${route?.name ?? "none"}` });
  byId("view").replaceChildren(root);
  markLink(route?.name);
  const { signal } = controller;
  try {
    if (route === null) throw new Error(`There is no view ${location.pathname}.`);
    const module = await VIEWS[route.name]();
    if (!signal.aborted) mine.view = await module.show(root, { ...route, query, api, signal, go, setTitle, isBack, previous });
  } catch (error) {
    if (!signal.aborted) showFailure(root, error);
  }
}

function showFailure(root, error) {
  setTitle("Not shown");
  root.replaceChildren(element("h1", {}, "This view cannot be shown"), element("p", { class: "fault" }, error.message),
    element("p", { class: "bar" }, element("button", { type: "button", class: "button", onclick: again }, "Try again"), element("a", { class: "button plain", href: "/" }, "Go to Live")));
  if (error.status === undefined) console.error(error);
}

function again() {
  current = null;
  render();
}

function markLink(name) {
  const wanted = name === "incident" ? "incidents" : name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function setTitle(title) {
  document.title = `${title} · kvs-infer`;
}

/** Opens an address of the page. */
function go(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  const isSameView = new URL(address, location.href).pathname === location.pathname;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  if (!isSameView) {
    scrollTo(0, 0);
    byId("view").focus({ preventScroll: true });
  }
  render();
}

/** Follows plain clicks on links to the page's own addresses without loading the page again. */
function followLink(click) {
  const link = click.target.closest?.("a[href]");
  const isPlain = click.button === 0 && !click.ctrlKey && !click.metaKey && !click.shiftKey && !click.altKey;
  if (!link || !isPlain || click.defaultPrevented || link.target || link.hasAttribute("download")) return;
  const isHere = link.origin === location.origin && routeOf(link.pathname) !== null;
  if (!isHere || link.getAttribute("href").startsWith("#")) return;
  click.preventDefault();
  go(link.pathname + link.search);
}

function showHealth(health) {
  const pill = byId("health");
  setTone(pill, health.tone);
  setText(pill.querySelector("span"), health.words);
  const bar = byId("reasons");
  bar.hidden = health.reasons.length === 0;
  setTone(bar, health.tone === "bad" ? "bad" : "warn");
  const shown = health.reasons.slice(0, REASONS_SHOWN);
  if (health.reasons.length > shown.length) shown.push(`and ${health.reasons.length - shown.length} more`);
  const isShown = [...bar.querySelectorAll("li")].map((row) => row.textContent);
  if (shown.join("\n") !== isShown.join("\n")) bar.firstElementChild.replaceChildren(...shown.map((reason) => element("li", {}, reason)));
  document.body.classList.toggle("disconnected", !health.isConnected);
}

history.scrollRestoration = "manual";
addEventListener("popstate", () => render({ isBack: true }));
document.addEventListener("click", followLink);
onHealth(showHealth);
follow();
poll();
render();
