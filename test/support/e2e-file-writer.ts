// Writes files until it is stopped or its disk is gone, as a process of its own: a program on a dead disk may wait in
// the kernel, and the test must not.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { below, pick, type Random, seeded } from "../../src/testing/index.ts";
import { ended, type TestBed } from "./e2e-test-bed.ts";

const KiB = 2 ** 10;
const script = fileURLToPath(import.meta.url);
/** Some files fit a block, most take several. */
const fileBytes = [100, 4 * KiB, 10_000, 100 * KiB, 300 * KiB];
/** More files than this and the writer deletes as many as it makes, so that the disk never fills. */
const maxFiles = 8;

/** The parent's side: starts the writer and learns what it has made safe. */
export class FileWriter {
  /** Resolves when the process is gone. */
  readonly ended: Promise<number | null>;
  #safeFiles = 0;
  readonly #kill: () => unknown;

  /**
   * @param files The hash of every file that must be there, by name; kept up to date
   * @param prefix What the names of the new files begin with
   */
  constructor(bed: TestBed, folder: string, files: Map<string, string>, options: { prefix: string; seed: number }) {
    const args = [script, folder, options.prefix, String(options.seed)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
    this.#kill = bed.undo(() => child.kill("SIGKILL"));
    createInterface(child.stdout).on("line", (line) => {
      const [verb, name, hash] = line.split(" ");
      if (verb === "removes") files.delete(name);
      else if (verb === "synced") {
        files.set(name, hash);
        this.#safeFiles++;
      }
    });
    // The pipe may hold news after the process has gone.
    this.ended = gone.then(() => ended(child));
  }

  /** Ends the writer wherever it is. */
  stop(): Promise<number | null> {
    this.#kill();
    return this.ended;
  }

  /** Files that this writer has synced so far. */
  get safeFiles(): number {
    return this.#safeFiles;
  }
}

/** The hash by which a file is known again. */
export function hashOf(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** @returns the names of the files that are not what they should be */
export function damagedFiles(folder: string, files: ReadonlyMap<string, string>): string[] {
  return [...files].filter(([name, hash]) => !isThere(join(folder, name), hash)).map(([name]) => name);
}

function isThere(path: string, hash: string): boolean {
  try {
    return hashOf(readFileSync(path)) === hash;
  } catch {
    return false;
  }
}

/** The writer's side. Each line leaves at once, and only when what it says is true. */
function writeFiles(folder: string, prefix: string, random: Random): void {
  const names: string[] = [];
  for (let k = 0; ; k++) {
    const name = `${prefix}-${k}`;
    const content = Buffer.alloc(pick(random, fileBytes), `${name} ${random()} `);
    writeSynced(folder, name, content);
    writeSync(1, `synced ${name} ${hashOf(content)}\n`);
    names.push(name);
    if (names.length < maxFiles) continue;
    const [victim] = names.splice(below(random, names.length), 1);
    // From here on it may be there or not.
    writeSync(1, `removes ${victim}\n`);
    rmSync(join(folder, victim));
  }
}

function writeSynced(folder: string, name: string, content: Buffer): void {
  const file = openSync(join(folder, name), "wx");
  writeSync(file, content);
  fsyncSync(file);
  closeSync(file);
  const directory = openSync(folder, "r");
  fsyncSync(directory);
  closeSync(directory);
}

if (process.argv[1] === script) {
  const [folder, prefix, seed] = process.argv.slice(2);
  try {
    writeFiles(folder, prefix, seeded(Number(seed)));
  } catch (error) {
    // The end of the disk is the end that is expected.
    if (!["EIO", "EROFS", "ENOTCONN"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
