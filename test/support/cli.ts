// The command `perdure` as a child process, in a folder of its own that is gone when the test is over.

import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { type NbdRawClient, requestFrame } from "./nbd-raw-client.ts";

/** The command as the package installs it, a script for Node. */
export const perdureBin: string = fileURLToPath(new URL("../../../bin/perdure", import.meta.url));
/** Commands of the protocol. */
const READ = 0;
const WRITE = 1;
/** Longer than any command of a test takes, also on a busy machine. */
const patienceMs = 30_000;

/** How a command ended and what it said. */
export interface CliResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder on a tmpfs, removed when the test is over. */
export function memoryFolder(t: TestContext): string {
  const folder = mkdtempSync(join("/dev/shm", "perdure-cli-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Runs a command to its end. */
export function perdure(args: readonly string[], options: SpawnOptions = {}): Promise<CliResult> {
  return new RunningCli(args, options).ended;
}

/** Runs a command that must succeed, and reads its JSON. */
export async function perdureJson<Value>(...args: readonly string[]): Promise<Value> {
  const { code, stdout, stderr } = await perdure([...args, "--json"]);
  if (code !== 0) throw new Error(`perdure ${args.join(" ")} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as Value;
}

/** A command that goes on until it is told to stop. */
export class RunningCli {
  readonly ended: Promise<CliResult>;
  readonly #child: ChildProcess;
  #stdout = "";
  #stderr = "";

  constructor(args: readonly string[], options: SpawnOptions = {}) {
    // Nothing of the machine's own settings may decide how a test goes.
    const env = { PATH: process.env.PATH, ...options.env };
    const child = spawn(process.execPath, [perdureBin, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      ...options,
      env,
    });
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    const deadline = setTimeout(() => child.kill("SIGKILL"), patienceMs);
    this.#child = child;
    this.ended = new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code, signal) => {
        clearTimeout(deadline);
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  /** Starts a server and waits for its ready lines; it is gone when the test is over. */
  static async serve(t: TestContext, args: readonly string[], options: SpawnOptions = {}): Promise<RunningCli> {
    const server = new RunningCli(args, options);
    t.after(() => server.stop("SIGKILL"));
    await server.says("stdout", /ready.*\n/);
    return server;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The URIs of the ready lines. */
  get uris(): string[] {
    return [...this.#stdout.matchAll(/^ready (.*)$/gm)].map((match) => match[1]);
  }

  /** What was said so far. */
  get stderr(): string {
    return this.#stderr;
  }

  /** Waits until a stream holds something; fails when the command ends before. */
  says(stream: "stdout" | "stderr", pattern: RegExp): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (pattern.test(stream === "stdout" ? this.#stdout : this.#stderr)) resolve();
      };
      const fail = (result: CliResult): void => {
        reject(new Error(`ended without saying ${String(pattern)}: ${JSON.stringify(result)}`));
      };
      this.#child[stream]?.on("data", look);
      this.ended.then(fail, reject);
      look();
    });
  }

  /** Goes away as the reader of what it prints. */
  closeStdout(): void {
    this.#child.stdout?.destroy();
  }

  /** Sends a signal and waits for the end. */
  stop(signal: NodeJS.Signals): Promise<CliResult> {
    this.#child.kill(signal);
    return this.ended;
  }
}

/** Writes to a disk; returns when the server has acknowledged it. */
export async function writeDisk(client: NbdRawClient, offset: number, data: Buffer): Promise<void> {
  const error = await client.errorOf({ type: WRITE, offset, payload: data });
  if (error !== 0) throw new Error(`the write was answered with error ${error}`);
}

/** Reads from a disk. */
export async function readDisk(client: NbdRawClient, offset: number, length: number): Promise<Buffer> {
  client.send(requestFrame({ type: READ, offset, length }));
  const { error, data } = await client.simpleReply(length);
  if (error !== 0) throw new Error(`the read was answered with error ${error}`);
  return data;
}
