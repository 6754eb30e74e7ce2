/** The recent jobs of this browser: their ids and titles, until their results expire. */

import { number, plural } from "./words.js";

const NAME = "recent-jobs";
const MOST = 8;
const ICON_SIDE = 72;
/** Pictures of a job that are tried until one can be shown. */
const MOST_TRIED = 8;

export function recent() {
  let jobs = [];
  try {
    jobs = JSON.parse(localStorage.getItem(NAME)) ?? [];
  } catch {
    // Storage is not allowed, or its content is damaged: there are no recent jobs.
  }
  return jobs.filter(({ expires }) => expires > Date.now() / 1000);
}

/** Remembers a job and what is known of it by now, with the first picture that can be shown. */
export async function remember({ id, title, record, items }, thumbnails) {
  const earlier = find(id);
  const { total, failed } = record.counts;
  const job = { ...earlier, id, title, total, failed };
  Object.assign(job, { began: record.created_at, expires: record.expires_at });
  place(job);
  if (job.picture) return;
  const address = await thumbnails.first(items.slice(0, MOST_TRIED));
  const picture = address && (await icon(address));
  if (picture && find(id)) place({ ...find(id), picture });
}

const find = (id) => recent().find((each) => each.id === id);

/** Puts a job first in the list, or changes it in its place. */
function place(job) {
  const jobs = recent();
  const at = jobs.findIndex(({ id }) => id === job.id);
  if (at >= 0) jobs[at] = job;
  else jobs.unshift(job);
  write(jobs.slice(0, MOST));
}

/** A picture at a `blob:` address as a few kilobytes: a `data:` address, or "" if that fails. */
async function icon(address) {
  try {
    const picture = new Image();
    picture.src = address;
    await picture.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = ICON_SIDE;
    const { naturalWidth: width, naturalHeight: height } = picture;
    const side = Math.min(width, height);
    const [x, y] = [(width - side) / 2, (height - side) / 2];
    canvas.getContext("2d").drawImage(picture, x, y, side, side, 0, 0, ICON_SIDE, ICON_SIDE);
    return canvas.toDataURL("image/webp", 0.7);
  } catch {
    return "";
  }
}

export function forget(id) {
  write(recent().filter((each) => each.id !== id));
}

function write(jobs) {
  try {
    localStorage.setItem(NAME, JSON.stringify(jobs));
  } catch {
    // Storage is full or not allowed: the job is not remembered.
  }
}

/** Shows the recent jobs, except the one that the page shows. */
export function showRecent(section, shown) {
  const jobs = recent().filter(({ id }) => id !== shown);
  section.hidden = !jobs.length;
  const rows = jobs.map(({ id, title, began, total, failed, picture }) => {
    const names = ["li", "a", "time", "span", "p"];
    const [row, link, when, image, counts] = names.map((name) => document.createElement(name));
    link.href = `?job=${encodeURIComponent(id)}`;
    link.textContent = title;
    image.className = "icon";
    if (picture) image.append(imageOf(picture));
    counts.className = "hint";
    if (total) counts.append(plural(total, "picture"), " · ");
    if (failed) counts.append(`${number(failed)} failed`, " · ");
    const date = new Date(1000 * began);
    when.dateTime = date.toISOString();
    when.textContent = date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
    counts.append(when);
    row.append(image, link, counts);
    return row;
  });
  section.querySelector("ul").replaceChildren(...rows);
}

/** The policy of the page allows no `data:` addresses, so the bytes become a blob. */
function imageOf(address) {
  const bytes = Uint8Array.from(atob(address.split(",")[1] ?? ""), (each) => each.charCodeAt(0));
  const image = new Image();
  image.alt = "";
  image.src = URL.createObjectURL(new Blob([bytes], { type: "image/webp" }));
  image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
  return image;
}
