/** The state of the service in one line. */

import { number, plural, time } from "./words.js";

const SECONDS = 4;
const LANES = { interactive: "for small jobs", bulk: "for large jobs" };

/** Keeps both elements up to date while the page is visible. Calls `answered()` after each answer. */
export function watchService(api, status, notice, answered) {
  let last = "";
  let noticed = null; // the model version whose notice is shown
  let tried = null; // the API key with which it was read
  let engine = ""; // what computes the model, in which precision
  const update = async () => {
    if (document.hidden) return;
    const health = await read(api, "health");
    if (health) answered();
    await readModel(health?.model_version);
    const words = health ? sentence(health, engine) : "The service cannot be reached";
    // Changed only if it differs, because screen readers read each change.
    if (words !== last) status.textContent = last = words;
  };
  const readModel = async (version) => {
    if (!version || (version === noticed && api.key === tried)) return;
    // Read once for each key: the service may refuse it without a key.
    [noticed, tried] = [version, api.key];
    const model = await read(api, "model/info");
    engine = [model?.engine, model?.precision].filter(Boolean).join(" in ");
    if (!model) return;
    notice.textContent = model.notice ?? "";
    notice.hidden = !model.notice;
  };
  update();
  setInterval(update, 1000 * SECONDS);
  document.addEventListener("visibilitychange", update);
}

async function read(api, path) {
  try {
    return await (await api.send(path)).json();
  } catch {
    return null;
  }
}

function sentence({ model_version: version, lanes }, engine) {
  if (!version) return "No worker has loaded a model yet. Your pictures will wait for one.";
  const all = Object.entries(lanes);
  const workers = all.map(([lane, { workers }]) => `${number(workers)} ${LANES[lane] ?? lane}`);
  const stopped = all.filter(([, { state }]) => state && state !== "open");
  const waiting = all.reduce((sum, [, lane]) => sum + lane.outstanding_images, 0);
  const estimates = all.map(([, lane]) => lane.estimated_seconds).filter((each) => each !== null);
  const model = engine ? `${version} on ${engine}` : version;
  const parts = [model, `workers ready: ${workers.join(", ")}`];
  for (const [lane, { state }] of stopped) parts.push(`the lane ${lane} is ${state}`);
  parts.push(waiting ? `${plural(waiting, "picture")} waiting` : "no pictures waiting");
  if (waiting && estimates.length) parts.push(`about ${time(Math.max(...estimates))} until done`);
  return parts.join(" · ");
}
