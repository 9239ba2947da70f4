// Hazard: the rules for stores themselves are wrong, so that correct code loses pages in a crash, or the model is too
// blind to notice. So correct code runs clean, and every mutant planted in it is caught within a fixed number of
// states. MODEL_SEED repeats a run.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it, type TestContext } from "node:test";
import type { FenceName } from "../model/mutant-names.ts";
import { faults, fences, harmless } from "../model/mutants.ts";
import { type AnyMutant, runCleanSequences, runCleanThreads, searchMutant } from "../model/search.ts";
import type { Report } from "../model/sequences.ts";
import { tablesMarkdown } from "../model/tables.ts";

const seed = Number(process.env["MODEL_SEED"] ?? Math.floor(Math.random() * 1_000_000));
const cleanStates = 100_000;
const cleanSchedules = 70;
/** A harmless mutant need not be searched for as long as one that must be found. */
const harmlessStates = 20_000;

function assertClean(context: TestContext, report: Report): void {
  context.diagnostic(`seed ${seed}: ${report.runs} runs, ${report.states} states, ${report.nested} inside recovery`);
  assert.equal(report.violation, undefined, `MODEL_SEED=${seed} repeats it`);
  assert.ok(report.states > 1000, "a clean run has looked at something");
}

describe("correct operations of one thread", () => {
  for (const crash of ["kill", "power"] as const) {
    for (const limbo of [false, true]) {
      const when = limbo ? "withdrawn pages wait in limbo" : "withdrawals are fenced at once";
      it(`lose nothing in a ${crash} when ${when}`, (context) => {
        assertClean(context, runCleanSequences(crash, limbo, seed, cleanStates));
      });
    }
  }
});

describe("correct operations of two threads", () => {
  for (const crash of ["kill", "power"] as const) {
    it(`act one after the other, also in a ${crash}`, (context) => {
      assertClean(context, runCleanThreads(crash, seed, cleanSchedules));
    });
  }
});

describe("mutants", () => {
  for (const [name, { rule, breaks }] of Object.entries(faults)) {
    it(`${name} is caught: ${breaks} (${typeof rule === "number" ? `rule ${rule}` : rule})`, () => assertCaught(name));
  }
  for (const [name, { harmless: reason }] of Object.entries(fences)) {
    if (reason === undefined) it(`a missing fence ${name} is caught`, () => assertCaught(`no-fence:${name}`));
    else it(`a missing fence ${name} does no harm: ${reason}`, () => assertHarmless(`no-fence:${name as FenceName}`));
  }
  for (const [name, { breaks }] of Object.entries(harmless)) {
    it(`${name} does no harm: ${breaks}`, () => assertHarmless(name as AnyMutant));
  }

  it("break every rule for stores", () => {
    const rules = new Set(Object.values(faults).map(({ rule }) => rule));
    assert.deepEqual(
      [1, 2, 3, 4, 5, 6, 7, 8].filter((rule) => !rules.has(rule as 1)),
      [],
    );
  });
});

function assertCaught(name: string): void {
  const report = searchMutant(name as AnyMutant);
  assert.notEqual(report.violation, undefined, `not caught in ${report.states} states`);
}

function assertHarmless(name: AnyMutant): void {
  assert.equal(searchMutant(name, harmlessStates).violation, undefined);
}

describe("docs/model.md", () => {
  it("holds the tables that the model prints", () => {
    const page = readFileSync(new URL("../../docs/model.md", import.meta.url), "utf8");
    assert.ok(page.includes(tablesMarkdown()), "paste the output of: node dist/model/main.js tables");
  });
});
