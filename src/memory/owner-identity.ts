import { system } from "../os/index.ts";
import { translated } from "./errno.ts";

/**
 * What tells one process of one boot from every other. Rule 6: it stands on media for messages, and nothing of it is
 * ever needed to open them.
 */
export interface OwnerIdentity {
  readonly pid: number;
  /** Start of the process in clock ticks since boot (proc_pid_stat(5), field 22). */
  readonly startTicks: number;
  /** `/proc/sys/kernel/random/boot_id` as 16 bytes. */
  readonly bootId: Uint8Array;
}

let own: OwnerIdentity | undefined;

/** The identity of this process. @throws EIO, EBUSY when /proc cannot be read */
export function ownerIdentity(): OwnerIdentity {
  own ??= {
    pid: process.pid,
    startTicks: startTicks(readText("/proc/self/stat")),
    bootId: Buffer.from(readText("/proc/sys/kernel/random/boot_id").replaceAll("-", "").trim(), "hex"),
  };
  return own;
}

/** The start in proc_pid_stat(5), of a process or a thread, in clock ticks since boot. */
export function startTicks(stat: string): number {
  // The command name (field 2) may hold blanks and brackets, so fields are counted behind its last bracket.
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
}

function readText(path: string): string {
  return translated(path, () => system.readText(path));
}
