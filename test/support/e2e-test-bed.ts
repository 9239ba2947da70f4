// Where an end-to-end test happens: a folder in memory, servers, mounts and loop devices, and the steps that undo all
// of it, also when the test fails, takes too long or is interrupted.

import { type ChildProcess, type SpawnSyncReturns, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { RunningCli } from "./cli.ts";
import { succeed } from "./nbd-programs.ts";
import { requireTool, which } from "./tools.ts";

/**
 * Undoes one thing. What it does before its first await must be enough: when the test is interrupted nobody waits for
 * the rest.
 */
type UndoStep = () => unknown;

/** Longer than undoing one thing takes, also on a busy machine. */
const undoTimeoutMs = 10_000;

/** The beds of this process that are still made up. */
const beds = new Set<TestBed>();

export class TestBed {
  /** On a tmpfs, as regions usually are. */
  readonly folder: string;
  readonly #undo: UndoStep[] = [];

  constructor(t: TestContext) {
    this.folder = mkdtempSync(join("/dev/shm", "perdure-e2e-"));
    this.undo(() => rmSync(this.folder, { recursive: true, force: true }));
    beds.add(this);
    t.after(() => this.#tearDown());
  }

  /**
   * Keeps a step for the end of the test; the last one kept is taken first.
   *
   * @returns a function that takes the step now instead
   */
  undo(step: UndoStep): () => unknown {
    this.#undo.push(step);
    return () => {
      this.#undo.splice(this.#undo.indexOf(step), 1);
      return step();
    };
  }

  /** Starts a server that may be killed as often as the test likes, and waits for its ready lines. */
  serve(...args: readonly string[]): Promise<RunningCli> {
    return this.ready(new RunningCli(["serve", ...args, "--quarantine-after", "0"]));
  }

  /** Waits for the ready lines of a server, which is killed at the end if it still runs. */
  async ready(server: RunningCli): Promise<RunningCli> {
    this.undo(() => server.stop("SIGKILL"));
    await server.says("stdout", /^ready.*\n/m);
    return server;
  }

  /** Mounts a tmpfs of its own, so that filling it harms nobody. */
  async mountTmpfs(name: string, size: string): Promise<string> {
    const folder = join(this.folder, name);
    mkdirSync(folder);
    await runTool("mount", "-t", "tmpfs", "-o", `size=${size},mode=0700`, "tmpfs", folder);
    this.undo(() => runNow("umount", "--lazy", folder));
    return folder;
  }

  async #tearDown(): Promise<void> {
    for (const step of this.#undo.splice(0).toReversed()) await step();
    beds.delete(this);
    const left = readFileSync("/proc/mounts", "utf8").includes(this.folder) || existsSync(this.folder);
    if (left) throw new Error(`the test left ${this.folder} behind`);
  }

  /** What an interrupted test can still do. */
  tearDownNow(): void {
    for (const step of this.#undo.splice(0).toReversed()) void step();
  }
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    for (const bed of beds) bed.tearDownNow();
    process.kill(process.pid, signal);
  });
}

/**
 * Tells a test whether it can mount disks: as `requireTool` does.
 *
 * @param names The programs that the test needs beside those for mounting
 */
export function requireMounts(t: TestContext, ...names: string[]): boolean {
  if (!requireTool(t, "mount", "umount", "losetup", "nbdfuse", "fusermount3", ...names)) return false;
  const missing = [
    ...(process.getuid?.() === 0 ? [] : ["root"]),
    ...["/dev/fuse", "/dev/loop-control"].filter((device) => !isWritable(device)),
  ];
  if (missing.length === 0) return true;
  const message = `mounting a disk needs ${missing.join(", ")}`;
  if (process.env.CI === "true") throw new Error(message);
  t.skip(message);
  return false;
}

/** Runs a program that must succeed, also one of those that are in no user's PATH. */
export function runTool(program: string, ...args: string[]): Promise<string> {
  return succeed(which(program) ?? program, ...args);
}

/** Runs a program before anything else happens; for undo steps, which must not wait. */
export function runNow(program: string, ...args: string[]): SpawnSyncReturns<Buffer> {
  return spawnSync(which(program) ?? program, args, { stdio: "ignore", timeout: undoTimeoutMs, killSignal: "SIGKILL" });
}

/** Waits until something is so. @throws when it does not become so in time */
export async function until(isSo: () => boolean, what: string): Promise<void> {
  for (const deadline = Date.now() + undoTimeoutMs; !isSo(); await sleep(5)) {
    if (Date.now() > deadline) throw new Error(`waited ${undoTimeoutMs / 1000} s for ${what}`);
  }
}

/** Waits for the end of a process, which is killed when it does not come in time. @returns its exit code */
export async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const deadline = setTimeout(() => child.kill("SIGKILL"), undoTimeoutMs);
  const code = await new Promise<number | null>((resolve) => child.once("exit", resolve));
  clearTimeout(deadline);
  return code;
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
