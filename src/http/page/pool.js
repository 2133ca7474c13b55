/* The workers of the pool, only where workers share the cameras. */

import { api } from "./api.js";
import { chip, element, fillList, setText } from "./dom.js";
import { age, ageSince, count, counted, dateOf, dateTime } from "./text.js";

const POOL_MS = 2000;
const NO_POOL_MS = 30_000;
const OWNERS_SHOWN = 500;
const WORKER_TONES = { ready: "ok", joining: "busy", draining: "busy", silent: "bad" };
const OWNER_TONES = { running: "ok", moving: "busy", free: "bad", quarantined: "bad", orphaned: "bad" };

/** The section with the workers, polled on its own: tables that do not answer must not hold up the rest. */
export function poolSection(thisWorker, signal) {
  const about = element("span", { id: "pool-about" });
  const fault = element("p", { id: "pool-fault", class: "fault", role: "status", hidden: true });
  const workers = element("ul", { id: "workers", class: "strip" });
  const owners = new Owners();
  const section = element("section", { id: "pool", class: "pool", "aria-labelledby": "pool-title", hidden: true },
    element("h2", { id: "pool-title" }, "Workers ", about), fault, workers, owners.box);
  const refresh = async () => {
    const answer = await poolAnswer(signal);
    const isThere = answer.pool !== null;
    section.hidden = !isThere;
    fault.hidden = !answer.error;
    section.classList.toggle("stale", Boolean(answer.error));
    if (answer.error) setText(fault, `The pool cannot be read: ${answer.error}`);
    if (answer.error) return POOL_MS;
    if (!isThere) return NO_POOL_MS;
    const leader = answer.leader === null ? "no leader" : "";
    setText(about, [`of pool ${answer.pool}`, leader].filter(Boolean).join(" · "));
    const rows = answer.workers.map((worker) => workerRow(worker, answer.generation, thisWorker()));
    fillList(workers, rows, "No worker is in the pool.");
    owners.show(answer.cameras);
    return POOL_MS;
  };
  api.every(POOL_MS, refresh, signal);
  return section;
}

/** The pool, or the reason why it cannot be read. */
async function poolAnswer(signal) {
  try {
    return await api.get("/api/cluster", { signal });
  } catch (error) {
    if (api.isAbort(error) || error.status === undefined) throw error;
    return { error: error.message };
  }
}

function workerRow(worker, generation, thisWorker) {
  const load = worker.load_percent === null ? "load not measured yet" : `load ${count(worker.load_percent)} %`;
  const parts = [worker.state, counted(worker.cameras, "camera", "cameras"), load];
  if (worker.leads) parts.unshift("leads");
  if (worker.id === thisWorker) parts.unshift("this worker");
  if (worker.zone) parts.push(worker.zone);
  const tone = worker.state === "ready" && worker.overloaded ? "warn" : WORKER_TONES[worker.state] ?? "idle";
  const why = reasonsOf(worker, generation);
  return element("li", {}, element("i", { class: "dot", "data-tone": tone }), element("b", {}, worker.id),
    element("small", {}, parts.join(" · ")), loadBar(worker),
    why.length > 0 && element("p", { class: "why" }, `${why.join(". ")}.`));
}

function loadBar(worker) {
  const tone = worker.load_percent > 100 || worker.overloaded ? "warn" : "ok";
  const bar = element("i", { class: "load", "aria-hidden": "true", "data-tone": tone });
  bar.style.setProperty("--load", `${Math.min(100, worker.load_percent)}%`);
  return bar;
}

function reasonsOf(worker, generation) {
  const why = [];
  if (worker.overloaded) why.push("Does not keep up: cameras are moved away");
  if (worker.generation < generation) why.push(`Has configuration ${worker.generation}, the newest is ${generation}`);
  if (worker.state === "silent") why.push(`Last beat ${ageSince(worker.beat_ms)}`);
  return why;
}

/** The table of all cameras with their workers. */
class Owners {
  constructor() {
    this.shown = "";
    this.rows = element("tbody", { id: "owners" });
    this.more = element("p", { id: "more-owners", class: "empty", hidden: true });
    const heads = ["Camera", "Worker", "Since", "State"].map((name) => element("th", { scope: "col" }, name));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), this.rows);
    this.box = element("div", { class: "owners panel", role: "region", "aria-label": "Cameras of all workers", tabindex: "0" }, table, this.more);
  }

  /** Cameras that need attention come first. Rows are made again only if they differ; their ages change all the time. */
  show(cameras) {
    const isFine = (camera) => camera.state === "running" && camera.why === null;
    const sorted = [...cameras.filter((camera) => !isFine(camera)), ...cameras.filter(isFine)].slice(0, OWNERS_SHOWN);
    const described = JSON.stringify(sorted.map(({ id, worker, next_worker, state, since_ms, why }) => [id, worker, next_worker, state, since_ms, why]));
    if (described !== this.shown) {
      this.shown = described;
      this.rows.replaceChildren(...sorted.map(ownerRow));
    }
    for (const time of this.rows.querySelectorAll("time[data-ms]")) setText(time, ageSince(Number(time.dataset.ms)));
    this.more.hidden = cameras.length <= sorted.length;
    setText(this.more, `and ${count(cameras.length - sorted.length)} more: kvs-infer cluster lists all`);
  }
}

function ownerRow(camera) {
  const workers = [camera.worker ?? "no worker", camera.next_worker].filter(Boolean);
  const at = dateOf(camera.since_ms);
  const time = element("time", at && { datetime: at.toISOString(), title: dateTime(at) }, "–");
  if (at) time.dataset.ms = String(camera.since_ms);
  const tone = camera.state === "running" && camera.why ? "warn" : OWNER_TONES[camera.state] ?? "idle";
  const row = element("tr", {}, element("th", { scope: "row" }, camera.id),
    element("td", { "data-is": "worker" }, workers.join(" → ")), element("td", {}, time),
    element("td", {}, chip(camera.state, tone), element("small", {}, camera.why ?? "")));
  row.dataset.id = camera.id;
  return row;
}
