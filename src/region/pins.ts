import { assert, PerdureError } from "../base/index.ts";
import { maxThreads } from "./thread-table.ts";

/** Pages whose counts are in one buffer: that has 2 GiB then. */
const PART_PAGES: number = 2 ** 30;
/** So few that all threads together, each in the middle of one more, stay below 2^16. */
const MOST_HANDLES: number = 2 ** 16 - 1 - maxThreads;

/** What a thread needs to see the pins of another. */
export interface SharedPins {
  readonly held: SharedArrayBuffer;
  readonly parts: readonly SharedArrayBuffer[];
}

/**
 * How often each page is held by a handle, in any thread. A page is held and looked up again, or looked at whether it
 * is held, under the lock of its name or with its instance's gate closed: else a page could be held that is just freed.
 *
 * What a thread still held when it ended stays held until the region is opened again.
 */
export class Pins {
  /** Handles times pages that this thread holds. */
  own = 0;
  /** Until other threads come, counting is a plain addition: an atomic one costs 7 ns. */
  #isShared: boolean;
  /** One word: the sum of all counts, so that asking costs one load where nobody holds anything. */
  readonly #held: Int32Array;
  /** Sixteen bits a page; what is never held is never touched. */
  readonly #parts: readonly Uint16Array[];

  constructor(pages: number, shared?: SharedPins) {
    const { held, parts } = shared ?? makeShared(pages);
    this.#held = new Int32Array(held);
    this.#parts = parts.map((part) => new Uint16Array(part));
    this.#isShared = shared !== undefined;
  }

  /** What another thread makes its own `Pins` of. */
  share(): SharedPins {
    this.#isShared = true;
    return {
      held: this.#held.buffer as SharedArrayBuffer,
      parts: this.#parts.map((part) => part.buffer as SharedArrayBuffer),
    };
  }

  /** Whether any page is held at all. */
  get any(): boolean {
    return this.#held[0] !== 0;
  }

  has(page: number): boolean {
    return this.#held[0] !== 0 && this.#partOf(page)[page % PART_PAGES] !== 0;
  }

  /** Holds a page once more. @returns it. @throws EBUSY when it is held too often already */
  hold(page: number): number {
    const part = this.#partOf(page);
    if (part[page % PART_PAGES] >= MOST_HANDLES) {
      throw new PerdureError("EBUSY", `page ${page} is held by ${MOST_HANDLES} handles already`);
    }
    this.#count(page, 1);
    this.own++;
    return page;
  }

  letGo(page: number): void {
    assert(this.#partOf(page)[page % PART_PAGES] > 0, "what is let go was held");
    this.#count(page, -1);
    this.own--;
  }

  #count(page: number, change: number): void {
    const part = this.#partOf(page);
    if (this.#isShared) {
      Atomics.add(this.#held, 0, change);
      Atomics.add(part, page % PART_PAGES, change);
    } else {
      this.#held[0] += change;
      part[page % PART_PAGES] += change;
    }
  }

  #partOf(page: number): Uint16Array {
    return this.#parts[page < PART_PAGES ? 0 : Math.floor(page / PART_PAGES)];
  }
}

function makeShared(pages: number): SharedPins {
  const parts: SharedArrayBuffer[] = [];
  for (let first = 0; first < pages; first += PART_PAGES) {
    parts.push(new SharedArrayBuffer(2 * Math.min(PART_PAGES, pages - first)));
  }
  return { held: new SharedArrayBuffer(4), parts };
}
