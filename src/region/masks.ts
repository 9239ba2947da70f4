import type { Memory } from "../memory/index.ts";
import { kind } from "./claim.ts";
import type { FrameWriter } from "./frame-writer.ts";
import type { Shape } from "./geometry.ts";
import type { InstanceState } from "./instance-state.ts";
import type { LayerView } from "./layer-view.ts";
import { withLock } from "./locks.ts";

/** How many indices one word of a page of masks is for. Each has two bits, which are equal: one alone is damage. */
const INDICES_PER_WORD = 16;
const BITS = 0b11;

/** Where the mask of an index stands in its page. */
export interface MaskPlace {
  /** From the start of the page, in bytes. */
  readonly offset: number;
  /** The two bits of the index. */
  readonly bits: number;
}

/** @returns where the mask of an index stands in the page that it is in */
export function maskOf(index: number, masksPerPage: number): MaskPlace {
  const within = index % masksPerPage;
  return {
    offset: 4 * Math.floor(within / INDICES_PER_WORD),
    bits: (BITS << (2 * (within % INDICES_PER_WORD))) >>> 0,
  };
}

/** Whether a mask is set. A reader reads with pread(2): a hole of a full tmpfs is SIGBUS. */
export function readMask(memory: Memory, shape: Shape, page: number, { offset, bits }: MaskPlace): boolean {
  const at = shape.pageOffset(page) + offset;
  if (!memory.readOnly) return (memory.load32(at) & bits) !== 0;
  const word = new Uint32Array(1);
  memory.readInto(at, new Uint8Array(word.buffer));
  return (word[0] & bits) !== 0;
}

/** True when no index of a page of masks has one bit without the other. */
export function areMasksSound(content: Uint8Array): boolean {
  const words = new Uint32Array(content.buffer, content.byteOffset, content.length / 4);
  return words.every((word) => ((word ^ (word >>> 1)) & 0x55555555) === 0);
}

/** Writes the masks of layers: what is once set stays. */
export class Masks {
  readonly #writer: FrameWriter;
  readonly #view: LayerView;

  constructor(writer: FrameWriter, view: LayerView) {
    this.#writer = writer;
    this.#view = view;
  }

  /**
   * Makes a layer not ask the one below at an index any longer, and waits until that is durable. The caller holds the
   * lock of the index.
   *
   * @throws ENOSPC when the first mask of a range finds no page; then nothing was stored
   */
  set(layer: InstanceState, index: number): void {
    if (this.#view.isMasked(layer, index)) return;
    const { masksPerPage } = this.#writer.core.shape;
    const page = this.#pageOf(layer, Math.floor(index / masksPerPage));
    this.#writer.orMask(page, maskOf(index, masksPerPage));
    this.#writer.fence();
  }

  // A page of masks is a name of its own: two threads that make one are kept apart by its own lock.
  #pageOf(layer: InstanceState, table: number): number {
    const writer = this.#writer;
    const { words } = writer.core.tableNames;
    const stripe = writer.core.tableNames.stripeOf(layer.owner, table);
    const masks = layer.table(kind.table);
    return withLock(words, stripe, writer.thread, () => {
      const present = masks.get(table);
      if (present !== 0) return present;
      // A trim in a full region gives pages back, so it may use the reserve.
      const draft = writer.takeForMask();
      writer.zero(draft);
      const page = writer.persist(draft);
      writer.claim(page, layer.owner, kind.table, table, 0);
      writer.fence();
      masks.set(table, page);
      writer.core.owners.addMaskPages(layer.owner, 1);
      return page;
    });
  }
}
