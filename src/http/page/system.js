/* The view System: health, probes, sinks, models and workers. */

import { element, fillList, setText, setTone } from "./dom.js";
import { onHealth, onOverview } from "./overview.js";
import { poolSection } from "./pool.js";
import { probesSection } from "./probes.js";
import { age, count, counted, span } from "./text.js";

// Listed with the sinks, but they deliver nothing.
const BESIDE_SINKS = { outbox: "state and events on disk", positions: "positions of cameras", sharing: "tables of the pool" };

export function show(root, { signal, setTitle }) {
  setTitle("System");
  const about = element("p", { id: "about", class: "summary" });
  const sinks = element("ul", { id: "sinks", class: "strip" });
  const models = element("ul", { id: "models", class: "strip" });
  let worker = null;
  root.append(
    element("div", { class: "view-title" }, element("h1", {}, "System"), about), healthSection(signal),
    element("div", { class: "strips" },
      element("section", { "aria-labelledby": "sinks-title" }, element("h2", { id: "sinks-title" }, "Sinks"), sinks),
      element("section", { "aria-labelledby": "models-title" }, element("h2", { id: "models-title" }, "Models"), models)),
    poolSection(() => worker, signal), probesSection(signal));
  onOverview((overview) => {
    worker = overview.worker ?? null;
    setText(about, aboutOf(overview));
    fillList(sinks, overview.sinks.map(sinkRow), "No sink is configured.");
    fillList(models, overview.models.map(modelRow), "No model is loaded yet.");
  }, signal);
}

function aboutOf(overview) {
  const worker = overview.worker ? ` · worker ${overview.worker}` : "";
  return `version ${overview.version} · up ${age(overview.uptime_s * 1000)}${worker}`;
}

function healthSection(signal) {
  const words = element("p", { class: "health-words" });
  const reasons = element("ul", { class: "health-reasons" });
  const panel = element("div", { class: "panel health-panel", "data-tone": "idle" }, words, reasons);
  onHealth((health) => {
    setTone(panel, health.tone);
    setText(words, health.reasons.length ? health.words : `${health.words}. There is no problem to report.`);
    reasons.replaceChildren(...health.reasons.map((reason) => element("li", {}, reason)));
  }, signal);
  return element("section", { "aria-labelledby": "health-title" }, element("h2", { id: "health-title" }, "Health"), panel);
}

function sinkRow(sink) {
  const parts = [BESIDE_SINKS[sink.name.split("/")[0]] ?? `${count(sink.delivered)} delivered`];
  if (sink.queued) parts.push(`${count(sink.queued)} waiting`);
  if (sink.failed) parts.push(`${count(sink.failed)} lost`);
  const why = `Failing for ${age(sink.failing_for_ms ?? null)}: ${sink.reason ?? "no reason given"}`;
  return element("li", {},
    element("i", { class: "dot", "data-tone": sink.ok ? "ok" : "bad" }), element("b", {}, sink.name),
    element("small", {}, parts.join(" · ")), !sink.ok && element("p", { class: "why" }, why));
}

function modelRow(model) {
  const about = [
    model.layout, `${model.input_px[0]} × ${model.input_px[1]}`, counted(model.classes, "class", "classes"),
    `${model.device} (${model.engine})`, ...(model.nodes ? [model.nodes] : []), `warm-up ${span(model.warm_up_ms)}`,
  ];
  return element("li", {},
    element("i", { class: "dot", "data-tone": model.degraded ? "bad" : "ok" }), element("b", {}, model.name),
    element("small", {}, about.join(" · ")), model.degraded && element("p", { class: "why" }, model.degraded),
    model.engine_note && element("p", { class: "why" }, model.engine_note));
}
