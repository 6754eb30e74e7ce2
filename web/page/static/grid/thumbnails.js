/**
 * Thumbnails of picture files. Each file is decoded once and kept as a few kilobytes. So thousands
 * of camera pictures scroll as smoothly as ten.
 */

const SIDE = 320;
const AT_ONCE = 4;

export class Thumbnails {
  /** File -> address of its thumbnail, or null if the browser cannot show the file. */
  #addresses = new Map();
  /** Last in, first out: the newest request is for a visible picture. */
  #wanted = [];
  #running = 0;

  /** The address of a file's thumbnail. If it is not made yet, `then(address)` is called later. */
  of(file, then) {
    if (this.#addresses.has(file)) return this.#addresses.get(file);
    this.#wanted.push({ file, then });
    if (this.#running < AT_ONCE) this.#run();
    return undefined;
  }

  /** Drops the requests for pictures that are not visible any more. */
  drop(stillWanted) {
    this.#wanted = this.#wanted.filter(({ file }) => stillWanted(file));
  }

  async #run() {
    this.#running++;
    for (let request; (request = this.#wanted.pop()); ) {
      const { file, then } = request;
      if (!this.#addresses.has(file)) this.#addresses.set(file, await small(file));
      then(this.#addresses.get(file));
    }
    this.#running--;
  }
}

/** The middle square, as the model sees it. Null if the browser cannot decode the file. */
async function small(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const side = Math.min(bitmap.width, bitmap.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = Math.min(SIDE, side);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const [x, y] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
    context.drawImage(bitmap, x, y, side, side, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/webp", 0.85));
    return blob && URL.createObjectURL(blob);
  } catch {
    return null;
  }
}
