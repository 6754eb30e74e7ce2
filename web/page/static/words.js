/** Numbers and times as text. */

const numbers = new Intl.NumberFormat("en");

export const number = (value) => numbers.format(value);

export const plural = (count, one, many = `${one}s`) =>
  `${number(count)} ${count === 1 ? one : many}`;

export const percent = (probability) => {
  const value = 100 * probability;
  return value > 0 && value < 1 ? "<1 %" : `${Math.round(value)} %`;
};

/** The kind of a file by the end of its name: HEIC, for example. "" if the name has none. */
export const kindOf = (name) => /\.([^./]{1,5})$/.exec(name)?.[1].toUpperCase() ?? "";

/** A time to wait: 8 s, 3 min, 2 h 5 min. */
export function time(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest ? ` ${rest} min` : ""}`;
}

export const milliseconds = (value) =>
  value < 1000 ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : time(value / 1000);

/** 3.2, or 120 without a fraction. */
export const rate = (perSecond) => (perSecond < 10 ? perSecond.toFixed(1) : number(Math.round(perSecond)));

export function bytes(size) {
  const mebibytes = size / 2 ** 20;
  return mebibytes < 1 ? `${Math.ceil(size / 1024)} KB` : `${mebibytes.toFixed(mebibytes < 10 ? 1 : 0)} MB`;
}
