/** The files that a user drops, chooses or pastes, as pictures and archives with their names. */

const ENDINGS = document.body.dataset.endings.split(",");
const ARCHIVE = /\.(zip|tar|tar\.gz|tgz)$/i;

const byName = new Intl.Collator("en", { numeric: true });

/** In a folder, hidden files and those of operating systems are skipped without a word. */
const HIDDEN = /(^|\/)(\.|__MACOSX(\/|$)|Thumbs\.db$|desktop\.ini$)/i;

/**
 * Skips files of a folder that do not look like pictures. Single files are all sent. `skipped` is the
 * number of skipped files by kind: `.txt`, for example.
 */
export function sort(files) {
  const meant = files.filter(({ name, inFolder }) => !inFolder || !HIDDEN.test(name));
  const archives = meant.filter(({ name }) => ARCHIVE.test(name));
  const rest = meant.filter(({ name }) => !ARCHIVE.test(name));
  const pictures = rest.filter((each) => !each.inFolder || looksLikePicture(each));
  const skipped = new Map();
  for (const { name } of rest.filter((each) => each.inFolder && !looksLikePicture(each))) {
    const kind = /\.[^./]{1,11}$/.exec(name)?.[0].toLowerCase() ?? "without an ending";
    skipped.set(kind, (skipped.get(kind) ?? 0) + 1);
  }
  return { archives, pictures, skipped };
}

const looksLikePicture = ({ file, name }) =>
  ENDINGS.some((ending) => name.toLowerCase().endsWith(ending)) ||
  (file.type.startsWith("image/") && !file.type.includes("svg"));

/** The files of an `<input type="file">`. Files of a folder have a path. */
export function chosen(input) {
  const files = Array.from(input.files, (file) => {
    const path = file.webkitRelativePath;
    return { file, name: path || file.name, inFolder: path !== "" };
  });
  input.value = "";
  return inOrder(files);
}

export const pasted = (clipboard) =>
  Array.from(clipboard.files, (file) => ({ file, name: file.name, inFolder: false }));

/** The files of a drop, with all inner folders. Call it while the event is handled. */
export async function dropped(transfer) {
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.());
  if (!entries.some(Boolean)) {
    const files = Array.from(transfer.files);
    return files.map((file) => ({ file, name: file.name, inFolder: false }));
  }
  const files = [];
  for (const entry of entries.filter(Boolean)) await collect(entry, false, files);
  return inOrder(files);
}

const inOrder = (files) =>
  files[0]?.inFolder ? files.sort((one, other) => byName.compare(one.name, other.name)) : files;

async function collect(entry, inFolder, files) {
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) files.push({ file, name: inFolder ? entry.fullPath.slice(1) : file.name, inFolder });
    return;
  }
  for (const each of await members(entry)) await collect(each, true, files);
}

/** A browser returns the entries of a folder a hundred at a time, and an empty list at the end. */
async function members(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return all;
    all.push(...some);
  }
}
