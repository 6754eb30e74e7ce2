/**
 * HTTP requests to the service. `send` makes one attempt. `insist` repeats it while the service is
 * busy, cannot be reached, or needs an API key.
 */

import { AWAY } from "./pause.js";

const KEY = "api-key";
const BASE = "api/v1/";

/** Answers of a proxy while the service restarts. */
const GATEWAY_ERRORS = new Set([502, 504]);
const LONGEST_PAUSE_SECONDS = 30;

/** The client has to wait for hours. Its user decides what to do. */
const NOT_SOON = new Set(["daily_limit_reached", "too_much_kept"]);

export class Problem extends Error {
  /** `seconds`: the service's Retry-After; null if a retry will not help. */
  constructor(status, { code = "", detail = "", ...rest } = {}, seconds = null) {
    super(detail || `The service answered ${status}.`);
    Object.assign(this, { status, code, seconds, body: rest });
  }
}

/** The service cannot be reached at all. */
class Unreachable extends Error {}

export class Api {
  #pause;
  #askForKey;

  /**
   * `pause` delays all requests while the service is busy (see pause.js).
   * `askForKey(wasRefused)` returns a promise of the key that the user enters.
   */
  constructor(pause, askForKey) {
    this.#pause = pause;
    this.#askForKey = askForKey;
  }

  get key() {
    return sessionStorage.getItem(KEY) ?? "";
  }

  set key(value) {
    sessionStorage.setItem(KEY, value);
  }

  /**
   * Makes one attempt. Returns a successful Response. Throws Problem, Unreachable or AbortError.
   * Calls `onSent(bytes)` while the body is sent.
   */
  async send(path, { headers = {}, ...options } = {}) {
    const key = this.key;
    const all = key ? { ...headers, "X-API-Key": key } : headers;
    const exchange = options.onSent ? upload : fetch;
    const response = await exchange(BASE + path, { ...options, headers: all }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Unreachable(AWAY);
    });
    if (response.ok) return response;
    throw new Problem(response.status, await problem(response), retryAfter(response));
  }

  /**
   * Repeats a request until there is an answer. `make(attempt)` returns the options of an attempt:
   * a body can be sent only once. A `pause` of its own does not delay other requests.
   */
  async insist(path, make = () => ({}), { signal, pause = this.#pause } = {}) {
    for (let attempt = 0; ; attempt++) {
      await pause.over(signal);
      const key = this.key;
      try {
        return await this.send(path, { ...(await make(attempt)), signal });
      } catch (error) {
        if (error.status === 401) await this.#newKey(key);
        else holdBack(pause, error, attempt);
      }
    }
  }

  /** Asks for a key, unless the key has changed since the refused request was made. */
  async #newKey(refused) {
    if (this.key !== refused) return;
    this.key = await this.#askForKey(refused !== "");
  }
}

/** Starts a pause, or throws the error if a later attempt would fail in the same way. */
function holdBack(pause, error, attempt) {
  const seconds = error.seconds ?? Math.min(LONGEST_PAUSE_SECONDS, 2 ** Math.min(attempt, 5));
  if (error instanceof Unreachable || GATEWAY_ERRORS.has(error.status))
    return pause.hold(seconds, AWAY);
  if (typeof error.seconds !== "number" || NOT_SOON.has(error.code)) throw error;
  const limited = error.code === "rate_limited";
  pause.hold(seconds, limited ? "You have reached your request limit" : "The service is busy");
}

/** A new key for a request that must be carried out only once. */
export function idempotencyKey() {
  // Browsers offer crypto.randomUUID only on localhost and under https.
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Like fetch, but reports how many bytes have been sent. */
function upload(address, { method, headers, body, signal, onSent }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => onSent(loaded);
    request.onload = () => {
      const after = request.getResponseHeader("Retry-After");
      const head = { status: request.status, headers: after ? { "Retry-After": after } : {} };
      resolve(new Response(request.responseText, head));
    };
    request.onerror = () => reject(new TypeError("network"));
    request.onabort = () => reject(signal.reason);
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

async function problem(response) {
  try {
    return await response.json();
  } catch {
    return {};
  }
}

function retryAfter(response) {
  const seconds = Number.parseInt(response.headers.get("Retry-After"), 10);
  return Number.isNaN(seconds) ? null : seconds;
}
