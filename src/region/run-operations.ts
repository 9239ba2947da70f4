import { PerdureError } from "../base/index.ts";
import { windowBytes } from "../memory/index.ts";
import { kind } from "./claim.ts";
import type { Durable, FrameWriter } from "./frame-writer.ts";
import type { InstanceState } from "./instance-state.ts";
import { isRunPart, refuseFresh } from "./page-operations.ts";

/** The first page of an aligned run and how many pages it has. */
export interface Run {
  readonly page: number;
  readonly pages: number;
  /** Index of its first page. */
  readonly index: number;
}

/**
 * Aligned runs of 2^order pages. The head's claim is the commit: tails without a head are orphans, which opening frees.
 * The instance's gate is closed meanwhile, so no lock of a single name is needed.
 */
export class RunOperations {
  readonly #writer: FrameWriter;

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  /** Holds a run. @throws EINVAL (order, index), EEXIST (a page of the range is there and is not this run), ENOSPC */
  ensure(instance: InstanceState, index: number, order: number): Run {
    const length = this.#lengthOf(order);
    return this.#writer.alone(instance, () => {
      if (!Number.isInteger(index) || index < 0 || index + length > instance.limit) {
        throw new PerdureError(
          "EINVAL",
          `indices ${index} to ${index + length - 1} are not all below ${instance.limit}`,
        );
      }
      refuseFresh(instance);
      refuseLayered(instance);
      const present = this.#find(instance, index);
      if (present !== undefined && present.index === index && present.pages === length) return this.#hold(present);
      const table = instance.table(kind.data);
      const taken = table.next(index, index + length);
      if (taken !== index + length) throw new PerdureError("EEXIST", `there is a page at index ${taken} already`);
      const page = this.#claim(instance, index, length);
      for (let k = 0; k < length; k++) table.set(index + k, page + k);
      this.#writer.core.addPages(instance, length);
      this.#writer.core.owners.addTails(instance.owner, length - 1);
      return this.#hold({ page, pages: length, index });
    });
  }

  /** Frees the run that holds an index. @throws ENODATA (no run there), EBUSY (pinned) */
  free(instance: InstanceState, index: number): void {
    this.#writer.alone(instance, () => {
      refuseFresh(instance);
      const run = this.#find(instance, index);
      if (run === undefined) throw new PerdureError("ENODATA", `there is no aligned run at index ${index}`);
      for (let k = 0; k < run.pages; k++) this.#writer.core.refusePinned(run.page + k);
      // The head first, persist, then the tails: a tail without its head is an orphan, a head without tails is not.
      this.#writer.withdraw(run.page);
      this.#writer.fence();
      for (let k = 1; k < run.pages; k++) this.#writer.withdraw(run.page + k);
      this.#writer.fence();
      const table = instance.table(kind.data);
      for (let k = 0; k < run.pages; k++) table.set(run.index + k, 0);
      this.#writer.core.addPages(instance, -run.pages);
      this.#writer.core.owners.addTails(instance.owner, 1 - run.pages);
      // Not even the head's page is reused before its tails are gone: they would hang on to the next claim there.
      for (let k = 0; k < run.pages; k++) this.#writer.core.freePages.release(run.page + k);
    });
  }

  #hold(run: Run): Run {
    for (let k = 0; k < run.pages; k++) this.#writer.core.pins.hold(run.page + k);
    return run;
  }

  #claim(instance: InstanceState, index: number, length: number): number {
    const writer = this.#writer;
    const draft = writer.takeRun(instance, Math.log2(length));
    for (let k = 0; k < length; k++)
      writer.memory.zero(writer.core.shape.pageOffset(draft + k), writer.core.shape.pageBytes);
    const head = writer.persist(draft, length);
    for (let k = 1; k < length; k++) writer.claim((head + k) as Durable, instance.owner, kind.run, index + k, 0);
    writer.fence();
    writer.claim(head, instance.owner, kind.data, index, 0);
    writer.fence();
    return head;
  }

  #find(instance: InstanceState, index: number): Run | undefined {
    const writer = this.#writer;
    let page = instance.table(kind.data).get(index);
    if (page === 0 || !isRunPart(writer, page)) return undefined;
    while (writer.isTail(page)) page--;
    let end = page + 1;
    while (end < writer.core.words.mark && writer.follows(end - 1, end)) end++;
    return { page, pages: end - page, index: writer.indexOf(page) };
  }

  #lengthOf(order: number): number {
    const length = 2 ** order;
    if (Number.isInteger(order) && order >= 1 && length * this.#writer.core.shape.pageBytes <= windowBytes)
      return length;
    throw new PerdureError(
      "EINVAL",
      `a run has 2^1 pages at least and ${windowBytes} bytes at most, not 2^${order} pages`,
    );
  }
}

/** Runs are freed and kept as a whole, while layers share single pages. @throws EINVAL, READ_ONLY */
function refuseLayered(instance: InstanceState): void {
  instance.refuseReadOnly();
  if (instance.parent === undefined) return;
  throw new PerdureError("EINVAL", `"${instance.record.name}" is a layer: it has no aligned runs`);
}
