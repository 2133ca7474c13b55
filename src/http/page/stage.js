/* The large picture of an incident, or its video in the same place. */

import { isAbort, path, reasonOf, wait } from "./api.js";
import { element, setText } from "./dom.js";
import { isRecent, loadPicture, pictureOf } from "./pictures.js";
import { clock, dateOf, span as spanWords } from "./text.js";

const BEFORE_S = 5;
const MARGINS_S = [5, 15, 30, 60];
/** How often a video that is not ready is asked for again. */
const MAX_TRIES = 15;
/** A shorter rest of an incident is not worth a note. */
const MIN_LEFT_OUT_MS = 1000;

export class Stage {
  constructor(incident, signal) {
    this.incident = incident;
    this.signal = signal;
    this.isVideo = false;
    this.marginS = BEFORE_S;
    this.span = null;
    /** The video is the stored clip, of one length. */
    this.isStored = false;
    /** Called with the media time that plays, and with the span of the video, ms. */
    this.onTime = () => {};
    this.onSpan = () => {};
    this.img = element("img", { alt: "", hidden: true });
    this.video = null;
    this.notice = element("span", { class: "notice", role: "status" });
    this.play = element("button", { type: "button", class: "play", onclick: () => this.showVideo() }, element("span", { "aria-hidden": "true" }, "▶"), "Play video");
    this.screen = element("div", { class: "screen" }, this.img, this.notice, this.play);
    this.note = element("p", { class: "stage-note", role: "note", hidden: true });
    this.node = element("section", { class: "stage panel", "aria-label": "Picture and video" }, this.screen, this.controls(), this.note);
    this.showPicture(incident.snapshot_event, "snapshot");
    signal.addEventListener("abort", () => this.endVideo(), { once: true });
  }

  controls() {
    const button = (words, action) => element("button", { type: "button", class: "button", "aria-pressed": "false", onclick: action }, words);
    this.pictureButton = button("Picture", () => this.showPicture(this.incident.snapshot_event, "snapshot"));
    this.videoButton = button("Video", () => this.showVideo());
    this.videoButton.setAttribute("aria-keyshortcuts", "v");
    const options = MARGINS_S.map((seconds) => element("option", { value: String(seconds) }, `${seconds} s before and after`));
    this.margin = element("select", { "aria-label": "Length of the video around the incident" }, ...options);
    this.margin.addEventListener("change", () => {
      this.marginS = Number(this.margin.value);
      this.endVideo();
      this.showVideo();
    });
    this.download = element("a", { class: "button plain", download: "", title: "Download the video" }, "Download");
    this.showAddress();
    return element("div", { class: "bar stage-controls" },
      element("div", { class: "segments", role: "group", "aria-label": "Shown" }, this.pictureButton, this.videoButton),
      element("label", { class: "field margin" }, this.margin), element("span", { class: "spread" }), this.download);
  }

  get address() {
    return `${path`/api/incidents/${this.incident.incident_id}/clip.mp4`}?before=${this.marginS}&after=${this.marginS}`;
  }

  showAddress() {
    this.download.href = this.address;
    this.download.download = `${this.incident.camera_id}-${this.incident.start_ms}.mp4`;
  }

  setMode(isVideo) {
    this.isVideo = isVideo;
    this.pictureButton.setAttribute("aria-pressed", String(!isVideo));
    this.videoButton.setAttribute("aria-pressed", String(isVideo));
    this.play.hidden = isVideo;
    this.margin.parentElement.hidden = !isVideo || this.isStored;
    this.note.hidden = !isVideo || this.note.textContent === "";
    this.img.hidden = isVideo || !this.img.hasAttribute("src");
    if (this.video) this.video.hidden = !isVideo;
  }

  say(...lines) {
    this.notice.replaceChildren(...lines.map((line, i) => element(i === 0 ? "b" : "span", {}, line)));
  }

  toggle() {
    if (this.isVideo) this.showPicture(this.incident.snapshot_event, "snapshot");
    else this.showVideo();
  }

  /* The picture. */

  showPicture(event, kind) {
    this.video?.pause();
    this.say();
    this.img.removeAttribute("src");
    this.setMode(false);
    const { incident_id, label, camera_id, start_ms } = this.incident;
    if (event === null || event === undefined) return this.say("No snapshot", "Snapshots are off for this camera, or the incident has none.");
    const address = pictureOf(incident_id, event, kind);
    this.img.alt = `${kind === "crop" ? "Close-up" : "Snapshot"}: ${label} at ${camera_id}`;
    this.img.addEventListener("load", () => (this.img.hidden = this.isVideo), { once: true });
    loadPicture(this.img, [address], { recent: isRecent(start_ms), missing: () => this.explainPicture(address) });
  }

  async explainPicture(address) {
    this.img.hidden = true;
    this.img.removeAttribute("src");
    const reply = await fetch(address, { signal: this.signal }).catch(() => null);
    if (this.isVideo || this.signal.aborted) return;
    this.say("No picture", reply === null ? "The service does not answer." : await reasonOf(reply));
  }

  /* The video: asked for when the user wants it, because the service reads stored footage for it. */

  async showVideo() {
    if (this.isVideo) return;
    const isByPlay = document.activeElement === this.play;
    this.setMode(true);
    // The button goes, and with it the place of the keyboard.
    if (isByPlay) this.videoButton.focus({ preventScroll: true });
    if (this.video) {
      this.say();
      return this.video.play().catch(() => {});
    }
    this.showAddress();
    this.say("Reading the stored footage");
    const address = this.address;
    const reply = await this.ready(address);
    if (reply === null || address !== this.address || !this.isVideo) return;
    if (!reply.ok) return this.refuse(await reasonOf(reply));
    await reply.body?.cancel();
    this.takeSpan(reply.headers);
    this.takeNote(reply.headers);
    this.startVideo(address);
  }

  /** Asks until the video is ready, or refused, or no longer wanted. */
  async ready(address) {
    for (let tries = 1; ; tries += 1) {
      const reply = await this.firstByte(address);
      const pause = Number(reply?.headers.get("Retry-After"));
      if (reply?.status !== 503 || !(pause > 0) || tries === MAX_TRIES) return reply;
      await reply.body?.cancel();
      await wait(pause * 1000, this.signal);
      if (this.signal.aborted || address !== this.address || !this.isVideo) return null;
    }
  }

  /** Asks for one byte: its answer has the reason if there is no video, which a video element does not show. */
  async firstByte(address) {
    try {
      return await fetch(address, { headers: { Range: "bytes=0-0" }, cache: "no-store", signal: this.signal });
    } catch (error) {
      if (!isAbort(error)) this.refuse("The service does not answer. Try again.");
      return null;
    }
  }

  refuse(reason) {
    this.say("No video", reason);
    this.img.hidden = true;
    this.download.hidden = true;
  }

  takeSpan(headers) {
    const number = (name) => (headers.has(name) ? Number(headers.get(name)) : NaN);
    const start = number("X-Clip-Start-Ms");
    const end = number("X-Clip-End-Ms");
    this.span = {
      start: Number.isFinite(start) ? start : this.incident.start_ms - this.marginS * 1000,
      end: Number.isFinite(end) ? end : null,
    };
  }

  /** Says which part of the incident the video has, and that it is the stored clip. */
  takeNote(headers) {
    const notes = [];
    this.isStored = headers.get("X-Clip-Source") === "stored";
    if (this.isStored) notes.push("This is the clip that was stored at the end of the incident: Kinesis Video Streams no longer has the footage.");
    const leftOut = Number(headers.get("X-Clip-Left-Out-Ms"));
    if (leftOut >= MIN_LEFT_OUT_MS) notes.push(`${this.shownWords()}: the last ${spanWords(leftOut)} of the incident are beyond the length of a clip (clips.max_seconds).`);
    setText(this.note, notes.join(" "));
    this.setMode(true);
  }

  /** The time span that the video shows. */
  shownWords() {
    const [from, to] = [this.span.start, this.span.end].map((ms) => dateOf(ms));
    return from === null || to === null ? "Shows the beginning only" : `Shows ${clock(from)} to ${clock(to)} only`;
  }

  startVideo(address) {
    const { label, camera_id } = this.incident;
    this.video = element("video", { src: address, controls: true, playsinline: true, preload: "auto", "aria-label": `Video: ${label} at ${camera_id}` });
    // As property: the attribute only counts for elements of the parser.
    this.video.muted = true;
    this.video.addEventListener("loadedmetadata", () => {
      this.say();
      this.span.end ??= this.span.start + this.video.duration * 1000;
      this.onSpan(this.span);
    });
    this.video.addEventListener("timeupdate", () => this.onTime(this.span.start + this.video.currentTime * 1000));
    this.video.addEventListener("error", () => this.explainVideo(address));
    this.screen.prepend(this.video);
    this.video.play().catch(() => {});
  }

  /** The first byte came, so either a later part failed or the browser cannot play it. */
  async explainVideo(address) {
    const video = this.video;
    if (video === null) return;
    const reply = await this.firstByte(address);
    if (reply === null || video !== this.video) return;
    this.video.hidden = true;
    if (!reply.ok) return this.refuse(await reasonOf(reply));
    await reply.body?.cancel();
    this.say("This browser cannot play the video", "Its codec may be missing, as for H.265 on some systems. Download the video and play it elsewhere.");
  }

  endVideo() {
    this.video?.pause();
    this.video?.removeAttribute("src");
    this.video?.remove();
    this.video = null;
    this.isVideo = false;
    this.isStored = false;
    setText(this.note, "");
    this.note.hidden = true;
    this.download.hidden = false;
  }

  /** Shows the video at a media time. */
  async seek(ms) {
    if (!this.isVideo) await this.showVideo();
    if (this.video === null || this.span === null) return;
    const seconds = Math.max(0, (ms - this.span.start) / 1000);
    if (this.video.readyState > 0) this.video.currentTime = seconds;
    else this.video.addEventListener("loadedmetadata", () => (this.video.currentTime = seconds), { once: true });
  }

  playOrPause() {
    if (!this.isVideo || this.video === null) return this.showVideo();
    if (this.video.paused) return this.video.play().catch(() => {});
    return this.video.pause();
  }
}
