/** What a finished job has found: its most frequent labels, and how many are uncertain. */

import { labels } from "../grid/selection.js";
import { number, UNSURE } from "../words.js";

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
    const uncertain = job.items.filter(isUncertain).length;
    const said = JSON.stringify([job.id, most, uncertain]);
    if (said === this.#shown) return;
    this.#shown = said;
    const [[, largest] = []] = most;
    $("most-frequent").hidden = !(largest > 1); // labels that all differ need no chart
    $("frequent").replaceChildren(...most.map((each) => this.#row(each, largest)));
    $("uncertain").hidden = !uncertain;
    $("uncertain").textContent = `${number(uncertain)} uncertain (below ${100 * UNSURE} %)`;
    $("uncertain").onclick = () => this.#filters.set({ most: `${100 * UNSURE}`, sort: "uncertain" });
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

const isUncertain = ({ probability }) => probability !== null && probability < UNSURE;
