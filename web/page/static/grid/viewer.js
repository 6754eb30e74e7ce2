/** The large view of one picture, with its labels and facts. */

import { milliseconds, percent } from "../words.js";

const $ = (id) => document.getElementById(id);

const STATES = {
  sending: "The picture is being sent.",
  queued: "The picture is waiting for a worker.",
  cancelled: "Cancelled before it was classified.",
};

export class Viewer {
  #dialog = $("viewer");
  #items = [];
  #place = 0;
  #address = null;

  /** Calls `closed(item)` when it closes, with the item that it showed. */
  constructor(closed) {
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
    if (this.#dialog.open && indexes.has(this.#items[this.#place].index)) this.#describe();
  }

  #go(step) {
    const place = this.#place + step;
    if (place < 0 || place >= this.#items.length) return;
    this.#place = place;
    this.#show();
  }

  #show() {
    this.#showPicture(this.#items[this.#place].file);
    this.#describe();
  }

  #showPicture(file) {
    this.#forgetPicture();
    if (!file) return this.#without("The service does not keep pictures.");
    this.#address = URL.createObjectURL(file);
    const picture = new Image();
    picture.alt = "";
    picture.addEventListener("error", () =>
      this.#without("This browser cannot show this file."),
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

  #describe() {
    const item = this.#items[this.#place];
    $("viewer-title").textContent = item.name;
    $("viewer-state").textContent = [item.error?.message ?? STATES[item.state], item.note]
      .filter(Boolean)
      .join(" ");
    $("viewer-predictions").replaceChildren(...item.predictions.map(prediction));
    $("viewer-facts").replaceChildren(...factsOf(item).flatMap(factRow));
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

function factsOf({ durations, cache_hit: cached, model_version: version, error, custom_id: id }) {
  const facts = [];
  if (durations)
    facts.push(
      ["Waited", milliseconds(durations.queue_ms)],
      ["Decoded in", milliseconds(durations.preprocess_ms)],
      ["Classified in", `${milliseconds(durations.inference_ms)}, together with its micro-batch`],
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
