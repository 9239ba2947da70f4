import { kind } from "./claim.ts";
import type { Directory } from "./directory.ts";
import type { Durable, FrameWriter } from "./frame-writer.ts";
import type { InstanceOperations } from "./instance-operations.ts";
import type { InstanceState } from "./instance-state.ts";
import { LayerView } from "./layer-view.ts";
import { recordState } from "./layout.ts";

/**
 * Ends layers that are being deleted. One on which none stands any longer gives its pages back; one on which a single
 * layer stands merges into that. A merge allocates nothing, and goes on wherever a kill left it. The caller holds the
 * lock of the trees.
 */
export class Merge {
  readonly #writer: FrameWriter;
  readonly #directory: Directory;
  readonly #instances: InstanceOperations;
  readonly #view: LayerView;

  constructor(writer: FrameWriter, directory: Directory, instances: InstanceOperations) {
    this.#writer = writer;
    this.#directory = directory;
    this.#instances = instances;
    this.#view = new LayerView(writer.memory, writer.core);
  }

  /** Ends a layer whose record says `deleting`, as far as the layers that stand on it allow, and then those below. */
  reap(instance: InstanceState): void {
    for (let layer: InstanceState | undefined = instance; layer?.record.state === recordState.deleting; ) {
      const children = this.#writer.core.childrenOf(layer);
      const { parent }: InstanceState = layer;
      if (children.length > 1 || children.some(({ isPending }) => isPending)) return;
      if (children.length === 0) this.#free(layer);
      else this.#writer.drained(children[0], () => this.#mergeInto(layer as InstanceState, children[0]));
      // A merge leaves the one below with as many layers as before.
      layer = children.length === 0 ? parent : undefined;
    }
  }

  #free(layer: InstanceState): void {
    const pages = this.#instances.pagesOf(layer);
    this.#instances.withdrawAll(pages);
    this.#writer.core.addPages(layer, -layer.pages);
    this.#writer.core.owners.addMaskPages(layer.owner, -layer.maskPages);
    this.#directory.end(layer);
    layer.parent = undefined;
  }

  // Own claims of a range of masks first, then its mask: an index may have both, and then the claim is what counts.
  #mergeInto(layer: InstanceState, child: InstanceState): void {
    this.#withdrawFrom(layer, child.record.reach);
    const { masksPerPage } = this.#writer.core.shape;
    const data = layer.table(kind.data);
    const masks = layer.table(kind.table);
    const tables = Math.ceil(layer.limit / masksPerPage);
    for (let table = 0; ; table++) {
      const claimed = data.next(table * masksPerPage, layer.limit);
      const first = claimed < layer.limit ? Math.floor(claimed / masksPerPage) : tables;
      table = Math.min(first, masks.next(table, tables));
      if (table >= tables) break;
      const end = Math.min((table + 1) * masksPerPage, layer.limit);
      this.#moveClaims(layer, child, table * masksPerPage, end);
      if (masks.get(table) !== 0) this.#moveMask(layer, child, table);
    }
    const parent = layer.parent;
    const reach = Math.min(child.record.reach, layer.record.reach);
    this.#directory.update(child, { parent: parent?.owner ?? 0, reach: parent === undefined ? 0 : reach });
    child.parent = parent;
    // Without a layer below there is nothing to mask.
    if (parent === undefined) this.#instances.withdrawAll(this.#instances.takeMasksFrom(child, 0));
    this.#directory.end(layer);
    layer.parent = undefined;
  }

  // At and above its reach the child does not see the layer.
  #withdrawFrom(layer: InstanceState, reach: number): void {
    const pages = layer.table(kind.data).takeOut(reach, layer.limit);
    const masks = layer.parent === undefined ? 0 : reach;
    this.#writer.core.addPages(layer, -pages.length);
    this.#instances.withdrawAll([...pages, ...this.#instances.takeMasksFrom(layer, masks)]);
  }

  #moveClaims(layer: InstanceState, child: InstanceState, from: number, end: number): void {
    const writer = this.#writer;
    const data = layer.table(kind.data);
    const own = child.table(kind.data);
    const covered: number[] = [];
    for (const index of data.indices(from, end)) {
      if (own.get(index) !== 0 || this.#view.isMasked(child, index)) {
        covered.push(index);
        continue;
      }
      const page = data.get(index);
      writer.claim(page as Durable, child.owner, kind.data, index, writer.revision(page));
      // Into the table of the child before it leaves the layer's: who looks through both finds it in one of them.
      own.set(index, page);
      data.set(index, 0);
      writer.core.addPages(child, 1);
      writer.core.addPages(layer, -1);
    }
    writer.fence();
    this.#instances.withdrawAll(covered.map((index) => data.get(index)));
    writer.core.addPages(layer, -covered.length);
    // Only now is it gone for good: before, a power cut could bring it back under a child that was trimmed meanwhile.
    for (const index of covered) data.set(index, 0);
  }

  #moveMask(layer: InstanceState, child: InstanceState, table: number): void {
    const writer = this.#writer;
    const masks = layer.table(kind.table);
    const page = masks.get(table);
    const present = child.table(kind.table).get(table);
    if (present === 0) {
      writer.claim(page as Durable, child.owner, kind.table, table, 0);
      writer.fence();
      child.table(kind.table).set(table, page);
      masks.set(table, 0);
      writer.core.owners.addMaskPages(child.owner, 1);
      writer.core.owners.addMaskPages(layer.owner, -1);
      return;
    }
    const content = writer.memory.bytes(writer.core.shape.pageOffset(page), writer.core.shape.pageBytes);
    const words = new Uint32Array(content.buffer, content.byteOffset, content.length / 4);
    words.forEach((bits, k) => {
      if (bits !== 0) writer.orMask(present, { offset: 4 * k, bits });
    });
    writer.fence();
    masks.set(table, 0);
    writer.core.owners.addMaskPages(layer.owner, -1);
    this.#instances.withdrawAll([page]);
  }
}
