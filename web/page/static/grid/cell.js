/** One picture in the grid. */

import { isUnsure } from "./selection.js";
import { kindOf, percent } from "../words.js";

/** The end of a long name stays visible. It is often what tells files apart: "…0123.jpg". */
const NAME_END = 12;

const WORDS = { sending: "sending", queued: "waiting", cancelled: "cancelled" };

export class Cell {
  item = null;
  #thumbnails;
  #picture = document.createElement("span");
  #name = document.createElement("span");
  #nameStart = document.createElement("span");
  #nameEnd = document.createElement("span");
  #spokenName = document.createElement("span");
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
    const [meter, track] = [document.createElement("span"), document.createElement("span")];
    for (const [element, name] of [
      [this.button, "cell"],
      [this.#picture, "picture"],
      [this.#name, "name"],
      [this.#spokenName, "unseen"],
      [this.#label, "label"],
      [meter, "meter"],
      [this.#share, "share"],
      [track, "bar"],
    ])
      element.className = name;
    track.append(this.#bar);
    meter.append(track, this.#share);
    this.#name.append(this.#nameStart, this.#nameEnd);
    this.#name.ariaHidden = "true"; // a screen reader would pause between its two elements
    // A screen reader reads the name before the label. The name is shown below it.
    this.button.append(this.#picture, this.#spokenName, this.#label, meter, this.#name);
    this.element.append(this.button);
  }

  /** Shows an item. Call it again when the item has changed. */
  show(item, threshold) {
    this.item = item;
    const done = item.state === "succeeded";
    this.button.dataset.state = item.state;
    this.button.title = item.name;
    this.#showName(item.name.slice(item.name.lastIndexOf("/") + 1));
    this.button.classList.toggle("unsure", isUnsure(item, threshold));
    this.#label.textContent = caption(item);
    this.#share.textContent = done ? percent(item.probability) : "";
    this.#bar.style.width = done ? `${100 * item.probability}%` : "0";
    this.#showPicture(item);
  }

  /** If there is too little room, the start is cut off at its end. */
  #showName(name) {
    const characters = Array.from(name);
    this.#nameStart.textContent = characters.slice(0, -NAME_END).join("");
    this.#nameEnd.textContent = characters.slice(-NAME_END).join("");
    this.#spokenName.textContent = name;
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
