/**
 * Small pictures of large files. Each is decoded once and kept as a few kilobytes, so thousands of
 * camera pictures scroll as smoothly as ten.
 */

const SIDE = 320;
const AT_ONCE = 4;

export class Thumbnails {
  /** File -> address of its small picture, or null where the browser cannot show it. */
  #known = new Map();
  /** The newest wish is the one that is looked at now: last in, first out. */
  #wanted = [];
  #running = 0;

  /** Address of a file's small picture: at once where it is known, else by calling `then`. */
  of(file, then) {
    if (this.#known.has(file)) return this.#known.get(file);
    this.#wanted.push({ file, then });
    if (this.#running < AT_ONCE) this.#run();
    return undefined;
  }

  /** Forget wishes for what has been scrolled away. */
  drop(stillWanted) {
    this.#wanted = this.#wanted.filter(({ file }) => stillWanted(file));
  }

  async #run() {
    this.#running++;
    for (let wish; (wish = this.#wanted.pop()); ) {
      const { file, then } = wish;
      if (!this.#known.has(file)) this.#known.set(file, await small(file));
      then(this.#known.get(file));
    }
    this.#running--;
  }
}

/** The middle square, as the model sees it; null where the file is no picture for this browser. */
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
