import type { CrashKind } from "./judge.ts";
import { type FaultName, type HarmlessName, type MissingFence, type Mutants, noMutants } from "./mutant-names.ts";
import { faults, fences, harmless } from "./mutants.ts";
import { scenarios } from "./scenarios.ts";
import type { Search } from "./searches.ts";
import { type Report, runSequences } from "./sequences.ts";
import { exploreScenario } from "./threads.ts";

/** A search ends after so many states, or schedules of a scenario: bounds, not times, so that it repeats. */
export const stateLimit = 60_000;
const scheduleLimit = 1000;
const searchSeed = 1;
/** Switches between threads that correct code is tried with. */
const preemptions = 3;

/** Name locks of their own, and shared by stripes. */
const stripeCounts: readonly number[] = [0, 3];

export type AnyMutant = FaultName | HarmlessName | MissingFence;

/** Every mutant by name, and how it is searched for. */
export const searches: ReadonlyMap<AnyMutant, Search> = new Map<AnyMutant, Search>([
  ...entriesOf(faults),
  ...entriesOf(harmless),
  ...entriesOf(fences).map(([name, search]): [MissingFence, Search] => [`no-fence:${name}`, search]),
]);

function entriesOf<Name extends string>(table: Readonly<Record<Name, { search: Search }>>): [Name, Search][] {
  return (Object.keys(table) as Name[]).map((name) => [name, table[name].search]);
}

/** Looks for a mutant where its table says; the report's violation tells how it was caught. */
export function searchMutant(name: AnyMutant, states: number = stateLimit): Report {
  const search = searches.get(name) as Search;
  const mutants: Mutants = new Set([name]);
  if (search.by !== "threads") {
    const { by: crash, focus, limbo = false } = search;
    return runSequences({ crash, mutants, limbo, seed: searchSeed, states, focus });
  }
  const stripes = search.stripes ?? 0;
  const options = { crash: search.crash, mutants, seed: searchSeed, preemptions, schedules: scheduleLimit, stripes };
  return sum(search.scenarios, (scenario) => exploreScenario(scenario, scenarios[scenario], options));
}

/** Sequences of correct code; `limbo` lets withdrawn pages wait for the thread's next fence. */
export function runCleanSequences(
  crash: CrashKind,
  limbo: boolean,
  seed: number,
  states: number,
  until?: () => boolean,
): Report {
  return runSequences({ crash, mutants: noMutants, limbo, seed, states, until });
}

/** Every scenario of two threads, with a lock a name and with stripes. */
export function runCleanThreads(crash: CrashKind, seed: number, schedules: number): Report {
  const options = { crash, mutants: noMutants, seed, preemptions, schedules };
  const runs = stripeCounts.flatMap((stripes) => Object.keys(scenarios).map((name) => ({ stripes, name })));
  return sum(runs, ({ stripes, name }) => exploreScenario(name, scenarios[name], { ...options, stripes }));
}

/** Adds up reports, ending with the first that found something. */
function sum<Item>(items: readonly Item[], report: (item: Item) => Report): Report {
  let total: Report = { states: 0, nested: 0, repeats: 0, runs: 0, violation: undefined };
  for (const item of items) {
    const { states, nested, repeats, runs, violation } = report(item);
    total = {
      states: total.states + states,
      nested: total.nested + nested,
      repeats: total.repeats + repeats,
      runs: total.runs + runs,
      violation,
    };
    if (violation !== undefined) break;
  }
  return total;
}
