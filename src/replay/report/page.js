"use strict";
// Every text of the data reaches the page as textContent, so that no label, id or plate can become markup.
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE_SIZE = 60;
const compared = data.compared_with !== null;
const WORDS = { changed: "changed", new: compared ? "new" : "found", gone: "gone", same: "same" };
const shownChanges = new Set(compared ? ["changed", "new", "gone"] : ["new"]);
let limit = PAGE_SIZE;

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child);
  }
  return made;
}

function time(ms) {
  return new Date(ms).toISOString().replace("T", " ").replace(".000Z", "").replace("Z", "") + " UTC";
}

function length(ms) {
  const seconds = Math.round(ms / 1000);
  const parts = [[Math.floor(seconds / 3600), "h"], [Math.floor(seconds / 60) % 60, "min"], [seconds % 60, "s"]];
  const shown = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`);
  return shown.length ? shown.join(" ") : "0 s";
}

function count(number, one, many) {
  return `${number.toLocaleString("en-US")} ${number === 1 ? one : many || one + "s"}`;
}

function table(heads, rows, numbersFrom) {
  const cell = (name) => (value, at) => element(name, at >= numbersFrom ? { class: "number" } : {}, String(value));
  return element("table", {},
    element("thead", {}, element("tr", {}, heads.map(cell("th")))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map(cell("td"))))));
}

function shown(incident) {
  return incident.now || incident.before;
}

function word(incident) {
  return WORDS[incident.change];
}

function fillHead() {
  document.getElementById("span").textContent = `${time(data.from_ms)} to ${time(data.to_ms)}`;
  const about = [count(data.cameras.length, "camera"), `${length(data.cameras.reduce((sum, c) => sum + c.coverage.footage_ms, 0))} of footage`];
  about.push(compared ? `compared with ${data.compared_with}` : "compared with nothing");
  document.getElementById("about").textContent = about.join(" · ");
  const models = data.models.map((model) => `${model.name} (SHA-256 ${model.sha256.slice(0, 12)})`).join(", ");
  document.getElementById("footer").textContent =
    `${data.program} · configuration SHA-256 ${data.config_sha256.slice(0, 12)} · models: ${models}`;
}

function notices() {
  const texts = [];
  for (const camera of data.cameras) {
    const { coverage } = camera;
    if (coverage.fault) texts.push(`Camera ${camera.id} was replayed up to ${time(camera.done_ms)} only: ${coverage.fault}`);
    else if (coverage.stopped) texts.push(`Camera ${camera.id} was replayed up to ${time(camera.done_ms)} only: the replay was stopped.`);
    else if (coverage.fragments === 0) texts.push(`Camera ${camera.id} has no footage in this span.`);
  }
  const { not_replayed, unlisted, pictures_left_out } = data.figures;
  if (not_replayed) texts.push(`${count(not_replayed, "earlier incident")} of the span not compared: their footage was not replayed, or too little of it.`);
  if (unlisted) texts.push(`${count(unlisted, "incident")} counted and not listed, so that the report stays small enough.`);
  if (pictures_left_out) texts.push(`${count(pictures_left_out, "picture")} left out, so that the report stays small enough; snapshots/ beside it has those of the replay.`);
  if (!data.has_snapshots) texts.push("The configuration switches snapshots off, so the replay has no pictures.");
  document.getElementById("notices").replaceChildren(...texts.map((text) => element("p", { class: "notice" }, text)));
}

function tiles() {
  const changes = compared ? ["changed", "new", "gone", "same"] : ["new"];
  const tile = (change) => {
    const name = WORDS[change];
    const button = element("button", { type: "button", "aria-pressed": String(shownChanges.has(change)) },
      element("b", { class: `${name}-text` }, data.figures[change].toLocaleString("en-US")), name);
    button.addEventListener("click", () => {
      if (!shownChanges.delete(change)) shownChanges.add(change);
      button.setAttribute("aria-pressed", String(shownChanges.has(change)));
      restart();
    });
    return button;
  };
  document.getElementById("tiles").replaceChildren(...changes.map(tile));
}

function gapTexts(coverage) {
  const texts = coverage.fault ? [coverage.fault] : [];
  if (coverage.stopped) texts.push("stopped before the end");
  texts.push(...coverage.gaps.map((gap) => `no footage ${time(gap.from_ms)} to ${time(gap.to_ms)}${gap.reason ? `: ${gap.reason}` : ""}`));
  if (coverage.more_gaps) texts.push(`${count(coverage.more_gaps, "more gap")}`);
  texts.push(...coverage.unreadable.map((fragment) => `fragment ${fragment.number} of ${time(fragment.start_ms)}: ${fragment.reason}`));
  if (coverage.more_unreadable) texts.push(`${count(coverage.more_unreadable, "more unreadable fragment")}`);
  return texts;
}

function tables() {
  const cameraRow = ({ id, stream, coverage, done_ms }) => [id, stream, coverage.fragments ? time(done_ms) : "nothing", gapTexts(coverage).join("; ") || "none", coverage.fragments, length(coverage.footage_ms)];
  const cameras = table(["camera", "stream", "replayed to", "missing", "fragments", "footage"], data.cameras.map(cameraRow), 4);
  document.querySelector("#cameras .scroll").replaceChildren(cameras);
  const results = compared ? ["before", "now", "changed", "new", "gone", "same"] : ["now"];
  const totalRow = (row) => [row.camera, row.type, row.label, row.zone || "no zone", ...results.map((name) => row[name])];
  const heads = ["camera", "type", "label", "zone", ...(compared ? results : ["incidents"])];
  document.querySelector("#totals .scroll").replaceChildren(table(heads, data.totals.map(totalRow), 4));
}

function options(id, values) {
  const all = element("option", { value: "" }, "all");
  const each = [...new Set(values)].sort().map((value) => element("option", { value }, value));
  const select = document.getElementById(id);
  select.replaceChildren(all, ...each);
  select.addEventListener("change", restart);
}

function fillFilters() {
  const both = (of) => data.incidents.flatMap((incident) => [incident.now, incident.before].filter(Boolean).flatMap(of));
  options("camera", both((facts) => facts.camera_id));
  options("label", both((facts) => facts.label));
  options("zone", both((facts) => facts.zones));
  document.getElementById("search").addEventListener("input", restart);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
}

function plain(text) {
  return text.toLowerCase().replace(/[-\s]/g, "");
}

function matches(incident) {
  const value = (id) => document.getElementById(id).value;
  const sides = [incident.now, incident.before].filter(Boolean);
  const has = (id, of) => !value(id) || sides.some((facts) => of(facts).includes(value(id)));
  const search = plain(value("search"));
  const texts = sides.flatMap((facts) => [facts.text || "", facts.incident_id, facts.label, facts.type, facts.camera_id]);
  return shownChanges.has(incident.change)
    && has("camera", (facts) => [facts.camera_id])
    && has("label", (facts) => [facts.label])
    && has("zone", (facts) => facts.zones)
    && (!search || texts.some((text) => plain(text).includes(search)));
}

function picture(title, facts, index) {
  const caption = element("figcaption", {}, title);
  if (!facts) return element("figure", {}, caption, element("div", { class: "absent" }, "no incident"));
  if (index === null) return element("figure", {}, caption, element("div", { class: "absent" }, "no picture"));
  const alt = `${facts.label} at camera ${facts.camera_id}, ${time(facts.start_ms)}`;
  const src = `data:image/jpeg;base64,${data.pictures[index]}`;
  return element("figure", {}, caption, element("img", { src, alt, loading: "lazy" }));
}

function pictures(incident) {
  if (!compared) return element("div", { class: "pictures one" }, picture("replay", incident.now, incident.now_picture));
  return element("div", { class: "pictures" },
    picture("before", incident.before, incident.before_picture),
    picture("replay", incident.now, incident.now_picture));
}

const TIME_TEXT = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;

function differences(incident) {
  if (!incident.differences.length) return null;
  const value = (text) => (TIME_TEXT.test(text) ? time(Date.parse(text)) : text);
  const rows = incident.differences.map((found) => [found.field, value(found.before), value(found.now)]);
  const made = table(["", "before", "replay"], rows, 9);
  made.className = "differences";
  return made;
}

function facts(incident) {
  const one = shown(incident);
  const end = one.end_ms === null ? "open at the end" : `ended ${time(one.end_ms)}`;
  const texts = [time(one.start_ms), end, `${(one.conf * 100).toFixed(1)} %`, count(one.records, "record")];
  if (one.zones.length) texts.push(`zones ${one.zones.join(", ")}`);
  if (one.activity) texts.push(`${count(one.activity.incidents, "incident")}, at most ${one.activity.peak} at once`);
  if (incident.is_cut) texts.push("lasts beyond the replayed footage");
  return texts.join(" · ");
}

function card(incident) {
  const one = shown(incident);
  const name = word(incident);
  const title = [one.label, one.text, `· ${one.camera_id}`].filter(Boolean).join(" ");
  return element("article", { class: `incident ${name}` },
    element("h2", {}, element("span", { class: "badge" }, name), title),
    element("p", { class: "quiet" }, facts(incident)),
    differences(incident),
    pictures(incident),
    element("p", { class: "quiet" }, `${one.type} · ${one.incident_id}`));
}

function show() {
  const found = data.incidents.filter(matches);
  document.getElementById("incidents").replaceChildren(...found.slice(0, limit).map(card));
  document.getElementById("count").textContent = `${found.length.toLocaleString("en-US")} of ${count(data.incidents.length, "incident")}`;
  document.getElementById("more").hidden = found.length <= limit;
}

function restart() {
  limit = PAGE_SIZE;
  show();
}

document.getElementById("more").addEventListener("click", () => {
  limit += PAGE_SIZE;
  show();
});
fillHead();
notices();
tiles();
tables();
fillFilters();
show();
