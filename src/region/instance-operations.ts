import { PerdureError } from "../base/index.ts";
import { kind } from "./claim.ts";
import { tableKinds } from "./core.ts";
import type { Directory } from "./directory.ts";
import type { Durable, FrameWriter } from "./frame-writer.ts";
import type { InstanceState } from "./instance-state.ts";
import { refuseFresh } from "./page-operations.ts";
import { limitOf } from "./records.ts";

/** How many pages an instance is guaranteed, and how many it may have; 0 for no limit. */
export interface Quota {
  readonly minPages: number;
  readonly maxPages: number;
}

/** The operations on one whole instance. Those on its pages drain first, and wait until they end. */
export class InstanceOperations {
  readonly #directory: Directory;
  readonly #writer: FrameWriter;

  constructor(writer: FrameWriter, directory: Directory) {
    this.#writer = writer;
    this.#directory = directory;
  }

  /** Gives an instance another name. @throws EEXIST, EBUSY (it is being saved), EINVAL (it is pending) */
  rename(instance: InstanceState, name: string): void {
    this.#writer.alone(instance, () => {
      if (instance.isPending) throw new PerdureError("EINVAL", `"${instance.record.name}" is pending: it has no name`);
      this.#directory.name(instance, { name }, instance);
    });
  }

  setAttributes(instance: InstanceState, attributes: Uint8Array): void {
    this.#writer.alone(instance, () => {
      instance.refuseReadOnly();
      this.#directory.update(instance, { attributes });
    });
  }

  setSchema(instance: InstanceState, schema: number): void {
    this.#writer.alone(instance, () => this.#directory.update(instance, { schema }));
  }

  /** @throws ENOSPC when so much cannot be guaranteed, EINVAL */
  setQuota(instance: InstanceState, { minPages, maxPages }: Quota): void {
    this.#writer.alone(instance, () => {
      instance.refuseReadOnly();
      refuseBadQuota({ minPages, maxPages });
      if (minPages + maxPages > 0) this.#writer.core.refuseOldFormat("quotas");
      this.#writer.refusePromise(Math.max(0, minPages - Math.max(instance.pages, instance.record.quotaMinPages)));
      this.#directory.update(instance, { quotaMinPages: minPages, quotaMaxPages: maxPages });
    });
  }

  /**
   * Changes the size in bytes; pages that do not belong to it any longer are freed.
   *
   * @throws EBUSY (pinned), EINVAL (the new size cuts an aligned run), READ_ONLY (a snapshot)
   */
  resize(instance: InstanceState, sizeBytes: number): void {
    this.#writer.alone(instance, () => {
      instance.refuseReadOnly();
      refuseFresh(instance);
      const { core } = this.#writer;
      const limit = limitOf(sizeBytes, core.shape.pageBytes);
      const pages = limit < instance.limit ? this.#pagesFrom(instance, limit) : [];
      for (const page of pages) core.refusePinned(page);
      this.#refuseCut(instance, limit);
      // Nor does what the layer below has there come back with a later growth.
      const reach = Math.min(instance.record.reach, limit);
      // The size first: pages beyond it belong to nobody. They are gone before a later growth could bring them back.
      this.#directory.update(instance, { sizeBytes, reach });
      for (const kindNumber of tableKinds) instance.table(kindNumber).takeOut(limit, instance.limit);
      const masks = instance.parent === undefined ? [] : this.takeMasksFrom(instance, reach);
      core.owners.addTails(instance.owner, -pages.filter((page) => this.#writer.isTail(page)).length);
      this.withdrawAll([...pages, ...masks]);
      core.addPages(instance, -pages.length);
      instance.limit = limit;
    });
  }

  /** What a save had taken goes back where it came from, page by page, as the next open would do it. */
  giveBack(instance: InstanceState, source: InstanceState): void {
    const writer = this.#writer;
    const saved = instance.table(kind.data);
    const own = source.table(kind.data);
    for (const index of saved.indices(0, instance.limit)) {
      const page = saved.get(index);
      writer.claim(page as Durable, source.owner, kind.data, index, writer.revision(page));
      writer.fence();
      own.set(index, page);
      writer.core.addPages(source, 1);
      writer.core.addPages(instance, -1);
    }
    // What it is guaranteed is given up with its record: it must not count as deleted before.
    this.#directory.end(instance);
    instance.deleted = true;
  }

  /** Every page that is claimed for an instance: data, volatile ones and masks. */
  pagesOf(instance: InstanceState): number[] {
    const pages = this.#pagesFrom(instance, 0);
    const masks = instance.table(kind.table);
    for (const table of masks.indices(0, 2 ** 32)) pages.push(masks.get(table));
    return pages;
  }

  /** Takes the masks from an index on out of the page table. @returns their pages, which are to be withdrawn */
  takeMasksFrom(instance: InstanceState, reach: number): number[] {
    const { shape, owners } = this.#writer.core;
    const taken = instance.table(kind.table).takeOut(Math.ceil(reach / shape.masksPerPage), 2 ** 32);
    owners.addMaskPages(instance.owner, -taken.length);
    return taken;
  }

  /** Heads of runs before their tails, with a persist between; pages are reused when all of it is durable. */
  withdrawAll(pages: readonly number[]): void {
    if (pages.length === 0) return;
    const writer = this.#writer;
    const tails = pages.filter((page) => writer.isTail(page));
    for (const page of pages) if (!writer.isTail(page)) writer.withdraw(page);
    writer.fence();
    for (const page of tails) writer.withdraw(page);
    writer.fence();
    for (const page of pages) writer.core.freePages.release(page);
  }

  #pagesFrom(instance: InstanceState, from: number): number[] {
    const pages: number[] = [];
    for (const kindNumber of tableKinds) {
      const table = instance.table(kindNumber);
      for (const index of table.indices(from, instance.limit)) pages.push(table.get(index));
    }
    return pages;
  }

  #refuseCut(instance: InstanceState, limit: number): void {
    const page = instance.table(kind.data).get(limit);
    if (page !== 0 && this.#writer.isTail(page)) {
      throw new PerdureError("EINVAL", `a size of ${limit} pages cuts the aligned run at index ${limit}`, {
        remedy: "free the run first, or choose a size at one of its ends",
      });
    }
  }
}

/** @throws EINVAL for what is no quota */
export function refuseBadQuota({ minPages, maxPages }: Quota): void {
  const areCounts = [minPages, maxPages].every((pages) => Number.isSafeInteger(pages) && pages >= 0);
  if (areCounts && (maxPages === 0 || minPages <= maxPages)) return;
  throw new PerdureError("EINVAL", `a quota of ${minPages} to ${maxPages} pages: the minimum is not above the maximum`);
}
