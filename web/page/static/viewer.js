/** One picture, large, with all that is known of it. */

import { milliseconds, percent } from "./words.js";

const $ = (id) => document.getElementById(id);

const STATES = {
  sending: "On its way to the service.",
  queued: "Waiting for a worker.",
  cancelled: "Cancelled before it was looked at.",
};

export class Viewer {
  #dialog = $("viewer");
  #items = [];
  #place = 0;
  #address = null;

  /** `left(item)` when it closes, with the last one that was looked at. */
  constructor(left) {
    $("viewer-close").addEventListener("click", () => this.#dialog.close());
    $("viewer-before").addEventListener("click", () => this.#go(-1));
    $("viewer-after").addEventListener("click", () => this.#go(1));
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#go(-1);
      if (event.key === "ArrowRight") this.#go(1);
    });
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => {
      this.#forgetPicture();
      left(this.#items[this.#place]);
    });
  }

  /** The items as the grid shows them, and the place of the one to begin with. */
  open(items, place) {
    this.#items = items;
    this.#place = place;
    this.#dialog.showModal();
    this.#show();
    $("viewer-title").focus();
  }

  /** These items have news. */
  refresh(indexes) {
    if (this.#dialog.open && indexes.has(this.#items[this.#place].index)) this.#tell();
  }

  #go(step) {
    const place = this.#place + step;
    if (place < 0 || place >= this.#items.length) return;
    this.#place = place;
    this.#show();
  }

  #show() {
    this.#showPicture(this.#items[this.#place].file);
    this.#tell();
  }

  #showPicture(file) {
    this.#forgetPicture();
    if (!file) return this.#without("The picture itself is not kept.");
    this.#address = URL.createObjectURL(file);
    const picture = new Image();
    picture.alt = "";
    picture.addEventListener("error", () =>
      this.#without("This browser cannot show the file."),
    );
    picture.src = this.#address;
    $("viewer-picture").replaceChildren(picture);
  }

  #without(words) {
    $("viewer-picture").textContent = words;
  }

  #forgetPicture() {
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = null;
    $("viewer-picture").replaceChildren();
  }

  #tell() {
    const item = this.#items[this.#place];
    $("viewer-title").textContent = item.name;
    $("viewer-state").textContent = [item.error?.message ?? STATES[item.state], item.note]
      .filter(Boolean)
      .join(" ");
    $("viewer-predictions").replaceChildren(...item.predictions.map(prediction));
    $("viewer-facts").replaceChildren(...facts(item).flatMap(fact));
    $("viewer-before").disabled = this.#place === 0;
    $("viewer-after").disabled = this.#place === this.#items.length - 1;
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

function facts({ durations, cache_hit: known, model_version: version, error, custom_id: own }) {
  const found = [];
  if (durations)
    found.push(
      ["Waited", milliseconds(durations.queue_ms)],
      ["Decoded in", milliseconds(durations.preprocess_ms)],
      ["Classified in", `${milliseconds(durations.inference_ms)}, with its micro-batch`],
    );
  if (known) found.push(["Answered", "at once: the same bytes were classified before"]);
  if (version) found.push(["Model", version]);
  if (error) found.push(["Error code", error.code]);
  if (own) found.push(["Own id", own]);
  return found;
}

function fact([name, value]) {
  const [term, description] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  description.textContent = value;
  return [term, description];
}
