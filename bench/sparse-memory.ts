import { closeSync, constants, fstatSync, openSync } from "node:fs";
import type { Steps } from "../src/base/index.ts";
import { type Backing, type BackingKind, MappedMemory, type Survival } from "../src/memory/index.ts";

/**
 * A tmpfs file with holes as a backing. The library's own reserves all space of a file before it stores into it; this
 * one does not, so that a region of 16 GiB costs only its frame table here. Only for measurements that touch metadata
 * alone, and only while the file system has room: a hole that cannot be filled loses the memory.
 */
class SparseBacking implements Pick<Backing, keyof Backing> {
  readonly source: string;
  readonly fd: number;
  readonly sizeBytes: number;
  readonly kind: BackingKind = "tmpfs";
  readonly isNamed = false;
  readonly readOnly = false;
  readonly readable = true;
  readonly hasWriter = false;
  readonly space = undefined;
  readonly survival: Survival = { crash: true, lastClose: true, powerLoss: false };

  constructor(path: string) {
    this.source = path;
    this.fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
    this.sizeBytes = fstatSync(this.fd).size;
  }

  publish(): void {}

  rename(_path: string): void {}

  *fillHoles(): Steps<void> {
    // Holes are what this is for.
  }

  sync(): void {}

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** The library's memory on a file with holes. */
export function openSparse(path: string): MappedMemory {
  return new MappedMemory([new SparseBacking(path) as Backing]);
}
