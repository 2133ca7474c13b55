/* The events as they happen: first the kept ones, then, after the message "live", each new one. */

const KEPT = 200;
const RETRY_MS = 2000;
const kept = new Map();
const listeners = new Set();
const stateListeners = new Set();
let live = false;
let state = "";

/** Calls the listener with each event and whether it is new: the kept ones now, oldest first, and then each new one. */
export function onEvent(listener, signal) {
  for (const event of kept.values()) listener(event, false);
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener), { once: true });
}

/** Calls the listener with the state of the connection: "live", "reconnecting" or "". */
export function onFeedState(listener, signal) {
  listener(state);
  stateListeners.add(listener);
  signal.addEventListener("abort", () => stateListeners.delete(listener), { once: true });
}

function receive(event) {
  if (kept.has(event.event_id)) return;
  kept.set(event.event_id, event);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  for (const listener of listeners) listener(event, live);
}

function setState(now) {
  state = now;
  for (const listener of stateListeners) listener(state);
}

export function follow() {
  const source = new EventSource("/api/events");
  source.addEventListener("message", (message) => receive(JSON.parse(message.data)));
  source.addEventListener("live", () => {
    live = true;
    setState("live");
  });
  source.addEventListener("error", () => {
    setState("reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, RETRY_MS);
  });
}
