/**
 * The form that filters and sorts the pictures of a job, and says which labels are unsure. Its values
 * are part of the address.
 */

const $ = (id) => document.getElementById(id);

/** Form field -> its value when nothing is filtered. */
const FIELDS = { text: "", state: "", least: "0", most: "100", sort: "", unsure: "50" };

export class Filters {
  #changed;

  /** Calls `changed()` after each change by the user or by `set`. */
  constructor(changed) {
    this.#changed = changed;
    $("filters").addEventListener("input", () => this.#note());
    for (const id of ["least", "most"]) $(id).addEventListener("change", () => this.#inOrder());
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    for (const id of ["clear", "clear-all"]) $(id).addEventListener("click", () => this.set({}));
  }

  /** A label with a lower probability is unsure. From 0 to 1. */
  get threshold() {
    return $("unsure").valueAsNumber / 100 || 0;
  }

  /** What is asked for: {text, state, least, most, sort, threshold}; numbers from 0 to 1. */
  get wanted() {
    const [least, most] = this.#range();
    return {
      text: $("text").value,
      state: $("state").value,
      least: least / 100,
      most: most / 100,
      sort: $("sort").value,
      threshold: this.threshold,
    };
  }

  /** Whether an item may be left out. */
  get leavesOut() {
    const { text, state, least, most } = this.wanted;
    return Boolean(text.trim() || state || least > 0 || most < 1);
  }

  /** Whether the items are not simply all, in the order of upload. */
  get isActive() {
    return this.leavesOut || Boolean(this.wanted.sort);
  }

  /** What is filtered and sorted, for people: ["owl", "failed", "80–100 %"], for example. */
  get words() {
    const { text, least, most } = this.wanted;
    const range = least > 0 || most < 1 ? this.#range().join("–") : "";
    return [
      text.trim(),
      $("state").value && $("state").selectedOptions[0].textContent.trim(),
      range && `${range} %`,
      $("sort").value && `by ${$("sort").selectedOptions[0].textContent.trim()}`,
    ].filter(Boolean);
  }

  /** Sets these fields, and clears the others. The threshold is no filter, and stays. */
  set(values) {
    this.#write({ unsure: $("unsure").value, ...values });
    this.#note();
  }

  /** Reads the fields from the address of the page. */
  read() {
    this.#write(Object.fromEntries(new URLSearchParams(location.search)));
  }

  /** Clears all fields, without a call of `changed`. */
  reset() {
    this.#write({});
  }

  #write(values) {
    for (const [name, usual] of Object.entries(FIELDS)) {
      $(name).value = values[name] ?? usual;
      if (!$(name).value) $(name).value = usual; // an address may have any value
    }
  }

  /** The least and the most probability in percent, whichever field has the lower number. */
  #range() {
    const [least, most] = [$("least").valueAsNumber || 0, $("most").valueAsNumber];
    return [least, Number.isNaN(most) ? 100 : most].sort((one, other) => one - other);
  }

  /** Writes the lower number into the first field. */
  #inOrder() {
    const [least, most] = [$("least").value, $("most").value];
    if (!most || Number(least) <= Number(most)) return;
    [$("least").value, $("most").value] = [most, least];
    this.#note();
  }

  #note() {
    const address = new URL(location.href);
    for (const [name, usual] of Object.entries(FIELDS)) {
      const { value } = $(name);
      if (value === usual) address.searchParams.delete(name);
      else address.searchParams.set(name, value);
    }
    history.replaceState(history.state, "", address);
    this.#changed();
  }
}
