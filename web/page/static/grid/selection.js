/** The filters and the orders of items. */

const byLabel = new Intl.Collator("en");

/** Orders of items with a label. Items without one come after them, in the order of upload. */
const ORDERS = {
  uncertain: (one, other) => one.probability - other.probability,
  certain: (one, other) => other.probability - one.probability,
  label: (one, other) =>
    byLabel.compare(one.label, other.label) || other.probability - one.probability,
};

/** Whether an item is classified, and no label reaches the threshold of the page or of its job. */
export const isUnsure = ({ state, below_threshold: below, probability }, threshold) =>
  state === "succeeded" && (below || probability < threshold);

/**
 * The items that fit `wanted`: {text, state, least, most, sort, threshold}; least, most and threshold
 * from 0 to 1.
 */
export function select(items, wanted) {
  const text = wanted.text.trim() && atWordStart(wanted.text.trim());
  const selected = items.filter(
    (item) =>
      hasState(item, wanted) && isCertain(item, wanted) && (!text || contains(item, text)),
  );
  const order = ORDERS[wanted.sort];
  if (!order) return selected;
  const labelled = selected.filter((item) => item.probability !== null);
  const others = selected.filter((item) => item.probability === null);
  return labelled.sort(order).concat(others);
}

const hasState = (item, { state, threshold }) =>
  !state ||
  (state === "unsure" && isUnsure(item, threshold)) ||
  item.state === state ||
  (state === "waiting" && (item.state === "queued" || item.state === "sending"));

const contains = ({ label, name }, text) => text.test(label) || text.test(name);

/** Finds a text where a word starts: "owl" is not in "howler monkey". */
function atWordStart(text) {
  const literal = text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  return new RegExp(`(?<![\\p{L}\\p{N}])${literal}`, "iu");
}

/** The full range also includes items without a label. */
function isCertain({ probability }, { least, most }) {
  if (least <= 0 && most >= 1) return true;
  return probability !== null && probability >= least && probability <= most;
}

/** The most frequent labels of a job with their numbers, as [label, count]. */
export function labels(items, most) {
  const counts = new Map();
  for (const { label } of items) if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  return sorted.slice(0, most);
}
