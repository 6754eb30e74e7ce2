/** One picture in the grid. */

import { sourceOf } from "./thumbnails.js";
import { percent, UNSURE } from "../words.js";

const WORDS = { sending: "sending", queued: "waiting", cancelled: "cancelled" };

export class Cell {
  item = null;
  #thumbnails;
  #picture = document.createElement("span");
  #name = document.createElement("span");
  #label = document.createElement("span");
  #share = document.createElement("span");
  #bar = document.createElement("span");
  #source = null;

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
  show(item) {
    this.item = item;
    const done = item.state === "succeeded";
    this.button.dataset.state = item.state;
    this.button.title = item.name;
    this.#name.textContent = item.name.slice(item.name.lastIndexOf("/") + 1);
    this.button.classList.toggle("unsure", done && item.probability < UNSURE);
    this.#label.textContent = caption(item);
    this.#share.textContent = done ? percent(item.probability) : "";
    this.#bar.style.width = done ? `${100 * item.probability}%` : "0";
    this.#showPicture(item);
  }

  #showPicture(item) {
    const source = sourceOf(item);
    if (source && source === this.#source) return;
    this.#source = source;
    this.#picture.replaceChildren();
    const again = () => this.#source === source && this.#again();
    const address = source && this.#thumbnails.of(source, again);
    if (address === null) this.#picture.textContent = "no preview";
    if (!address) return;
    const picture = new Image();
    picture.alt = "";
    picture.src = address;
    this.#picture.append(picture);
  }

  /** Removes the item. Its thumbnail may not come any more. */
  clear() {
    this.#source = null;
    this.#picture.replaceChildren();
  }

  #again() {
    this.#source = null;
    this.#showPicture(this.item);
  }
}

function caption({ state, label, error, note }) {
  if (state === "succeeded") return label;
  if (state === "failed") return [note, error?.message].filter(Boolean).join(" ") || "failed";
  return WORDS[state] ?? state;
}
