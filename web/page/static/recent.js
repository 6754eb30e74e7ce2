/** The recent jobs of this browser: their ids and titles, until their results expire. */

const NAME = "recent-jobs";
const MOST = 8;

export function recent() {
  let jobs = [];
  try {
    jobs = JSON.parse(localStorage.getItem(NAME)) ?? [];
  } catch {
    // Storage is not allowed, or its content is damaged: there are no recent jobs.
  }
  return jobs.filter(({ expires }) => expires > Date.now() / 1000);
}

export function remember({ id, title, record }) {
  const others = recent().filter((each) => each.id !== id);
  const job = { id, title, began: record.created_at, expires: record.expires_at };
  write([job, ...others].slice(0, MOST));
}

export function forget(id) {
  write(recent().filter((each) => each.id !== id));
}

function write(jobs) {
  try {
    localStorage.setItem(NAME, JSON.stringify(jobs));
  } catch {
    // Storage is full or not allowed: the job is not remembered.
  }
}

/** Shows the recent jobs, except the one that the page shows. */
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
