/**
 * The service over HTTP. `send` tries once; `insist` goes on until there is an answer that waiting
 * would not change: it waits out "busy", a service that is away, and a missing API key.
 */

const KEY = "api-key";
const BASE = "api/v1/";

/** Statuses of a proxy in front whose service is away for a moment. */
const AWAY = new Set([502, 504]);
const LONGEST_PAUSE_SECONDS = 30;

export class Problem extends Error {
  /** `seconds`: after which the service asks us to return; null where returning will not help. */
  constructor(status, { code = "", detail = "", ...rest } = {}, seconds = null) {
    super(detail || `The service answered ${status}.`);
    Object.assign(this, { status, code, seconds, body: rest });
  }
}

/** The service cannot be reached at all. */
export class Unreachable extends Error {}

export class Api {
  #pause;
  #askForKey;

  /**
   * `pause`: holds everyone back while the service is busy (see pause.js);
   * `askForKey(refused)`: a promise that is kept once a person has given one.
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
   * One try. Returns a Response that is ok; throws Problem, Unreachable, AbortError. With
   * `onSent(bytes)` it tells how much of the body has left.
   */
  async send(path, { headers = {}, ...options } = {}) {
    const key = this.key;
    const all = key ? { ...headers, "X-API-Key": key } : headers;
    const exchange = options.onSent ? upload : fetch;
    const response = await exchange(BASE + path, { ...options, headers: all }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Unreachable("The service cannot be reached");
    });
    if (response.ok) return response;
    throw new Problem(response.status, await problem(response), retryAfter(response));
  }

  /**
   * Tries until there is an answer. `make` gives the options of each try, since a body is used up
   * by one. With a `pause` of its own it holds nobody else back.
   */
  async insist(path, make = () => ({}), { signal, pause = this.#pause } = {}) {
    for (let tries = 0; ; tries++) {
      await pause.over(signal);
      const key = this.key;
      try {
        return await this.send(path, { ...(await make(tries)), signal });
      } catch (error) {
        if (error.status === 401) await this.#newKey(key);
        else holdBack(pause, error, tries);
      }
    }
  }

  /** Someone may have given one since the refused request was made. */
  async #newKey(refused) {
    if (this.key !== refused) return;
    this.key = await this.#askForKey(refused !== "");
  }
}

/** Throws what waiting would not change. */
function holdBack(pause, error, tries) {
  const seconds = error.seconds ?? Math.min(LONGEST_PAUSE_SECONDS, 2 ** Math.min(tries, 5));
  if (error instanceof Unreachable || AWAY.has(error.status))
    return pause.hold(seconds, "The service cannot be reached");
  if (typeof error.seconds !== "number") throw error;
  const greedy = error.status === 429;
  pause.hold(seconds, greedy ? "More requests than you may make" : "The service is busy");
}

/** A key of its own for a request that must not be carried out twice. */
export function idempotencyKey() {
  // Not randomUUID: a browser has that only on localhost and under https.
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** As fetch, which cannot tell how much of a body has left. */
function upload(address, { method, headers, body, signal, onSent }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => onSent(loaded);
    request.onload = () => {
      const after = request.getResponseHeader("Retry-After");
      const told = { status: request.status, headers: after ? { "Retry-After": after } : {} };
      resolve(new Response(request.responseText, told));
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
