/** What a person drops, chooses or pastes, as pictures and archives with the names to show. */

const PICTURE = /\.(jpe?g|jfif|png|webp|gif|bmp|tiff?)$/i;
const ARCHIVE = /\.(zip|tar|tar\.gz|tgz)$/i;

const byName = new Intl.Collator("en", { numeric: true });

/** Of a folder only what looks like a picture; of single files all: a bad one is told in words. */
export function sort(files) {
  const archives = files.filter(({ name }) => ARCHIVE.test(name));
  const rest = files.filter(({ name }) => !ARCHIVE.test(name));
  const pictures = rest.filter((each) => !each.inFolder || looksLikePicture(each));
  return { archives, pictures, leftOut: rest.length - pictures.length };
}

const looksLikePicture = ({ file, name }) =>
  PICTURE.test(name) || (file.type.startsWith("image/") && !file.type.includes("svg"));

/** Of an `<input type="file">`; a folder's files bring their path. */
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

/** Of a drop, folders to their depths. Must be called while the event is being handled. */
export async function dropped(transfer) {
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.());
  if (!entries.some(Boolean)) {
    const files = Array.from(transfer.files);
    return files.map((file) => ({ file, name: file.name, inFolder: false }));
  }
  const found = [];
  for (const entry of entries.filter(Boolean)) await collect(entry, false, found);
  return inOrder(found);
}

const inOrder = (files) =>
  files[0]?.inFolder ? files.sort((one, other) => byName.compare(one.name, other.name)) : files;

async function collect(entry, inFolder, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) found.push({ file, name: inFolder ? entry.fullPath.slice(1) : file.name, inFolder });
    return;
  }
  for (const each of await members(entry)) await collect(each, true, found);
}

/** A browser hands out a folder's entries a hundred at a time, and then none. */
async function members(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return all;
    all.push(...some);
  }
}
