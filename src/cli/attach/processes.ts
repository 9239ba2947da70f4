// Other programs: running them, knowing them again, ending them. Nothing here blocks the event loop, since what they do
// may wait for a relay that lives in this very process.

import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { PerdureError } from "../../base/index.ts";
import { startTicks } from "../../memory/index.ts";

/** Debian's packages of the programs that are used here. */
const packages: Readonly<Record<string, string>> = {
  nbdfuse: "libnbd-bin",
  nbdinfo: "libnbd-bin",
  fusermount3: "fuse3",
  losetup: "mount",
};
const lookMs = 20;
/** One that waits in the kernel ends when that lets it. */
const killPatienceMs = 5_000;

/** Tells a process from every other one that has its number later. */
export interface ProcessId {
  readonly pid: number;
  readonly startTicks: number;
}

/** @returns undefined when there is no such process, or when it has ended and nobody has asked how */
export function identify(pid: number): ProcessId | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const isZombie = stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z");
    return isZombie ? undefined : { pid, startTicks: startTicks(stat) };
  } catch {
    return undefined;
  }
}

/** True while the process runs. */
export function isAlive(id: ProcessId | undefined): boolean {
  return id !== undefined && identify(id.pid)?.startTicks === id.startTicks;
}

/** Waits for the end of a process. @returns whether it came in time */
export async function awaitEnd(id: ProcessId, timeoutMs: number): Promise<boolean> {
  for (const deadline = Date.now() + timeoutMs; isAlive(id); await sleep(lookMs)) {
    if (Date.now() > deadline) return false;
  }
  return true;
}

/** Ends a process at once. */
export async function killProcess(id: ProcessId | undefined): Promise<void> {
  if (id === undefined || !isAlive(id)) return;
  process.kill(id.pid, "SIGKILL");
  await awaitEnd(id, killPatienceMs);
}

/** Asks a process to end, and ends it when it does not. */
export async function endProcess(id: ProcessId | undefined, patienceMs: number): Promise<void> {
  if (id === undefined || !isAlive(id)) return;
  process.kill(id.pid, "SIGTERM");
  if (!(await awaitEnd(id, patienceMs))) await killProcess(id);
}

/** Starts a program, also one of those that are in no user's PATH. @throws ENOENT when it is not installed */
export async function startProgram(
  program: string,
  args: readonly string[],
  options: SpawnOptions,
): Promise<ChildProcess> {
  const path = [process.env.PATH ?? "", "/usr/sbin", "/sbin"].join(delimiter);
  const child = spawn(program, args, { ...options, env: { ...process.env, PATH: path, LC_ALL: "C" } });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) => reject(notInstalled(program, cause)));
  });
  return child;
}

/**
 * Runs a program to its end.
 *
 * @returns what it printed
 * @throws ENOENT when it is not installed; EBUSY or EIO with what it said when it fails
 */
export async function runProgram(program: string, ...args: readonly string[]): Promise<string> {
  const child = await startProgram(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [out, err, code] = await Promise.all([textOf(child.stdout), textOf(child.stderr), ended]);
  if (code === 0) return out;
  throw new PerdureError(
    / busy/.test(err) ? "EBUSY" : "EIO",
    `${program} failed: ${err.trim() || `exit code ${code}`}`,
    {
      remedy: "see what it says; the kernel log (dmesg) may say more",
    },
  );
}

async function textOf(stream: ChildProcess["stdout"]): Promise<string> {
  return stream === null ? "" : text(stream);
}

function notInstalled(program: string, cause: Error): PerdureError {
  const name = packages[program];
  return new PerdureError("ENOENT", `the program ${program} is not installed`, {
    remedy: name === undefined ? "install it" : `install it: apt-get install ${name}`,
    cause,
  });
}
