import { PerdureError } from "../base/index.ts";
import { kind } from "./claim.ts";
import { DirectPages } from "./direct-pages.ts";
import { validateSize } from "./directory.ts";
import type { Quota } from "./instance-operations.ts";
import type { InstanceState } from "./instance-state.ts";
import type { PageState } from "./layer-view.ts";
import { attributeBytes } from "./layout.ts";
import type { OpenRegion } from "./open-region.ts";
import { Page } from "./page.ts";

/**
 * A named, typed owner of pages: a sparse array of pages by index. Handles stay valid until the instance is deleted or
 * the region closed. For a reader beside a writer whatever looks at an index may be EBUSY: what it knew was replaced.
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

  /** How many pages are its own now; what it shares with a snapshot below it is counted there. */
  get pageCount(): number {
    return this.#state.pages + this.#state.maskPages;
  }

  /** True for a snapshot: its pages never change. */
  get isReadOnly(): boolean {
    return this.#state.isReadOnly;
  }

  /** The snapshot that it shares pages with; undefined for none, and for one that was deleted. */
  get parent(): string | undefined {
    const { parent } = this.#state;
    return parent === undefined || parent.deleted ? undefined : parent.record.name;
  }

  /** Pages that it is guaranteed, and how many it may have (0: no limit). Own pages count, not shared ones. */
  get quota(): Quota {
    const { quotaMinPages, quotaMaxPages } = this.#state.record;
    return { minPages: quotaMinPages, maxPages: quotaMaxPages };
  }

  /** @throws ENOSPC when so many pages cannot be guaranteed; EINVAL, READ_ONLY, UNSUPPORTED_VERSION */
  setQuota(quota: Partial<Quota>): void {
    this.#region.withRoom(() => this.#region.instances.setQuota(this.#state, { ...this.quota, ...quota }));
  }

  get created(): Date {
    return new Date(this.#state.record.createdMs);
  }

  /** 96 bytes that belong to the subsystem; changed as a whole. */
  get attributes(): Uint8Array {
    const all = new Uint8Array(attributeBytes);
    all.set(this.#state.record.attributes);
    return all;
  }

  /** @throws EINVAL when they are longer than 96 bytes; POISONED, CLOSED */
  setAttributes(attributes: Uint8Array): void {
    if (attributes.length > attributeBytes) {
      throw new PerdureError("EINVAL", `attributes have at most ${attributeBytes} bytes, not ${attributes.length}`);
    }
    this.#region.instances.setAttributes(this.#state, attributes.slice());
  }

  /** Holds the page at an index, made of zeroes when it is not there. @throws ENOSPC, EINVAL */
  ensure(index: number): Page {
    return this.#hold(this.#ensure(kind.data, index), index);
  }

  /**
   * Holds the page at an index; of one that is shared with a snapshot, a copy of its own.
   *
   * @throws ENODATA when there is none; ENOSPC, when it has to be copied
   */
  get(index: number): Page {
    const shown = this.#region.memory.readOnly || this.isReadOnly ? this.#holdShown(index) : undefined;
    if ((shown ?? this.#pageAt(index)) === 0) {
      throw new PerdureError("ENODATA", `"${this.name}" has no page at index ${index}`);
    }
    if (shown === undefined) return this.ensure(index);
    return new Page(this.#region.pages.writer, shown, index, { shownBy: this.#state });
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
    const { freePages } = this.#region.core;
    for (;;) {
      const page = this.#pageAt(index);
      if (page === 0) {
        target.fill(0);
        return;
      }
      const stamp = freePages.stampOf(page);
      // Looked up again, since another thread may have freed it before the stamp; after the copy the stamp tells.
      if (this.#pageAt(index) !== page) continue;
      try {
        this.#region.pages.writer.copyPage(this.#state, index, page, within, target);
      } catch (error) {
        if (freePages.stampOf(page) === stamp) throw error;
      }
      if (freePages.stampOf(page) === stamp) return;
    }
  }

  /**
   * Replaces the page at an index, or a part of it from byte `within` on: after a crash it is wholly old or wholly new.
   *
   * @throws ENOSPC, EBUSY (held), EINVAL
   */
  write(index: number, bytes: Uint8Array, within = 0): void {
    this.#refuseOutside(within, bytes.length);
    this.#region.withRoom(() => this.#region.pages.write(this.#state, index, within, bytes));
  }

  /**
   * Makes an index empty; a page of its own is freed.
   *
   * @returns false when it was empty
   * @throws EBUSY (held), EINVAL (part of a run), READ_ONLY; ENOSPC where it hides a shared page and that needs a page
   */
  free(index: number): boolean {
    return this.#region.withRoom(() => this.#region.pages.free(this.#state, kind.data, index));
  }

  /** Its pages for calls of the kernel; undefined where that cannot work on them in place. */
  direct(): DirectPages | undefined {
    return DirectPages.of(this.#region, this.#state);
  }

  /** What there is at an index: a page of its own, one shared with a snapshot, or none. */
  stateOf(index: number): PageState {
    this.#refuseGone();
    this.#state.refuseOutside(index);
    return this.#region.pages.view.stateOf(this.#state, index);
  }

  /** How many pages it shares with the snapshots below it; this walks through all of them. */
  countShared(): number {
    this.#refuseGone();
    return this.#region.pages.view.countShared(this.#state);
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
    return this.#next(from, end, (first, last) => this.#region.pages.view.next(this.#state, first, last));
  }

  /** The first index from `from` on that has no page, or `end`. */
  nextHole(from: number, end: number): number {
    this.#refuseGone();
    return this.#next(from, end, (first, last) => this.#region.pages.view.nextHole(this.#state, first, last));
  }

  /**
   * Holds 2^order pages that stand side by side at the indices from `index` on, on a multiple of their size in the
   * region; made of zeroes when they are not there.
   *
   * @throws ENOSPC (no such run is free), EEXIST (a page stands in the way), EINVAL
   */
  ensureRun(index: number, order: number): Page {
    const run = this.#region.withRoom(() => this.#region.runs.ensure(this.#state, index, order));
    return new Page(this.#region.pages.writer, run.page, run.index, { pages: run.pages });
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
    const to = { instance: target.#state, kind: kind.data, index: targetIndex };
    this.#region.withRoom(() => this.#region.pages.handOver(from, to));
  }

  /** Holds a volatile page: it comes from the same memory, and the next open frees it. @throws ENOSPC, EINVAL */
  ensureVolatile(index: number): Page {
    return this.#hold(this.#ensure(kind.volatile, index), index);
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

  /**
   * Keeps what it holds now as a read-only instance of another name, in no time: all pages are shared. This handle goes
   * on with the instance that may be written.
   *
   * @throws EEXIST, ENAMETOOLONG, ENOSPC, EBUSY (pages held, or being saved), READ_ONLY (a snapshot is one already),
   * EINVAL (pending, or it has aligned runs or volatile pages), UNSUPPORTED_VERSION
   */
  snapshot(name: string): Instance {
    this.#region.withRoom(() => this.#region.layers.snapshot(this.#state, name));
    return new Instance(this.#region, this.#state.parent as InstanceState);
  }

  /** Makes an instance that shares all pages of this snapshot, and may be written. @throws as snapshot; EINVAL */
  clone(name: string): Instance {
    return new Instance(
      this.#region,
      this.#region.withRoom(() => this.#region.layers.clone(this.#state, name)),
    );
  }

  /**
   * Gives the name of another instance to this one, whole; the other is deleted. A snapshot stays, and a clone of it
   * takes the name.
   *
   * @throws EBUSY (held, or being saved), READ_ONLY (the other is a snapshot), EINVAL
   */
  promote(replaced: Instance): void {
    this.#region.withRoom(() => this.#region.layers.promote(this.#state, replaced.#state));
  }

  /** @throws EEXIST, ENAMETOOLONG, EBUSY (being saved), EINVAL */
  rename(name: string): void {
    this.#region.layers.rename(this.#state, name);
  }

  /** Makes a pending instance live under its name, whole. @throws EEXIST, EINVAL */
  publish(): void {
    this.#region.layers.publish(this.#state);
  }

  /**
   * Deletes the instance: its name is free, and its pages stay until they are needed; `region.undelete` brings it back
   * until then. A pending one, and one of a region of format version 0, is gone at once.
   *
   * @throws EBUSY (held, or being saved)
   */
  delete(): void {
    this.#region.layers.delete(this.#state);
  }

  /** Deletes the instance for good and frees all its pages. @throws EBUSY (held, or being saved) */
  purge(): void {
    this.#region.layers.purge(this.#state);
  }

  #holdShown(index: number): number | undefined {
    this.#region.core.refuseUnusable();
    return this.#region.pages.holdShown(this.#state, index);
  }

  #ensure(kindNumber: number, index: number): number {
    return this.#region.withRoom(() => this.#region.pages.ensure(this.#state, kindNumber, index));
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
    return this.#region.pages.view.find(this.#state, index);
  }

  #hold(page: number, index: number): Page {
    return new Page(this.#region.pages.writer, page, index);
  }
}
