/** Connects the actions of the user with the modules that carry them out and show results. */

import { Api } from "./api.js";
import { offerDownloads } from "./grid/downloads.js";
import { FilterRow } from "./grid/filter_row.js";
import { Filters } from "./grid/filters.js";
import { chosen, dropped, pasted, sort } from "./job/files.js";
import { Grid } from "./grid/grid.js";
import { Job } from "./job/job.js";
import { amend, askForKey, notice, showBusy } from "./notices.js";
import { Pause } from "./pause.js";
import { Progress } from "./job/progress.js";
import { Single } from "./job/single.js";
import { Summary } from "./job/summary.js";
import { forget, recent, remember, showRecent } from "./recent.js";
import { labels, select } from "./grid/selection.js";
import { Session } from "./session.js";
import { watchService } from "./status.js";
import { Thumbnails } from "./grid/thumbnails.js";
import { Viewer } from "./grid/viewer.js";
import { bytes, number, plural } from "./words.js";

const $ = (id) => document.getElementById(id);

/** While labels arrive, a filtered or sorted grid is rebuilt at most this often. */
const ORDER_MILLISECONDS = 500;
const SUGGESTED_LABELS = 200;

const pause = new Pause(showBusy);
const api = new Api(pause, askForKey);
const session = new Session(api, Number(document.body.dataset.maxImageBytes), {
  changed,
  opened,
});
const thumbnails = new Thumbnails(api);
const grid = new Grid($("grid"), thumbnails, (place) => viewer.open(grid.items, place));
const filters = new Filters(() => filtered());
const filterRow = new FilterRow();
const viewer = new Viewer(thumbnails, filters, (item) => grid.focusOn(item));
const progress = new Progress((state) => filters.set({ state }));
const single = new Single(thumbnails);
const summary = new Summary(filters);

let shown = null;
let planned = false;
let orderedAt = 0;

// Input

/** Classifies one of the sample pictures of the page. */
async function trySample(event) {
  const button = event.target.closest("button");
  if (!button) return;
  const blob = await (await fetch(button.querySelector("img").src)).blob();
  const file = new File([blob], `${button.dataset.name}.jpg`, { type: blob.type });
  accept([{ file, name: file.name, inFolder: false }]);
}

function accept(files) {
  const { archives, pictures, skipped } = sort(files);
  const message = skippedText(skipped);
  scrollTo(0, 0); // to the notices, and to the first pictures of a new job
  if (!pictures.length && !archives.length) return notice(message || "There are no pictures here.");
  notice(message);
  const beside = pictures.length > 0 || archives.length > 1;
  for (const archive of archives) sendArchive({ ...archive, beside });
  if (!pictures.length) return;
  const job = Job.of(pictures);
  filters.reset();
  show(job);
  session.classify(job);
}

/** "20 files were skipped: 12 .txt, 8 .mp4." */
function skippedText(skipped) {
  if (!skipped.size) return "";
  const kinds = [...skipped].sort(([, one], [, other]) => other - one);
  const count = kinds.reduce((sum, [, each]) => sum + each, 0);
  const list = kinds.map(([kind, each]) => `${number(each)} ${kind}`).join(", ");
  return `${plural(count, "file was", "files were")} skipped: ${list}.`;
}

async function sendArchive(archive) {
  const sending = new AbortController();
  const { file, name } = archive;
  notice(`Sending ${name}, ${bytes(file.size)}`, "Cancel", () => sending.abort());
  const onSent = (sent) => amend(`Sending ${name}, ${bytes(sent)} of ${bytes(file.size)}`);
  try {
    await session.unpack(archive, { signal: sending.signal, onSent });
  } catch (error) {
    if (error.name !== "AbortError") notice(`${name}: ${error.message}`);
  }
}

function listenForFiles() {
  for (const [button, input] of [
    ["choose", "pictures"],
    ["choose-folder", "folder"],
  ]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => accept(chosen($(input))));
  }
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    accept(await dropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) accept(pasted(event.clipboardData));
  });
  addEventListener("beforeunload", (event) => {
    if (session.isSending) event.preventDefault();
  });
}

/** Asks for an API key before the user chooses pictures, if the service needs one. */
async function askForKeyAtOnce() {
  const ask = () => api.send("dead-letters"); // a short answer, and only with a key
  while (await ask().then(() => false, (error) => error.status === 401)) {
    const refused = api.key;
    const key = await askForKey(refused !== "");
    if (api.key === refused) api.key = key;
  }
}

// Addresses

const address = (id) => (id ? `?job=${encodeURIComponent(id)}` : "./");

/** A job exists now. A job of pictures is shown already, and one of an archive is not. */
function opened(job, archive) {
  note(job);
  const others = archive?.beside || (shown?.id === null && shown !== job);
  const skipped = skippedText(new Map(Object.entries(job.record.skipped ?? {})));
  if (others) {
    const words = `${job.title} is a job of its own. ${skipped}`.trim();
    return notice(words, "Show it", () => visit(job));
  }
  if (archive) notice(skipped);
  visit(job);
}

/** Keeps the list of recent jobs up to date. */
async function note(job) {
  await remember(job, thumbnails);
  showRecent($("recent"), shown?.id);
}

function visit(job) {
  if (shown !== job) {
    filters.reset();
    scrollTo(0, 0);
  }
  history.pushState(null, "", address(job.id));
  show(job);
}

function changed(job) {
  if (job.ended && job.id) note(job);
  if (job === shown) plan();
}

async function route() {
  const id = new URLSearchParams(location.search).get("job");
  filters.read();
  if (!id || session.find(id)) return show(session.find(id) ?? null);
  try {
    const title = recent().find((each) => each.id === id)?.title;
    show(await session.reopen(id, title));
    note(shown);
  } catch (error) {
    forget(id);
    show(null);
    notice(error.status === 404 ? "This job does not exist, or has expired." : error.message);
  }
}

function go(event) {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  route();
  scrollTo(0, 0);
}

// Output

function show(job) {
  shown = job;
  $("job").hidden = !job;
  document.body.classList.toggle("with-job", Boolean(job));
  document.body.classList.toggle("with-one", job?.items.length === 1);
  showRecent($("recent"), job?.id);
  if (!job) {
    document.title = "Image classifier";
    return;
  }
  const links = [
    [$("csv"), "csv"],
    [$("jsonl"), "jsonl"],
  ];
  const selected = () => (filters.isActive ? grid.items : null);
  offerDownloads(api, job, links, selected, (error) => notice(error.message));
  render({ anew: true });
}

/** Render once in the next frame, however many labels arrive before it. */
function plan() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    if (shown) render();
  });
}

function render({ anew = false } = {}) {
  const changed = shown.takeChanged();
  const [only, another] = shown.items;
  progress.show(shown);
  summary.show(shown);
  single.show(another ? null : only, filters.threshold);
  viewer.refresh(changed);
  const now = performance.now();
  if (!anew && !(filters.isActive && changed.size)) return grid.refresh(changed);
  if (!anew && now - orderedAt < ORDER_MILLISECONDS && !shown.ended) {
    setTimeout(plan, ORDER_MILLISECONDS);
    return grid.refresh(changed);
  }
  orderedAt = now;
  order();
}

function order() {
  const items = filters.isActive ? select(shown.items, filters.wanted) : shown.items;
  const withPictures = shown.record?.thumbnails || shown.items.some((item) => item.file);
  grid.show(items, { withPictures, threshold: filters.threshold });
  const all = shown.items.length;
  const isAll = items.length === all;
  $("filters").classList.toggle("all", isAll);
  $("shown").textContent = `${isAll ? "" : `${number(items.length)} of `}${plural(all, "picture")}`;
  filterRow.describe(filters.words, items.length);
  $("clear").hidden = !filters.isActive;
  // A download has the pictures that are shown.
  const some = filters.leavesOut ? ` (${number(items.length)})` : "";
  $("csv").textContent = `CSV${some}`;
  $("jsonl").textContent = `JSON Lines${some}`;
  $("nothing").hidden = items.length > 0 || shown.isUnread;
}

/** The user has changed the filters: the first pictures that fit are shown. */
function filtered() {
  if (!shown) return;
  order();
  summary.show(shown);
  filterRow.measure();
  if (filterRow.isShown) return $("found").scrollIntoView();
  const top = $("job").getBoundingClientRect().top + scrollY;
  if (scrollY > top) scrollTo(0, top);
}

function suggestLabels() {
  const options = labels(shown.items, SUGGESTED_LABELS).map(([label]) => new Option(label));
  $("labels").replaceChildren(...options);
}

listenForFiles();
$("samples").addEventListener("click", trySample);
$("text").addEventListener("focus", suggestLabels);
$("cancel").addEventListener("click", () => session.cancel(shown));
$("try-now").addEventListener("click", () => pause.end());
$("home").addEventListener("click", go);
$("recent").addEventListener("click", go);
addEventListener("popstate", route);
watchService(api, $("status"), $("model-notice"), () => pause.serviceAnswers());
askForKeyAtOnce();
route();
