/** One picture in the grid. */

import { isUnsure } from "./selection.js";
import { kindOf, percent } from "../words.js";

const WORDS = { sending: "sending", queued: "waiting", cancelled: "cancelled" };

export class Cell {
  item = null;
  #thumbnails;
  #picture = document.createElement("span");
  #name = document.createElement("span");
  #label = document.createElement("span");
  #share = document.createElement("span");
  #bar = document.createElement("span");
  #drawn = null; // the item whose picture is shown, or is being made
  #sources; // what it was drawn from
  #address = null; // of the picture that is shown

  constructor(thumbnails) {
    this.#thumbnails = thumbnails;
    this.element = document.createElement("li");
    this.button = document.createElement("button");
    this.button.type = "button";
    const [text, track] = [document.createElement("span"), document.createElement("span")];
    for (const [element, name] of [
      [this.button, "cell"],
      [this.#picture, "picture"],
      [this.#name, "name"],
      [text, "caption"],
      [this.#label, "label"],
      [this.#share, "share"],
      [track, "bar"],
    ])
      element.className = name;
    track.append(this.#bar);
    text.append(this.#label, this.#share);
    // A screen reader reads the name before the label. The name is shown below it.
    this.button.append(this.#picture, this.#name, text, track);
    this.element.append(this.button);
  }

  /** Shows an item. Call it again when the item has changed. */
  show(item, threshold) {
    this.item = item;
    const done = item.state === "succeeded";
    this.button.dataset.state = item.state;
    this.button.title = item.name;
    this.#name.textContent = item.name.slice(item.name.lastIndexOf("/") + 1);
    this.button.classList.toggle("unsure", isUnsure(item, threshold));
    this.#label.textContent = caption(item);
    this.#share.textContent = done ? percent(item.probability) : "";
    this.#bar.style.width = done ? `${100 * item.probability}%` : "0";
    this.#showPicture(item);
  }

  /** `anew`: also if the item has the same sources as before. */
  #showPicture(item, { anew = false } = {}) {
    const sources = `${item.name} ${item.thumbnail}`;
    if (!anew && item === this.#drawn && sources === this.#sources) return;
    [this.#drawn, this.#sources] = [item, sources];
    const again = () => this.#drawn === item && this.#showPicture(item, { anew: true });
    const address = this.#thumbnails.of(item, again);
    if (address && address === this.#address) return;
    this.#address = address;
    this.#picture.replaceChildren();
    if (address === null) this.#picture.append(...noPicture(item));
    if (!address) return;
    const picture = new Image();
    picture.alt = "";
    picture.decoding = "async";
    picture.src = address;
    this.#picture.append(picture);
  }

  /** Removes the item. Its thumbnail may not come any more. */
  clear() {
    this.#drawn = this.#address = null;
    this.#picture.replaceChildren();
  }
}

/** The kind of a file that the browser cannot draw. */
function noPicture({ name }) {
  return [kindOf(name), "no preview"].filter(Boolean).map((words) => {
    const line = document.createElement("span");
    line.textContent = words;
    return line;
  });
}

function caption({ state, label, error, note }) {
  if (state === "succeeded") return label;
  if (state === "failed") return [note, error?.message].filter(Boolean).join(" ") || "failed";
  return WORDS[state] ?? state;
}
