/** Which items are shown, and in what order. */

const byLabel = new Intl.Collator("en");

/** Orders of items that have a label; the others come after them, as they were sent. */
const ORDERS = {
  uncertain: (one, other) => one.probability - other.probability,
  certain: (one, other) => other.probability - one.probability,
  label: (one, other) =>
    byLabel.compare(one.label, other.label) || other.probability - one.probability,
};

/** Items of a job that fit `wanted`: {text, state, least, most, sort}; least and most from 0 to 1. */
export function select(items, wanted) {
  const text = wanted.text.trim().toLowerCase();
  const found = items.filter(
    (item) =>
      hasState(item, wanted.state) && isCertain(item, wanted) && (!text || says(item, text)),
  );
  const order = ORDERS[wanted.sort];
  if (!order) return found;
  const labelled = found.filter((item) => item.probability !== null);
  const others = found.filter((item) => item.probability === null);
  return labelled.sort(order).concat(others);
}

const hasState = (item, state) =>
  !state ||
  item.state === state ||
  (state === "waiting" && (item.state === "queued" || item.state === "sending"));

const says = ({ label, name }, text) =>
  label.toLowerCase().includes(text) || name.toLowerCase().includes(text);

/** Bounds that let everything through also let through what has no label. */
function isCertain({ probability }, { least, most }) {
  if (least <= 0 && most >= 1) return true;
  return probability !== null && probability >= least && probability <= most;
}

/** The labels of a job, the most frequent first. */
export function labels(items, most) {
  const counts = new Map();
  for (const { label } of items) if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  return sorted.slice(0, most).map(([label]) => label);
}
