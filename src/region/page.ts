import { PerdureError } from "../base/index.ts";
import { type Memory, persist } from "../memory/index.ts";
import type { RegionCore } from "./core.ts";
import type { FrameWriter } from "./frame-writer.ts";
import type { InstanceState } from "./instance-state.ts";
import { sealAgain, unsealPages } from "./seals.ts";

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
  /** The instance that shows it, where what is given out is a copy. */
  readonly #shownBy: InstanceState | undefined;
  #held = true;
  /** What a reader was given, or who holds a page of a snapshot. */
  #copy: Uint8Array | undefined;

  /** Takes over pages that are held. `shownBy`: a snapshot, or what a reader has; what is given out is a copy. */
  constructor(
    writer: FrameWriter,
    number: number,
    index: number,
    { pages = 1, shownBy }: { pages?: number; shownBy?: InstanceState } = {},
  ) {
    const { memory, core } = writer;
    this.#shownBy = shownBy;
    this.#writer = writer;
    this.#memory = memory;
    this.#core = core;
    this.number = number;
    this.index = index;
    this.#pages = pages;
    // Stores through a view cannot be followed: a page that is held to be written is not sealed.
    if (!core.shape.hasSeals || shownBy !== undefined) return;
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
    const { shape } = this.#core;
    if (this.#shownBy === undefined)
      return this.#memory.bytes(shape.pageOffset(this.number), this.#pages * shape.pageBytes);
    this.#copy ??= this.#copyOf(this.#shownBy);
    return this.#copy;
  }

  #copyOf(shownBy: InstanceState): Uint8Array {
    const copy = new Uint8Array(this.#core.shape.pageBytes);
    this.#writer.copyPage(shownBy, this.index, this.number, 0, copy);
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
    if (!this.#core.shape.hasSeals || this.#shownBy !== undefined || this.#core.closed || this.#core.isPoisoned)
      this.#letGo();
    else sealAgain(this.#writer, this.number, this.#pages);
  }

  #letGo(): void {
    for (let k = 0; k < this.#pages; k++) this.#core.pins.letGo(this.number + k);
  }
}
