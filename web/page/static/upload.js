/** The way of pictures to the service: a job is opened, then filled in parts, a few at a time. */

import { idempotencyKey } from "./api.js";

export const TOP_K = 5;

/** More would take the browser's connections from everything else that asks this service. */
const AT_ONCE = 3;

/** A part of camera pictures takes the line by itself, and the service's memory. */
const BYTES_AT_ONCE = 64 * 2 ** 20;

const ARCHIVE_TYPES = [
  [/\.zip$/i, "application/zip"],
  [/\.tar$/i, "application/x-tar"],
  [/\.t?gz$/i, "application/gzip"],
];

/** Opens a job for its items. Returns the size of a part. */
export async function open(api, job) {
  // Few pictures have somebody waiting for them; many must not hold up others.
  const lane = job.items.length <= 32 ? "interactive" : "bulk";
  const key = idempotencyKey();
  const make = () => ({
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify({ total: job.items.length, lane, top_k: TOP_K }),
  });
  const response = await api.insist("jobs", make, { signal: job.sending.signal });
  const opened = await response.json();
  job.id = opened.job.id;
  job.record ??= opened.job;
  return opened.part_size;
}

/**
 * Sends what an open job lacks. A part that is sent twice counts once. `mostBytes` is the size of
 * the largest picture that the service takes; `changed()` is called as bytes leave.
 */
export async function fill(api, job, { partSize, mostBytes, changed }) {
  const sending = new Map(); // promise -> bytes
  const isFull = (bytes) =>
    sending.size === AT_ONCE ||
    [...sending.values()].reduce((sum, each) => sum + each, bytes) > BYTES_AT_ONCE;
  for (let number = 0; number * partSize < job.items.length; number++) {
    const items = job.items.slice(number * partSize, (number + 1) * partSize);
    // Only of what is sent next: to tell a file's size a browser stops all else and asks the disk.
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
    sent.catch(() => {}); // the first failure ends it all; the others say nothing new
  }
  await Promise.all(sending.keys());
}

async function sendPart(api, job, { number, items, mostBytes, onSent }) {
  // Of a file that is too large, as much as shows that it is.
  const files = items.map(({ file }) =>
    file.size > mostBytes ? file.slice(0, mostBytes + 1) : file,
  );
  const make = async (tries) => {
    const form = new FormData();
    form.append("items", JSON.stringify(items.map(({ name }) => ({ name }))));
    for (const [k, item] of items.entries()) {
      // A file that has changed meanwhile looks like a service that is away, without end.
      if (tries) files[k] = await readable(item, files[k]);
      form.append("files", files[k], item.name);
    }
    return { method: "PUT", body: form, onSent };
  };
  await api.insist(`jobs/${job.id}/parts/${number}`, make, { signal: job.sending.signal });
}

/** Empty where the file can no longer be read; the service will say that it is. */
async function readable(item, file) {
  try {
    // Its beginning as a stream: a slice of a file that is gone has no bytes, and reads well.
    const reader = file.stream().getReader();
    await reader.read();
    await reader.cancel();
    return file;
  } catch {
    item.note = "The file was changed or removed before it could be sent.";
    return new Blob([]);
  }
}

/** Sends an archive, of which the service makes a job. Returns its record. */
export async function sendArchive(api, { file, name }, { signal, onSent }) {
  const [, type] = ARCHIVE_TYPES.find(([ending]) => ending.test(name));
  const headers = { "Content-Type": type, "Idempotency-Key": idempotencyKey() };
  const make = () => ({ method: "POST", headers, body: file, onSent });
  return (await api.insist(`jobs?top_k=${TOP_K}`, make, { signal })).json();
}
