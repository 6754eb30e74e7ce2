/** One picture in the grid: what a cell shows of an item. */

import { percent } from "./words.js";

const WORDS = { sending: "sending", queued: "waiting", cancelled: "cancelled" };

export class Cell {
  item = null;
  #thumbnails;
  #picture = document.createElement("span");
  #label = document.createElement("span");
  #share = document.createElement("span");
  #bar = document.createElement("span");
  #file = null;

  constructor(thumbnails) {
    this.#thumbnails = thumbnails;
    this.element = document.createElement("li");
    this.button = document.createElement("button");
    this.button.type = "button";
    const [text, track] = [document.createElement("span"), document.createElement("span")];
    for (const [element, name] of [
      [this.button, "cell"],
      [this.#picture, "picture"],
      [text, "caption"],
      [this.#label, "label"],
      [this.#share, "share"],
      [track, "bar"],
    ])
      element.className = name;
    track.append(this.#bar);
    text.append(this.#label, this.#share);
    this.button.append(this.#picture, text, track);
    this.element.append(this.button);
  }

  /** Shows an item, another one or the same with news. */
  show(item) {
    this.item = item;
    const done = item.state === "succeeded";
    this.button.dataset.state = item.state;
    this.button.title = item.name;
    this.#label.textContent = caption(item);
    this.#share.textContent = done ? percent(item.probability) : "";
    this.#bar.style.width = done ? `${100 * item.probability}%` : "0";
    this.#showPicture(item);
  }

  /** Over its name, which a screen reader reads and which is seen until the picture is there. */
  #showPicture({ file, name }) {
    if (file && file === this.#file) return;
    this.#file = file;
    this.#picture.textContent = name.slice(name.lastIndexOf("/") + 1);
    const address = file && this.#thumbnails.of(file, () => this.#file === file && this.#again());
    if (!address) return;
    const picture = new Image();
    picture.alt = "";
    picture.src = address;
    this.#picture.append(picture);
  }

  /** Off the page: what it waited for may not come. */
  clear() {
    this.#file = null;
    this.#picture.replaceChildren();
  }

  #again() {
    this.#file = null;
    this.#showPicture(this.item);
  }
}

function caption({ state, label, error, note }) {
  if (state === "succeeded") return label;
  if (state === "failed") return note || error?.message || "failed";
  return WORDS[state] ?? state;
}
