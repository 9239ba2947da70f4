import {
  closeSync,
  fchmodSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  type Stats,
  statfsSync,
  statSync,
} from "node:fs";
import {
  control,
  linkOpenFile,
  type MapMode,
  mapFile,
  nextHole,
  punchHole,
  renameWithoutReplacing,
  reserve,
  synchronize,
  unmap,
} from "./libc.ts";

/** The calls of the kernel that opening, using and closing a memory takes; each throws with the errno as `code`. */
export interface SystemCalls {
  open(path: string, flags: number, mode?: number): number;
  close(fd: number): void;
  fstat(fd: number): Stats;
  stat(path: string): Stats;
  statfs(path: string): {
    readonly type: number;
    readonly blocks: number;
    readonly bfree: number;
    readonly bsize: number;
  };
  readlink(path: string): string;
  /** The text of a file in /proc or /sys. */
  readText(path: string): string;
  readFolder(path: string): string[];
  fchmod(fd: number, mode: number): void;
  fdatasync(fd: number): void;
  /** @returns how many bytes were read: possibly fewer than asked for, 0 at the end */
  pread(fd: number, target: Uint8Array, start: number, lengthBytes: number, offset: number): number;
  mmap(fd: number, lengthBytes: number, mode: MapMode): bigint;
  munmap(address: bigint, lengthBytes: number): void;
  msync(address: bigint, lengthBytes: number): void;
  fallocate(fd: number, offset: number, lengthBytes: number): void;
  /** fallocate(2) that gives the blocks of a range back. */
  punch(fd: number, offset: number, lengthBytes: number): void;
  /** lseek(2): the first hole at or after an offset. */
  nextHole(fd: number, offset: number): number;
  ftruncate(fd: number, lengthBytes: number): void;
  fcntl(fd: number, command: number, argument: Uint8Array): void;
  linkat(fd: number, path: string): void;
  /** Gives a file another name, which no file has. */
  rename(from: string, to: string): void;
}

/**
 * Where all of them go through: a test puts failing functions in the places of these. No entry of the package exports
 * it.
 */
export const system: SystemCalls = {
  open: openSync,
  close: closeSync,
  fstat: (fd) => fstatSync(fd),
  stat: (path) => statSync(path),
  statfs: (path) => statfsSync(path),
  readlink: (path) => readlinkSync(path),
  readText: (path) => readFileSync(path, "latin1"),
  readFolder: (path) => readdirSync(path),
  fchmod: fchmodSync,
  fdatasync: fdatasyncSync,
  pread: readSync,
  mmap: mapFile,
  munmap: unmap,
  msync: synchronize,
  fallocate: reserve,
  punch: punchHole,
  nextHole,
  ftruncate: ftruncateSync,
  fcntl: control,
  linkat: linkOpenFile,
  rename: renameWithoutReplacing,
};

/** The errno of a failed call by name, `EIO`; undefined for an error that no call of the system left. */
export function errnoOf(error: unknown): string | undefined {
  const { code } = error as { code?: unknown };
  return error instanceof Error && typeof code === "string" ? code : undefined;
}

/** Makes a call again as often as a signal interrupts it. Never for close(2): the descriptor is gone even then. */
export function uninterrupted<T>(call: () => T): T {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if (errnoOf(error) !== "EINTR") throw error;
    }
  }
}
