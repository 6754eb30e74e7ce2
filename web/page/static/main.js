/** Connects the actions of the user with the modules that carry them out and show results. */

import { Api } from "./api.js";
import { offerDownloads } from "./grid/downloads.js";
import { chosen, dropped, pasted, sort } from "./job/files.js";
import { Grid } from "./grid/grid.js";
import { Job } from "./job/job.js";
import { amend, askForKey, notice, showBusy } from "./notices.js";
import { Pause } from "./pause.js";
import { Progress } from "./job/progress.js";
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
  changed: (job) => job === shown && plan(),
  opened,
});
const grid = new Grid($("grid"), new Thumbnails(), (place) => viewer.open(grid.items, place));
const viewer = new Viewer((item) => grid.focusOn(item));
const progress = new Progress();

let shown = null;
let planned = false;
let orderedAt = 0;

// Input

function accept(files) {
  const { archives, pictures, skipped } = sort(files);
  const message = skipped
    ? plural(skipped, "file was skipped: it is no picture.", "files were skipped: they are no pictures.")
    : "";
  if (!pictures.length && !archives.length) return notice(message || "There are no pictures here.");
  notice(message);
  for (const archive of archives) sendArchive(archive);
  if (!pictures.length) return;
  const job = Job.of(pictures);
  show(job);
  session.classify(job);
}

async function sendArchive(archive) {
  const sending = new AbortController();
  const { file, name } = archive;
  notice(`Sending ${name}, ${bytes(file.size)}`, "Cancel", () => sending.abort());
  const onSent = (sent) => amend(`Sending ${name}, ${bytes(sent)} of ${bytes(file.size)}`);
  try {
    await session.unpack(archive, { signal: sending.signal, onSent });
    notice("");
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

// Addresses

const address = (id) => (id ? `?job=${encodeURIComponent(id)}` : "./");

function opened(job) {
  remember(job);
  // A job of an archive is shown when it exists. A job of pictures is shown before that.
  if (shown?.id === null && shown !== job) return;
  history.pushState(null, "", address(job.id));
  show(job);
}

async function route() {
  const id = new URLSearchParams(location.search).get("job");
  if (!id || session.find(id)) return show(session.find(id) ?? null);
  try {
    const title = recent().find((each) => each.id === id)?.title;
    show(await session.reopen(id, title));
    remember(shown);
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
  showRecent($("recent"), job?.id);
  if (!job) {
    document.title = "Image classifier";
    return;
  }
  const links = [
    [$("csv"), "csv"],
    [$("jsonl"), "jsonl"],
  ];
  offerDownloads(api, job.id, links, (error) => notice(error.message));
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
  progress.show(shown);
  viewer.refresh(changed);
  const now = performance.now();
  if (!anew && !(isFiltered() && changed.size)) return grid.refresh(changed);
  if (!anew && now - orderedAt < ORDER_MILLISECONDS && !shown.ended) {
    setTimeout(plan, ORDER_MILLISECONDS);
    return grid.refresh(changed);
  }
  orderedAt = now;
  order();
}

function wanted() {
  return {
    text: $("text").value,
    state: $("state").value,
    least: $("least").valueAsNumber / 100 || 0,
    most: Number.isNaN($("most").valueAsNumber) ? 1 : $("most").valueAsNumber / 100,
    sort: $("sort").value,
  };
}

function isFiltered() {
  const { text, state, least, most, sort: order } = wanted();
  return Boolean(text || state || order || least > 0 || most < 1);
}

function order() {
  const items = isFiltered() ? select(shown.items, wanted()) : shown.items;
  grid.show(items, { withPictures: shown.items.some((item) => item.file) });
  const all = shown.items.length;
  $("shown").textContent =
    items.length === all ? "" : `${number(items.length)} of ${plural(all, "picture")}`;
}

function suggestLabels() {
  const options = labels(shown.items, SUGGESTED_LABELS).map((label) => new Option(label));
  $("labels").replaceChildren(...options);
}

listenForFiles();
$("filters").addEventListener("input", order);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("text").addEventListener("focus", suggestLabels);
$("cancel").addEventListener("click", () => session.cancel(shown));
$("try-now").addEventListener("click", () => pause.end());
$("home").addEventListener("click", go);
$("recent").addEventListener("click", go);
addEventListener("popstate", route);
watchService(api, $("status"), $("model-notice"));
route();
