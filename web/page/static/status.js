/** The state of the service in one line. */

import { plural } from "./words.js";

const SECONDS = 4;
const LANES = { interactive: "small jobs", bulk: "large jobs" };
const STATES = { paused: "are paused", draining: "are not accepted", closed: "are not accepted" };

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

/** It gives no time: each job has its own, and the whole backlog says little about that. */
function sentence({ model_version: version, lanes }, engine) {
  if (!version) return "The service is starting. You can send pictures now, and they are labelled as soon as it is ready.";
  const all = Object.entries(lanes);
  const waiting = all.reduce((sum, [, lane]) => sum + lane.outstanding_images, 0);
  const limits = all.map(limit).filter(Boolean);
  const parts = limits.length ? limits : ["Ready"];
  parts.push(waiting ? `${plural(waiting, "picture")} waiting` : "no pictures waiting");
  parts.push(engine ? `model ${version} on ${engine}` : `model ${version}`);
  return parts.join(" · ");
}

/** Why jobs of this size are not done at once; "" if they are. */
function limit([lane, { state, workers }]) {
  const jobs = LANES[lane] ?? lane;
  if (state && state !== "open") return `${jobs} ${STATES[state] ?? `are ${state}`}`;
  return workers ? "" : `${jobs} wait until a worker for them has started`;
}
