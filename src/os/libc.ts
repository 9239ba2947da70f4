import koffi from "koffi";
import { PerdureError } from "../base/index.ts";

/**
 * The calls of the C library that Node does not offer. koffi marshals scalars and pointers only; pointers are BigInt.
 * Numbers come from the headers named beside them.
 */
const libc = koffi.load("libc.so.6");

const mmap = libc.func("void *mmap(void *address, size_t length, int prot, int flags, int fd, int64 offset)");
const mprotect = libc.func("int mprotect(void *address, size_t length, int prot)");
const munmap = libc.func("int munmap(void *address, size_t length)");
const msync = libc.func("int msync(void *address, size_t length, int flags)");
const fallocate = libc.func("int fallocate(int fd, int mode, int64 offset, int64 length)");
const lseek = libc.func("int64 lseek(int fd, int64 offset, int whence)");
const fcntl = libc.func("int fcntl(int fd, int command, void *argument)");
const linkat = libc.func("int linkat(int fromDir, const char *from, int toDir, const char *to, int flags)");
const renameat2 = libc.func(
  "int renameat2(int fromDir, const char *from, int toDir, const char *to, unsigned int flags)",
);
const sigaction = libc.func("int sigaction(int number, void *action, void *previous)");
const memfdCreate = libc.func("int memfd_create(const char *name, unsigned int flags)");

/** `<sys/mman.h>` */
const PROT_READ = 1;
const PROT_WRITE = 2;
const PROT_EXEC = 4;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
/** A reader's private mapping is hardly ever written, so no memory is set aside for copies of all of it. */
const MAP_NORESERVE = 0x4000;
const MAP_FAILED = 2n ** 64n - 1n;
const MS_SYNC = 4;
/** `<linux/memfd.h>` */
const MFD_CLOEXEC = 1;
/** `<fcntl.h>` */
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
/** `<linux/falloc.h>` */
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
/** `<unistd.h>` */
const SEEK_HOLE = 4;
/** `<linux/fs.h>` */
const RENAME_NOREPLACE = 1;

// Some numbers have two names: EAGAIN, for example, is EWOULDBLOCK too. The first of the alphabet is the one in use.
const NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(koffi.os.errno)
    .sort(([a], [b]) => b.localeCompare(a))
    .map(([name, number]) => [number, name]),
);

/** A failed system call: its name and the errno it left. */
export class SystemCallError extends Error {
  override readonly name: string = "SystemCallError";
  readonly call: string;
  /** Name of the errno, `ENOSPC`. */
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = NAMES[errno] ?? `errno ${errno}`;
    super(`${call} failed with ${code}`);
    this.call = call;
    this.code = code;
  }
}

/** The errno is the thread's own: this comes before anything else calls into the C library. @throws SystemCallError */
export function check(call: string, result: number): number {
  if (result === -1) throw new SystemCallError(call, koffi.errno());
  return result;
}

/** How a range is mapped; `private` gives a reader that can never store into the file. */
export type MapMode = "shared" | "private" | "shared-read-only";

/** mmap(2) of a whole file. @returns the address. @throws SystemCallError */
export function mapFile(fd: number, lengthBytes: number, mode: MapMode): bigint {
  const protection = mode === "shared-read-only" ? PROT_READ : PROT_READ | PROT_WRITE;
  const address = mmap(
    null,
    lengthBytes,
    protection,
    mode === "private" ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED,
    fd,
    0,
  ) as bigint;
  // MAP_FAILED is not null, and a view of it would end the process at the first touch.
  if (address === MAP_FAILED) throw new SystemCallError("mmap", koffi.errno());
  return address;
}

/** mmap(2) of fresh, zeroed memory of this process alone. @throws SystemCallError */
export function mapAnonymous(lengthBytes: number): bigint {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const address = mmap(null, lengthBytes, PROT_READ | PROT_WRITE, flags, -1, 0) as bigint;
  if (address === MAP_FAILED) throw new SystemCallError("mmap", koffi.errno());
  return address;
}

/** mprotect(2): makes pages executable, and at the same time unwritable. @throws SystemCallError */
export function makeExecutable(address: bigint, lengthBytes: number): void {
  check("mprotect", mprotect(address, lengthBytes, PROT_READ | PROT_EXEC) as number);
}

/**
 * sigaction(2) with the C library's structure, or with undefined only a look at what is installed.
 *
 * @returns the structure as it was before
 * @throws SystemCallError
 */
export function exchangeSignalAction(number: number, action: Uint8Array | undefined, lengthBytes: number): Buffer {
  const previous = Buffer.alloc(lengthBytes);
  check("sigaction", sigaction(number, action ?? null, previous) as number);
  return previous;
}

/** munmap(2). */
export function unmap(address: bigint, lengthBytes: number): void {
  check("munmap", munmap(address, lengthBytes) as number);
}

/** msync(2) with MS_SYNC; the range must start on a page of the machine. @throws SystemCallError */
export function synchronize(address: bigint, lengthBytes: number): void {
  check("msync", msync(address, lengthBytes, MS_SYNC) as number);
}

/** The memory at `address` as an ArrayBuffer that owns nothing. */
export function viewAddress(address: bigint, lengthBytes: number): ArrayBuffer {
  // koffi ends the process on a null pointer, so it is refused here.
  if (address === 0n) throw new PerdureError("EINVAL", "a view needs an address");
  return koffi.view(address, lengthBytes);
}

/** fallocate(2), mode 0: reserves every block of the range, keeps what it holds. @throws SystemCallError */
export function reserve(fd: number, offset: number, lengthBytes: number): void {
  check("fallocate", fallocate(fd, 0, offset, lengthBytes) as number);
}

/** fallocate(2): gives the blocks of a range back; it reads as zeroes then. @throws SystemCallError */
export function punchHole(fd: number, offset: number, lengthBytes: number): void {
  check("fallocate", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, lengthBytes) as number);
}

/** lseek(2): the first hole at or after `offset`; the end of the file counts as one. @throws SystemCallError */
export function nextHole(fd: number, offset: number): number {
  return check("lseek", Number(lseek(fd, offset, SEEK_HOLE)));
}

/** fcntl(2) with a structure as its argument. @throws SystemCallError */
export function control(fd: number, command: number, argument: Uint8Array): void {
  check("fcntl", fcntl(fd, command, argument) as number);
}

/** Gives an open, unnamed file (O_TMPFILE) its name. @throws SystemCallError EEXIST when the name is taken */
export function linkOpenFile(fd: number, path: string): void {
  check("linkat", linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, path, AT_SYMLINK_FOLLOW) as number);
}

/** Renames a file, never over another one. @throws SystemCallError EEXIST when the new name is taken */
export function renameWithoutReplacing(from: string, to: string): void {
  check("renameat2", renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) as number);
}

/** memfd_create(2): memory that lives as long as a descriptor of it is open. @returns the descriptor */
export function createMemfd(name: string): number {
  return check("memfd_create", memfdCreate(name, MFD_CLOEXEC) as number);
}
