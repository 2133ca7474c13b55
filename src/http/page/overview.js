/* The state of the service, polled once per second: cameras, sinks, models and health. */

import { api } from "./api.js";

const POLL_MS = 1000;
const topics = { overview: new Set(), health: new Set() };
const latest = { overview: null, health: null };

function publish(topic, value) {
  latest[topic] = value;
  for (const listener of topics[topic]) listener(value);
}

function subscribe(topic, listener, signal) {
  topics[topic].add(listener);
  signal?.addEventListener("abort", () => topics[topic].delete(listener), { once: true });
  if (latest[topic] !== null) listener(latest[topic]);
}

/** Calls the listener with the answer of /api/cameras, now if there is one, and then with each new one. */
export const onOverview = (listener, signal) => subscribe("overview", listener, signal);

/** Calls the listener with the health as `{ words, tone, reasons, isConnected }`, and then with each new one. */
export const onHealth = (listener, signal) => subscribe("health", listener, signal);

const TONES = { ok: ["Healthy", "ok"], degraded: ["Degraded", "warn"], failed: ["Restart needed", "bad"] };
const PHASES = { starting: ["Starting", "busy"], stopping: ["Stopping", "busy"] };

function healthOf({ status, reasons }, readiness) {
  const [words, tone] = (status !== "failed" && PHASES[readiness]) || TONES[status];
  return { words, tone, reasons, isConnected: true };
}

/** /healthz answers 503 with the reasons where a restart is needed, which is no error here. */
async function health() {
  const reply = await fetch("/healthz", { cache: "no-store" });
  return reply.json();
}

async function refresh() {
  const [overview, answer] = await Promise.all([api.get("/api/cameras"), health()]);
  publish("health", healthOf(answer, overview.readiness));
  publish("overview", overview);
}

function disconnected() {
  publish("health", { words: "Disconnected", tone: "bad", reasons: ["The service does not answer. Retrying."], isConnected: false });
}

export const poll = () => api.every(POLL_MS, refresh, undefined, disconnected);
