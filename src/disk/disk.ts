import { PerdureError } from "../base/index.ts";
import type { BlockDevice, Extent } from "../device/index.ts";
import type { Instance, PageRegion } from "../region/index.ts";

/**
 * A RAM disk: an instance whose pages are its blocks, made when they are first written. Every write is a replace:
 * payload into a fresh page, claim, withdraw. So each block is wholly old or wholly new after a crash, which disks
 * made of metal do not promise.
 */
export class Disk implements BlockDevice {
  readonly readOnly: boolean;
  readonly blockBytes: number;
  readonly #region: PageRegion;
  readonly #instance: Instance;
  readonly #zeroes: Uint8Array;

  constructor(region: PageRegion, instance: Instance) {
    this.#region = region;
    this.#instance = instance;
    this.readOnly = region.readOnly;
    this.blockBytes = region.pageBytes;
    this.#zeroes = new Uint8Array(region.pageBytes);
  }

  get name(): string {
    return this.#instance.name;
  }

  get sizeBytes(): number {
    return this.#instance.sizeBytes;
  }

  /** Bytes of memory that its blocks take now. */
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
      const page = this.#instance.nextPage(index, last);
      const hole = page !== index;
      const next = hole ? page : this.#instance.nextHole(index, last);
      const stop = Math.min(next * blockBytes, end);
      found.push({ lengthBytes: stop - at, hole, zero: hole });
      at = stop;
    }
    return found;
  }

  /** Makes the disk larger, while it is in use. @throws EINVAL when the size is smaller or no multiple of 512 */
  grow(sizeBytes: number): void {
    this.#refuseReadOnly();
    validateDiskSize(sizeBytes);
    if (sizeBytes < this.sizeBytes) {
      throw new PerdureError("EINVAL", `"${this.name}" has ${this.sizeBytes} bytes: a disk grows, it does not shrink`);
    }
    this.#instance.resize(sizeBytes);
  }

  /** Deletes the disk and frees all its pages. @throws EBUSY, READ_ONLY */
  delete(): void {
    this.#refuseReadOnly();
    this.#instance.delete();
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
    if (this.readOnly) throw new PerdureError("READ_ONLY", `the region of "${this.name}" was opened read-only`);
  }
}

/** The unit of disk sizes; what every client of block devices expects. */
const SECTOR_BYTES = 512;

/** @throws EINVAL for what is no disk size */
export function validateDiskSize(sizeBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % SECTOR_BYTES === 0) return;
  throw new PerdureError("EINVAL", `a disk of ${sizeBytes} bytes: the size is a multiple of 512, above 0`);
}
