import type { Stats } from "node:fs";
import { deviceNumbers } from "./device-numbers.ts";
import { system } from "./system.ts";

/** Every open file of every process is looked at; where there are very many, an answer is not worth the wait. */
const PATIENCE_MS = 1000;

/**
 * The process that holds an exclusive lock of a file, found where the kernel tells it: in `lock:` lines of
 * proc_pid_fdinfo(5). F_OFD_GETLK has no pid to give. Undefined when it is no process that this one may look at, when
 * it is gone by now, or when the search takes too long.
 */
export function lockHolder(fd: number): number | undefined {
  return unlessGone(() => {
    const wanted = lockLine(system.fstat(fd));
    const pids = system.readFolder("/proc").filter((name) => /^\d+$/.test(name));
    const end = performance.now() + PATIENCE_MS;
    const found = pids.find((pid) => performance.now() < end && holds(pid, wanted));
    return found === undefined ? undefined : Number(found);
  });
}

/** What the lock of a file looks like: kernel device numbers in hexadecimal, then the inode. */
function lockLine({ dev, ino }: Stats): RegExp {
  const device = deviceNumbers(dev)
    .map((number) => number.toString(16).padStart(2, "0"))
    .join(":");
  return new RegExp(`^lock:.* OFDLCK .* WRITE .* ${device}:${ino} `, "m");
}

function holds(pid: string, wanted: RegExp): boolean {
  const folder = `/proc/${pid}/fdinfo`;
  const files = unlessGone(() => system.readFolder(folder)) ?? [];
  return files.some((name) => wanted.test(unlessGone(() => system.readText(`${folder}/${name}`)) ?? ""));
}

// Processes end and files are closed while we look, and others may not be looked at.
function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
