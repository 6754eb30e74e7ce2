/** The progress of a job: its share, its speed and the time left. */

import { number, percent, plural, rate, time } from "../words.js";

const $ = (id) => document.getElementById(id);

/** The speed is measured over this time. It is not known before the least of it. */
const WINDOW_SECONDS = 8;
const LEAST_SECONDS = 1;

export class Progress {
  #samples = []; // [milliseconds, done]
  #job = null;
  #said = "";
  #showState;

  /** `showState(state)` is called when the user asks for the pictures of a state. */
  constructor(showState) {
    this.#showState = showState;
  }

  /** Shows everything of a job except its pictures. */
  show(job) {
    if (job !== this.#job) {
      this.#samples = [];
      this.#said = "";
    }
    this.#job = job;
    this.#sample(job.done);
    const total = job.items.length || 1;
    const share = Math.floor((100 * job.done) / total);
    $("job-title").textContent = job.title;
    $("sent").style.width = `${100 * job.sentShare}%`;
    $("done").style.width = `${(100 * job.done) / total}%`;
    $("progress").setAttribute("aria-valuenow", share);
    $("progress").hidden = job.ended;
    this.#write(figures(job, this.#speed(), this.#left()));
    $("cancel").hidden = job.ended || Boolean(job.trouble);
    document.title = `${job.ended ? "" : `${share} % · `}${job.title} · Image classifier`;
    this.#announce(job, share);
  }

  /** The time until the first label says nothing about the speed. */
  #sample(done) {
    if (!done) return;
    const now = performance.now();
    this.#samples.push([now, done]);
    while (this.#samples.length > 2 && now - this.#samples[0][0] > 1000 * WINDOW_SECONDS)
      this.#samples.shift();
  }

  /**
   * Pictures per second, lately. For an ended job, from its start to its end, without the pictures
   * that were classified before.
   */
  #speed() {
    const { record, ended, done } = this.#job;
    if (ended && record.finished_at) {
      const seconds = record.finished_at - record.created_at;
      return seconds > 0 ? (done - record.counts.cached) / seconds : 0;
    }
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    const seconds = first ? (last[0] - first[0]) / 1000 : 0;
    return seconds >= LEAST_SECONDS ? (last[1] - first[1]) / seconds : 0;
  }

  /**
   * Seconds left at the speed that is shown; null if it is not known. Behind the pictures of others,
   * it is the service's estimate: the speed of its lane, which is too low where nothing waited.
   */
  #left() {
    const { record, items, done } = this.#job;
    const speed = this.#speed();
    if (speed > 0) return (items.length - done) / speed;
    return record?.position ? record.estimated_seconds : null;
  }

  /** Writes the figures. The number of failed pictures is a button that shows them. */
  #write(parts) {
    const text = parts.map(({ words }) => words).join(" · ");
    if (text === $("figures").textContent) return;
    const nodes = parts.flatMap(({ words, state }, place) => [
      place ? " · " : "",
      state ? this.#button(words, state) : words,
    ]);
    $("figures").replaceChildren(...nodes);
  }

  #button(words, state) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = words;
    button.addEventListener("click", () => this.#showState(state));
    return button;
  }

  /** Lets screen readers read the figures at the start, at each quarter and at the end. */
  #announce(job, share) {
    const said = job.ended || job.trouble ? "end" : `${Math.floor(share / 25)}`;
    if (said === this.#said) return;
    this.#said = said;
    $("live").textContent = `${job.title}: ${$("figures").textContent}`;
  }
}

/** The parts of the line of figures, as [{words, state}]; the state of pictures to show, or none. */
function figures(job, speed, left) {
  const counts = job.record?.counts;
  const total = job.items.length;
  if (job.trouble) return [{ words: job.trouble }];
  if (!counts) return [{ words: "Starting the job" }];
  const parts = [];
  const add = (words, state) => parts.push({ words, state });
  if (job.ended) add(ending(job));
  else add(`${number(job.done)} of ${number(total)} done`);
  if (counts.failed && total > 1) add(`${number(counts.failed)} failed`, "failed");
  if (counts.cached && total > 1)
    add(plural(counts.cached, "was classified before", "were classified before"));
  if (job.interrupted)
    add(`${plural(total - job.received, "picture was", "pictures were")} not sent`);
  else if (!job.ended && job.received < total) add(`${percent(job.sentShare)} sent`);
  if (speed && total > 1) add(`${rate(speed)} pictures per second`);
  if (!job.ended && left !== null && job.done < total) add(`about ${time(left)} left`);
  if (job.record.position) add(`${plural(job.record.position, "picture")} ahead of these`);
  return parts;
}

function ending({ record: { state, counts, created_at: began, finished_at: ended } }) {
  if (counts.total === 1 && counts.failed) return "This picture could not be labelled";
  const labelled = `${plural(counts.succeeded, "picture")} labelled`;
  if (state === "cancelled") return `Cancelled: ${labelled}, ${number(counts.cancelled)} not classified`;
  return `${labelled}${ended ? ` in ${time(ended - began)}` : ""}`;
}
