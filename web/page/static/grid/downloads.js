/** Downloads of results. They have the rows that the filters show, and the name of the job. */

import { lines } from "../job/lines.js";

/** Characters that some file systems do not allow in a name. */
const NOT_IN_NAMES = /[\\/:*?"<>|\p{Cc}]+/gu;

/**
 * Sets the links of a job's results. `selected()` gives the shown items in their order, or null for
 * all of them. `failed(error)` is called if a download fails.
 */
export function offerDownloads(api, job, links, selected, failed) {
  for (const [link, format] of links) {
    const path = `jobs/${job.id}/results?format=${format}`;
    link.hidden = !job.id;
    link.href = `api/v1/${path}`;
    link.onclick = (event) => {
      event.preventDefault();
      const name = `${job.title.replace(NOT_IN_NAMES, "_")}.${format}`;
      save(api, path, format, selected(), name).catch(failed);
    };
  }
}

async function save(api, path, format, items, name) {
  const response = await api.send(path);
  const blob = items ? new Blob(await some(response, format, items)) : await response.blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The lines of these items in their order; of a CSV file the head, too. */
async function some(response, format, items) {
  const indexOf =
    format === "csv" ? (line) => Number.parseInt(line, 10) : (line) => JSON.parse(line).index;
  const places = new Map(items.map(({ index }, place) => [index, place]));
  const head = [];
  const rows = new Array(items.length).fill("");
  for await (const line of lines(response)) {
    if (!line) continue;
    if (format === "csv" && !head.length) head.push(`${line}\r\n`);
    else if (places.has(indexOf(line)))
      rows[places.get(indexOf(line))] = format === "csv" ? `${line}\r\n` : `${line}\n`;
  }
  return [...head, ...rows];
}
