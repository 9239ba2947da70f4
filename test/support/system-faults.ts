// System calls that fail on purpose: every call of the library goes through one table, and a test wraps its functions.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { constants } from "node:os";
import { SystemCallError, type SystemCalls, system } from "../../src/os/index.ts";

/** The name of a system call in the table. */
export type CallName = keyof SystemCalls;

/** What happens instead of a call: it fails with an errno, or it reads less than it was asked for. */
export type Effect = keyof typeof constants.errno | "short";

/** What each call may answer, by its manual page and by the file systems behind it. Node makes stat(2) of several. */
export const effectsOf: Readonly<Record<CallName, readonly Effect[]>> = {
  open: ["EMFILE", "ENFILE", "EACCES", "ENOMEM", "EIO", "EINTR"],
  close: ["EIO", "EINTR", "ENOSPC"],
  fstat: ["EIO", "ENOMEM"],
  stat: ["EIO", "ENOENT", "EACCES"],
  statfs: ["EIO", "ENOMEM", "EINTR"],
  readlink: ["EACCES", "ENOMEM"],
  readText: ["EMFILE", "EACCES", "ENOENT", "EINTR"],
  readFolder: ["EMFILE", "EACCES"],
  fchmod: ["EIO", "EPERM", "EROFS"],
  fdatasync: ["EIO", "ENOSPC", "EDQUOT", "EINTR"],
  pread: ["EIO", "ENOMEM", "EINTR", "short"],
  mmap: ["ENOMEM", "EAGAIN", "EACCES", "ENFILE"],
  munmap: ["ENOMEM"],
  msync: ["EIO", "ENOSPC", "ENOMEM", "EINTR"],
  fallocate: ["ENOSPC", "EIO", "EFBIG", "EINTR", "EOPNOTSUPP"],
  punch: ["EIO", "EINTR", "EOPNOTSUPP", "ENOSPC"],
  nextHole: ["EIO"],
  ftruncate: ["EIO", "EFBIG", "EINTR", "EPERM"],
  fcntl: ["ENOLCK", "EIO", "EINTR"],
  linkat: ["ENOSPC", "EEXIST", "EIO", "ENOMEM", "EINTR"],
  rename: ["EEXIST", "EIO", "EACCES", "EINTR"],
};

/** Effects after which the caller must go on as if nothing had happened. */
export const harmless: ReadonlySet<Effect> = new Set<Effect>(["EINTR", "short"]);

/** A call whose resource is gone whatever it answers. */
const RELEASES: ReadonlySet<CallName> = new Set<CallName>(["close", "munmap"]);

/** Told of every call before it is made; makes it, or does something else. */
export type Interceptor = (name: CallName, nth: number, make: () => unknown, args: unknown[]) => unknown;

/** Puts an interceptor between the library and the system. Disposing takes it away. */
export function intercept(interceptor: Interceptor): Disposable {
  const originals = { ...system };
  const table = system as unknown as Record<CallName, (...args: unknown[]) => unknown>;
  const real = originals as unknown as typeof table;
  let calls = 0;
  for (const name of Object.keys(originals) as CallName[]) {
    table[name] = (...args) => {
      calls++;
      return interceptor(name, calls, () => real[name](...args), args);
    };
  }
  return { [Symbol.dispose]: () => void Object.assign(system, originals) };
}

/** Lets the n-th call fail, counted from 1; with `sticky` also all after it. */
export function plantFault(nth: number, effect: Effect, sticky = false): Disposable {
  return intercept((name, call, make, args) => {
    if (sticky ? call < nth : call !== nth) return make();
    if (effect === "short") {
      // The fourth argument of a pread is how much is asked for.
      args[3] = Math.ceil((args[3] as number) / 2);
      return make();
    }
    if (RELEASES.has(name)) make();
    throw new SystemCallError(`the planted failure of a ${name}`, constants.errno[effect]);
  });
}

/** What this process holds of the kernel: its descriptors, and its mappings of files below a folder. */
export function held(folder: string): string[] {
  const descriptors = readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
    } catch {
      // The one that listed them.
      return [];
    }
  });
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  return [...descriptors, ...maps.filter((line) => line.includes(folder) || line.includes("memfd:"))].sort();
}
