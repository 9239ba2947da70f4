import { constants, type Stats } from "node:fs";
import { dirname, resolve } from "node:path";
import { atOnce, exactSize, isPerdureError, PerdureError, type Steps } from "../base/index.ts";
import { allocate, deviceNumbers, errnoOf, isByteLocked, lockByte, lockHolder, system } from "../os/index.ts";
import { noRoom, translated, translatedToEio } from "./errno.ts";
import { FileSpace } from "./file-space.ts";
import type { Survival } from "./memory.ts";

/** What kind of thing holds the bytes; each is tested. */
export type BackingKind = "tmpfs" | "ext4" | "xfs" | "memfd" | "dax";

/** `<linux/magic.h>`: statfs(2) types of the file systems that Perdure is tested on. */
const FILE_SYSTEMS: Readonly<Record<number, BackingKind>> = { 0x01021994: "tmpfs", 0xef53: "ext4", 0x58465342: "xfs" };

/** `<fcntl.h>`: O_TMPFILE with its O_DIRECTORY; Node does not name it. */
const O_TMPFILE = 0o20200000;
/** Byte of the backing that the writer locks. */
const WRITER_BYTE = 0;
/** What tmpfs allocates at a time. */
const BLOCK_BYTES = 4096;
/** So much is reserved at a time: some 30 ms of work for a tmpfs. */
const RESERVE_STEP_BYTES = 64 * 2 ** 20;
/** A memory has room for its superblock at least. */
const MIN_BYTES = 4096;
const GROUP_OR_OTHERS_WRITE = 0o022;

/** How a backing is opened. */
export interface BackingOptions {
  readonly readOnly?: boolean;
  /** Accept a file that belongs to another user or that others may write. */
  readonly trustFile?: boolean;
  /** Leave holes of the file as they are: the caller fills them before anything is stored there. */
  readonly keepHoles?: boolean;
}

/** One open, locked file or device: where a range of a memory lives. */
export class Backing implements Disposable {
  readonly source: string;
  readonly kind: BackingKind;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly fd: number;
  /** True when it is found by its path: an unnamed file, a memfd or a device lives as its maker wants it to. */
  #isNamed = false;
  readonly #isOwner: boolean;
  #open = true;

  private constructor(source: string, fd: number, kind: BackingKind, readOnly: boolean, isOwner = true) {
    this.source = source;
    this.fd = fd;
    this.kind = kind;
    this.readOnly = readOnly;
    this.sizeBytes = kind === "dax" ? daxSizeBytes(fd, source) : statsOf(fd, source).size;
    this.#isOwner = isOwner;
  }

  /** What another thread of this process has open for writing, and leaves open until this one is disposed. */
  static borrow({ source, fd, kind, isNamed }: Pick<Backing, "source" | "fd" | "kind" | "isNamed">): Backing {
    const backing = new Backing(source, fd, kind, false, false);
    backing.#isNamed = isNamed;
    return backing;
  }

  /**
   * Opens an existing file, device or inherited descriptor (`fd:N`) and takes its lock.
   *
   * @throws ENOENT, EACCES, ENODEV, ENOSPC (holes that cannot be filled), LOCKED
   */
  static open(source: string, options: BackingOptions = {}): Backing {
    const readOnly = options.readOnly ?? false;
    const inherited = /^fd:(\d+)$/.exec(source);
    if (inherited === null && source.startsWith("fd:")) throw noDescriptor(source);
    const fd = inherited === null ? openPath(source, readOnly) : openInherited(source, inherited[1], readOnly);
    return guarded(fd, () => {
      const kind = kindOf(fd, source);
      if (inherited !== null && !readOnly) refuseUnwritable(source, inherited[1]);
      if (inherited === null && kind !== "dax" && options.trustFile !== true)
        refuseUntrusted(statsOf(fd, source), source);
      // The size is read under the lock: whoever held it before may have changed it.
      if (!readOnly) lock(fd, source);
      const backing = new Backing(source, fd, kind, readOnly);
      backing.#refuseTiny();
      if (inherited === null) refuseReplaced(fd, source);
      backing.#isNamed = inherited === null && kind !== "dax";
      if (options.keepHoles !== true) atOnce(backing.fillHoles());
      return backing;
    });
  }

  /**
   * Makes a file of `sizeBytes` that has no name until `publish`: a process that dies before leaves nothing behind.
   *
   * @throws EINVAL (size), ENOENT (no such folder), ENODEV, ENOSPC, EACCES
   */
  static create(path: string, sizeBytes: number, options: { keepHoles?: boolean } = {}): Backing {
    return atOnce(Backing.creating(path, sizeBytes, options));
  }

  /** `create` in steps. */
  static *creating(
    path: string,
    sizeBytes: number,
    { keepHoles = false }: { keepHoles?: boolean } = {},
  ): Steps<Backing> {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < MIN_BYTES) {
      throw new PerdureError("EINVAL", `a memory of ${exactSize(sizeBytes)}: it has ${exactSize(MIN_BYTES)} at least`);
    }
    if (path === "") throw new PerdureError("EINVAL", "the path is empty");
    if (isDevicePath(path)) throw noDevice(path);
    const flags = O_TMPFILE | constants.O_RDWR;
    const fd = translated(path, () => system.open(dirname(resolve(path)), flags, 0o600));
    let backing: Backing | undefined;
    try {
      const kind = kindOf(fd, path);
      // The umask may have taken bits away that the owner needs to open it again.
      translated(path, () => system.fchmod(fd, 0o600));
      translated(path, () => system.ftruncate(fd, sizeBytes));
      lock(fd, path);
      const made = new Backing(path, fd, kind, false);
      if (!keepHoles) yield* made.fillHoles();
      backing = made;
      return made;
    } finally {
      if (backing === undefined) giveUp(fd);
    }
  }

  /** Gives a created file its name. @throws EEXIST when another took it meanwhile */
  publish(): void {
    translated(this.source, () => system.linkat(this.fd, resolve(this.source)));
    this.#isNamed = true;
  }

  /** Gives the file another name, never that of another file. @throws EEXIST; ENOENT when it lost its own meanwhile */
  rename(path: string): void {
    refuseReplaced(this.fd, this.source);
    translated(path, () => system.rename(resolve(this.source), resolve(path)));
  }

  /** See `#isNamed`; for those who borrow it. */
  get isNamed(): boolean {
    return this.#isNamed;
  }

  /** What outlives what, in this kind of backing. */
  get survival(): Survival {
    return { crash: true, lastClose: this.kind !== "memfd", powerLoss: false };
  }

  /** True when another process has it open for writing. */
  get hasWriter(): boolean {
    return translated(this.source, () => isByteLocked(this.fd, WRITER_BYTE));
  }

  /** What of the file is allocated, where holes are possible. */
  get space(): FileSpace | undefined {
    return this.kind === "dax" ? undefined : new FileSpace(this.fd, this.source, this.sizeBytes);
  }

  /** True when bytes can be read with pread(2), without touching the mapping. */
  get readable(): boolean {
    return this.kind !== "dax";
  }

  /**
   * Writes everything back to the disk, where there is one.
   *
   * @throws EIO, whatever stood in the way; MEMORY_LOST when it is shorter than it was; ENOENT when its last name is
   * gone: it ends with its users
   */
  sync(): void {
    if (this.kind !== "dax") this.#refuseGone();
    // A disk that turns out to be full has lost what it had taken: to the caller that is no ENOSPC to be retried.
    if (this.kind === "ext4" || this.kind === "xfs") this.#orEio(() => system.fdatasync(this.fd));
  }

  #orEio<T>(call: () => T): T {
    return translatedToEio(this.source, call);
  }

  // Whoever renames a file keeps what is in it; only one without any name vanishes with its last user.
  #refuseGone(): void {
    const { size, nlink } = this.#orEio(() => system.fstat(this.fd));
    if (size < this.sizeBytes) throw memoryLost(this);
    if (!this.#isNamed || nlink > 0) return;
    const copy = `/proc/${process.pid}/fd/${this.fd}`;
    throw new PerdureError(
      "ENOENT",
      `${this.source} was deleted: its memory ends with this process, and is ${copy} now`,
      {
        remedy: "copy that file while this process has it open; closing the region once more gives it up",
      },
    );
  }

  /**
   * Reserves every block of a file that is open for writing, so that a full file system is ENOSPC here and never SIGBUS
   * later.
   *
   * @throws ENOSPC
   */
  *fillHoles(): Steps<void> {
    if (this.readOnly || this.kind === "dax") return;
    const { fd, sizeBytes, source } = this;
    // As many blocks as the size asks for: no holes. More may lie beyond the end, so then it is made sure of, too. A
    // disk counts blocks with which it finds the others, so there the number says nothing.
    const isMemory = this.kind === "tmpfs" || this.kind === "memfd";
    const held = statsOf(fd, source).blocks * 512;
    if (isMemory && held === Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES) return;
    refuseOverfull(source, fd, sizeBytes - held);
    for (let offset = 0; offset < sizeBytes; offset += RESERVE_STEP_BYTES) {
      translated(source, () => allocate(fd, offset, Math.min(RESERVE_STEP_BYTES, sizeBytes - offset)));
      const doneBytes = Math.min(offset + RESERVE_STEP_BYTES, sizeBytes);
      yield { what: "reserving memory", doneBytes, totalBytes: sizeBytes };
    }
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    if (!this.#isOwner) return;
    // Closing drops the OFD lock. An inherited descriptor stays open, and with it what a memfd holds.
    close(this.fd);
  }

  #refuseTiny(): void {
    if (this.sizeBytes >= MIN_BYTES) return;
    throw new PerdureError("ENODEV", `${this.source} has ${exactSize(this.sizeBytes)}: too little for a memory`, {
      remedy: "name another file; one that is not there is made by `perdure format --size`",
    });
  }
}

/** True for a path in /dev, where a slip would make a file of memory that nobody looks for; /dev/shm is for files. */
export function isDevicePath(path: string): boolean {
  const [, top, next] = resolve(path).split("/");
  return top === "dev" && next !== "shm";
}

/** The error for pages of a backing that are gone, as far as it can be told why. */
export function memoryLost({ source, kind, fd, sizeBytes }: Backing): PerdureError {
  const size = kind === "dax" ? sizeBytes : system.fstat(fd).size;
  return new PerdureError(
    "MEMORY_LOST",
    size < sizeBytes
      ? `${source} was made shorter while it was in use: it has ${exactSize(size)}, and had ${exactSize(sizeBytes)}`
      : `pages of ${source} cannot be reached: their memory failed, or the file was shorter for a while`,
  );
}

function openPath(path: string, readOnly: boolean): number {
  const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  // O_NONBLOCK keeps a FIFO from blocking the open for ever; Node sets O_CLOEXEC by itself.
  try {
    return translated(path, () => system.open(path, access | constants.O_NOFOLLOW | constants.O_NONBLOCK));
  } catch (error) {
    throw isPerdureError(error, "ENOENT") && isDevicePath(path) ? noDevice(path) : error;
  }
}

function noDevice(path: string): PerdureError {
  return new PerdureError("ENOENT", `${path}: there is no such device, and no file is made among devices`, {
    remedy: "make the device first (daxctl list shows what there is), or choose a path in /dev/shm",
  });
}

/**
 * An inherited descriptor is opened anew: what the two share otherwise is one open file description, and an OFD lock
 * never keeps that from itself.
 */
function openInherited(source: string, number: string, readOnly: boolean): number {
  const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  try {
    return translated(source, () => system.open(`/proc/self/fd/${number}`, access | constants.O_NONBLOCK));
  } catch (error) {
    throw isPerdureError(error, "ENOENT") ? noDescriptor(source) : error;
  }
}

function noDescriptor(source: string): PerdureError {
  return new PerdureError("ENOENT", `${source}: this process has inherited no such descriptor`, {
    remedy: "name the number of one that is open, such as fd:3; a file of that name is ./fd:3",
  });
}

// Who was given a descriptor for reading gets no more by it: its mode is in `flags:` of proc_pid_fdinfo(5), in octal.
function refuseUnwritable(source: string, number: string): void {
  const info = translated(source, () => system.readText(`/proc/self/fdinfo/${number}`));
  const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? "0", 8);
  if ((flags & constants.O_RDWR) !== 0) return;
  throw new PerdureError("EACCES", `${source} was not opened for writing`, {
    remedy: "inherit a descriptor that was opened for reading and writing, or open it read-only",
  });
}

function kindOf(fd: number, source: string): BackingKind {
  const stats = statsOf(fd, source);
  if (stats.isCharacterDevice() && isDax(stats.rdev, source)) return "dax";
  if (!stats.isFile()) throw new PerdureError("ENODEV", `${source} is no regular file, memfd or /dev/daxN.M device`);
  const file = `/proc/self/fd/${fd}`;
  if (translated(source, () => system.readlink(file)).startsWith("/memfd:")) return "memfd";
  const { type } = translated(source, () => system.statfs(file));
  const kind = FILE_SYSTEMS[type];
  if (kind !== undefined) return kind;
  throw new PerdureError(
    "ENODEV",
    `${source} lies on a file system that Perdure is not tested on (0x${type.toString(16)})`,
  );
}

/** The folder in sysfs of a character device. */
function deviceFolder(rdev: number): string {
  return `/sys/dev/char/${deviceNumbers(rdev).join(":")}`;
}

function isDax(rdev: number, source: string): boolean {
  return translated(source, () => {
    try {
      return system.readlink(`${deviceFolder(rdev)}/subsystem`).endsWith("/bus/dax");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return false;
      throw error;
    }
  });
}

// fstat(2) says 0 for a device.
function daxSizeBytes(fd: number, source: string): number {
  const { rdev } = statsOf(fd, source);
  return Number(translated(source, () => system.readText(`${deviceFolder(rdev)}/size`)));
}

function statsOf(fd: number, source: string): Stats {
  return translated(source, () => system.fstat(fd));
}

function lock(fd: number, source: string): void {
  if (translated(source, () => lockByte(fd, WRITER_BYTE, "exclusive"))) return;
  const pid = lockHolder(fd);
  if (pid === undefined) throw new PerdureError("LOCKED", `${source} is open for writing in another process`);
  throw new PerdureError("LOCKED", `${source} is open for writing in process ${pid}`, {
    remedy:
      pid === process.pid ? "close it there first" : `stop that process first (kill ${pid}): it closes the region`,
  });
}

function refuseUntrusted(stats: Stats, path: string): void {
  const user = process.geteuid?.() ?? 0;
  if (stats.uid !== user)
    throw new PerdureError("EACCES", `${path} belongs to user ${stats.uid}, not to this one (${user})`);
  if ((stats.mode & GROUP_OR_OTHERS_WRITE) !== 0)
    throw new PerdureError("EACCES", `${path} may be written by other users`);
}

// Step by step it would take all that is left from everybody else before it fails. 0 blocks: there is no limit.
function refuseOverfull(source: string, fd: number, wantedBytes: number): void {
  const { blocks, bfree, bsize } = translated(source, () => system.statfs(`/proc/self/fd/${fd}`));
  if (blocks === 0 || wantedBytes <= bfree * bsize) return;
  throw noRoom(source);
}

// Between open and lock the name may have been given to another file; a writer must not hold a file nobody finds.
function refuseReplaced(fd: number, path: string): void {
  const held = statsOf(fd, path);
  const named = translated(path, () => system.stat(path));
  if (held.ino !== named.ino || held.dev !== named.dev) {
    throw new PerdureError("ENOENT", `${path} was replaced while it was being opened`, { remedy: "open it again" });
  }
}

function guarded<T>(fd: number, act: () => T): T {
  try {
    return act();
  } catch (error) {
    giveUp(fd);
    throw error;
  }
}

function giveUp(fd: number): void {
  try {
    close(fd);
  } catch {
    // The descriptor is gone even so, and the first error says more.
  }
}

// close(2): also a close that a signal interrupted has closed.
function close(fd: number): void {
  try {
    system.close(fd);
  } catch (error) {
    if (errnoOf(error) !== "EINTR") throw error;
  }
}
