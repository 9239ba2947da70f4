// A second process: what it does is one of the commands below, what it says are lines, and it ends when it is told to.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readSync, writeSync } from "node:fs";
import { createInterface, type Interface } from "node:readline";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { isPerdureError } from "../../src/base/index.ts";
import { Region } from "../../src/index.ts";
import { Backing } from "../../src/memory/index.ts";

const program = fileURLToPath(import.meta.url);

/** A child that runs a command of this file, or of the program given; it is killed when the test is over. */
export class Child {
  readonly process: ChildProcess;
  readonly #lines: Interface;
  readonly #said: string[] = [];
  readonly #exit: Promise<unknown>;

  constructor(t: TestContext, args: readonly string[], script: string = program) {
    this.process = spawn(process.execPath, [script, ...args], { stdio: ["pipe", "pipe", "inherit"] });
    this.#exit = once(this.process, "close");
    this.#lines = createInterface({ input: this.process.stdout as NodeJS.ReadableStream });
    this.#lines.on("line", (line) => this.#said.push(line));
    t.after(() => this.process.kill("SIGKILL"));
  }

  /** The next line that it says; undefined when it ended before. */
  async line(): Promise<string | undefined> {
    while (this.#said.length === 0 && this.process.exitCode === null && this.process.signalCode === null) {
      await Promise.race([once(this.#lines, "line"), this.#exit]);
    }
    return this.#said.shift();
  }

  /** Ends it by closing its input. @returns its exit code, or the signal that ended it */
  end(): Promise<number | string | null> {
    this.process.stdin?.end();
    return this.ended();
  }

  /** Waits for its end. @returns its exit code, or the signal that ended it */
  async ended(): Promise<number | string | null> {
    await this.#exit;
    return this.process.signalCode ?? this.process.exitCode;
  }

  /** Ends it by SIGKILL. */
  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.#exit;
  }
}

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

/** Waits until the parent closes its end. */
function waitForParent(): void {
  while (readSync(0, Buffer.alloc(64)) > 0);
}

async function attempt(act: () => unknown): Promise<void> {
  try {
    await act();
  } catch (error) {
    say(isPerdureError(error) ? error.code : `unexpected ${(error as Error).stack}`);
  }
}

const commands: Readonly<Record<string, (...args: string[]) => Promise<void>>> = {
  /** Opens a region and holds it. */
  open: (path, readOnly) =>
    attempt(async () => {
      const region = await Region.open(path, { readOnly: readOnly === "read-only" });
      say(`open ${region.start.kind} ${region.start.reason}`);
      waitForParent();
    }),
  /** Waits for the parent, so that several children start at once; then creates a file and publishes it. */
  create: (path, sizeBytes) =>
    attempt(() => {
      say("ready");
      waitForParent();
      using backing = Backing.create(path, Number(sizeBytes));
      backing.publish();
      say("created");
    }),
  /** Creates a region under a umask. */
  umask: (path, mask) =>
    attempt(async () => {
      process.umask(Number.parseInt(mask, 8));
      await (await Region.open(path, { create: true, size: "1M" })).close();
      say("created");
    }),
  /** Touches every kind of view after the region was closed: whatever happens, it must not end the process. */
  "stale-views": (path) =>
    attempt(async () => {
      const region = await Region.open(path, { create: true, size: "4M" });
      const page = region.instance("test", "stale", { create: true }).ensure(0);
      const views = [page.bytes, new DataView(page.bytes.buffer), new Int32Array(page.bytes.buffer, 0, 4)];
      page[Symbol.dispose]();
      await region.close();
      for (const view of views) touch(view);
      say("alive");
    }),
  /** Puts one new file after another in the place of a path, until it is killed. */
  replace: (path, image) =>
    attempt(async () => {
      const { copyFileSync, renameSync } = await import("node:fs");
      say("ready");
      for (let k = 0; ; k = (k + 1) % 2) {
        copyFileSync(image, `${path}.${k}`);
        renameSync(`${path}.${k}`, path);
      }
    }),
};

function touch(view: Uint8Array | DataView | Int32Array): void {
  const acts = [
    () => (view instanceof DataView ? view.getUint8(0) : view[0]),
    () => (view instanceof DataView ? view.setUint8(0, 1) : view.fill(1)),
    () => (view instanceof Int32Array ? Atomics.store(view, 0, 1) : Buffer.from(view.buffer).toString()),
  ];
  for (const act of acts) {
    try {
      say(`touched ${view.byteLength} bytes: ${String(act())}`.slice(0, 40));
    } catch (error) {
      say(`refused: ${(error as Error).name}`);
    }
  }
}

if (process.argv[1] === program) await commands[process.argv[2]](...process.argv.slice(3));
