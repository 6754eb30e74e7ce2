/** What becomes of a job from the first file to the last label. */

import { Job } from "./job.js";
import { follow } from "./events.js";
import { lines } from "./lines.js";
import { fill, open, sendArchive } from "./upload.js";

export class Session {
  /** Jobs of this visit by id, those begun here with their files. */
  #jobs = new Map();
  #api;
  #mostBytes;
  #on;

  /** `mostBytes` of a picture; `on.changed(job)`: there is news; `on.opened(job)`: it has an address. */
  constructor(api, mostBytes, on) {
    this.#api = api;
    this.#mostBytes = mostBytes;
    this.#on = on;
  }

  get isSending() {
    return [...this.#jobs.values()].some((job) => job.isSending);
  }

  find(id) {
    return this.#jobs.get(id);
  }

  /** A job of pictures; done when it has ended, well or not. */
  async classify(job) {
    try {
      const partSize = await open(this.#api, job);
      this.#opened(job);
      // Labels come while the rest is still being sent.
      const changed = () => this.#on.changed(job);
      const filled = fill(this.#api, job, { partSize, mostBytes: this.#mostBytes, changed });
      filled.catch((error) => this.#cannotSend(job, error));
      await this.#follow(job);
    } catch (error) {
      this.#failed(job, error);
    }
  }

  /** A job of an archive's members. Throws where the service does not take it. */
  async unpack(archive, sending) {
    const job = Job.from(await sendArchive(this.#api, archive, sending), archive.name);
    this.#opened(job);
    this.#read(job);
  }

  /** A job that was begun elsewhere or earlier. Throws Problem where there is none. */
  async reopen(id, title) {
    const response = await this.#api.insist(`jobs/${encodeURIComponent(id)}`);
    const job = Job.from(await response.json(), title);
    this.#jobs.set(id, job);
    this.#read(job);
    return job;
  }

  /** Stop what is not done; what is done stays. */
  async cancel(job) {
    if (!job.id) return this.#failed(job, new Error("Cancelled before it began."));
    job.sending.abort();
    try {
      const response = await this.#api.insist(`jobs/${job.id}`, () => ({ method: "DELETE" }));
      job.tell(await response.json());
      this.#on.changed(job);
    } catch (error) {
      this.#failed(job, error);
    }
  }

  async #read(job) {
    try {
      const response = await this.#api.insist(`jobs/${job.id}/results?format=jsonl`);
      for await (const line of lines(response)) if (line) job.update(JSON.parse(line));
      this.#on.changed(job);
      if (!job.ended) await this.#follow(job);
    } catch (error) {
      this.#failed(job, error);
    }
  }

  #follow(job) {
    return follow(this.#api, job.id, {
      item: (item) => {
        job.update(item);
        this.#on.changed(job);
      },
      progress: (record) => {
        job.tell(record);
        this.#on.changed(job);
      },
    });
  }

  #opened(job) {
    this.#jobs.set(job.id, job);
    this.#on.opened(job);
  }

  #cannotSend(job, error) {
    // A part that comes too late for a job that was cancelled elsewhere is no trouble.
    if (error.name === "AbortError" || error.code === "job_closed") return;
    this.#failed(job, error);
    // The rest will never come: end the job, so that what is done can be read as a whole.
    this.#api.send(`jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
  }

  #failed(job, error) {
    if (error.name === "AbortError") return;
    job.giveUp(error.message);
    this.#on.changed(job);
  }
}
