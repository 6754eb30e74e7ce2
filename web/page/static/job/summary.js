/** What a finished job has found: its most frequent labels, and how many are unsure. */

import { isUnsure, labels } from "../grid/selection.js";
import { number } from "../words.js";

const $ = (id) => document.getElementById(id);
const SHOWN = 5;

export class Summary {
  #filters;
  #shown = "";

  constructor(filters) {
    this.#filters = filters;
  }

  /** Shows the summary of an ended job, and hides it otherwise. */
  show(job) {
    const isShown = job.ended && job.items.length > 1;
    $("summary").hidden = !isShown;
    if (!isShown) return;
    const most = labels(job.items, SHOWN);
    const { threshold } = this.#filters;
    const unsure = job.items.filter((item) => isUnsure(item, threshold)).length;
    // The job's own threshold may be higher than that of the page.
    const limit = Math.round(100 * Math.max(threshold, job.record?.min_score ?? 0));
    const said = JSON.stringify([job.id, most, unsure, limit]);
    if (said === this.#shown) return;
    this.#shown = said;
    const [[, largest] = []] = most;
    $("most-frequent").hidden = !(largest > 1); // labels that all differ need no chart
    $("frequent").replaceChildren(...most.map((each) => this.#row(each, largest)));
    $("all-unsure").hidden = !unsure;
    $("all-unsure").textContent = `${number(unsure)} unsure (below ${limit} %)`;
    $("all-unsure").onclick = () => this.#filters.set({ state: "unsure", sort: "uncertain" });
  }

  #row([label, count], largest) {
    const row = document.createElement("li");
    const button = document.createElement("button");
    const [name, track, bar, total] = ["label", "bar", "", "share"].map((each) => {
      const element = document.createElement("span");
      element.className = each;
      return element;
    });
    button.type = "button";
    button.className = "link";
    name.textContent = label;
    total.textContent = number(count);
    bar.style.width = `${(100 * count) / largest}%`;
    track.append(bar);
    button.append(name, track, total);
    button.addEventListener("click", () => this.#filters.set({ text: label }));
    row.append(button);
    return row;
  }
}
