// Runs client programs against a server that lives in this process, so never synchronously.

import { type ChildProcess, spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";

export interface Outcome {
  /** Exit code, or null when a signal ended the program. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Longer than any client of these tests needs, shorter than a patient reader. */
const timeoutMs = 60_000;

/** Runs a program to its end. */
export async function run(program: string, ...args: string[]): Promise<Outcome> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], timeout: timeoutMs, killSignal: "SIGKILL" });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", resolve);
  });
  const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}

/** Runs a program that must succeed, and gives what it printed. */
export async function succeed(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, ...args);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: exit code ${code}\n${stdout}\n${stderr}`);
  return stdout;
}

/** Starts a program that is killed at the end of the test if it still runs. */
export function start(t: TestContext, program: string, ...args: string[]): ChildProcess {
  const child = spawn(program, args, { stdio: "ignore" });
  t.after(() => {
    child.kill("SIGKILL");
  });
  return child;
}
