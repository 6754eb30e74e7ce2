/** The large view of one picture of a grid, with its labels and facts. */

import { describe, LargePicture } from "./details.js";

const $ = (id) => document.getElementById(id);

export class Viewer {
  #dialog = $("viewer");
  #picture;
  #filters;
  #parts = {
    title: $("viewer-title"),
    state: $("viewer-state"),
    predictions: $("viewer-predictions"),
    facts: $("viewer-facts"),
  };
  #items = [];
  #place = 0;

  /** `filters` say which labels are unsure. Calls `closed(item)` with the item that it showed. */
  constructor(thumbnails, filters, closed) {
    this.#filters = filters;
    this.#picture = new LargePicture($("viewer-picture"), thumbnails);
    $("viewer-close").addEventListener("click", () => this.#dialog.close());
    $("viewer-before").addEventListener("click", () => this.#go(-1));
    $("viewer-after").addEventListener("click", () => this.#go(1));
    $("viewer-zoom").addEventListener("click", () => this.#picture.zoom());
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#go(-1);
      if (event.key === "ArrowRight") this.#go(1);
    });
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => {
      this.#picture.clear();
      closed(this.#items[this.#place]);
    });
  }

  /** Shows the item at `place`. `items` are in the order of the grid. */
  open(items, place) {
    this.#items = items;
    this.#place = place;
    this.#dialog.showModal();
    this.#show();
    $("viewer-title").focus();
  }

  /** Shows the changes of these items. */
  refresh(indexes) {
    const item = this.#items[this.#place];
    if (!this.#dialog.open || !indexes.has(item.index)) return;
    this.#picture.show(item); // the service may have a thumbnail now
    this.#describe();
  }

  #go(step) {
    const place = this.#place + step;
    if (place < 0 || place >= this.#items.length) return;
    this.#place = place;
    this.#show();
  }

  #show() {
    const item = this.#items[this.#place];
    this.#picture.show(item);
    $("viewer-zoom").hidden = !item.file; // a thumbnail has nothing more to show
    this.#describe();
  }

  #describe() {
    describe(this.#items[this.#place], this.#parts, this.#filters.threshold);
    $("viewer-before").disabled = this.#place === 0;
    $("viewer-after").disabled = this.#place === this.#items.length - 1;
  }
}
