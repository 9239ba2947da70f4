import { errnoOf, system, uninterrupted } from "./system.ts";

/** `<linux/fcntl.h>`: locks that belong to the open file description and die with it. */
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const STRUCT_FLOCK_BYTES = 32;

/**
 * Takes an OFD lock of one byte of a file without waiting. Unlike POSIX locks it does not vanish when another
 * descriptor of the file is closed, and unlike flock(2) a reader cannot use it to keep the writer out.
 *
 * @returns false when another open file description holds the byte
 * @throws SystemCallError EBADF when an exclusive lock is asked of a file opened for reading
 */
export function lockByte(fd: number, byte: number, kind: "exclusive" | "shared"): boolean {
  try {
    uninterrupted(() => system.fcntl(fd, F_OFD_SETLK, flockOf(byte, kind === "exclusive" ? F_WRLCK : F_RDLCK)));
    return true;
  } catch (error) {
    // fcntl(2): which of the two a lock that is held gives is up to the system.
    if (["EAGAIN", "EACCES"].includes(errnoOf(error) ?? "")) return false;
    throw error;
  }
}

/** True when another open file description holds a lock of that byte. @throws SystemCallError */
export function isByteLocked(fd: number, byte: number): boolean {
  const flock = flockOf(byte, F_WRLCK);
  uninterrupted(() => system.fcntl(fd, F_OFD_GETLK, flock));
  return flock.readInt16LE(0) !== F_UNLCK;
}

/** struct flock: i16 type, i16 whence, 4 bytes of padding, i64 start, i64 length, i32 pid (0 for OFD locks). */
function flockOf(byte: number, type: number): Buffer {
  const flock = Buffer.alloc(STRUCT_FLOCK_BYTES);
  flock.writeInt16LE(type, 0);
  flock.writeBigInt64LE(BigInt(byte), 8);
  flock.writeBigInt64LE(1n, 16);
  return flock;
}
