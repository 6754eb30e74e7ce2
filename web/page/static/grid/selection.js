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
  const selected = withText(items, wanted.text.trim()).filter(
    (item) => hasState(item, wanted) && isCertain(item, wanted),
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

/**
 * The items whose label or name has the text as whole words: "owl" is not in "howler monkey". If
 * there are none, the last word may be incomplete, because it is searched for while it is typed.
 */
function withText(items, text) {
  if (!text) return items;
  const start = `(?<![\\p{L}\\p{N}])${text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}`;
  const whole = containing(items, new RegExp(`${start}(?![\\p{L}\\p{N}])`, "iu"));
  return whole.length ? whole : containing(items, new RegExp(start, "iu"));
}

const containing = (items, text) =>
  items.filter(({ label, name }) => text.test(label ?? "") || text.test(name));

/** The full range also includes items without a label. */
function isCertain({ probability }, { least, most }) {
  if (least <= 0 && most >= 1) return true;
  return probability !== null && probability >= least && probability <= most;
}

/** The most frequent labels of a job with their numbers, as [label, count]. */
export function labels(items, most) {
  const counts = new Map();
  for (const { label, labels: several } of items)
    for (const each of several?.length ? several : [label])
      if (each) counts.set(each, (counts.get(each) ?? 0) + 1);
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  return sorted.slice(0, most);
}
