/**
 * Thumbnails of pictures. A file is decoded once and kept as a few kilobytes. So thousands of camera
 * pictures scroll as smoothly as ten. Without a file, the service has a thumbnail at a path.
 */

const SIDE = 320;
const AT_ONCE = 4;

export class Thumbnails {
  /** File or path -> address of its thumbnail, or null if there is none. */
  #addresses = new Map();
  #api;
  /** Last in, first out: the newest request is for a visible picture. */
  #wanted = [];
  #running = 0;

  constructor(api) {
    this.#api = api;
  }

  /** The address of the thumbnail of a file or path. If it is not made yet, `then(address)` is called later. */
  of(source, then) {
    if (this.#addresses.has(source)) return this.#addresses.get(source);
    this.#wanted.push({ source, then });
    if (this.#running < AT_ONCE) this.#run();
    return undefined;
  }

  /** Drops the requests for pictures that are not visible any more. */
  drop(stillWanted) {
    this.#wanted = this.#wanted.filter(({ source }) => stillWanted(source));
  }

  async #run() {
    this.#running++;
    for (let request; (request = this.#wanted.pop()); ) {
      const { source, then } = request;
      if (!this.#addresses.has(source)) this.#addresses.set(source, await this.#make(source));
      then(this.#addresses.get(source));
    }
    this.#running--;
  }

  #make(source) {
    return typeof source === "string" ? this.#read(source) : small(source);
  }

  async #read(path) {
    try {
      return URL.createObjectURL(await (await this.#api.send(path)).blob());
    } catch {
      return null;
    }
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

/** What the thumbnail of an item is made of: its file, or a path of the service, or undefined. */
export const sourceOf = ({ file, thumbnail }) => file ?? thumbnail;
