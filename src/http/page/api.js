/* The service's API. */

/** An answer that is an error, with the words of the service. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** A path of the API or of the page: every value is percent-encoded. */
export function path(parts, ...values) {
  return parts.reduce((made, part, i) => made + encodeURIComponent(values[i - 1]) + part);
}

async function ask(address, options) {
  const reply = await fetch(address, { cache: "no-store", ...options });
  // The page at this address is then the sign-in, which returns here.
  if (reply.status === 401 || reply.status === 403) location.reload();
  if (reply.ok) return reply.json();
  throw new ApiError(reply.status, await reasonOf(reply));
}

/** The reason that an answer with an error gives. */
export async function reasonOf(reply) {
  const body = await reply.json().catch(() => null);
  if (typeof body?.error === "string") return body.error;
  return `The service answered ${reply.status} without a reason. Look at its log.`;
}

export const isAbort = (error) => error?.name === "AbortError";

/** Waits, or until the signal. */
export function wait(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    }, { once: true });
  });
}

/** Runs an action at once and then repeatedly while the page is visible, until the signal. The action may return its next interval, ms. */
async function every(intervalMs, action, signal, onError = () => {}) {
  while (!signal?.aborted) {
    let next = null;
    if (!document.hidden) next = await Promise.resolve().then(action).catch((error) => isAbort(error) || onError(error));
    await wait(typeof next === "number" ? next : intervalMs, signal);
  }
}

export const api = {
  get: (address, { signal } = {}) => ask(address, { signal }),
  // The type of content keeps forms of other sites out.
  post: (address, { body, signal } = {}) => ask(address, { method: "POST", body, headers: { "Content-Type": "application/json" }, signal }),
  every,
  isAbort,
  path,
};
