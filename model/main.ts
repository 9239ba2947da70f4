import { parseArgs } from "node:util";
import type { CrashKind } from "./judge.ts";
import { fences, harmless } from "./mutants.ts";
import { type AnyMutant, runCleanSequences, runCleanThreads, searches, searchMutant } from "./search.ts";
import type { Report } from "./sequences.ts";
import { tablesMarkdown } from "./tables.ts";

const usage = `usage: node dist/model/main.js COMMAND [--seconds S] [--seed N] [--mutant NAME] [--states N]
  kill      one thread, random operations, a kill at every store
  power     one thread, random operations, power cuts at every fence
  threads   two threads, the schedules of every scenario, with kills and power cuts
  mutants   looks for every mutant, or for the one named
  tables    prints the tables of docs/model.md`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "10" },
    seed: { type: "string" },
    mutant: { type: "string" },
    states: { type: "string", default: "1000000" },
  },
});
const seed: number = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
const milliseconds: number = Number(values.seconds) * 1000;

const commands: Readonly<Record<string, () => boolean>> = {
  kill: () => runSequences("kill"),
  power: () => runSequences("power"),
  threads: runThreads,
  mutants: runMutants,
  tables: () => {
    console.log(tablesMarkdown());
    return true;
  },
};
const command = commands[positionals[0]];
if (command === undefined) {
  console.error(usage);
  process.exitCode = 2;
} else if (!command()) {
  process.exitCode = 1;
}

/** Runs correct code, half of the time with each treatment of withdrawn pages. */
function runSequences(crash: CrashKind): boolean {
  return [false, true].every((limbo) => {
    const end = Date.now() + milliseconds / 2;
    const title = `${crash}${limbo ? " with limbo" : ""}, seed ${seed}`;
    return tell(title, () => runCleanSequences(crash, limbo, seed, Number.POSITIVE_INFINITY, () => Date.now() > end));
  });
}

/** Tries more and more schedules of every scenario until the time is over. */
function runThreads(): boolean {
  const end = Date.now() + milliseconds;
  for (let schedules = 100; ; schedules *= 4) {
    for (const crash of ["kill", "power"] as const) {
      const title = `threads, ${crash}, seed ${seed}, ${schedules} schedules`;
      if (!tell(title, () => runCleanThreads(crash, seed, schedules))) return false;
    }
    if (Date.now() > end) return true;
  }
}

/** Every mutant is caught, and none of those that are harmless. */
function runMutants(): boolean {
  const wanted = values.mutant === undefined ? [...searches.keys()] : [values.mutant as AnyMutant];
  let good = true;
  for (const name of wanted) {
    if (!searches.has(name)) {
      console.error(`there is no mutant ${name}`);
      return false;
    }
    const report = searchMutant(name, Number(values.states));
    const caught = report.violation !== undefined;
    good &&= caught !== isHarmless(name);
    console.log(
      `${name}: ${caught ? "caught" : "not caught"} after ${report.states} states. ${report.violation ?? ""}`,
    );
  }
  return good;
}

function isHarmless(name: AnyMutant): boolean {
  if (name in harmless) return true;
  return (
    name.startsWith("no-fence:") && fences[name.slice("no-fence:".length) as keyof typeof fences].harmless !== undefined
  );
}

function tell(title: string, work: () => Report): boolean {
  const start = Date.now();
  const { runs, states, nested, repeats, violation } = work();
  const rate = Math.round((states / (Date.now() - start + 1)) * 1000);
  console.log(
    `${title}: ${runs} runs, ${states} states (${nested} inside recovery), ${repeats} repeats, ${rate} states/s`,
  );
  if (violation !== undefined) console.log(`  wrong: ${violation}`);
  return violation === undefined;
}
