/* The view Live: the cameras with their pictures, and the events as they happen. */

import { cardFigures, detailsOf } from "./camera.js";
import { element, setText, setTone } from "./dom.js";
import { eventList } from "./events.js";
import { onHealth, onOverview } from "./overview.js";
import { LivePicture, chipOf, screenParts } from "./picture.js";
import { age } from "./text.js";

const NO_CAMERA = "No camera is configured. Add one under “cameras:” in the configuration.";
const NO_OWN_CAMERA = "No camera runs on this worker. The view System lists the cameras of all workers.";

export function show(root, { signal, setTitle }) {
  setTitle("Live");
  const summary = element("p", { id: "summary", class: "summary" });
  const cameras = element("div", { id: "cameras", class: "cameras" });
  const none = element("p", { id: "no-cameras", class: "empty", hidden: true });
  const jump = element("a", { class: "jump", href: "#feed" }, "Go to events ↓");
  const heading = element("h1", { id: "cameras-title" }, "Cameras");
  const watch = element("section", { class: "watch", "aria-labelledby": "cameras-title" },
    element("div", { class: "view-title" }, heading, summary, jump), cameras, none);
  root.append(watch, eventList(signal));

  const large = largeCamera(root, signal);
  const cards = new Cards(cameras, signal, (id) => large.open(id));
  onOverview((overview) => {
    setText(summary, summaryOf(overview));
    cards.show(overview.cameras);
    large.refresh(overview.cameras);
    none.hidden = overview.cameras.length > 0;
    setText(none, overview.worker ? NO_OWN_CAMERA : NO_CAMERA);
  }, signal);
  onHealth(({ isConnected }) => isConnected || cards.fade(), signal);
}

function summaryOf(overview) {
  const live = overview.cameras.filter((camera) => camera.state === "streaming").length;
  const whose = overview.worker ? " of this worker" : "";
  return `${live} of ${overview.cameras.length} cameras${whose} streaming · up ${age(overview.uptime_s * 1000)}`;
}

function showChip(chip, camera) {
  const [words, tone] = chipOf(camera);
  setText(chip, words);
  setTone(chip, tone);
}

/** The cards of the cameras of this process, by id. */
class Cards {
  constructor(list, signal, enlarge) {
    this.list = list;
    this.signal = signal;
    this.enlarge = enlarge;
    this.byId = new Map();
    this.sight = new IntersectionObserver((entries) => {
      for (const entry of entries) this.byId.get(entry.target.dataset.camera)?.picture.see(entry.isIntersecting);
    });
    signal.addEventListener("abort", () => this.sight.disconnect(), { once: true });
  }

  show(cameras) {
    for (const camera of cameras) {
      const { picture, chip, name, stream, figures } = this.byId.get(camera.id) ?? this.add(camera.id);
      setText(name, camera.id);
      setText(stream, camera.stream === camera.id ? "" : camera.stream);
      showChip(chip, camera);
      figures.show(camera);
      picture.show(camera);
    }
    this.removeOthers(cameras);
  }

  add(id) {
    const attributes = { type: "button", class: "screen", "aria-label": `Enlarge ${id}`, onclick: () => this.enlarge(id) };
    const screen = element("button", attributes, ...screenParts());
    screen.dataset.camera = id;
    const [name, stream] = [element("h2"), element("p", { class: "stream" })];
    const chip = element("span", { class: "chip", "data-tone": "idle" });
    const figures = cardFigures();
    const card = element("article", { class: "card panel" }, screen,
      element("div", { class: "about" }, element("div", { class: "names" }, name, stream), chip), figures.list);
    card.dataset.id = id;
    this.list.append(card);
    const made = { card, screen, name, stream, chip, figures, picture: new LivePicture(screen, this.signal) };
    this.byId.set(id, made);
    this.sight.observe(screen);
    return made;
  }

  /** Removes the cards of cameras that this process no longer has, such as those that another worker has taken over. */
  removeOthers(cameras) {
    const ids = new Set(cameras.map((camera) => camera.id));
    for (const [id, { card, screen, picture }] of this.byId) {
      if (ids.has(id)) continue;
      this.sight.unobserve(screen);
      picture.see(false);
      picture.clear();
      card.remove();
      this.byId.delete(id);
    }
  }

  fade() {
    for (const { screen } of this.byId.values()) screen.classList.add("stale");
  }
}

/** The dialog that shows one camera large. */
function largeCamera(root, signal) {
  const screen = element("div", { class: "screen" }, ...screenParts());
  const title = element("h2", { id: "large-title" });
  const chip = element("span", { class: "chip", "data-tone": "idle" });
  const close = element("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  const zones = element("a", { class: "button plain" }, "Zones");
  const incidents = element("a", { class: "button plain" }, "Incidents");
  const details = element("dl", { class: "details" });
  const dialog = element("dialog", { id: "large", class: "large", "aria-labelledby": "large-title" },
    element("div", { class: "large-top" }, title, chip, incidents, zones, close), screen, details);
  const picture = new LivePicture(screen, signal);
  let [id, cameras] = [null, []];
  dialog.addEventListener("click", (click) => click.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    id = null;
    picture.see(false);
  });
  root.append(dialog);

  const showNow = () => {
    const camera = cameras.find((one) => one.id === id);
    if (!camera) return dialog.close();
    setText(title, camera.id);
    zones.href = `/zones/${encodeURIComponent(id)}`;
    incidents.href = `/incidents?${new URLSearchParams({ camera: id })}`;
    showChip(chip, camera);
    picture.show(camera);
    const rows = detailsOf(camera).map(([name, value, isWide]) =>
      element("div", { class: isWide ? "wide" : null }, element("dt", {}, name), element("dd", {}, value)));
    details.replaceChildren(...rows);
  };
  const open = (wanted) => {
    id = wanted;
    showNow();
    dialog.showModal();
    picture.see(true);
  };
  const refresh = (now) => {
    cameras = now;
    if (id !== null) showNow();
  };
  return { open, refresh };
}
