/** Carries out jobs, from the first file to the last label. */

import { Job } from "./job/job.js";
import { follow } from "./job/events.js";
import { lines } from "./job/lines.js";
import { fill, open, sendArchive } from "./job/upload.js";

export class Session {
  /** Jobs of this visit by id. Jobs that were started here have their files. */
  #jobs = new Map();
  #api;
  #mostBytes;
  #on;

  /**
   * `mostBytes` is the largest size of a picture. Calls `on.opened(job, archive)` when a job has an
   * id; `archive` is the one that it was made of, if there is one. Calls
   * `on.changed(job)` after each change.
   */
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

  /** Carries out a job of pictures. Returns when it has ended, also after an error. */
  async classify(job) {
    try {
      const partSize = await open(this.#api, job);
      this.#opened(job);
      // Labels arrive while other pictures are still being sent.
      const changed = () => this.#on.changed(job);
      const filled = fill(this.#api, job, { partSize, mostBytes: this.#mostBytes, changed });
      filled.catch((error) => this.#cannotSend(job, error));
      await this.#follow(job);
    } catch (error) {
      this.#failed(job, error);
    }
  }

  /** Starts a job of an archive's members, and returns it. Throws if the service refuses the archive. */
  async unpack(archive, sending) {
    const job = Job.from(await sendArchive(this.#api, archive, sending), archive.name);
    this.#opened(job, archive);
    this.#read(job);
    return job;
  }

  /** Opens a job that was started elsewhere or earlier. Throws Problem if there is none. */
  async reopen(id, title) {
    const response = await this.#api.insist(`jobs/${encodeURIComponent(id)}`);
    const job = Job.from(await response.json(), title);
    this.#jobs.set(id, job);
    this.#read(job);
    return job;
  }

  /** Cancels what is not done. Results stay. */
  async cancel(job) {
    if (!job.id) return this.#failed(job, new Error("Cancelled before it started."));
    job.sending.abort();
    try {
      const response = await this.#api.insist(`jobs/${job.id}`, () => ({ method: "DELETE" }));
      job.setRecord(await response.json());
      this.#on.changed(job);
    } catch (error) {
      this.#failed(job, error);
    }
  }

  async #read(job) {
    try {
      const response = await this.#api.insist(`jobs/${job.id}/results?format=jsonl`);
      for await (const line of lines(response)) if (line) job.update(JSON.parse(line));
      job.isUnread = false;
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
        job.setRecord(record);
        this.#on.changed(job);
      },
    });
  }

  #opened(job, archive) {
    this.#jobs.set(job.id, job);
    this.#on.opened(job, archive);
  }

  #cannotSend(job, error) {
    // The job was cancelled elsewhere while this part was sent.
    if (error.name === "AbortError" || error.code === "job_closed") return;
    this.#failed(job, error);
    // The other pictures will not be sent. Cancel the job, so that it ends and can be read.
    this.#api.send(`jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
  }

  #failed(job, error) {
    if (error.name === "AbortError") return;
    job.giveUp(error.message);
    this.#on.changed(job);
  }
}
