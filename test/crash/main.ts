/**
 * Runs crash tests from the command line:
 *
 *     node dist/test/crash/main.js SEARCH [--seed N] [--states N] [--seconds N] [--cpu-seconds N] [--exhaustive N]
 *         [--scenario NAME] [--preemptions N] [--loads] [--schedule TEXT]
 *
 * SEARCH is one of `searches`. Exit code 0: clean, the last line counts in JSON what was done. 3: a promise was broken,
 * which is what a planted mutant must lead to.
 */
import { parseArgs } from "node:util";
import { runFormatting, runUpgrade } from "./formatting.ts";
import { runInterleavings, scenarios } from "./interleavings.ts";
import { type Tally, Violation } from "./judge.ts";
import { layerScenarios } from "./layer-scenarios.ts";
import { type Budget, type ModelName, runSequences } from "./sequences.ts";
import { runPairs, runTriples } from "./short-sequences.ts";
import { steppedScenarios } from "./stepped-scenarios.ts";
import { runSchedule, runSteps } from "./steps.ts";
import { storeSites } from "./store-sites.ts";

type Search = (model: ModelName, seed: number, budget: Budget) => Tally;

/** Each is run as `NAME-kill` or `NAME-power`. */
const searches: Readonly<Record<string, Search>> = {
  random: runSequences,
  pairs: (model, seed, { exhaustive }) => runPairs(model, seed, exhaustive),
  triples: runTriples,
  threads: (model, seed) => runInterleavings(model, seed),
  // Those over layers, or the one that is named.
  layers: (model, seed) => runInterleavings(model, seed, chosenLayers()),
  formatting: runFormatting,
  upgrade: (model, seed) => runUpgrade(model, seed),
  // Those without layers.
  plain: (model, seed) => runInterleavings(model, seed, plainScenarios()),
  // Two threads that take turns: all scenarios or the named one, and all schedules or the one that a failure has named.
  steps: runChosenSteps,
  // All of it, slowly, for the question which stores were the last before a crash.
  sites: runForSites,
};

function runChosenSteps(model: ModelName, seed: number, budget: Budget): Tally {
  const { scenario, schedule } = values;
  const names = scenario === undefined ? Object.keys(steppedScenarios) : [scenario];
  const steps = { ...budget, preemptions: Number(values.preemptions), loads: values.loads };
  if (schedule !== undefined) return runSchedule(model, seed, steps, [names[0], schedule]);
  return runSteps(model, seed, steps, names);
}

function chosenLayers(): typeof layerScenarios {
  const { scenario } = values;
  return scenario === undefined ? layerScenarios : { [scenario]: layerScenarios[scenario] };
}

function plainScenarios(): typeof scenarios {
  return Object.fromEntries(Object.entries(scenarios).filter(([name]) => !Object.hasOwn(layerScenarios, name)));
}

function runForSites(model: ModelName, seed: number, budget: Budget): Tally {
  storeSites.record();
  const tally = runSequences(model, seed, budget);
  for (const name of ["pairs", "plain", "formatting", "upgrade"]) {
    const { operations, ...states } = searches[name](model, seed, budget);
    tally.operations += operations;
    for (const key of ["states", "repeats", "inRecovery"] as const) tally[key] += states[key];
  }
  return tally;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string", default: "1" },
    states: { type: "string", default: "20000" },
    seconds: { type: "string", default: "Infinity" },
    "cpu-seconds": { type: "string", default: "Infinity" },
    exhaustive: { type: "string" },
    scenario: { type: "string" },
    preemptions: { type: "string", default: "2" },
    schedule: { type: "string" },
    loads: { type: "boolean", default: false },
  },
});
const [, search, model] = /^(\w+)-(kill|power)$/.exec(positionals[0]) ?? [];
if (!Object.hasOwn(searches, search)) throw new Error(`no search "${positionals[0]}"`);
const budget: Budget = {
  states: Number(values.states),
  seconds: Number(values.seconds),
  cpuSeconds: Number(values["cpu-seconds"]),
  ...(values.exhaustive === undefined ? {} : { exhaustive: Number(values.exhaustive) }),
};
// The clock stands still: two images that differ in a time only would be two states.
const started = Date.now();
Date.now = () => started;
const began = process.cpuUsage();
try {
  const tally = searches[search](model as ModelName, Number(values.seed), budget);
  const { user, system } = process.cpuUsage(began);
  const cpuSeconds = Math.round((user + system) / 1e6);
  const missing = search === "sites" ? { missing: Object.fromEntries(storeSites.missing()) } : {};
  process.stdout.write(
    `${JSON.stringify({ search: positionals[0], seed: values.seed, ...tally, cpuSeconds, ...missing })}\n`,
  );
} catch (error) {
  // An assertion of the code under test is a promise, too.
  const isPromise = error instanceof Violation || (error as Error).message.includes("assertion failed");
  if (!isPromise) throw error;
  process.stdout.write(`${(error as Error).message}\n`);
  process.exitCode = 3;
}
