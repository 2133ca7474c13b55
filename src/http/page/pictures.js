/* The pictures of incidents. */

import { api, path, wait } from "./api.js";
import { element } from "./dom.js";

/** A picture is written after its event was published, and may be uploaded after that. */
const RETRIES_MS = [1000, 3000, 8000];
const RECENT_MS = 60_000;

export const pictureOf = (incident, event, kind = "snapshot") => path`/api/incidents/${incident}/pictures/${event}?kind=${kind}`;

export const isRecent = (ms) => Date.now() - ms < RECENT_MS;

const turns = new WeakMap();

/** Shows the first of several pictures that exists. A recent one is asked for again, because it might not be written yet. */
export async function loadPicture(img, addresses, { recent = false, missing = () => {} } = {}) {
  // A later call for the same element ends this one.
  const turn = (turns.get(img) ?? 0) + 1;
  turns.set(img, turn);
  const rounds = recent ? [0, ...RETRIES_MS] : [0];
  for (const [round, pause] of rounds.entries()) {
    if (pause > 0) await wait(pause);
    for (const address of addresses) {
      if (turns.get(img) !== turn || (round > 0 && !img.isConnected)) return;
      if (await isLoaded(img, round ? `${address}&try=${round}` : address)) return;
    }
  }
  if (turns.get(img) === turn) missing();
}

function isLoaded(img, address) {
  return new Promise((done) => {
    img.onload = () => {
      img.dataset.loaded = "";
      done(true);
    };
    img.onerror = () => {
      delete img.dataset.loaded;
      done(false);
    };
    img.src = address;
  });
}

let history = null;

/** Returns whether the service has a history: without one there are no pictures to ask for. */
export function hasHistory() {
  history ??= api.get("/api/incidents?limit=1").then(() => true, () => false);
  return history;
}

/** Puts the picture of an event into a box; without one the box stays empty. */
export async function thumbnail(box, incident, event, recent) {
  if (!await hasHistory()) return;
  const img = element("img", { alt: "", loading: "lazy", decoding: "async" });
  box.append(img);
  loadPicture(img, [pictureOf(incident, event)], { recent, missing: () => img.remove() });
}
