import { exactSize, PerdureError } from "../base/index.ts";
import type { BlockDevice, DirectBlocks, Extent, SharedDevice } from "../device/index.ts";
import { type Instance, type PageRegion, snapshotRemedy } from "../region/index.ts";
import type { SharedDisk } from "./join-disk.ts";

/**
 * A RAM disk: an instance whose pages are its blocks, made when they are first written. Every write is a replace:
 * payload into a fresh page, claim, withdraw. So each block is wholly old or wholly new after a crash, which disks
 * made of metal do not promise.
 */
export class Disk implements BlockDevice {
  readonly blockBytes: number;
  readonly direct: DirectBlocks | undefined;
  readonly #region: PageRegion;
  readonly #instance: Instance;
  readonly #zeroes: Uint8Array;

  constructor(region: PageRegion, instance: Instance) {
    this.#region = region;
    this.#instance = instance;
    this.blockBytes = region.pageBytes;
    this.direct = instance.direct();
    this.#zeroes = new Uint8Array(region.pageBytes);
  }

  get name(): string {
    return this.#instance.name;
  }

  get sizeBytes(): number {
    return this.#instance.sizeBytes;
  }

  /** True for a snapshot, and for every disk of a region that was opened for reading. */
  get readOnly(): boolean {
    return this.#region.readOnly || this.#instance.isReadOnly;
  }

  /** Bytes of memory that its own blocks take now; those that it shares with a snapshot below it are counted there. */
  get allocatedBytes(): number {
    return this.#instance.pageCount * this.blockBytes;
  }

  read(offset: number, target: Uint8Array): void {
    this.#eachBlock(offset, target.length, (index, within, start, count) => {
      this.#instance.readInto(index, within, target.subarray(start, start + count));
    });
  }

  write(offset: number, source: Uint8Array): void {
    this.#refuseReadOnly();
    this.#eachBlock(offset, source.length, (index, within, start, count) => {
      this.#instance.write(index, source.subarray(start, start + count), within);
    });
  }

  zero(offset: number, lengthBytes: number, options: { keepAllocated: boolean }): void {
    this.#refuseReadOnly();
    if (options.keepAllocated) {
      this.#eachBlock(offset, lengthBytes, (index, within, _start, count) => {
        this.#instance.write(index, this.#zeroes.subarray(0, count), within);
      });
    } else this.trim(offset, lengthBytes);
  }

  trim(offset: number, lengthBytes: number): void {
    this.#refuseReadOnly();
    this.#refuseOutside(offset, lengthBytes);
    const { blockBytes } = this;
    const end = offset + lengthBytes;
    const last = Math.ceil(end / blockBytes);
    let index = this.#instance.nextPage(Math.floor(offset / blockBytes), last);
    for (; index < last; index = this.#instance.nextPage(index + 1, last)) {
      const start = index * blockBytes;
      // A block that ends with the disk is whole when the range reaches that end.
      const isWhole = start >= offset && Math.min(start + blockBytes, this.sizeBytes) <= end;
      if (isWhole) this.#instance.free(index);
      else {
        const from = Math.max(start, offset);
        this.#instance.write(index, this.#zeroes.subarray(0, Math.min(start + blockBytes, end) - from), from - start);
      }
    }
  }

  flush(): void {
    this.#region.sync();
  }

  extents(offset: number, lengthBytes: number, limit: number): Extent[] {
    this.#refuseOutside(offset, lengthBytes);
    const { blockBytes } = this;
    const end = offset + lengthBytes;
    const last = Math.ceil(end / blockBytes);
    const found: Extent[] = [];
    for (let at = offset; at < end && found.length < limit; ) {
      const index = Math.floor(at / blockBytes);
      const zero = this.#instance.stateOf(index) === "none";
      const stop = Math.min(this.#endOf(zero, index, last) * blockBytes, end);
      // A shared block is no hole, though a write to it takes a page: QEMU leaves out what is a hole but no zeroes.
      found.push({ lengthBytes: stop - at, hole: zero && !this.#isReserved, zero });
      at = stop;
    }
    return found;
  }

  share(): SharedDevice | undefined {
    if (!this.#region.isShareable) return undefined;
    const { subsystem, name } = this.#instance;
    const data: SharedDisk = { region: this.#region.share(), subsystem, name };
    return { module: new URL("join-disk.js", import.meta.url).href, data };
  }

  /** The first block behind those that are blank, or are not, as this one is. */
  #endOf(zero: boolean, index: number, last: number): number {
    if (zero) return this.#instance.nextPage(index, last);
    let end = index + 1;
    while (end < last && this.#instance.stateOf(end) !== "none") end++;
    return end;
  }

  /** True when the region guarantees a page for every block. */
  get #isReserved(): boolean {
    return this.#instance.quota.minPages * this.blockBytes >= this.sizeBytes;
  }

  /**
   * Guarantees that every block can be written, whatever else the region holds, or takes the guarantee back.
   *
   * @throws ENOSPC when there is no room for that
   */
  reserve(isReserved: boolean): void {
    this.#refuseReadOnly();
    this.#instance.setQuota({ minPages: isReserved ? Math.ceil(this.sizeBytes / this.blockBytes) : 0 });
  }

  /** Keeps the disk as it is now as a read-only disk of another name, in no time: blocks are shared. @throws EEXIST */
  snapshot(name: string): Disk {
    return new Disk(this.#region, this.#instance.snapshot(name));
  }

  /** Makes a disk that shares all blocks of this snapshot and may be written. @throws EEXIST, EINVAL (no snapshot) */
  clone(name: string): Disk {
    return new Disk(this.#region, this.#instance.clone(name));
  }

  /**
   * Puts this disk in the place of another one, which is deleted. A snapshot stays, and a clone of it takes the name.
   *
   * @throws READ_ONLY (the other is a snapshot), EBUSY
   */
  promote(replaced: Disk): void {
    this.#instance.promote(replaced.#instance);
  }

  /** @throws EEXIST, ENAMETOOLONG */
  rename(name: string): void {
    this.#refuseRegionReadOnly();
    this.#instance.rename(name);
  }

  /** Makes the disk larger, while it is in use. @throws EINVAL when the size is smaller or no multiple of 512 */
  grow(sizeBytes: number): void {
    this.#refuseReadOnly();
    validateDiskSize(sizeBytes);
    if (sizeBytes < this.sizeBytes) {
      throw new PerdureError(
        "EINVAL",
        `"${this.name}" has ${exactSize(this.sizeBytes)}: a disk grows, it does not shrink`,
      );
    }
    this.#instance.resize(sizeBytes);
  }

  /** Deletes the disk; its blocks stay until they are needed, and until then it can be undeleted. @throws EBUSY */
  delete(): void {
    this.#refuseRegionReadOnly();
    this.#instance.delete();
  }

  /** Deletes the disk and frees its blocks now. @throws EBUSY, READ_ONLY */
  purge(): void {
    this.#refuseRegionReadOnly();
    this.#instance.purge();
  }

  #eachBlock(
    offset: number,
    lengthBytes: number,
    act: (index: number, within: number, start: number, count: number) => void,
  ): void {
    this.#refuseOutside(offset, lengthBytes);
    const { blockBytes } = this;
    for (let done = 0; done < lengthBytes; ) {
      const within = (offset + done) % blockBytes;
      const count = Math.min(blockBytes - within, lengthBytes - done);
      act((offset + done - within) / blockBytes, within, done, count);
      done += count;
    }
  }

  #refuseOutside(offset: number, lengthBytes: number): void {
    if (offset >= 0 && lengthBytes >= 0 && offset + lengthBytes <= this.sizeBytes) return;
    throw new PerdureError(
      "EINVAL",
      `bytes ${offset} to ${offset + lengthBytes} are not all on the disk "${this.name}"`,
    );
  }

  #refuseReadOnly(): void {
    this.#refuseRegionReadOnly();
    if (this.readOnly) throw new PerdureError("READ_ONLY", `"${this.name}" is a snapshot`, { remedy: snapshotRemedy });
  }

  #refuseRegionReadOnly(): void {
    if (this.#region.readOnly) throw new PerdureError("READ_ONLY", `the region of "${this.name}" was opened read-only`);
  }
}

/** The unit of disk sizes; what every client of block devices expects. */
const SECTOR_BYTES = 512;

/** @throws EINVAL for what is no disk size */
export function validateDiskSize(sizeBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % SECTOR_BYTES === 0) return;
  throw new PerdureError("EINVAL", `a disk of ${exactSize(sizeBytes)}: the size is a multiple of 512, above 0`);
}
