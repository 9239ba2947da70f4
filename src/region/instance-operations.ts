import { PerdureError } from "../base/index.ts";
import { kind } from "./claim.ts";
import { type InstanceState, tableKinds } from "./core.ts";
import { Directory } from "./directory.ts";
import type { Durable, FrameWriter } from "./frame-writer.ts";
import { recordState } from "./layout.ts";
import { refuseFresh } from "./page-operations.ts";
import { limitOf } from "./records.ts";

/** The operations on whole instances. Those on its pages drain first, and wait until they end. */
export class InstanceOperations {
  readonly directory: Directory;
  readonly #writer: FrameWriter;

  constructor(writer: FrameWriter) {
    this.#writer = writer;
    this.directory = new Directory(writer);
  }

  /** Makes a pending instance live under its name, whole. @throws EEXIST, EINVAL (it is not pending) */
  publish(instance: InstanceState): void {
    this.#writer.alone(instance, () => {
      if (!instance.isPending) throw new PerdureError("EINVAL", `"${instance.record.name}" is not pending`);
      this.directory.publish(instance);
    });
  }

  /** Deletes an instance and frees its pages. @throws EBUSY when one is pinned */
  delete(instance: InstanceState): void {
    this.#writer.alone(instance, () => {
      const pages = this.#pagesFrom(instance, 0);
      for (const page of pages) this.#writer.core.refusePinned(page);
      const source = instance.isPending ? this.#writer.core.instances.get(instance.record.source) : undefined;
      if (source !== undefined) {
        this.#giveBack(instance, source);
        return;
      }
      // First the record says so: a kill from here on ends in the delete being finished by the next open.
      this.directory.update(instance, { state: recordState.deleting });
      instance.deleted = true;
      this.#withdrawAll(pages);
      instance.pages = 0;
      this.directory.end(instance);
    });
  }

  /**
   * Changes the size in bytes; pages that do not belong to it any longer are freed.
   *
   * @throws EBUSY (pinned), EINVAL (the new size cuts an aligned run)
   */
  resize(instance: InstanceState, sizeBytes: number): void {
    this.#writer.alone(instance, () => {
      refuseFresh(instance);
      const limit = limitOf(sizeBytes, this.#writer.core.shape.pageBytes);
      const pages = limit < instance.limit ? this.#pagesFrom(instance, limit) : [];
      for (const page of pages) this.#writer.core.refusePinned(page);
      this.#refuseCut(instance, limit);
      // The size first: pages beyond it belong to nobody. They are gone before a later growth could bring them back.
      this.directory.update(instance, { sizeBytes });
      this.#forgetFrom(instance, limit);
      this.#withdrawAll(pages);
      instance.pages -= pages.length;
      instance.limit = limit;
    });
  }

  // What a save had taken goes back where it came from, page by page, as the next open would do it.
  #giveBack(instance: InstanceState, source: InstanceState): void {
    const writer = this.#writer;
    const saved = instance.table(kind.data);
    const own = source.table(kind.data);
    for (const index of saved.indices(0, instance.limit)) {
      const page = saved.get(index);
      writer.claim(page as Durable, source.owner, kind.data, index, writer.revision(page));
      writer.fence();
      own.set(index, page);
      source.pages++;
    }
    instance.deleted = true;
    instance.pages = 0;
    this.directory.end(instance);
  }

  #pagesFrom(instance: InstanceState, from: number): number[] {
    const pages: number[] = [];
    for (const kindNumber of tableKinds) {
      const table = instance.table(kindNumber);
      for (const index of table.indices(from, instance.limit)) pages.push(table.get(index));
    }
    return pages;
  }

  #forgetFrom(instance: InstanceState, from: number): void {
    for (const kindNumber of tableKinds) {
      const table = instance.table(kindNumber);
      for (const index of table.indices(from, instance.limit)) table.set(index, 0);
    }
  }

  #refuseCut(instance: InstanceState, limit: number): void {
    const page = instance.table(kind.data).get(limit);
    if (page !== 0 && this.#writer.isTail(page)) {
      throw new PerdureError("EINVAL", `a size of ${limit} pages cuts the aligned run at index ${limit}`, {
        remedy: "free the run first, or choose a size at one of its ends",
      });
    }
  }

  // Heads of runs before their tails, with a persist between; pages are reused when all of it is durable.
  #withdrawAll(pages: readonly number[]): void {
    const writer = this.#writer;
    const tails = pages.filter((page) => writer.isTail(page));
    for (const page of pages) if (!writer.isTail(page)) writer.withdraw(page);
    writer.fence();
    for (const page of tails) writer.withdraw(page);
    writer.fence();
    for (const page of pages) writer.core.freePages.release(page);
  }
}
