import { assert } from "../base/index.ts";
import { detach } from "./detach.ts";
import { type MapMode, viewAddress } from "./libc.ts";
import { SigbusGuard } from "./sigbus-guard.ts";
import { system } from "./system.ts";

/** msync(2) wants addresses on a page of the machine. */
const MACHINE_PAGE_BYTES = 4096;

/** Where a mapping and its guard are, for another thread of the process. */
export interface SharedMapping {
  readonly address: bigint;
  readonly guard: bigint;
}

/** One mmap of a whole file or device. It owns the views it gave out: they are detached before it is unmapped. */
export class Mapping implements Disposable {
  readonly lengthBytes: number;
  /** Tells when the file became shorter than the mapping, or its memory failed, and a page of that was touched. */
  readonly guard: SigbusGuard;
  /** Where it is in the address space of the process. */
  readonly address: bigint;
  readonly #isOwner: boolean;
  readonly #buffers: ArrayBuffer[] = [];
  #open = true;

  /**
   * With `borrowed` it is a mapping that another thread of this process leaves there until this one is disposed.
   *
   * @throws SystemCallError when the kernel refuses the mapping; EBUSY when there are too many
   */
  constructor(fd: number, lengthBytes: number, mode: MapMode, borrowed?: SharedMapping) {
    this.lengthBytes = lengthBytes;
    this.#isOwner = borrowed === undefined;
    this.address = borrowed?.address ?? system.mmap(fd, lengthBytes, mode);
    try {
      this.guard = new SigbusGuard(this.address, lengthBytes, borrowed?.guard);
    } catch (error) {
      if (this.#isOwner) system.munmap(this.address, lengthBytes);
      throw error;
    }
  }

  /** The bytes of a part of the mapping; at most 4 GiB on Node 20. */
  view(offset: number, lengthBytes: number): ArrayBuffer {
    assert(this.#open, "a view is made of an open mapping");
    assert(offset >= 0 && lengthBytes > 0 && offset + lengthBytes <= this.lengthBytes, "a view lies in its mapping");
    const buffer = viewAddress(this.address + BigInt(offset), lengthBytes);
    this.#buffers.push(buffer);
    return buffer;
  }

  /** Writes a range back to its file and waits. @throws SystemCallError EIO */
  sync(offset: number, lengthBytes: number): void {
    const start = offset - (offset % MACHINE_PAGE_BYTES);
    system.msync(this.address + BigInt(start), offset + lengthBytes - start);
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    for (const buffer of this.#buffers) detach(buffer);
    this.guard[Symbol.dispose]();
    if (this.#isOwner) system.munmap(this.address, this.lengthBytes);
  }
}
