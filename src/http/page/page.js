"use strict";

const POLL_MS = 1000;
const PICTURE_MS = 250;
const POOL_MS = 2000;
const NO_POOL_MS = 30_000;
const EVENTS_SHOWN = 200;
const OWNERS_SHOWN = 500;
const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en").format;

/* Texts. Everything from the service is inserted as text, never as markup. */

function span(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** A duration in whole seconds, for figures that count up on the page. */
function age(ms) {
  return ms === null || ms >= 120_000 ? span(ms) : `${Math.floor(ms / 1000)} s`;
}

function chipOf(camera) {
  if (camera.error) return camera.state === "connecting" ? ["Reconnecting", "bad"] : ["Down", "bad"];
  if (camera.state === "connecting") return ["Connecting", "busy"];
  if (camera.state === "waiting") return ["No footage", "warn"];
  if (camera.mode === "catch_up") return ["Catching up", "busy"];
  return [camera.idle ? "Live, idle" : "Live", "ok"];
}

function noticeOf(camera) {
  if (camera.error) {
    const retry = camera.retry_in_ms === null ? "" : ` Retry in ${age(camera.retry_in_ms + 999)}.`;
    const now = camera.state === "connecting" ? " Trying again now." : retry;
    return [`Camera down for ${age(camera.error_for_ms)}`, `${sentence(camera.error)}${now}`];
  }
  if (camera.state === "connecting") return ["Connecting", `Opening stream ${camera.stream}.`];
  if (camera.state === "waiting") {
    return ["No footage", `Connected; the camera has sent nothing for ${age(camera.state_for_ms)}.`];
  }
  return camera.last_frame_ts_ms === null ? ["Footage arrives", "Waiting for the first picture."] : null;
}

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);
const dropped = (camera) => Object.values(camera.frames.dropped).reduce((sum, n) => sum + n, 0);

/** The reasons why frames were dropped, the most frequent first. */
const REASONS = {
  superseded: "inference too slow", late: "decoding too slow", damaged: "damaged", no_key_frame: "no keyframe", track: "unusable track",
  discontinuity: "read again", leading: "open GOP without references", no_picture: "no picture decoded",
};
function reasonsOf(camera) {
  const reasons = Object.entries(camera.frames.dropped).sort(([, a], [, b]) => b - a);
  return reasons.map(([why, n]) => [REASONS[why] ?? why.replaceAll("_", " "), n]);
}
const reasonsText = (reasons) => reasons.map(([why, n]) => `${why}: ${count(n)}`).join(", ");

/* Elements. */

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function setTone(target, tone) {
  if (target.dataset.tone !== tone) target.dataset.tone = tone;
}

function setNotice(target, lines) {
  const text = lines ? lines.join("\n") : "";
  if (target.dataset.text === text) return;
  target.dataset.text = text;
  target.replaceChildren(...(lines ? [element("b", {}, lines[0]), element("span", {}, lines[1])] : []));
}

/* A live picture: requested repeatedly, only while it is visible. */

class LivePicture {
  constructor(screen) {
    this.screen = screen;
    this.img = screen.querySelector("img");
    this.camera = null;
    this.seen = false;
    this.running = false;
    this.etag = null;
  }

  show(camera) {
    if (this.camera?.id !== camera.id) this.clear();
    this.camera = camera;
    this.img.alt = `Live picture of ${camera.id}`;
    const notice = noticeOf(camera);
    this.screen.classList.toggle("stale", notice !== null);
    setNotice(this.screen.querySelector(".notice"), notice);
    this.run();
  }

  see(seen) {
    this.seen = seen;
    this.run();
  }

  clear() {
    this.etag = null;
    this.img.hidden = true;
    if (this.img.src) URL.revokeObjectURL(this.img.src);
    this.img.removeAttribute("src");
  }

  get wanted() {
    return this.seen && !document.hidden && this.camera !== null && this.camera.last_frame_ts_ms !== null;
  }

  async run() {
    if (this.running) return;
    this.running = true;
    while (this.wanted) {
      const begun = performance.now();
      await this.fetchOnce().catch(() => {});
      const idle = this.camera?.state === "streaming" ? PICTURE_MS : POLL_MS;
      await new Promise((wake) => setTimeout(wake, Math.max(20, idle - (performance.now() - begun))));
    }
    this.running = false;
  }

  async fetchOnce() {
    const id = this.camera.id;
    const width = Math.ceil(this.screen.clientWidth * Math.min(window.devicePixelRatio || 1, 2));
    const headers = this.etag ? { "If-None-Match": this.etag } : {};
    const path = `/api/cameras/${encodeURIComponent(id)}/snapshot.jpg?w=${width}`;
    const reply = await fetch(path, { headers, cache: "no-store" });
    if (reply.status !== 200) return;
    const url = URL.createObjectURL(await reply.blob());
    const next = new Image();
    next.src = url;
    await next.decode().catch(() => {});
    if (this.camera?.id !== id) return URL.revokeObjectURL(url);
    const before = this.img.src;
    this.etag = reply.headers.get("ETag");
    this.img.src = url;
    this.img.hidden = false;
    this.img.dataset.version = this.etag ?? "";
    if (before) URL.revokeObjectURL(before);
  }
}

/* Cameras. */

const cards = new Map();
const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) cards.get(entry.target.dataset.camera)?.picture.see(entry.isIntersecting);
});

function cardOf(id) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  const screen = card.querySelector(".screen");
  const made = { card, picture: new LivePicture(screen) };
  screen.dataset.camera = id;
  screen.setAttribute("aria-label", `Enlarge ${id}`);
  screen.addEventListener("click", () => enlarge(id));
  cards.set(id, made);
  byId("cameras").append(card);
  sight.observe(screen);
  return made;
}

function showCamera(camera) {
  const { card, picture } = cards.get(camera.id) ?? cardOf(camera.id);
  card.dataset.id = camera.id;
  setText(card.querySelector("h3"), camera.id);
  setText(card.querySelector(".stream"), camera.stream === camera.id ? "" : camera.stream);
  showChip(card.querySelector(".chip"), camera);
  const number = (name, text, warn) => {
    const target = card.querySelector(`[data-is=${name}]`);
    setText(target, text);
    target.classList.toggle("warn", Boolean(warn));
  };
  number("fps", camera.fps.toFixed(1));
  number("behind", span(camera.behind_ms), camera.mode === "live" && camera.behind_ms > 5000);
  number("dropped", count(dropped(camera)));
  number("events", count(camera.events));
  const reasons = reasonsOf(camera);
  const why = card.querySelector("[data-why]");
  why.title = reasons.length ? `Frames without inference: ${reasonsText(reasons)}` : "";
  setText(why.querySelector("small"), reasons.length ? reasons[0][0] : "");
  picture.show(camera);
}

/** Removes the cards of cameras that this process no longer has, such as those that another worker has taken over. */
function removeOthers(cameras) {
  const ids = new Set(cameras.map((camera) => camera.id));
  for (const [id, { card, picture }] of cards) {
    if (ids.has(id)) continue;
    sight.unobserve(card.querySelector(".screen"));
    picture.see(false);
    picture.clear();
    card.remove();
    cards.delete(id);
  }
}

function showChip(chip, camera) {
  const [words, tone] = chipOf(camera);
  setText(chip, words);
  setTone(chip, tone);
}

/* One camera, large. */

const dialog = byId("large");
const large = { id: null, picture: new LivePicture(dialog.querySelector(".screen")) };

function enlarge(id) {
  large.id = id;
  showLarge();
  dialog.showModal();
  large.picture.see(true);
}

function showLarge() {
  const camera = state.cameras.find((one) => one.id === large.id);
  if (!camera) return dialog.close();
  setText(byId("large-title"), camera.id);
  showChip(dialog.querySelector(".chip"), camera);
  large.picture.show(camera);
  const rows = detailsOf(camera).map(([name, value, wide]) =>
    element("div", wide ? { class: "wide" } : {}, element("dt", {}, name), element("dd", {}, value)));
  dialog.querySelector(".details").replaceChildren(...rows);
}

function detailsOf(camera) {
  const size = camera.width_px === null ? "–" : `${camera.width_px} × ${camera.height_px}`;
  const rows = [
    ["Stream", camera.stream], ["Picture", size], ["Inferences/s", camera.fps.toFixed(1)],
    ["Behind live", span(camera.behind_ms)], ["Frames read", count(camera.frames.read)],
    ["Decoded", count(camera.frames.decoded)], ["Sampled", count(camera.frames.sampled)],
    ["Inferred", count(camera.frames.inferred)], ["Dropped", reasonsText(reasonsOf(camera)) || "0"],
    ["Events", count(camera.events)], ["Fragments", count(camera.fragments)],
    ["Reconnects", count(camera.reconnects)], ["Footage skipped", camera.skipped_ms ? span(camera.skipped_ms) : "none"],
  ];
  if (camera.last_error) rows.push([camera.error ? "Error" : "Last error", camera.last_error, true]);
  return rows;
}

dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (click) => click.target === dialog && dialog.close());
dialog.addEventListener("close", () => {
  large.id = null;
  large.picture.see(false);
});

/* Health, sinks, models. */

const state = { cameras: [], worker: null };
const TONES = { ok: ["Healthy", "ok"], degraded: ["Degraded", "warn"], failed: ["Restart needed", "bad"] };
// What is listed with the sinks and delivers nothing.
const BESIDE_SINKS = { outbox: "state and events on disk", positions: "positions of cameras", sharing: "tables of the pool" };
const PHASES = { starting: ["Starting", "busy"], stopping: ["Stopping", "busy"] };

function showHealth(health, readiness) {
  const [words, tone] = (health.status !== "failed" && PHASES[readiness]) || TONES[health.status];
  setTone(byId("health"), tone);
  setText(byId("health").querySelector("span"), words);
  showReasons(health.reasons, health.status === "failed" ? "bad" : "warn");
}

function showReasons(reasons, tone) {
  const target = byId("reasons");
  target.hidden = reasons.length === 0;
  setTone(target, tone);
  const shown = reasons.slice(0, 5);
  if (reasons.length > shown.length) shown.push(`and ${reasons.length - shown.length} more`);
  target.firstElementChild.replaceChildren(...shown.map((reason) => element("li", {}, reason)));
}

function showSummary(overview) {
  const live = overview.cameras.filter((camera) => camera.state === "streaming").length;
  const whose = overview.worker ? " of this worker" : "";
  const cameras = `${live} of ${overview.cameras.length} cameras${whose} streaming`;
  setText(byId("summary"), `${cameras} · up ${age(overview.uptime_s * 1000)} · version ${overview.version}`);
}

function sinkRow(sink) {
  const parts = [BESIDE_SINKS[sink.name.split("/")[0]] ?? `${count(sink.delivered)} delivered`];
  if (sink.queued) parts.push(`${count(sink.queued)} waiting`);
  if (sink.failed) parts.push(`${count(sink.failed)} lost`);
  const row = element("li", {},
    element("i", { class: "dot", "data-tone": sink.ok ? "ok" : "bad" }),
    element("b", {}, sink.name), element("small", {}, parts.join(" · ")));
  if (!sink.ok) row.append(element("p", { class: "why" }, `Failing for ${age(sink.failing_for_ms)}: ${sink.reason ?? "no reason given"}`));
  return row;
}

function modelRow(model) {
  const about = [model.layout, `${model.input_px[0]} × ${model.input_px[1]}`, `${count(model.classes)} ${model.classes === 1 ? "class" : "classes"}`];
  const row = element("li", {},
    element("i", { class: "dot", "data-tone": "ok" }), element("b", {}, model.name),
    element("small", {}, [...about, `${model.device} (${model.engine})`, `warm-up ${span(model.warm_up_ms)}`].join(" · ")));
  if (model.engine_note) row.append(element("p", { class: "why" }, model.engine_note));
  return row;
}

function showStrip(id, rows, none) {
  byId(id).replaceChildren(...(rows.length ? rows : [element("li", { class: "none" }, none)]));
}

/* Polling: once per second while the page is visible. */

async function ask(path) {
  const reply = await fetch(path, { cache: "no-store" });
  if (reply.status === 401 || reply.status === 403) location.reload();
  return reply.json();
}

async function refresh() {
  const [overview, health] = await Promise.all([ask("/api/cameras"), ask("/healthz")]);
  state.cameras = overview.cameras;
  state.worker = overview.worker ?? null;
  showHealth(health, overview.readiness);
  showSummary(overview);
  overview.cameras.forEach(showCamera);
  removeOthers(overview.cameras);
  byId("no-cameras").hidden = overview.cameras.length > 0 || state.worker !== null;
  byId("no-own-cameras").hidden = overview.cameras.length > 0 || state.worker === null;
  showStrip("sinks", overview.sinks.map(sinkRow), "No sink is configured.");
  showStrip("models", overview.models.map(modelRow), "No model is loaded yet.");
  if (large.id !== null) showLarge();
}

function showDisconnected() {
  setTone(byId("health"), "bad");
  setText(byId("health").querySelector("span"), "Disconnected");
  showReasons(["The service does not answer. Retrying."], "bad");
  for (const { card } of cards.values()) card.querySelector(".screen").classList.add("stale");
}

async function poll() {
  for (;;) {
    if (!document.hidden) await refresh().catch(showDisconnected);
    await new Promise((wake) => setTimeout(wake, POLL_MS));
  }
}

document.addEventListener("visibilitychange", () => {
  for (const { picture } of cards.values()) picture.run();
  large.picture.run();
});

/* The pool: only where workers share the cameras. */

const WORKER_TONES = { ready: "ok", joining: "busy", draining: "busy", silent: "bad" };
const OWNER_TONES = { running: "ok", moving: "busy", free: "bad", quarantined: "bad", orphaned: "bad" };
let shownOwners = "";

async function refreshPool() {
  const answer = await ask("/api/cluster");
  const isThere = answer.pool !== null;
  byId("pool").hidden = !isThere;
  showPoolFault(answer.error);
  if (answer.error) return POOL_MS;
  if (!isThere) return NO_POOL_MS;
  const leader = answer.leader === null ? "no leader" : "";
  setText(byId("pool-about"), [`of pool ${answer.pool}`, leader].filter(Boolean).join(" · "));
  showStrip("workers", answer.workers.map((worker) => workerRow(worker, answer.generation)), "No worker is in the pool.");
  showOwners(answer.cameras);
  return POOL_MS;
}

function showPoolFault(error) {
  byId("pool-fault").hidden = !error;
  byId("pool").classList.toggle("stale", Boolean(error));
  if (error) setText(byId("pool-fault"), `The pool cannot be read: ${error}`);
}

function workerRow(worker, generation) {
  const parts = [worker.state, `${count(worker.cameras)} ${worker.cameras === 1 ? "camera" : "cameras"}`, worker.load_percent === null ? "load not measured yet" : `load ${count(worker.load_percent)} %`];
  if (worker.leads) parts.unshift("leads");
  if (worker.id === state.worker) parts.unshift("this worker");
  if (worker.zone) parts.push(worker.zone);
  const tone = worker.state === "ready" && worker.overloaded ? "warn" : WORKER_TONES[worker.state] ?? "idle";
  const load = element("i", { class: "load", "aria-hidden": "true", "data-tone": worker.load_percent > 100 || worker.overloaded ? "warn" : "ok" });
  load.style.setProperty("--load", `${Math.min(100, worker.load_percent)}%`);
  const row = element("li", {}, element("i", { class: "dot", "data-tone": tone }), element("b", {}, worker.id), element("small", {}, parts.join(" · ")), load);
  const why = [];
  if (worker.overloaded) why.push("Does not keep up: cameras are moved away");
  if (worker.generation < generation) why.push(`Has configuration ${worker.generation}, the newest is ${generation}`);
  if (worker.state === "silent") why.push(`Last beat ${ageSince(worker.beat_ms)}`);
  if (why.length) row.append(element("p", { class: "why" }, `${why.join(". ")}.`));
  return row;
}

/* Cameras that need attention come first. Rows are made again only if they differ; their ages change all the time. */
function showOwners(cameras) {
  const isFine = (camera) => camera.state === "running" && camera.why === null;
  const sorted = [...cameras.filter((camera) => !isFine(camera)), ...cameras.filter(isFine)].slice(0, OWNERS_SHOWN);
  const described = JSON.stringify(sorted.map(({ id, worker, next_worker, state, since_ms, why }) => [id, worker, next_worker, state, since_ms, why]));
  if (described !== shownOwners) {
    shownOwners = described;
    byId("owners").replaceChildren(...sorted.map(ownerRow));
  }
  for (const time of byId("owners").querySelectorAll("time[data-ms]")) setText(time, ageSince(Number(time.dataset.ms)));
  byId("more-owners").hidden = cameras.length <= sorted.length;
  setText(byId("more-owners"), `and ${count(cameras.length - sorted.length)} more: kvs-infer cluster lists all`);
}

function ownerRow(camera) {
  const row = byId("owner").content.firstElementChild.cloneNode(true);
  row.dataset.id = camera.id;
  row.querySelector("th").textContent = camera.id;
  const workers = [camera.worker ?? "no worker", camera.next_worker].filter(Boolean);
  row.querySelector("[data-is=worker]").textContent = workers.join(" → ");
  const time = row.querySelector("time");
  const at = new Date(camera.since_ms ?? NaN);
  if (Number.isNaN(at.getTime())) {
    time.textContent = "–";
  } else {
    time.dataset.ms = String(camera.since_ms);
    time.dateTime = at.toISOString();
    time.title = at.toLocaleString();
  }
  const chip = row.querySelector(".chip");
  chip.textContent = camera.state;
  chip.dataset.tone = camera.state === "running" && camera.why ? "warn" : OWNER_TONES[camera.state] ?? "idle";
  row.querySelector("small").textContent = camera.why ?? "";
  return row;
}

/** The time since a moment of another host's clock: never below 0. */
const ageSince = (ms) => (ms === null ? "–" : `${age(Math.max(0, Date.now() - ms))} ago`);

/* A poll of its own: tables that do not answer must not hold up the rest. */
async function pollPool() {
  for (;;) {
    const wait = document.hidden ? POOL_MS : await refreshPool().catch(() => POOL_MS);
    await new Promise((wake) => setTimeout(wake, wait));
  }
}

/* Events: first the kept ones, then, after the message "live", each new one. */

const shownEvents = new Set();
let live = false;

function showEvent(event) {
  if (shownEvents.has(event.event_id)) return;
  shownEvents.add(event.event_id);
  const { payload } = event;
  const row = byId("event").content.firstElementChild.cloneNode(true);
  row.dataset.id = event.event_id;
  row.querySelector(".hue").style.setProperty("--hue", colorOf(payload.label));
  row.querySelector("strong").textContent = payload.label;
  row.querySelector(".conf").textContent = partsOf(payload).join(" · ");
  row.querySelector(".where").append(payload.camera_id, ...payload.extras.zones.map((zone) => element("span", { class: "zone" }, zone)));
  const at = new Date(payload.ts_ms);
  const time = row.querySelector("time");
  if (Number.isNaN(at.getTime())) {
    time.textContent = "no date";
    time.title = `${payload.ts_ms} ms since 1970`;
  } else {
    time.dateTime = at.toISOString();
    time.title = at.toLocaleString();
    time.textContent = at.toLocaleTimeString([], { hour12: false });
  }
  if (live) row.classList.add("new");
  byId("events").prepend(row);
  byId("no-events").hidden = true;
  trimEvents();
}

/* The text that was read, the confidence, and the duration of an incident that is not new; for an activity its counts. */
function partsOf({ conf, extras }) {
  if (extras.activity) return countedBy(extras);
  const parts = extras.text ? [extras.text] : [];
  parts.push(`${Math.round(conf * 100)} %`);
  if (extras.phase === "update") parts.push(`here for ${span(extras.duration_ms)}`);
  if (extras.phase === "end") parts.push(`gone after ${span(extras.duration_ms)}`);
  return parts;
}

function countedBy({ activity, phase, duration_ms }) {
  const labels = Object.entries(activity.by_label).map(([label, count]) => `${count} ${label}`);
  const parts = [labels.join(", "), `${activity.peak} at once`];
  if (phase === "end") parts.push(`over after ${span(duration_ms)}`);
  return parts;
}

function trimEvents() {
  const list = byId("events");
  while (list.childElementCount > EVENTS_SHOWN) {
    shownEvents.delete(list.lastElementChild.dataset.id);
    list.lastElementChild.remove();
  }
}

/* As `color_of` in src/render: the stripe has the colour of the box. */
const PALETTE = [
  [230, 57, 70], [255, 183, 3], [6, 214, 160], [17, 138, 178], [255, 112, 166], [155, 93, 229], [144, 190, 109],
  [251, 133, 0],
];

function colorOf(label) {
  let hash = 2_166_136_261;
  for (const byte of new TextEncoder().encode(label)) hash = Math.imul(hash ^ byte, 16_777_619) >>> 0;
  return `rgb(${PALETTE[(hash >>> 8) % PALETTE.length].join(", ")})`;
}

function follow() {
  const source = new EventSource("/api/events");
  source.addEventListener("message", (message) => showEvent(JSON.parse(message.data)));
  source.addEventListener("live", () => {
    live = true;
    setText(byId("feed-state"), "live");
  });
  source.addEventListener("error", () => {
    setText(byId("feed-state"), "reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  });
}

follow();
poll();
pollPool();
