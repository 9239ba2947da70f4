import { kind } from "./claim.ts";
import type { InstanceState } from "./core.ts";
import type { FrameWriter } from "./frame-writer.ts";
import type { LayerView } from "./layer-view.ts";
import { acquire, release } from "./locks.ts";

/** Writes the masks of layers: one bit an index, which once set stays. */
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
    const bit = index % masksPerPage;
    this.#writer.orMask(page, bit, 1 << (bit & 31));
    this.#writer.fence();
  }

  // A page of masks is a name of its own: two threads that make one are kept apart by its own lock.
  #pageOf(layer: InstanceState, table: number): number {
    const writer = this.#writer;
    const { words } = writer.core.tableNames;
    const stripe = writer.core.tableNames.stripeOf(layer.owner, table);
    const masks = layer.table(kind.table);
    acquire(words, stripe, writer.thread);
    try {
      const present = masks.get(table);
      if (present !== 0) return present;
      // A trim in a full region gives pages back, so it may use the reserve.
      const draft = writer.takeReserved();
      writer.zero(draft);
      const page = writer.persist(draft);
      writer.claim(page, layer.owner, kind.table, table, 0);
      writer.fence();
      masks.set(table, page);
      writer.core.addPages(layer, 1);
      return page;
    } finally {
      release(words, stripe);
    }
  }
}
