/** A job of one picture: the picture is shown large, with all its labels. */

import { describe, LargePicture } from "../grid/details.js";

const $ = (id) => document.getElementById(id);

export class Single {
  #picture;
  #parts = {
    title: $("single-title"),
    state: $("single-state"),
    predictions: $("single-predictions"),
    facts: $("single-facts"),
  };

  constructor(thumbnails) {
    this.#picture = new LargePicture($("single-picture"), thumbnails);
  }

  /** Shows the item of a job of one picture. `null` hides it. A lower probability is unsure. */
  show(item, threshold) {
    $("single").hidden = !item;
    if (!item) return this.#picture.clear();
    this.#picture.show(item);
    $("single").dataset.state = item.state;
    describe(item, this.#parts, threshold);
  }
}
