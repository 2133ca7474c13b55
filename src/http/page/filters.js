/* The filter of the incidents: in the address of the page, in the query of the API, and against an event. */

const NAMES = ["text", "camera", "label", "type", "zone", "last", "from", "to"];

/** Spans that end now, by their name in the address. */
export const SPANS = { "1h": ["Last hour", 3_600_000], "24h": ["Last 24 hours", 86_400_000], "7d": ["Last 7 days", 604_800_000] };

/** The filter of an address: its parameters that filter, in a fixed order, so that equal filters are equal texts. */
export function filterOf(query) {
  const filter = new URLSearchParams();
  for (const name of NAMES) {
    const value = query.get(name)?.trim();
    if (value) filter.set(name, value);
  }
  return filter;
}

/** An address of the page with a filter. */
export function withFilter(pathname, filter) {
  const query = filter.toString();
  return query ? `${pathname}?${query}` : pathname;
}

/** The filter as the API understands it. */
export function apiQuery(filter, now = Date.now()) {
  const query = new URLSearchParams(filter);
  const last = SPANS[query.get("last")];
  query.delete("last");
  if (last) query.set("from", String(now - last[1]));
  return query;
}

const plain = (text) => text.toLowerCase().replaceAll(/[\s-]/g, "");

/** Returns whether the filter shows the incident of a new event. Its time is not compared: it is now. */
export function isShownBy(filter, { camera_id, payload }) {
  const is = (name, value) => !filter.has(name) || filter.get(name).split(",").includes(value);
  const isInZone = !filter.has("zone") || payload.extras.zones.some((zone) => is("zone", zone));
  const isText = !filter.has("text") || plain(payload.extras.text ?? "").includes(plain(filter.get("text")));
  return is("camera", camera_id) && is("label", payload.label) && is("type", payload.type) && isInZone && isText && !filter.has("to");
}
