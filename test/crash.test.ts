/**
 * Hazard: an acknowledged write is lost, or a half-done operation is found, after a kill or a power cut at some store.
 * Random and exhaustive sequences over the whole API of region and disk, also with a second thread; every crash state
 * of every operation is opened and judged.
 */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { everySite } from "./crash/store-sites.ts";
import { runSearch, type SearchResult } from "./support/crash-search.ts";
import { addFigures } from "./support/figures.ts";
import { seed } from "./support/seed.ts";

/** How many states each of the random searches tries, and how many seconds of a processor it may take for them. */
const states = process.env["PERDURE_CRASH_STATES"] ?? "20000";
const cpuSeconds = process.env["PERDURE_CRASH_CPU_SECONDS"] ?? "600";
/** How often a thread is preempted in the search over steps. */
const preemptions = process.env["CI"] === "true" ? "2" : "1";
/** Calls that the search for sites cannot reach, with the reason. */
const sitesLeftOut: Readonly<Record<string, string>> = {
  "region/repair-": "a repair plans on a copy, and what it stores is cut off everywhere in region-repair.test.ts",
  "region/planned-memory.js": "the copy that a repair plans on",
  "region/thin-chunks.js": "fills an array that is not on media",
  "region/page-table.js": "empties a chunk of the page tables, which are not on media",
  "region/instance.js": "fills a buffer of the caller with zeroes, for a page that is not there",
  "region/page.js": "persists what a program stored through a view: content of a page, which may tear",
  "region/region.js": "sync() makes durable what every operation has made durable before it returned",
};

async function search(t: TestContext, name: string, ...options: string[]): Promise<SearchResult> {
  const result = await runSearch(name, seed, ...options);
  t.diagnostic(JSON.stringify(result));
  return result;
}

describe(`a crash leaves the state before or after (PERDURE_SEED=${seed})`, { concurrency: 2 }, () => {
  for (const [model, moment] of [
    ["kill", "a kill at any store"],
    ["power", "a power cut at any fence"],
  ] as const) {
    test(`${moment} of random operations`, async (t) => {
      const result = await search(t, `random-${model}`, "--states", states, "--cpu-seconds", cpuSeconds);
      assert.ok(result.states >= Math.min(Number(states), 20_000), `${result.states} states`);
      assert.ok(result.inRecovery > 0, "recovery was crashed, too");
    });

    test(`${moment} of every sequence of two operations`, async (t) => {
      const result = await search(t, `pairs-${model}`);
      assert.ok(result.operations > 4000, `${result.operations} operations`);
    });

    test(`${moment} of sequences of three operations`, async (t) => {
      const result = await search(t, `triples-${model}`, "--states", "20000");
      assert.ok(result.states >= 20_000, `${result.states} states`);
    });

    test(`${moment} with two threads on one name`, async (t) => {
      const result = await search(t, `threads-${model}`);
      assert.ok(result.operations > 20, "the second thread got in often enough");
      assert.ok(result.states > 1000, `${result.states} states`);
    });

    test(`${moment} with two threads that take turns`, async (t) => {
      const options = ["--preemptions", preemptions, "--states", "Infinity", "--exhaustive", "64"];
      const result = await search(t, `steps-${model}`, ...options);
      assert.equal(result.complete, result.scenarios, "all schedules of all scenarios were run");
      assert.ok((result.schedules ?? 0) > 2000, `${result.schedules} schedules`);
      assert.ok(result.states > 5000, `${result.states} states`);
    });

    test(`${moment} while a memory is formatted, or a region upgraded`, async (t) => {
      assert.ok((await search(t, `formatting-${model}`)).states > 30);
      assert.ok((await search(t, `upgrade-${model}`)).states > 5);
    });
  }

  test("a kill at any store with two threads that take turns at every load", async (t) => {
    // Where both learn of changes of the other's again and again.
    const scenario = ["--scenario", "two snapshots in a row against two writes"];
    const result = await search(t, "steps-kill", "--loads", "--states", "Infinity", ...scenario);
    assert.equal(result.complete, 1, "all schedules were run");
  });

  test("every call that stores, flushes or fences was the last one before a crash", async (t) => {
    const { missing = {} } = await search(t, "sites-kill", "--states", "6000");
    const sites = everySite().size;
    const isLeftOut = (place: string): boolean => Object.keys(sitesLeftOut).some((start) => place.startsWith(start));
    const left = Object.keys(missing).filter((place) => !isLeftOut(place));
    assert.deepEqual(
      left.map((place) => `${place} ${missing[place]}`),
      [],
    );
    assert.ok(sites > 60, `${sites} calls found in the code`);
    addFigures({ "crash states, store sites that were the last before one": sites - Object.keys(missing).length });
  });
});
