// Runs a search for crashes in a process of its own, so that two can run at once.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Tally } from "../../src/testing/index.ts";
import { addFigures } from "./figures.ts";

const program = join(import.meta.dirname, "../crash/main.js");

/** What the last line of a search says. */
export interface SearchResult extends Tally {
  readonly search: string;
  readonly seed: string;
  /** Calls of the memory gateway after which no crash was tried; only the search for sites tells. */
  readonly missing?: Readonly<Record<string, string>>;
  /** Of the search over steps: schedules that were run, scenarios, and those of them that were run to their end. */
  readonly schedules?: number;
  readonly scenarios?: number;
  readonly complete?: number;
}

/** Runs one of the searches of test/crash/main.ts; rejects with what it found when a promise was broken. */
export async function runSearch(name: string, seed: number, ...options: string[]): Promise<SearchResult> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [program, name, "--seed", String(seed), ...options]);
    const result = JSON.parse(stdout) as SearchResult;
    const model = name.endsWith("-kill") ? "kill" : "power";
    // The search for sites goes over what the others have counted.
    if (result.missing !== undefined) return result;
    addFigures({
      [`crash states, distinct, ${model} model`]: result.states,
      "crash states, of these inside of a recovery": result.inRecovery,
      "crash states, operations that left them": result.operations,
    });
    if (result.schedules !== undefined) addFigures({ "crash states, schedules of two threads": result.schedules });
    return result;
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${name} --seed ${seed} ${options.join(" ")}\n${stdout ?? ""}${stderr ?? ""}`, { cause: error });
  }
}
