import { assert, PerdureError, type Steps } from "../base/index.ts";
import { Mapping, type SharedMapping, type SigbusGuard, system, uninterrupted } from "../os/index.ts";
import { Backing, type BackingKind, memoryLost } from "./backing.ts";
import { translated } from "./errno.ts";
import { type Memory, type MemoryRange, type Space, type Survival, windowBytes } from "./memory.ts";

/** How much one read(2) is asked for at most; the kernel itself stops at 2 GiB. */
const READ_STEP_BYTES = 64 * 2 ** 20;

interface MappedRange extends MemoryRange {
  readonly backing: Backing;
  readonly mapping: Mapping;
  /** That of the mapping, as a number. */
  readonly address: number;
}

/** What a thread needs to use the memory that another one of its process has open: numbers and names, no objects. */
export interface SharedMemory {
  readonly durable: boolean;
  readonly ranges: readonly {
    readonly source: string;
    readonly fd: number;
    readonly kind: BackingKind;
    readonly isNamed: boolean;
    readonly address: bigint;
    readonly guard: bigint;
  }[];
}

/** A part of a range as typed arrays over the mapping itself; made on first touch. */
interface Window {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly pairs: BigInt64Array;
}

/**
 * Where an offset stands in its window. The remainder of a double is a call; this is a multiplication. The number of a
 * window has 31 bits: 16 PiB.
 */
function within(offset: number): number {
  return offset - ((offset / windowBytes) | 0) * windowBytes;
}

/** Memory on real mappings, one range a backing. */
export class MappedMemory implements Memory {
  readonly ranges: readonly MappedRange[];
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** True when `fence` writes back with msync, so that what it covers outlives a power cut. */
  readonly durable: boolean;
  readonly #windows: Window[] = [];
  /** Those of the ranges, in their order. */
  readonly #guards: readonly SigbusGuard[];
  readonly #pair = new BigInt64Array(1);
  readonly #pairWords = new Int32Array(this.#pair.buffer);
  /** Flushed and not yet fenced: pairs of offset and length. Stays empty unless durable. */
  readonly #flushed: number[] = [];
  #open = true;

  /**
   * Takes over the backings: they are closed with the memory, also when this fails. `borrowed` are mappings that
   * another thread has of them.
   *
   * @throws EIO, ENODEV
   */
  constructor(
    backings: readonly Backing[],
    options: { durable?: boolean } = {},
    borrowed: readonly SharedMapping[] = [],
  ) {
    this.readOnly = backings.some((backing) => backing.readOnly);
    this.durable = options.durable ?? false;
    const ranges: MappedRange[] = [];
    let offset = 0;
    try {
      if (this.durable) refuseUnsyncable(backings);
      for (const backing of backings) {
        // A device cannot be mapped privately, so its readers get pages that a stray store would fault on.
        const mode = !this.readOnly ? "shared" : backing.kind === "dax" ? "shared-read-only" : "private";
        const present = borrowed[ranges.length];
        const mapping = translated(backing.source, () => new Mapping(backing.fd, backing.sizeBytes, mode, present));
        const { sizeBytes: lengthBytes, source } = backing;
        ranges.push({ offset, lengthBytes, source, backing, mapping, address: Number(mapping.address) });
        offset += Math.ceil(backing.sizeBytes / windowBytes) * windowBytes;
      }
    } catch (error) {
      // What fails while it is given back says less than the first error.
      disposeAll([...ranges.map(({ mapping }) => mapping), ...backings]);
      throw error;
    }
    this.ranges = ranges;
    this.#guards = ranges.map(({ mapping }) => mapping.guard);
    const last = ranges[ranges.length - 1];
    this.sizeBytes = last.offset + last.lengthBytes;
  }

  /** For another thread of this process. It must be done with the memory before this one is closed. */
  share(): SharedMemory {
    return {
      durable: this.durable,
      ranges: this.ranges.map(({ source, backing: { fd, kind, isNamed }, mapping: { address, guard } }) => {
        return { source, fd, kind, isNamed, address, guard: guard.entryAddress };
      }),
    };
  }

  /** The memory of another thread, over the same mappings: whoever touches a page touches it for all. */
  static join({ durable, ranges }: SharedMemory): MappedMemory {
    return new MappedMemory(
      ranges.map((range) => Backing.borrow(range)),
      { durable },
      ranges,
    );
  }

  get survival(): Survival {
    const all = this.ranges.map((range) => range.backing.survival);
    return {
      crash: all.every((one) => one.crash),
      lastClose: all.every((one) => one.lastClose),
      powerLoss: this.durable && this.ranges.every(({ backing }) => backing.kind === "ext4" || backing.kind === "xfs"),
    };
  }

  get hasWriter(): boolean {
    return this.ranges.some(({ backing }) => backing.hasWriter);
  }

  get space(): Space | undefined {
    return this.ranges.length === 1 ? this.ranges[0].backing.space : undefined;
  }

  /** Fills the holes of files that were opened with `keepHoles`. @throws ENOSPC */
  *fillHoles(): Steps<void> {
    for (const { backing } of this.ranges) yield* backing.fillHoles();
  }

  addressOf(offset: number): number {
    const range = this.#rangeAt(offset);
    return range.address + (offset - range.offset);
  }

  load32(offset: number): number {
    return this.#windowAt(offset).words[within(offset) >>> 2] >>> 0;
  }

  bytes(offset: number, lengthBytes: number): Uint8Array {
    const start = within(offset);
    assert(start + lengthBytes <= windowBytes, "a view does not straddle windows");
    return this.#windowAt(offset).bytes.subarray(start, start + lengthBytes);
  }

  read(offset: number, lengthBytes: number): Uint8Array {
    const target = new Uint8Array(lengthBytes);
    this.readInto(offset, target);
    return target;
  }

  readInto(offset: number, target: Uint8Array): void {
    const range = this.#rangeAt(offset);
    const start = offset - range.offset;
    assert(start + target.length <= range.lengthBytes, "a read lies in one range");
    if (range.backing.readable) this.#readFile(range, start, target);
    else this.#readWindows(offset, target);
  }

  #readFile(range: MappedRange, start: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const step = Math.min(target.length - done, READ_STEP_BYTES);
      const count = this.#orEio(range, () => system.pread(range.backing.fd, target, done, step, start + done));
      if (count === 0) throw memoryLost(range.backing);
      done += count;
    }
  }

  // A device has no read(2).
  #readWindows(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const step = Math.min(target.length - done, windowBytes - within(offset + done));
      target.set(this.bytes(offset + done, step), done);
      done += step;
    }
    this.refuseLost();
  }

  commit32(offset: number, value: number): void {
    Atomics.store(this.#windowAt(offset).words, within(offset) >>> 2, value | 0);
  }

  commit64(offset: number, low: number, high: number): void {
    // Two word stores into a scratch pair and one BigInt load are three times as fast as composing the BigInt.
    this.#pairWords[0] = low;
    this.#pairWords[1] = high;
    Atomics.store(this.#windowAt(offset).pairs, within(offset) >>> 3, this.#pair[0]);
  }

  or32(offset: number, bits: number): void {
    Atomics.or(this.#windowAt(offset).words, within(offset) >>> 2, bits);
  }

  fill(offset: number, source: Uint8Array): void {
    const start = within(offset);
    assert(start + source.length <= windowBytes, "a fill does not straddle windows");
    this.#windowAt(offset).bytes.set(source, start);
  }

  zero(offset: number, lengthBytes: number): void {
    this.bytes(offset, lengthBytes).fill(0);
  }

  flush(offset: number, lengthBytes: number): void {
    if (this.durable) this.#flushed.push(offset, lengthBytes);
  }

  fence(): void {
    // Most memories flush nothing, and even emptying an empty array costs 100 ns.
    if (this.#flushed.length > 0) this.#writeBack();
    // Last, since msync(2) passes over lost pages without a word.
    this.refuseLost();
  }

  #writeBack(): void {
    for (const { start, end } of mergedPages(this.#flushed)) {
      const range = this.#rangeAt(start);
      const last = Math.min(end, range.offset + range.lengthBytes);
      this.#orEio(range, () => range.mapping.sync(start - range.offset, last - start));
    }
    this.#flushed.length = 0;
  }

  flushAll(): void {
    for (const range of this.ranges) this.flush(range.offset, range.lengthBytes);
  }

  sync(): void {
    for (const range of this.ranges) range.backing.sync();
    this.refuseLost();
  }

  refuseLost(): void {
    // An iterator over the ranges would cost 4 ns a fence; this costs 2.
    for (let k = 0; k < this.#guards.length; k++) if (this.#guards[k].isLost) this.#giveUp(this.ranges[k]);
  }

  #giveUp({ backing }: MappedRange): never {
    // From now on every access comes back here, by way of #makeWindow.
    this.#windows.length = 0;
    throw memoryLost(backing);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#windows.length = 0;
    const failures = disposeAll(this.ranges.flatMap(({ mapping, backing }) => [mapping, backing]));
    if (failures.length === 0) return;
    const [cause] = failures;
    throw new PerdureError("EIO", `${this.ranges[0].source}: ${(cause as Error).message}`, { cause });
  }

  #orEio<T>(range: MappedRange, act: () => T): T {
    try {
      return uninterrupted(act);
    } catch (error) {
      throw new PerdureError("EIO", `${range.source}: ${(error as Error).message}`, { cause: error });
    }
  }

  #rangeAt(offset: number): MappedRange {
    for (const range of this.ranges) {
      if (offset >= range.offset && offset < range.offset + range.lengthBytes) return range;
    }
    throw new PerdureError("EINVAL", `byte ${offset} lies outside of the memory`);
  }

  #windowAt(offset: number): Window {
    return this.#windows[(offset / windowBytes) | 0] ?? this.#makeWindow(offset);
  }

  #makeWindow(offset: number): Window {
    if (!this.#open) throw new PerdureError("CLOSED", "the memory was closed");
    this.refuseLost();
    const range = this.#rangeAt(offset);
    const number = Math.floor(offset / windowBytes);
    const start = number * windowBytes - range.offset;
    const buffer = range.mapping.view(start, Math.min(windowBytes, range.lengthBytes - start));
    const window = {
      bytes: new Uint8Array(buffer),
      words: new Int32Array(buffer, 0, buffer.byteLength >>> 2),
      pairs: new BigInt64Array(buffer, 0, buffer.byteLength >>> 3),
    };
    this.#windows[number] = window;
    return window;
  }
}

/** msync(2) works on pages of the machine, so many small flushes are few calls. */
const MACHINE_PAGE_BYTES = 4096;

/** The pages that pairs of offset and length touch, neighbours joined. */
function mergedPages(flushed: readonly number[]): { start: number; end: number }[] {
  const pages = Array.from({ length: flushed.length / 2 }, (_, k) => ({
    start: Math.floor(flushed[2 * k] / MACHINE_PAGE_BYTES) * MACHINE_PAGE_BYTES,
    end: Math.ceil((flushed[2 * k] + flushed[2 * k + 1]) / MACHINE_PAGE_BYTES) * MACHINE_PAGE_BYTES,
  })).sort((a, b) => a.start - b.start);
  const merged: { start: number; end: number }[] = [];
  for (const { start, end } of pages) {
    const last = merged[merged.length - 1];
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else merged.push({ start, end });
  }
  return merged;
}

/** Gives everything up, also when one of them fails. @returns what failed */
function disposeAll(all: readonly Disposable[]): unknown[] {
  return all.flatMap((one) => {
    try {
      one[Symbol.dispose]();
      return [];
    } catch (error) {
      return [error];
    }
  });
}

function refuseUnsyncable(backings: readonly Backing[]): void {
  const device = backings.find((backing) => backing.kind === "dax");
  if (device === undefined) return;
  throw new PerdureError("ENODEV", `${device.source} cannot be written back with msync, which "durable" asks for`);
}
