/** The service in one line that anyone understands. */

import { number, plural, time } from "./words.js";

const SECONDS = 4;
const LANES = { interactive: "for few pictures", bulk: "for many" };

/** Keeps both elements up to date while somebody can see them. */
export function watchService(api, status, notice) {
  let last = "";
  let known = null; // the version whose notice is shown
  let tried = null; // the key that it was asked with
  const look = async () => {
    if (document.hidden) return;
    const health = await asked(api, "health");
    const words = health ? sentence(health) : "The service cannot be reached";
    // Said again only where it differs: this is read aloud.
    if (words !== last) status.textContent = last = words;
    const version = health?.model_version;
    if (!version || (version === known && api.key === tried)) return;
    // Once for each key: without one, the service may tell nobody.
    [known, tried] = [version, api.key];
    const model = await asked(api, "model/info");
    if (!model) return;
    notice.textContent = model.notice ?? "";
    notice.hidden = !model.notice;
  };
  look();
  setInterval(look, 1000 * SECONDS);
  document.addEventListener("visibilitychange", look);
}

async function asked(api, path) {
  try {
    return await (await api.send(path)).json();
  } catch {
    return null;
  }
}

function sentence({ model_version: version, lanes }) {
  if (!version) return "No worker has loaded a model yet; what you send waits for it";
  const all = Object.entries(lanes);
  const workers = all.map(([lane, { workers }]) => `${number(workers)} ${LANES[lane] ?? lane}`);
  const waiting = all.reduce((sum, [, lane]) => sum + lane.outstanding_images, 0);
  const estimates = all.map(([, lane]) => lane.estimated_seconds).filter((each) => each !== null);
  const parts = [version, `workers ready: ${workers.join(", ")}`];
  parts.push(waiting ? `${plural(waiting, "image")} waiting` : "nothing waiting");
  if (waiting && estimates.length) parts.push(`about ${time(Math.max(...estimates))} until done`);
  return parts.join(" · ");
}
