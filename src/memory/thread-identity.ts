import { errnoOf, system } from "../os/index.ts";
import { translated } from "./errno.ts";
import { startTicks } from "./owner-identity.ts";

/** What tells one thread of this process from every other, also from one that is given its number later. */
export interface ThreadIdentity {
  /** Its number in the kernel, gettid(2). */
  readonly tid: number;
  /** Its start in clock ticks since boot, modulo 2^32. */
  readonly startTicks: number;
}

/** A module belongs to one thread, which stays who it is. */
let own: ThreadIdentity | undefined;

/** The identity of the thread that calls. @throws EIO, EBUSY when /proc cannot be read */
export function currentThread(): ThreadIdentity {
  own ??= readOwn();
  return own;
}

function readOwn(): ThreadIdentity {
  // proc_thread-self(5): PID/task/TID of whoever reads the link.
  const tid = Number(translated("/proc/thread-self", () => system.readlink("/proc/thread-self")).split("/")[2]);
  return { tid, startTicks: startTicks(statOf(tid) ?? "") >>> 0 };
}

/**
 * Whether a thread of this process still runs. The kernel is asked: a worker that is terminated, or runs out of memory,
 * tells nobody.
 */
export function threadLives(thread: ThreadIdentity): boolean {
  const stat = statOf(thread.tid);
  return stat !== undefined && startTicks(stat) >>> 0 === thread.startTicks;
}

function statOf(tid: number): string | undefined {
  const path = `/proc/self/task/${tid}/stat`;
  try {
    return system.readText(path);
  } catch (error) {
    const errno = errnoOf(error);
    // ESRCH: it ended between the open and the read.
    if (errno === "ENOENT" || errno === "ESRCH") return undefined;
    return translated(path, () => {
      throw error;
    });
  }
}
