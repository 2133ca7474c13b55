/* The section with the probes of `check --live`, run by the service itself. */

import { api } from "./api.js";
import { element, fillList, setText } from "./dom.js";
import { ageSince, counted } from "./text.js";

const OUTCOMES = { ok: ["ok", "works"], warn: ["warn", "check it"], fail: ["bad", "does not work"] };
const AGE_MS = 1000;

export function probesSection(signal) {
  const about = element("span", { class: "summary", role: "status" });
  const fault = element("p", { class: "fault", role: "alert", hidden: true });
  const list = element("ul", { id: "probes", class: "strip probes" });
  const run = element("button", { type: "button", class: "button" }, "Run again");
  let report = null;

  const showAge = () => setText(about, report === null ? "not run since the start" : `${summaryOf(report)} · ${ageSince(report.at_ms)}`);
  const show = (answer) => {
    report = answer;
    showAge();
    setText(run, report === null ? "Run" : "Run again");
    const rows = report === null ? [] : inOrder(report.lines).map(probeRow);
    fillList(list, rows, "The probes check credentials, streams, sinks and models, and change nothing.");
  };
  const ask = async (request) => {
    try {
      show(await request);
      fault.hidden = true;
    } catch (error) {
      if (api.isAbort(error)) return;
      fault.hidden = false;
      setText(fault, error.status === undefined ? "The service does not answer. Try again." : error.message);
    }
  };
  run.addEventListener("click", async () => {
    run.disabled = true;
    setText(about, "running");
    await ask(api.post("/api/check", { signal }));
    run.disabled = false;
    showAge();
  });
  ask(api.get("/api/check", { signal }));
  api.every(AGE_MS, () => run.disabled || showAge(), signal);
  return element("section", { class: "probes-section", "aria-labelledby": "probes-title" },
    element("div", { class: "bar" }, element("h2", { id: "probes-title" }, "Probes"), about, element("span", { class: "spread" }), run), fault, list);
}

/** What needs attention comes first. */
function inOrder(lines) {
  const rank = ({ outcome }) => ["fail", "warn"].indexOf(outcome) >>> 0;
  return [...lines].sort((one, other) => rank(one) - rank(other));
}

function summaryOf({ lines }) {
  const of = (outcome) => lines.filter((line) => line.outcome === outcome).length;
  const [fails, warns] = [of("fail"), of("warn")];
  if (fails + warns === 0) return `${counted(lines.length, "probe", "probes")}, all ok`;
  return [fails && `${fails} failed`, warns && counted(warns, "warning", "warnings")].filter(Boolean).join(", ");
}

function probeRow({ probe, outcome, text, remedy }) {
  const [tone, words] = OUTCOMES[outcome] ?? ["idle", outcome];
  return element("li", {}, element("i", { class: "dot", "data-tone": tone, role: "img", "aria-label": words }),
    element("b", {}, probe), element("p", { class: "probe-text" }, text), remedy && element("p", { class: "remedy" }, remedy));
}
