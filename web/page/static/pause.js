/** "The service is busy, retrying in 12 s": one pause for all requests. */

/** The reason of a pause that ends as soon as the service answers. */
export const AWAY = "The service cannot be reached";

export class Pause {
  #until = 0;
  #why = "";
  #show;
  #clock = null;
  #waiting = new Set();

  /** Calls `show(why, seconds)` each second, and `show(null)` at the end of a pause. */
  constructor(show) {
    this.#show = show;
  }

  hold(seconds, why) {
    this.#until = Math.max(this.#until, Date.now() + 1000 * seconds);
    this.#why = why;
    this.#clock ??= setInterval(() => this.#tick(), 1000);
    this.#tick();
  }

  /** Returns a promise that resolves at the end of the pause. The signal rejects it. */
  over(signal) {
    signal?.throwIfAborted();
    if (this.#clock === null) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.add(resolve);
      signal?.addEventListener("abort", () => {
        this.#waiting.delete(resolve);
        if (!this.#waiting.size) this.end();
        reject(signal.reason);
      });
    });
  }

  /** The service answers again: ends a pause that began because it could not be reached. */
  serviceAnswers() {
    if (this.#clock !== null && this.#why === AWAY) this.end();
  }

  /** Ends the pause now. */
  end() {
    clearInterval(this.#clock);
    this.#clock = null;
    this.#until = 0;
    this.#show(null);
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #tick() {
    const seconds = Math.ceil((this.#until - Date.now()) / 1000);
    if (seconds <= 0) this.end();
    else this.#show(this.#why, seconds);
  }
}
