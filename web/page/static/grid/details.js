/** The labels and facts of one picture, and the picture itself in full size. */

import { isUnsure } from "./selection.js";
import { kindOf, milliseconds, percent } from "../words.js";

const STATES = {
  sending: "The picture is being sent.",
  queued: "The picture is waiting for a worker.",
  cancelled: "Cancelled before it was classified.",
};

/** A small picture is zoomed at least so much. A large one is shown with all its pixels. */
const LEAST_ZOOM = 2.5;

/**
 * Shows one item in the elements `title`, `state`, `predictions` and `facts`. Its first label is
 * unsure if its probability is below the threshold.
 */
export function describe(item, { title, state, predictions, facts }, threshold) {
  title.textContent = item.name;
  state.textContent = [item.error?.message ?? STATES[item.state], item.note]
    .filter(Boolean)
    .join(" ");
  const rows = item.predictions.map(prediction);
  rows[0]?.classList.toggle("unsure", isUnsure(item, threshold));
  predictions.replaceChildren(...rows);
  facts.replaceChildren(...factsOf(item).flatMap(factRow));
}

/** A picture file in full size. A click enlarges it beyond the window, and back. */
export class LargePicture {
  #element;
  #thumbnails;
  #item = null;
  #address = null; // of a file

  constructor(element, thumbnails) {
    this.#element = element;
    this.#thumbnails = thumbnails;
    element.addEventListener("click", (event) => this.zoom(event));
  }

  /**
   * Shows the file of an item. Without a file, or if the browser cannot draw it, it shows the
   * thumbnail that the service has.
   */
  show(item) {
    if (item !== this.#item) {
      this.clear();
      this.#item = item;
      if (item.file) {
        this.#address = URL.createObjectURL(item.file);
        this.#draw(this.#address, () => this.#item === item && this.#showSmall(item));
        return;
      }
    }
    if (!this.#element.querySelector("img")) this.#showSmall(item);
  }

  #showSmall(item) {
    const { file, thumbnail, name, state } = item;
    const again = () => this.#item === item && this.#showSmall(item);
    const address = thumbnail && this.#thumbnails.of({ thumbnail }, again, { keep: true });
    const kind = kindOf(name) ? `${kindOf(name)} files` : "this file";
    const isPicture = file && state !== "failed";
    const words = isPicture ? `This browser cannot show ${kind}.` : "There is no preview of this picture.";
    if (address) this.#drawSmall(address, words);
    else this.#without(address === undefined && thumbnail ? "" : words);
  }

  /** The thumbnail of the service, and why there is no more. `words`: if it cannot be shown either. */
  #drawSmall(address, words) {
    this.#draw(address, () => this.#without(words)).className = "small";
    const why = document.createElement("p");
    why.className = "hint";
    why.textContent = `A small preview. ${this.#item.file ? words : "The picture itself is not kept."}`;
    this.#element.append(why);
  }

  #draw(address, failed) {
    const picture = new Image();
    picture.alt = "";
    picture.addEventListener("error", failed);
    picture.src = address;
    this.#element.replaceChildren(picture);
    return picture;
  }

  /**
   * Changes between the size of the window and all pixels of the picture. What was clicked stays
   * under the pointer; without one, the middle stays. A thumbnail has no more to show.
   */
  zoom({ clientX, clientY } = {}) {
    const element = this.#element;
    const picture = element.querySelector("img:not(.small)");
    if (!picture?.naturalWidth) return;
    const { left, top, width, height } = element.getBoundingClientRect();
    const isZoomed = element.classList.toggle("zoomed");
    element.tabIndex = isZoomed ? 0 : -1; // the keyboard scrolls what has the focus
    picture.style.width = "";
    if (!isZoomed) return;
    const { naturalWidth, naturalHeight } = picture;
    const fitting = Math.min(width / naturalWidth, height / naturalHeight);
    const zoomed = Math.max(1, LEAST_ZOOM * fitting);
    picture.style.width = `${naturalWidth * zoomed}px`;
    const scroll = (point, window, pixels) => {
      const share = (point - (window - pixels * fitting) / 2) / (pixels * fitting);
      return Math.min(1, Math.max(0, share)) * pixels * zoomed - point;
    };
    element.scrollLeft = scroll((clientX ?? left + width / 2) - left, width, naturalWidth);
    element.scrollTop = scroll((clientY ?? top + height / 2) - top, height, naturalHeight);
  }

  clear() {
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = null;
    this.#item = null;
    this.#element.classList.remove("zoomed");
    this.#element.tabIndex = -1;
    this.#element.replaceChildren();
  }

  #without(words) {
    this.#element.textContent = words;
  }
}

function prediction({ class_name: name, probability }) {
  const row = document.createElement("li");
  const [label, share, track, bar] = ["label", "share", "bar", ""].map((each) => {
    const element = document.createElement("span");
    element.className = each;
    return element;
  });
  label.textContent = name;
  share.textContent = percent(probability);
  bar.style.width = `${100 * probability}%`;
  track.append(bar);
  row.append(label, share, track);
  return row;
}

function factsOf({ durations, cache_hit: cached, model_version: version, error, custom_id: id }) {
  const facts = [];
  if (durations)
    facts.push(
      ["Waited", milliseconds(durations.queue_ms)],
      ["Decoded in", milliseconds(durations.preprocess_ms)],
      ["Classified in", `${milliseconds(durations.inference_ms)}, for it and the pictures beside it`],
    );
  if (cached) facts.push(["Answer", "from the cache: the same file was classified earlier"]);
  if (version) facts.push(["Model", version]);
  if (error) facts.push(["Error code", error.code]);
  if (id) facts.push(["Custom id", id]);
  return facts;
}

function factRow([name, value]) {
  const [term, description] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  description.textContent = value;
  return [term, description];
}
