import { PerdureError } from "../base/index.ts";
import { type Memory, persist } from "../memory/index.ts";
import type { RegionCore } from "./core.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { readSealed, sealAgain, unsealPages } from "./seals.ts";

/**
 * A page, or an aligned run of pages, held in place: while the handle lives it is never moved, replaced or reused, and
 * operations that need it answer EBUSY. Dispose it when done (`using page = instance.ensure(7)`).
 */
export class Page implements Disposable {
  /** Its index in the instance; that of the first page for a run. */
  readonly index: number;
  /** Its page number in the region. */
  readonly number: number;
  readonly #writer: FrameWriter;
  readonly #memory: Memory;
  readonly #core: RegionCore;
  readonly #pages: number;
  readonly #isCopy: boolean;
  #held = true;
  /** What a reader was given: its mapping must not be touched where the file has a hole. */
  #copy: Uint8Array | undefined;

  /** Takes over pages that are held. `isCopy`: it belongs to a snapshot, so what is given out is a copy. */
  constructor(
    writer: FrameWriter,
    number: number,
    index: number,
    { pages = 1, isCopy = false }: { pages?: number; isCopy?: boolean } = {},
  ) {
    const { memory, core } = writer;
    this.#isCopy = isCopy || memory.readOnly;
    this.#writer = writer;
    this.#memory = memory;
    this.#core = core;
    this.number = number;
    this.index = index;
    this.#pages = pages;
    // Stores through a view cannot be followed: a page that is held to be written is not sealed.
    if (!core.shape.hasSeals || this.#isCopy) return;
    try {
      unsealPages(writer, number, pages);
    } catch (error) {
      this.#letGo();
      throw error;
    }
  }

  /**
   * The memory itself; for a reader, and of a snapshot, a copy of it. Stores here are kept at once, one machine word at
   * a time: what must change as a whole is written with `instance.write`. Empty after the region was closed.
   *
   * @throws CLOSED when the page was disposed or the region closed; for a reader DATA_CORRUPT, EBUSY
   */
  get bytes(): Uint8Array {
    this.#refuseGone();
    const offset = this.#core.shape.pageOffset(this.number);
    const lengthBytes = this.#pages * this.#core.shape.pageBytes;
    if (!this.#isCopy) return this.#memory.bytes(offset, lengthBytes);
    this.#copy ??= this.#core.shape.hasSeals ? this.#copySealed() : this.#memory.read(offset, lengthBytes);
    return this.#copy;
  }

  #copySealed(): Uint8Array {
    const { pageBytes } = this.#core.shape;
    const copy = new Uint8Array(this.#pages * pageBytes);
    for (let k = 0; k < this.#pages; k++) {
      const part = copy.subarray(k * pageBytes, (k + 1) * pageBytes);
      readSealed(this.#memory, this.#core, this.number + k, this.index + k, part);
    }
    return copy;
  }

  /** Makes the bytes durable as far as the backing promises. @throws EIO, CLOSED */
  persist(): void {
    this.#refuseGone();
    try {
      this.#persistAll();
    } catch (error) {
      throw this.#core.failed(error);
    }
  }

  #persistAll(): void {
    persist(this.#memory, this.#core.shape.pageOffset(this.number), this.#pages * this.#core.shape.pageBytes);
  }

  #refuseGone(): void {
    if (!this.#held) throw new PerdureError("CLOSED", `the page at index ${this.index} was disposed`);
    if (this.#core.closed) throw new PerdureError("CLOSED", "the region was closed");
  }

  /** Lets the page go. In a region with checksums what nobody holds any longer is sealed again. @throws EIO */
  [Symbol.dispose](): void {
    if (!this.#held) return;
    this.#held = false;
    if (!this.#core.shape.hasSeals || this.#isCopy || this.#core.closed || this.#core.isPoisoned) this.#letGo();
    else sealAgain(this.#writer, this.number, this.#pages);
  }

  #letGo(): void {
    for (let k = 0; k < this.#pages; k++) this.#core.pins.letGo(this.number + k);
  }
}
