/* Small pictures of incidents. */

import { api, path, wait } from "./api.js";
import { element } from "./dom.js";

/** A picture is written after its event was published. */
const RETRIES_MS = [1000, 3000, 8000];

export const pictureOf = (incident, event, kind = "snapshot") => path`/api/incidents/${incident}/pictures/${event}?kind=${kind}`;

let history = null;

/** Whether the service has a history: without one there are no pictures to ask for. */
export function hasHistory() {
  history ??= api.get("/api/incidents?limit=1").then(() => true, () => false);
  return history;
}

/** Puts the picture of an event into a box once it is there; without one the box stays empty. */
export async function thumbnail(box, incident, event) {
  if (!await hasHistory()) return;
  const img = element("img", { alt: "", loading: "lazy", decoding: "async" });
  let tries = 0;
  img.addEventListener("error", async () => {
    if (tries >= RETRIES_MS.length) return img.remove();
    await wait(RETRIES_MS[tries]);
    tries += 1;
    if (box.isConnected) img.src = `${pictureOf(incident, event)}&try=${tries}`;
  });
  img.src = pictureOf(incident, event);
  box.append(img);
}
