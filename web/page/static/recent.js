/** The last jobs of this browser: their addresses and titles, until their results expire. */

const NAME = "recent-jobs";
const MOST = 8;

export function recent() {
  let known = [];
  try {
    known = JSON.parse(localStorage.getItem(NAME)) ?? [];
  } catch {
    // Written by hand, or not allowed: as good as none.
  }
  return known.filter(({ expires }) => expires > Date.now() / 1000);
}

export function remember({ id, title, record }) {
  const others = recent().filter((each) => each.id !== id);
  const known = { id, title, began: record.created_at, expires: record.expires_at };
  write([known, ...others].slice(0, MOST));
}

export function forget(id) {
  write(recent().filter((each) => each.id !== id));
}

function write(jobs) {
  try {
    localStorage.setItem(NAME, JSON.stringify(jobs));
  } catch {
    // Full or not allowed: a browser that forgets.
  }
}

/** The section of the page; without the job that is shown. */
export function showRecent(section, shown) {
  const jobs = recent().filter(({ id }) => id !== shown);
  section.hidden = !jobs.length;
  const rows = jobs.map(({ id, title, began }) => {
    const [row, link, when] = ["li", "a", "time"].map((name) => document.createElement(name));
    link.href = `?job=${encodeURIComponent(id)}`;
    link.textContent = title;
    const date = new Date(1000 * began);
    when.dateTime = date.toISOString();
    when.textContent = date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
    row.append(link, " ", when);
    return row;
  });
  section.querySelector("ul").replaceChildren(...rows);
}
