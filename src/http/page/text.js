/* Numbers, durations and times as text. */

export const count = new Intl.NumberFormat("en").format;
export const counted = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;
export const percent = (share) => `${Math.round(share * 100)} %`;
export const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

export function span(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** A duration in whole seconds, for figures that count up on the page. */
export function age(ms) {
  return ms === null || ms >= 120_000 ? span(ms) : `${Math.floor(ms / 1000)} s`;
}

/** The time since a moment of another host's clock: never below 0. */
export const ageSince = (ms) => (ms === null ? "–" : `${age(Math.max(0, Date.now() - ms))} ago`);

/** The date of a timestamp, or null where it is beyond those that have one. */
export function dateOf(ms) {
  const at = new Date(ms ?? NaN);
  return Number.isNaN(at.getTime()) ? null : at;
}

export const clock = (at) => at.toLocaleTimeString([], { hour12: false });
export const dateTime = (at) => at.toLocaleString([], { dateStyle: "medium", timeStyle: "medium", hour12: false });

/** The day of a timestamp as a heading. */
export function dayOf(at, now = new Date()) {
  const days = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  const year = at.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return at.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year });
}
