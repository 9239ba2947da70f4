import { PerdureError } from "../base/index.ts";
import { kind } from "./claim.ts";
import type { InstanceState } from "./core.ts";
import { validateSize } from "./directory.ts";
import { attributeBytes } from "./layout.ts";
import type { OpenRegion } from "./open-region.ts";
import { Page } from "./page.ts";

/**
 * A named, typed owner of pages: a sparse array of pages by index. Handles stay valid until the instance is deleted or
 * the region closed.
 */
export class Instance {
  readonly #region: OpenRegion;
  readonly #state: InstanceState;

  constructor(region: OpenRegion, state: InstanceState) {
    this.#region = region;
    this.#state = state;
  }

  get subsystem(): string {
    return this.#state.record.subsystem;
  }

  get name(): string {
    return this.#state.record.name;
  }

  /** Schema number of the program that owns the data. */
  get schema(): number {
    return this.#state.record.schema;
  }

  /** Size in bytes: pages at an index of ceil(size / page size) or above cannot exist. */
  get sizeBytes(): number {
    return this.#state.record.sizeBytes;
  }

  /** How many pages it has now. */
  get pageCount(): number {
    return this.#state.pages;
  }

  get created(): Date {
    return new Date(this.#state.record.createdMs);
  }

  /** 96 bytes that belong to the subsystem; changed as a whole. */
  get attributes(): Uint8Array {
    return this.#state.record.attributes.slice();
  }

  /** @throws EINVAL when they are longer than 96 bytes; POISONED, CLOSED */
  setAttributes(attributes: Uint8Array): void {
    if (attributes.length > attributeBytes) {
      throw new PerdureError("EINVAL", `attributes have at most ${attributeBytes} bytes, not ${attributes.length}`);
    }
    this.#region.pages.writer.alone(this.#state, () => {
      this.#region.instances.directory.update(this.#state, { attributes: attributes.slice() });
    });
  }

  /** Holds the page at an index, made of zeroes when it is not there. @throws ENOSPC, EINVAL */
  ensure(index: number): Page {
    return this.#hold(this.#region.pages.ensure(this.#state, kind.data, index), index);
  }

  /** Holds the page at an index. @throws ENODATA when there is none */
  get(index: number): Page {
    const page = this.#pageAt(index);
    if (page === 0) throw new PerdureError("ENODATA", `"${this.name}" has no page at index ${index}`);
    return this.#hold(page, index);
  }

  has(index: number): boolean {
    return this.#pageAt(index) !== 0;
  }

  /** A copy of the page at an index; zeroes when there is none. @throws as readInto */
  read(index: number): Uint8Array {
    const target = new Uint8Array(this.#region.core.shape.pageBytes);
    this.readInto(index, 0, target);
    return target;
  }

  /**
   * Copies `target.length` bytes of the page at an index, from byte `within` on; zeroes when there is no page. A reader
   * beside a writer sees the pages of the moment at which it opened.
   *
   * @throws EINVAL when they are not all of one page; EBUSY when the writer has replaced the page since
   */
  readInto(index: number, within: number, target: Uint8Array): void {
    this.#refuseOutside(within, target.length);
    const page = this.#pageAt(index);
    if (page === 0) target.fill(0);
    else this.#region.pages.writer.copyPage(this.#state.owner, index, page, within, target);
  }

  /**
   * Replaces the page at an index, or a part of it from byte `within` on: after a crash it is wholly old or wholly new.
   *
   * @throws ENOSPC, EBUSY (held), EINVAL
   */
  write(index: number, bytes: Uint8Array, within = 0): void {
    this.#refuseOutside(within, bytes.length);
    this.#region.pages.write(this.#state, index, within, bytes);
  }

  /** Frees the page at an index. @returns false when there was none. @throws EBUSY (held), EINVAL (part of a run) */
  free(index: number): boolean {
    return this.#region.pages.free(this.#state, kind.data, index);
  }

  /** The indices from `from` to below `end` that have a page, in order. */
  *indices(from = 0, end: number = this.#state.limit): Generator<number, void, undefined> {
    this.#refuseGone();
    const stop = Math.min(end, this.#state.limit);
    for (let index = this.nextPage(from, stop); index < stop; index = this.nextPage(index + 1, stop)) yield index;
  }

  /** The first index from `from` on that has a page, or `end`. */
  nextPage(from: number, end: number): number {
    this.#refuseGone();
    return this.#next(from, end, (first, last) => this.#state.table(kind.data).next(first, last));
  }

  /** The first index from `from` on that has no page, or `end`. */
  nextHole(from: number, end: number): number {
    this.#refuseGone();
    return this.#next(from, end, (first, last) => this.#state.table(kind.data).nextHole(first, last));
  }

  /**
   * Holds 2^order pages that stand side by side at the indices from `index` on, on a multiple of their size in the
   * region; made of zeroes when they are not there.
   *
   * @throws ENOSPC (no such run is free), EEXIST (a page stands in the way), EINVAL
   */
  ensureRun(index: number, order: number): Page {
    const run = this.#region.runs.ensure(this.#state, index, order);
    return new Page(this.#region.memory, this.#region.core, run.page, run.index, run.pages);
  }

  /** Frees the aligned run that holds an index, whole. @throws ENODATA, EBUSY (held) */
  freeRun(index: number): void {
    this.#region.runs.free(this.#state, index);
  }

  /**
   * Gives the page at an index to another instance by one store; nothing is copied. A page that stood there is freed.
   *
   * @throws ENODATA, EBUSY (held), EINVAL
   */
  handOver(index: number, target: Instance, targetIndex: number): void {
    if (target.#region.core !== this.#region.core) {
      throw new PerdureError("EINVAL", `"${target.name}" belongs to another region: its pages are of another memory`);
    }
    const from = { instance: this.#state, kind: kind.data, index };
    this.#region.pages.handOver(from, { instance: target.#state, kind: kind.data, index: targetIndex });
  }

  /** Holds a volatile page: it comes from the same memory, and the next open frees it. @throws ENOSPC, EINVAL */
  ensureVolatile(index: number): Page {
    return this.#hold(this.#region.pages.ensure(this.#state, kind.volatile, index), index);
  }

  /** Makes the volatile page at an index persistent, by one store after a persist of it. @throws as handOver */
  keep(index: number): void {
    const from = { instance: this.#state, kind: kind.volatile, index };
    this.#region.pages.handOver(from, { instance: this.#state, kind: kind.data, index });
  }

  /** Frees a volatile page. @returns false when there was none */
  freeVolatile(index: number): boolean {
    return this.#region.pages.free(this.#state, kind.volatile, index);
  }

  /** Changes the size in bytes; pages beyond it are freed. @throws EBUSY (held), EINVAL (it cuts a run) */
  resize(sizeBytes: number): void {
    validateSize(sizeBytes, this.#region.core.shape.pageBytes);
    this.#region.instances.resize(this.#state, sizeBytes);
  }

  /** Makes a pending instance live under its name, whole. @throws EEXIST, EINVAL */
  publish(): void {
    this.#region.instances.publish(this.#state);
  }

  /** Deletes the instance and frees all its pages. @throws EBUSY (held) */
  delete(): void {
    this.#region.instances.delete(this.#state);
  }

  /** Looks for an index inside of the instance; beyond it there are neither pages nor holes. */
  #next(from: number, end: number, look: (first: number, last: number) => number): number {
    if (!Number.isInteger(from) || from < 0) throw new PerdureError("EINVAL", `${from} is no index`);
    const last = Math.min(end, this.#state.limit);
    if (from >= last) return end;
    const found = look(from, last);
    return found === last ? end : found;
  }

  #refuseGone(): void {
    this.#region.core.refuseUnusable();
    this.#state.refuseDeleted();
  }

  #refuseOutside(within: number, lengthBytes: number): void {
    if (within >= 0 && within + lengthBytes <= this.#region.core.shape.pageBytes) return;
    throw new PerdureError("EINVAL", `${lengthBytes} bytes at byte ${within} do not fit a page`);
  }

  #pageAt(index: number): number {
    this.#region.core.refuseUnusable();
    this.#state.refuseOutside(index);
    return this.#state.table(kind.data).get(index);
  }

  #hold(page: number, index: number): Page {
    return new Page(this.#region.memory, this.#region.core, page, index);
  }
}
