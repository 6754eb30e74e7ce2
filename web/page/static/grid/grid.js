/**
 * A grid of any number of pictures. Only the visible ones are in the document. It is a list of
 * buttons with one stop for the Tab key. Arrow keys, Home, End and the Page keys move inside it.
 */

import { Cell } from "./cell.js";
import { sourcesOf } from "./thumbnails.js";

const WIDTH = 164;
const GAP = 12;
/** The label in two lines, its bar and the name. */
const TEXT_HEIGHT = 88;
/** Pixels per millisecond. While the window moves faster, no pictures are decoded. */
const FAST = 1.5;

/** Rows that are drawn outside the window, ready for scrolling. */
const BEYOND = 2;

export class Grid {
  #element;
  #thumbnails;
  #open;
  #items = [];
  #places = new Map(); // item index -> place
  #cells = new Map(); // place -> Cell
  #spare = [];
  #current = 0; // place of the tab stop
  #columns = 1;
  #width = WIDTH;
  #height = WIDTH + TEXT_HEIGHT;
  #withPictures = true;
  #threshold = 0;
  #planned = false;
  #measured = 0;
  #scrolledAt = 0;
  #top = 0;

  /** `open(place)` is called when the user opens a picture. */
  constructor(element, thumbnails, open) {
    this.#element = element;
    this.#thumbnails = thumbnails;
    this.#open = open;
    element.addEventListener("click", (event) => this.#onClick(event));
    element.addEventListener("keydown", (event) => this.#onKey(event));
    element.addEventListener("focusin", (event) => this.#onFocus(event));
    addEventListener("scroll", () => this.#onScroll(), { passive: true });
    addEventListener("resize", () => this.#measure());
    new ResizeObserver(() => this.#measure()).observe(element);
  }

  get items() {
    return this.#items;
  }

  /** Shows these items in this order. A label with a probability below `threshold` is unsure. */
  show(items, { withPictures, threshold }) {
    const held = this.#focused() && this.#items[this.#current];
    this.#items = items;
    this.#places = new Map(items.map((item, place) => [item.index, place]));
    this.#withPictures = withPictures;
    this.#threshold = threshold;
    // The focus stays on its picture, wherever the picture has moved.
    const kept = held && this.#places.get(held.index);
    this.#current = Math.min(kept ?? this.#current, Math.max(0, items.length - 1));
    this.#measured = 0;
    this.#measure();
    if (held && kept !== undefined) this.#cells.get(kept)?.button.focus({ preventScroll: true });
  }

  /** Shows the changes of these items. */
  refresh(indexes) {
    for (const index of indexes) {
      const place = this.#places.get(index);
      this.#cells.get(place)?.show(this.#items[place], this.#threshold);
    }
  }

  /** Puts the focus on an item, if it is in the grid. */
  focusOn(item) {
    this.focus(this.#places.get(item.index) ?? this.#current);
  }

  focus(place) {
    this.#current = Math.max(0, Math.min(place, this.#items.length - 1));
    this.#draw();
    const cell = this.#cells.get(this.#current);
    if (!cell) return;
    cell.button.focus({ preventScroll: true });
    cell.element.scrollIntoView({ block: "nearest" });
  }

  #focused() {
    return this.#element.contains(document.activeElement);
  }

  /** Computes the number of columns, and all sizes that depend on it. */
  #measure() {
    const whole = this.#element.clientWidth;
    if (!whole || whole === this.#measured) return;
    this.#measured = whole;
    this.#columns = Math.max(2, Math.floor((whole + GAP) / (WIDTH + GAP)));
    this.#width = (whole + GAP) / this.#columns - GAP;
    this.#height = TEXT_HEIGHT + (this.#withPictures ? this.#width : 0);
    const rows = Math.ceil(this.#items.length / this.#columns);
    this.#element.classList.toggle("names", !this.#withPictures);
    this.#element.style.height = `${Math.max(0, rows * (this.#height + GAP) - GAP)}px`;
    this.#element.style.setProperty("--width", `${this.#width}px`);
    this.#element.style.setProperty("--height", `${this.#height}px`);
    for (const [place, cell] of [...this.#cells])
      if (place < this.#items.length) this.#lay(cell, place);
      else this.#remove(place);
    this.#draw();
  }

  #onScroll() {
    const [now, top] = [performance.now(), scrollY];
    if (Math.abs(top - this.#top) > FAST * (now - this.#scrolledAt)) this.#thumbnails.rest();
    [this.#scrolledAt, this.#top] = [now, top];
    this.#plan();
  }

  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    requestAnimationFrame(() => {
      this.#planned = false;
      this.#draw();
    });
  }

  /** The range of visible places; its end is excluded. */
  #inSight() {
    const row = this.#height + GAP;
    const top = -this.#element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / row) - BEYOND) * this.#columns;
    const last = (Math.ceil((top + innerHeight) / row) + BEYOND) * this.#columns;
    return [first, Math.min(last, this.#items.length)];
  }

  #draw() {
    const [first, last] = this.#inSight();
    const wanted = (place) => (place >= first && place < last) || place === this.#current;
    for (const place of [...this.#cells.keys()]) if (!wanted(place)) this.#remove(place);
    for (let place = first; place < last; place++) this.#place(place);
    // The tab stop stays in the document. Otherwise scrolling would lose the focus.
    if (this.#current < this.#items.length) this.#place(this.#current);
    const sources = new Set([...this.#cells.values()].flatMap(({ item }) => sourcesOf(item)));
    this.#thumbnails.drop((source) => sources.has(source));
  }

  #remove(place) {
    const cell = this.#cells.get(place);
    this.#cells.delete(place);
    cell.element.remove();
    cell.clear();
    this.#spare.push(cell);
  }

  #place(place) {
    let cell = this.#cells.get(place);
    if (!cell) {
      cell = this.#spare.pop() ?? new Cell(this.#thumbnails);
      this.#cells.set(place, cell);
      this.#lay(cell, place);
      this.#insert(cell.element, place);
    }
    cell.button.tabIndex = place === this.#current ? 0 : -1;
  }

  #lay(cell, place) {
    const [row, column] = [Math.floor(place / this.#columns), place % this.#columns];
    const [x, y] = [column * (this.#width + GAP), row * (this.#height + GAP)];
    cell.element.style.transform = `translate(${x}px, ${y}px)`;
    cell.element.setAttribute("aria-setsize", this.#items.length);
    cell.element.setAttribute("aria-posinset", place + 1);
    cell.button.dataset.place = place;
    cell.show(this.#items[place], this.#threshold);
  }

  /** Inserts in order, because a screen reader follows the document. */
  #insert(element, place) {
    let next = null;
    for (const other of this.#element.children)
      if (Number(other.firstChild.dataset.place) > place) {
        next = other;
        break;
      }
    this.#element.insertBefore(element, next);
  }

  #onClick(event) {
    const button = event.target.closest("button");
    if (button) this.#open(Number(button.dataset.place));
  }

  #onFocus(event) {
    const place = Number(event.target.dataset.place);
    if (place === this.#current) return;
    this.#current = place;
    this.#draw();
  }

  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = this.#columns * Math.max(1, Math.floor(innerHeight / (this.#height + GAP)) - 1);
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.#columns,
      ArrowDown: this.#columns,
      PageUp: -page,
      PageDown: page,
      Home: -Infinity,
      End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.focus(this.#current + step);
  }
}
