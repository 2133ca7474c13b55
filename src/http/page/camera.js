/* The figures of a camera. */

import { element, setText } from "./dom.js";
import { count, span } from "./text.js";

const REASONS = {
  superseded: "inference too slow", late: "decoding too slow", damaged: "damaged", no_key_frame: "no keyframe", track: "unusable track",
  discontinuity: "read again", leading: "open GOP without references", no_picture: "no picture decoded",
};

const dropped = (camera) => Object.values(camera.frames.dropped).reduce((sum, n) => sum + n, 0);

/** The reasons why frames were dropped, the most frequent first. */
function reasonsOf(camera) {
  const reasons = Object.entries(camera.frames.dropped).sort(([, a], [, b]) => b - a);
  return reasons.map(([why, n]) => [REASONS[why] ?? why.replaceAll("_", " "), n]);
}
const reasonsText = (reasons) => reasons.map(([why, n]) => `${why}: ${count(n)}`).join(", ");

/** The four figures below a live picture. */
export function cardFigures() {
  const figure = (name, ...small) => {
    const value = element("span");
    const cell = element("dd", {}, value, ...small);
    return { value, cell, box: element("div", {}, element("dt", {}, name), cell) };
  };
  const why = element("small");
  const [fps, behind, drops, events] =
    [figure("Frames/s"), figure("Behind live"), figure("Dropped", why), figure("Events")];
  drops.box.dataset.why = "";
  const list = element("dl", { class: "numbers" }, fps.box, behind.box, drops.box, events.box);
  const show = (camera) => {
    setText(fps.value, camera.fps.toFixed(1));
    setText(behind.value, span(camera.behind_ms));
    behind.cell.classList.toggle("warn", camera.mode === "live" && camera.behind_ms > 5000);
    setText(drops.value, count(dropped(camera)));
    setText(events.value, count(camera.events));
    const reasons = reasonsOf(camera);
    drops.box.title = reasons.length ? `Frames without inference: ${reasonsText(reasons)}` : "";
    setText(why, reasons.length ? reasons[0][0] : "");
  };
  return { list, show };
}

const DECODERS = { nvdec: "GPU (NVDEC)", cpu: "CPU" };

/** All figures: name, value, and whether the value needs the whole width. */
export function detailsOf(camera) {
  const size = camera.width_px === null ? "–" : `${camera.width_px} × ${camera.height_px}`;
  const rows = [
    ["Stream", camera.stream], ["Picture", size], ["Decoder", camera.decoder ? DECODERS[camera.decoder] : "–"],
    ["Models on", camera.device === "cpu" ? "CPU" : (camera.device ?? "–")], ["Inferences/s", camera.fps.toFixed(1)],
    ["Behind live", span(camera.behind_ms)], ["Frames read", count(camera.frames.read)],
    ["Decoded", count(camera.frames.decoded)], ["Sampled", count(camera.frames.sampled)],
    ["Inferred", count(camera.frames.inferred)], ["Dropped", reasonsText(reasonsOf(camera)) || "0"],
    ["Events", count(camera.events)], ["Fragments", count(camera.fragments)],
    ["Reconnects", count(camera.reconnects)], ["Footage skipped", camera.skipped_ms ? span(camera.skipped_ms) : "none"],
  ];
  if (camera.decoder_note) rows.push(["Not by NVDEC", camera.decoder_note, true]);
  if (camera.last_error) rows.push([camera.error ? "Error" : "Last error", camera.last_error, true]);
  return rows;
}
