/** Uploads: a job is opened, then its parts are sent, a few at a time. */

import { idempotencyKey } from "../api.js";
import { bytes as inMegabytes } from "../words.js";

const TOP_K = 5;

/** A browser has six connections to a service. The others stay free for events and requests. */
const AT_ONCE = 3;

/** Bytes that are sent at the same time. They are in the memory of the service. */
const BYTES_AT_ONCE = 64 * 2 ** 20;

const ARCHIVE_TYPES = [
  [/\.zip$/i, "application/zip"],
  [/\.tar$/i, "application/x-tar"],
  [/\.t?gz$/i, "application/gzip"],
];

/** Opens a job for its items. Returns the number of items of a part. */
export async function open(api, job) {
  // The user waits for a small job. A large job must not delay the small jobs of others.
  const lane = job.items.length <= 32 ? "interactive" : "bulk";
  const key = idempotencyKey();
  const make = () => ({
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify({ total: job.items.length, lane, top_k: TOP_K, thumbnails: true }),
  });
  const response = await api.insist("jobs", make, { signal: job.sending.signal });
  const opened = await response.json();
  job.id = opened.job.id;
  job.record ??= opened.job;
  return opened.part_size;
}

/**
 * Sends the parts of an open job. A part that is sent twice counts once. `mostBytes` is the largest
 * size of a picture that the service accepts. Calls `changed()` while bytes are sent.
 */
export async function fill(api, job, { partSize, mostBytes, changed }) {
  const sending = new Map(); // promise -> bytes
  const isFull = (bytes) =>
    sending.size === AT_ONCE ||
    [...sending.values()].reduce((sum, each) => sum + each, bytes) > BYTES_AT_ONCE;
  for (let number = 0; number * partSize < job.items.length; number++) {
    const items = job.items.slice(number * partSize, (number + 1) * partSize);
    // Only the sizes of the next part: a browser blocks while it reads a size from the disk.
    const bytes = items.reduce((sum, { file }) => sum + Math.min(file.size, mostBytes), 0);
    while (sending.size && isFull(bytes)) await Promise.race(sending.keys());
    const onSent = (left) => {
      changed(job.sent(number, items.length * Math.min(1, left / (bytes || 1))));
    };
    const sent = sendPart(api, job, { number, items, mostBytes, onSent }).then(() => {
      sending.delete(sent);
      changed(job.arrived(items));
    });
    sending.set(sent, bytes);
    sent.catch(() => {}); // `Promise.all` throws the first error; later ones are ignored
  }
  await Promise.all(sending.keys());
}

async function sendPart(api, job, { number, items, mostBytes, onSent }) {
  // A file that is too large is cut one byte above the limit, so that the service refuses it.
  const files = items.map((item) => {
    if (item.file.size <= mostBytes) return item.file;
    item.note = `The whole file has ${inMegabytes(item.file.size)}.`;
    return item.file.slice(0, mostBytes + 1);
  });
  // A form, which every release reads: the process that gets the part may be older than the page.
  const make = async (attempt) => {
    const form = new FormData();
    form.append("items", JSON.stringify(items.map(({ name }) => ({ name }))));
    for (const [k, item] of items.entries()) {
      // If a file has changed, the browser fails each attempt as if the service were away.
      if (attempt) files[k] = await readable(item, files[k]);
      form.append("files", files[k], item.name);
    }
    return { method: "PUT", body: form, onSent };
  };
  await api.insist(`jobs/${job.id}/parts/${number}`, make, { signal: job.sending.signal });
}

/** The file, or an empty one if it cannot be read any more. The service refuses an empty file. */
async function readable(item, file) {
  try {
    // Read as a stream: reading a slice of a removed file succeeds, with no bytes.
    const reader = file.stream().getReader();
    await reader.read();
    await reader.cancel();
    return file;
  } catch {
    item.note = "The file was changed or removed before it could be sent.";
    return new Blob([]);
  }
}

/** Sends an archive. Returns the record of the job that the service makes from it. */
export async function sendArchive(api, { file, name }, { signal, onSent }) {
  const [, type] = ARCHIVE_TYPES.find(([ending]) => ending.test(name));
  const headers = { "Content-Type": type, "Idempotency-Key": idempotencyKey() };
  const make = () => ({ method: "POST", headers, body: file, onSent });
  return (await api.insist(`jobs?top_k=${TOP_K}&thumbnails=true`, make, { signal })).json();
}
