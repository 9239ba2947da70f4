import { exactSize, PerdureError } from "../base/index.ts";
import { kind } from "./claim.ts";
import type { RegionCore } from "./core.ts";
import type { FrameWriter } from "./frame-writer.ts";
import type { InstanceState } from "./instance-state.ts";
import {
  firstOwner,
  type InstanceRecord,
  maxNameBytes,
  maxOwner,
  maxSubsystemBytes,
  maxTimeMs,
  recordBytes,
  recordState,
  regionOwner,
} from "./layout.ts";
import { newInstance } from "./read-directory.ts";
import { blankRecord, limitOf, maxSizeOf, nameKey, writeRecord } from "./records.ts";

/** What a new instance is given; the rest of its record is derived. */
export interface NewInstance {
  readonly subsystem: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly schema: number;
  readonly attributes: Uint8Array;
  readonly pending: boolean;
  /** Owner to whom the pages of a pending instance go back if it is never committed; 0 for none. */
  readonly source: number;
  /** The layer that it stands on. */
  readonly parent?: InstanceState | undefined;
  /** The one that has the name so far and is to lose it. */
  readonly replaces?: InstanceState | undefined;
  readonly quotaMinPages?: number;
  readonly quotaMaxPages?: number;
  /** When what it holds was begun, ms since 1970; now by default. */
  readonly createdMs?: number;
}

/** Writes instance records. Every change is one dual record, under the lock of the directory. */
export class Directory {
  readonly #writer: FrameWriter;

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  get #core(): RegionCore {
    return this.#writer.core;
  }

  /** @throws EEXIST, ENAMETOOLONG, EINVAL, ENOSPC (no page for the directory, or no owner number left) */
  create(wanted: NewInstance): InstanceState {
    validateName("subsystem", wanted.subsystem, maxSubsystemBytes);
    validateName("name", wanted.name, maxNameBytes);
    validateSize(wanted.sizeBytes, this.#core.shape.pageBytes);
    return this.#locked(() => {
      this.#refuseTaken(wanted, wanted.replaces);
      // A name has at most one pending save, and a source is in at most one.
      this.#core.instances.get(wanted.source)?.refuseSaved();
      const owner = this.#takeRecord() + firstOwner;
      const now = Date.now();
      const record: InstanceRecord = {
        ...blankRecord(owner),
        state: wanted.pending ? recordState.pending : recordState.live,
        parent: wanted.parent?.owner ?? 0,
        reach: Math.min(wanted.parent?.limit ?? 0, limitOf(wanted.sizeBytes, this.#core.shape.pageBytes)),
        schema: wanted.schema,
        sizeBytes: wanted.sizeBytes,
        quotaMinPages: wanted.quotaMinPages ?? 0,
        quotaMaxPages: wanted.quotaMaxPages ?? 0,
        createdMs: wanted.createdMs ?? now,
        changedMs: now,
        source: wanted.source,
        subsystem: wanted.subsystem,
        name: wanted.name,
        attributes: wanted.attributes,
      };
      const { shape, arena } = this.#core;
      return this.#core.addInstance(newInstance(this.#write(record), shape.pageBytes, arena));
    });
  }

  /** Rewrites an instance's record. */
  update(instance: InstanceState, change: Partial<InstanceRecord>): void {
    this.#locked(() => this.#change(instance, change));
  }

  #change(instance: InstanceState, change: Partial<InstanceRecord>): void {
    const record = this.#write({ ...instance.record, ...change, changedMs: Date.now() });
    const isDeleted = record.state === recordState.deleting || record.state === recordState.deleted;
    this.#core.change(instance, record, isDeleted);
  }

  /**
   * Makes an instance live under a name, which its record now has: a pending or deleted one, or one that is renamed.
   * `replaces` is the one that has the name so far and is to lose it.
   *
   * @throws EEXIST when another has the name; EINVAL, ENAMETOOLONG
   */
  name(instance: InstanceState, change: Partial<InstanceRecord>, replaces?: InstanceState): void {
    const { byName } = this.#core;
    const before = nameKey(instance.record.subsystem, instance.record.name);
    const wanted = { ...instance.record, ...change };
    validateName("name", wanted.name, maxNameBytes);
    this.#locked(() => {
      this.#refuseTaken(wanted, replaces);
      this.#change(instance, { ...change, state: recordState.live, source: 0, deletedMs: 0 });
      if (byName.get(before) === instance) byName.delete(before);
      byName.set(nameKey(wanted.subsystem, wanted.name), instance);
      this.#core.endSave(instance);
    });
  }

  /**
   * Gives an instance the name of a snapshot. Until the layer over it has succeeded it, who asks for the old name finds
   * this one, and waits; the new name is not found yet.
   *
   * @throws EEXIST
   */
  keep(instance: InstanceState, change: Partial<InstanceRecord>): void {
    this.#locked(() => {
      this.#refuseTaken({ ...instance.record, ...change });
      this.#change(instance, change);
    });
  }

  /** Lets the handles of an instance go on with the layer over it. */
  succeed(instance: InstanceState, top: InstanceState): void {
    this.#locked(() => this.#core.succeed(instance, top));
  }

  /** A deleted instance has no name any longer. */
  unname(instance: InstanceState, state: number): void {
    this.#locked(() => {
      const { byName } = this.#core;
      const key = nameKey(instance.record.subsystem, instance.record.name);
      const deletedMs = state === recordState.deleted ? this.#deletionMs() : instance.record.deletedMs;
      this.#change(instance, { state, deletedMs });
      if (byName.get(key) === instance) byName.delete(key);
    });
  }

  // Later than all before: which one was deleted last is asked, and a clock may stand still or go back.
  #deletionMs(): number {
    let latest = Date.now() - 1;
    for (const { record } of this.#core.instances.values())
      if (record.state === recordState.deleted) latest = Math.max(latest, record.deletedMs);
    return Math.min(latest + 1, maxTimeMs);
  }

  /** Frees the record of an instance that has no pages any longer. */
  end(instance: InstanceState): void {
    this.#locked(() => {
      this.#write(blankRecord(instance.owner));
      this.#core.removeInstance(instance);
    });
  }

  /** @throws EEXIST, EINVAL, ENAMETOOLONG for what cannot be the name of a new instance */
  refuseName(wanted: { subsystem: string; name: string }): void {
    validateName("name", wanted.name, maxNameBytes);
    this.#refuseTaken(wanted);
  }

  #refuseTaken({ subsystem, name }: { subsystem: string; name: string }, replaces?: InstanceState): void {
    const holder = this.#core.byName.get(nameKey(subsystem, name));
    if (holder !== undefined && holder !== replaces) {
      throw new PerdureError("EEXIST", `there is a ${subsystem} of the name "${name}" already`);
    }
  }

  #locked<T>(act: () => T): T {
    return this.#writer.locked(this.#core.directoryLock, 0, () => {
      try {
        this.#core.catchUp();
        return act();
      } catch (error) {
        throw this.#core.failed(error);
      }
    });
  }

  #write(record: InstanceRecord): InstanceRecord {
    this.#writer.epoch.change();
    const written = writeRecord(this.#writer.memory, this.#core, record);
    this.#core.tellChange(record.owner);
    return written;
  }

  #takeRecord(): number {
    const { owners } = this.#core;
    const record = owners.firstUnused() - firstOwner;
    if (record + firstOwner > maxOwner) {
      throw new PerdureError("ENOSPC", "every owner number was given out since the region was opened", {
        remedy: "close the region and open it again: that makes the numbers of deleted instances free",
      });
    }
    const missing = this.#missingPages(record);
    if (missing.length > 0) this.#grow(missing);
    owners.use(record + firstOwner);
    return record;
  }

  /** How many pages the directory needs for one instance more. */
  get pagesForNext(): number {
    return this.#missingPages(this.#core.owners.firstUnused() - firstOwner).length;
  }

  /** Indices in the directory of the pages that a record needs and that are not there. */
  #missingPages(record: number): number[] {
    const { shape, directoryPages } = this.#core;
    const first = Math.floor((record * recordBytes) / shape.pageBytes);
    const last = Math.floor((record * recordBytes + recordBytes - 1) / shape.pageBytes);
    const missing: number[] = [];
    for (let index = first; index <= last; index++) if ((directoryPages[index] ?? 0) === 0) missing.push(index);
    return missing;
  }

  // Fresh pages of the directory are zeroes: records that were never written.
  #grow(missing: readonly number[]): void {
    const pages = this.#writer.takeSingles(missing.length).map((draft) => {
      this.#writer.zero(draft);
      return this.#writer.persist(draft);
    });
    pages.forEach((page, k) => {
      this.#writer.claim(page, regionOwner, kind.directory, missing[k], 0);
    });
    this.#writer.fence();
    pages.forEach((page, k) => {
      this.#core.addDirectoryPage(missing[k], page);
    });
  }
}

/** @throws EINVAL for a size that is none, or of which not every page has an index */
export function validateSize(sizeBytes: number, pageBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= maxSizeOf(pageBytes)) return;
  const most = `with pages of ${exactSize(pageBytes)} it is ${exactSize(maxSizeOf(pageBytes))} at most`;
  throw new PerdureError("EINVAL", `a size of ${exactSize(sizeBytes)}: ${most}`);
}

function validateName(what: string, text: string, maxBytes: number): void {
  if (text === "" || text.includes("\0")) throw new PerdureError("EINVAL", `a ${what} is not empty and has no NUL`);
  // A lone surrogate has no UTF-8: it would come back as U+FFFD, and two names could become one. So that none does,
  // U+FFFD itself stands in no name.
  if (Buffer.from(text).toString() !== text || text.includes("\ufffd"))
    throw new PerdureError("EINVAL", `a ${what} is well-formed Unicode`);
  if (Buffer.byteLength(text) > maxBytes) {
    throw new PerdureError("ENAMETOOLONG", `the ${what} "${text.slice(0, 40)}..." is longer than ${maxBytes} bytes`);
  }
}
