/**
 * The filters in a small window: a row that says what is filtered, and opens the fields over the
 * pictures. In a large window all fields are visible, and its buttons are not.
 */

import { plural } from "../words.js";

const $ = (id) => document.getElementById(id);

export class FilterRow {
  #form = $("filters");
  #open = $("open-fields");

  constructor() {
    this.#open.addEventListener("click", () => this.#show(!this.#isOpen));
    $("close-fields").addEventListener("click", () => this.#close());
    this.#form.addEventListener("keydown", (event) => {
      // In a text, the key clears the text.
      if (event.key === "Escape" && !$("text").matches(":focus:not(:placeholder-shown)")) this.#close();
    });
    addEventListener("pointerdown", ({ target }) => {
      if (this.#isOpen && !this.#form.contains(target)) this.#show(false);
    });
    const observer = new ResizeObserver(() => this.measure());
    for (const element of [this.#form, this.#form.parentElement]) observer.observe(element);
  }

  /** Whether the filters are a row. */
  get isShown() {
    return this.#open.offsetWidth > 0;
  }

  /** A picture that gets the focus is not scrolled below the row, or below the head of the job. */
  measure() {
    const stays = this.isShown ? this.#form : this.#form.parentElement;
    document.documentElement.style.setProperty("--stays", `${stays.offsetHeight}px`);
  }

  /** `words` say what is filtered: an empty list if nothing is. `count` pictures are shown. */
  describe(words, count) {
    this.#open.textContent = words.length ? `Filter: ${words.join(", ")}` : "Filter";
    // The fields hide the notice that no picture fits.
    const shown = count ? `Show ${plural(count, "picture")}` : "No picture fits";
    $("close-fields").textContent = shown;
  }

  get #isOpen() {
    return this.#open.ariaExpanded === "true";
  }

  #show(isOpen) {
    this.#open.ariaExpanded = `${isOpen}`;
    this.#form.classList.toggle("open", isOpen);
    if (isOpen) $("fields").scrollIntoView({ block: "nearest" });
  }

  #close() {
    if (!this.#isOpen) return;
    this.#show(false);
    this.#open.focus();
  }
}
