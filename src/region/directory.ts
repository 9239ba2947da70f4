import { PerdureError, seal } from "../base/index.ts";
import { kind } from "./claim.ts";
import type { InstanceState, RegionCore } from "./core.ts";
import { writeDual } from "./dual-record.ts";
import type { FrameWriter } from "./frame-writer.ts";
import {
  firstOwner,
  type InstanceRecord,
  maxNameBytes,
  maxOwner,
  maxSubsystemBytes,
  recordBytes,
  recordLayout,
  recordState,
  regionOwner,
} from "./layout.ts";
import { acquire, release } from "./locks.ts";
import { PageTable } from "./page-table.ts";
import { limitOf, maxSizeOf, nameKey, recordCapacity, recordSlots } from "./records.ts";

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
      this.#refuseTaken(wanted);
      // A name has at most one pending save, and a source is in at most one.
      this.#core.instances.get(wanted.source)?.refuseSaved();
      const owner = this.#takeRecord() + firstOwner;
      const now = Date.now();
      const record: InstanceRecord = {
        ...recordLayout.decode(new Uint8Array(recordLayout.sizeBytes)),
        state: wanted.pending ? recordState.pending : recordState.live,
        owner,
        schema: wanted.schema,
        sizeBytes: wanted.sizeBytes,
        createdMs: now,
        changedMs: now,
        source: wanted.source,
        subsystem: wanted.subsystem,
        name: wanted.name,
        attributes: wanted.attributes,
      };
      const written = this.#write(record);
      const { shape, arena } = this.#core;
      const limit = limitOf(written.sizeBytes, shape.pageBytes);
      return this.#core.addInstance({
        owner,
        record: written,
        ends: false,
        limit,
        data: new PageTable(arena),
        pages: 0,
      });
    });
  }

  /** Rewrites an instance's record. */
  update(instance: InstanceState, change: Partial<InstanceRecord>): void {
    this.#locked(() => {
      instance.record = this.#write({ ...instance.record, ...change, changedMs: Date.now() });
    });
  }

  /** Makes a pending instance live under its name. @throws EEXIST when the name was taken meanwhile */
  publish(instance: InstanceState): void {
    this.#locked(() => {
      this.#refuseTaken(instance.record);
      instance.record = this.#write({ ...instance.record, state: recordState.live, source: 0, changedMs: Date.now() });
      this.#core.byName.set(nameKey(instance.record.subsystem, instance.record.name), instance);
      this.#core.endSave(instance);
    });
  }

  /** Frees the record of an instance that has no pages any longer. */
  end(instance: InstanceState): void {
    this.#locked(() => {
      const blank = recordLayout.decode(new Uint8Array(recordLayout.sizeBytes));
      this.#write({ ...blank, owner: instance.owner, state: recordState.free });
      this.#core.removeInstance(instance);
    });
  }

  #refuseTaken({ subsystem, name }: { subsystem: string; name: string }): void {
    if (this.#core.byName.has(nameKey(subsystem, name))) {
      throw new PerdureError("EEXIST", `there is a ${subsystem} of the name "${name}" already`);
    }
  }

  #locked<T>(act: () => T): T {
    acquire(this.#core.directoryLock, 0, this.#writer.thread);
    try {
      return act();
    } catch (error) {
      throw this.#core.failed(error);
    } finally {
      release(this.#core.directoryLock, 0);
    }
  }

  #write(record: InstanceRecord): InstanceRecord {
    const slots = recordSlots(this.#core.shape, this.#core.directoryPages, record.owner - firstOwner);
    if (slots === undefined) throw new Error(`the record of owner ${record.owner} has no page`);
    const next = { ...record, sequence: this.#core.nextSequence() };
    writeDual(this.#writer.memory, slots.a, slots.b, seal(recordLayout.encode(next), recordLayout.fields.crc));
    return next;
  }

  #takeRecord(): number {
    const { usedRecords, instances, shape, directoryPages } = this.#core;
    const isFree = (record: number): boolean => !usedRecords.has(record) && !instances.has(record + firstOwner);
    let record = 0;
    while (record < recordCapacity(shape, directoryPages) && !isFree(record)) record++;
    if (record + firstOwner > maxOwner) {
      throw new PerdureError("ENOSPC", "every owner number was given out since the region was opened", {
        remedy: "close the region and open it again: that makes the numbers of deleted instances free",
      });
    }
    if (recordSlots(shape, directoryPages, record) === undefined) this.#grow(record);
    usedRecords.add(record);
    return record;
  }

  // Fresh pages of the directory are zeroes: records that were never written.
  #grow(record: number): void {
    const { shape, directoryPages } = this.#core;
    const first = Math.floor((record * recordBytes) / shape.pageBytes);
    const last = Math.floor((record * recordBytes + recordBytes - 1) / shape.pageBytes);
    const missing: number[] = [];
    for (let index = first; index <= last; index++) if ((directoryPages[index] ?? 0) === 0) missing.push(index);
    const pages = this.#writer.takeSingles(missing.length).map((draft) => {
      this.#writer.zero(draft);
      return this.#writer.persist(draft);
    });
    pages.forEach((page, k) => {
      this.#writer.claim(page, regionOwner, kind.directory, missing[k], 0);
    });
    this.#writer.fence();
    pages.forEach((page, k) => {
      directoryPages[missing[k]] = page;
    });
  }
}

/** @throws EINVAL for a size that is none, or of which not every page has an index */
export function validateSize(sizeBytes: number, pageBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= maxSizeOf(pageBytes)) return;
  throw new PerdureError(
    "EINVAL",
    `a size of ${sizeBytes} bytes: with pages of ${pageBytes} it is ${maxSizeOf(pageBytes)} at most`,
  );
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
