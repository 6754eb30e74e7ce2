/** A job: its items, and the record that the service has of it. */

import { plural } from "../words.js";

/** The state of an item whose picture has not reached the service. */
const SENDING = "sending";

const ENDED = new Set(["completed", "cancelled"]);

export class Job {
  id = null;
  /** The JobSchema of the service; null until it has answered. */
  record = null;
  /** Aborts the sending of pictures. */
  sending = new AbortController();
  /** Whether the items of the service have not been read yet. */
  isUnread = false;
  /** Why this page gave the job up, as a sentence. */
  trouble = "";
  #changed = new Set();
  #sent = new Map(); // part -> pictures

  constructor(title, items) {
    this.title = title;
    this.items = items;
  }

  /** A new job of pictures. */
  static of(pictures) {
    const items = pictures.map(({ file, name }, index) => newItem(index, name, file));
    return new Job(titled(pictures), items);
  }

  /** A job of the service, whose items are read later. */
  static from(record, title = "") {
    const total = record.counts.total;
    const items = Array.from({ length: total }, (_, index) => newItem(index, `Picture ${index + 1}`));
    for (const item of items) item.state = "queued";
    const job = new Job(title || plural(total, "picture"), items);
    job.id = record.id;
    job.record = record;
    job.isUnread = true;
    return job;
  }

  get ended() {
    return ENDED.has(this.record?.state);
  }

  get done() {
    const counts = this.record?.counts;
    return counts ? counts.succeeded + counts.failed + (counts.cancelled ?? 0) : 0;
  }

  get received() {
    const counts = this.record?.counts;
    return counts?.received ?? counts?.total ?? 0;
  }

  get isSending() {
    return !this.ended && this.items.some((item) => item.state === SENDING);
  }

  /** Whether pictures are missing that this page cannot send. */
  get interrupted() {
    return this.record?.state === "receiving" && !this.items.some((item) => item.file);
  }

  /** Takes a new record of the service. */
  setRecord(record) {
    this.record = record;
    if (record.state === "cancelled") this.#cancelRest();
  }

  /** Takes the service's fields of an item. The same fields may come twice. */
  update({ index, ...fields }) {
    const item = this.items[index];
    if (!item) return;
    Object.assign(item, fields);
    const [best] = fields.predictions ?? [];
    // A model may give several labels. Where none reaches its threshold, the best one is shown as unsure.
    item.label = item.labels?.join(", ") || (best?.class_name ?? "");
    item.probability = best?.probability ?? null;
    // The service has a small version of the picture, where there is no file that a browser draws.
    if (this.record?.thumbnails && item.state === "succeeded")
      item.thumbnail = `jobs/${this.id}/items/${index}/thumbnail`;
    this.#changed.add(index);
  }

  /** Notes how many pictures of a part have been sent. By bytes, so it may be a fraction. */
  sent(part, pictures) {
    this.#sent.set(part, pictures);
  }

  /** The share of pictures that have been sent, from 0 to 1. */
  get sentShare() {
    const left = [...this.#sent.values()].reduce((sum, pictures) => sum + pictures, 0);
    return Math.max(this.received, left) / (this.items.length || 1);
  }

  /** These pictures have arrived. Their results may have come before. */
  arrived(items) {
    for (const item of items) {
      if (item.state === SENDING) item.state = "queued";
      this.#changed.add(item.index);
    }
  }

  /** Ends the job on this page, for this reason. */
  giveUp(trouble) {
    this.trouble = trouble;
    this.sending.abort();
    if (!this.id) this.#cancelRest();
  }

  #cancelRest() {
    for (const item of this.items) {
      if (item.state !== SENDING && item.state !== "queued") continue;
      item.state = "cancelled";
      this.#changed.add(item.index);
    }
  }

  /** Indexes of items that changed since the last call. */
  takeChanged() {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }
}

function newItem(index, name, file = null) {
  return { index, name, file, state: SENDING, label: "", probability: null, predictions: [], note: "" };
}

function titled(pictures) {
  const [first] = pictures;
  const folder = first.inFolder && first.name.split("/")[0];
  const size = plural(pictures.length, "picture");
  if (folder) return `${folder}, ${size}`;
  if (pictures.length === 1) return first.name;
  return size;
}
