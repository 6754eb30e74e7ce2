/**
 * Thumbnails of pictures. A file is decoded once, in a worker, and kept as a few kilobytes. So
 * thousands of camera pictures scroll as smoothly as ten. Without a file, or if the browser cannot
 * decode it, the service has a thumbnail at a path.
 */

/** In pixels of the screen: as large as a picture of the grid may get, and not sharper than needed. */
const SIDE = Math.min(320, Math.ceil(224 * devicePixelRatio));

/** Photos that are decoded at the same time. The page and the service need processors, too. */
const FILES_AT_ONCE = Math.min(3, Math.max(1, Math.floor(navigator.hardwareConcurrency / 2)));

const PATHS_AT_ONCE = 4;

const REST_MILLISECONDS = 150;

export class Thumbnails {
  /** File or path -> address of its thumbnail, or null if there is none. */
  #addresses = new Map();
  #api;
  #shrinker = new Shrinker();
  #files = new Queue(FILES_AT_ONCE, (file) => this.#make(file, () => this.#shrinker.shrink(file, SIDE)));
  #paths = new Queue(PATHS_AT_ONCE, (path) => this.#make(path, () => this.#read(path)));

  constructor(api) {
    this.#api = api;
  }

  /**
   * The address of the thumbnail of an item, or null if there is none. If that is not known yet,
   * undefined is returned and `then()` is called later, unless `drop` has dropped the request.
   */
  of(item, then, { keep = false } = {}) {
    for (const source of sourcesOf(item)) {
      const address = this.#addresses.get(source);
      if (address) return address;
      if (address === null) continue;
      this.#queueOf(source).add({ source, then, keep });
      return undefined;
    }
    return null;
  }

  /** A promise of the address of the first item that has a thumbnail; null if none of them has. */
  async first(items) {
    for (const item of items) {
      let address;
      while ((address = await this.#next(item)) === undefined);
      if (address) return address;
    }
    return null;
  }

  #next(item) {
    return new Promise((resolve) => {
      const address = this.of(item, () => resolve(undefined), { keep: true });
      if (address !== undefined) resolve(address);
    });
  }

  /** Drops the requests for pictures that are not visible any more. */
  drop(stillWanted) {
    for (const queue of [this.#files, this.#paths]) queue.drop(stillWanted);
  }

  /** Makes and asks for nothing for a moment: the window moves too fast for pictures to be seen. */
  rest() {
    for (const queue of [this.#files, this.#paths]) queue.rest();
  }

  #queueOf(source) {
    return typeof source === "string" ? this.#paths : this.#files;
  }

  async #make(source, shrink) {
    if (this.#addresses.has(source)) return; // it was asked for twice
    const blob = await shrink();
    this.#addresses.set(source, blob && URL.createObjectURL(blob));
  }

  async #read(path) {
    try {
      return await (await this.#api.send(path)).blob();
    } catch {
      return null;
    }
  }
}

/** Requests, last in, first out: the newest one is for a visible picture. */
class Queue {
  #atOnce;
  #make;
  #wanted = [];
  #running = 0;
  #restsUntil = 0;

  constructor(atOnce, make) {
    this.#atOnce = atOnce;
    this.#make = make;
  }

  add(request) {
    this.#wanted.push(request);
    if (this.#running < this.#atOnce) this.#run();
  }

  drop(stillWanted) {
    this.#wanted = this.#wanted.filter(({ source, keep }) => keep || stillWanted(source));
  }

  rest() {
    this.#restsUntil = performance.now() + REST_MILLISECONDS;
  }

  async #run() {
    this.#running++;
    for (let request; await this.#rested(), (request = this.#wanted.pop()); ) {
      await this.#make(request.source);
      request.then();
    }
    this.#running--;
  }

  async #rested() {
    for (let left; (left = this.#restsUntil - performance.now()) > 0; )
      await new Promise((resolve) => setTimeout(resolve, left));
  }
}

/** The worker that makes small pictures. Its promises have a blob, or null. */
class Shrinker {
  #waiting = new Map();
  #asked = 0;
  // It is loaded with the page: the service may be away when the first picture is chosen.
  #worker = this.#start();

  shrink(file, side) {
    const id = this.#asked++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker.postMessage({ id, file, side });
    });
  }

  #start() {
    const address = new URL("shrink.js", import.meta.url).href;
    const trusted = { createScriptURL: () => address };
    const policy = globalThis.trustedTypes?.createPolicy("worker", trusted) ?? trusted;
    const worker = new Worker(policy.createScriptURL(address));
    worker.onmessage = ({ data: { id, blob } }) => {
      this.#waiting.get(id)(blob);
      this.#waiting.delete(id);
    };
    return worker;
  }
}

/** The sources of an item's thumbnail: its file, and a path of the service. */
export const sourcesOf = ({ file, thumbnail }) => [file, thumbnail].filter(Boolean);
