/* A live picture: requested repeatedly, only while it is visible. */

import { path, wait } from "./api.js";
import { element } from "./dom.js";
import { age, sentence } from "./text.js";

const PICTURE_MS = 250;
const SLOW_MS = 1000;

/** The state of a camera in a word or two, and its tone. */
export function chipOf(camera) {
  if (camera.error) return camera.state === "connecting" ? ["Reconnecting", "bad"] : ["Down", "bad"];
  if (camera.state === "connecting") return ["Connecting", "busy"];
  if (camera.state === "waiting") return ["No footage", "warn"];
  if (camera.mode === "catch_up") return ["Catching up", "busy"];
  return [camera.idle ? "Live, idle" : "Live", "ok"];
}

/** The reason why a camera has no live picture, as a heading and a sentence. */
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

function setNotice(target, lines) {
  const text = lines ? lines.join("\n") : "";
  if (target.dataset.text === text) return;
  target.dataset.text = text;
  target.replaceChildren(...(lines ? [element("b", {}, lines[0]), element("span", {}, lines[1])] : []));
}

/** The content of a `screen`: the picture, and the words in its place. */
export const screenParts = () => [element("img", { alt: "", hidden: true }), element("span", { class: "notice" })];

export class LivePicture {
  constructor(screen, signal) {
    this.screen = screen;
    this.signal = signal;
    this.img = screen.querySelector("img");
    this.camera = null;
    this.seen = false;
    this.running = false;
    this.etag = null;
    document.addEventListener("visibilitychange", () => this.run(), { signal });
    signal.addEventListener("abort", () => this.clear(), { once: true });
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
    const isVisible = this.seen && !document.hidden && !this.signal.aborted;
    return isVisible && this.camera !== null && this.camera.last_frame_ts_ms !== null;
  }

  async run() {
    if (this.running) return;
    this.running = true;
    while (this.wanted) {
      const begun = performance.now();
      await this.fetchOnce().catch(() => {});
      const idle = this.camera?.state === "streaming" ? PICTURE_MS : SLOW_MS;
      await wait(Math.max(20, idle - (performance.now() - begun)), this.signal);
    }
    this.running = false;
  }

  async fetchOnce() {
    const id = this.camera.id;
    const width = Math.ceil(this.screen.clientWidth * Math.min(window.devicePixelRatio || 1, 2));
    const headers = this.etag ? { "If-None-Match": this.etag } : {};
    const address = path`/api/cameras/${id}/snapshot.jpg?w=${width}`;
    const reply = await fetch(address, { headers, cache: "no-store", signal: this.signal });
    if (reply.status !== 200) return;
    const url = URL.createObjectURL(await reply.blob());
    const next = new Image();
    next.src = url;
    await next.decode().catch(() => {});
    if (this.camera?.id !== id || this.signal.aborted) return URL.revokeObjectURL(url);
    const before = this.img.src;
    this.etag = reply.headers.get("ETag");
    this.img.src = url;
    this.img.hidden = false;
    this.img.dataset.version = this.etag ?? "";
    if (before) URL.revokeObjectURL(before);
  }
}
