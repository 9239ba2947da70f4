/**
 * Hazard: crash tests that pass whatever the code does. Every planted mutant must be caught, with a fixed seed and
 * within a fixed number of states.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Mutant, mutants } from "./crash/mutants.ts";
import { addFigures } from "./support/figures.ts";

const dist = join(import.meta.dirname, "..");
const root = join(dist, "..");
const nursery = join(root, ".cache", `mutants-${process.pid}`);
/** Few combinations a fence, so that so many states come from many operations. */
const BUDGET = ["--seed", "1", "--states", "30000", "--exhaustive", "64"];
const CAUGHT = 3;

let caught = 0;

after(() => {
  addFigures({ "mutants caught": caught });
  rmSync(nursery, { recursive: true, force: true });
});

/** Copies what the crash tests run and changes the one place. */
function plant(mutant: Mutant, at: number): string {
  const folder = join(nursery, String(at));
  mkdirSync(join(folder, "test"), { recursive: true });
  cpSync(join(dist, "src"), join(folder, "src"), { recursive: true });
  cpSync(join(dist, "test", "crash"), join(folder, "test", "crash"), { recursive: true });
  const file = join(folder, "src", `${mutant.file}.js`);
  const code = readFileSync(file, "utf8");
  assert.equal(code.split(mutant.find).length, 2, `"${mutant.find}" stands once in ${mutant.file}`);
  writeFileSync(
    file,
    code.replace(mutant.find, () => mutant.replace),
  );
  return join(folder, "test", "crash", "main.js");
}

function searchOf({ model }: Mutant): string {
  return model === "kill" || model === "power" ? `random-${model}` : model;
}

function runCrashTests(program: string, mutant: Mutant): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [program, searchOf(mutant), ...BUDGET, ...scenarioOf(mutant)],
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
      },
    );
  });
}

function scenarioOf({ scenario, preemptions }: Mutant): string[] {
  const bound = preemptions === undefined ? [] : ["--preemptions", String(preemptions)];
  return scenario === undefined ? bound : ["--scenario", scenario, ...bound];
}

test("every rule for stores has a mutant", () => {
  // Rule 6 (nothing of this boot is needed from media) and rule 7 (poisoning) have tests of their own.
  for (const rule of ["1", "2", "3", "4", "5", "8", "recovery"]) {
    assert.ok(
      mutants.some((mutant) => mutant.rule === rule),
      `rule ${rule}`,
    );
  }
});

test("every planted mutant is caught by the crash tests", { concurrency: 2 }, async (suite) => {
  await Promise.all(
    mutants.map((mutant, at) =>
      suite.test(`caught: ${mutant.name} (rule ${mutant.rule}, ${mutant.model})`, async () => {
        const { code, output } = await runCrashTests(plant(mutant, at), mutant);
        assert.equal(code, CAUGHT, `${BUDGET.join(" ")}: not caught\n${output}`);
        caught++;
      }),
    ),
  );
});
