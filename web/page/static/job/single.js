/** A job of one picture: the picture is shown large, with all its labels. */

import { describe, LargePicture } from "../grid/details.js";

const $ = (id) => document.getElementById(id);

export class Single {
  #picture = new LargePicture($("single-picture"));
  #parts = {
    title: $("single-title"),
    state: $("single-state"),
    predictions: $("single-predictions"),
    facts: $("single-facts"),
  };
  #item = null;

  /** Shows the item of a job of one picture. `null` hides it. */
  show(item) {
    $("single").hidden = !item;
    if (item !== this.#item) {
      if (item) this.#picture.show(item.file);
      else this.#picture.clear();
    }
    this.#item = item;
    if (!item) return;
    $("single").dataset.state = item.state;
    describe(item, this.#parts);
  }
}
