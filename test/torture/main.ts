/**
 * Hazard: what short tests do not meet. Real writers are killed for as long as one likes, servers of disks under load
 * beside them, and crash states are searched with new seeds all the while: `npm run torture` runs this.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { runSearch } from "../support/crash-search.ts";
import { addFigures } from "../support/figures.ts";
import { killThreads } from "../support/killed-threads.ts";
import { addKillFigures, type KillReport, killWriters } from "../support/killed-writer.ts";
import { seed } from "../support/seed.ts";
import { killServers } from "./disks.ts";

const minutes = Number(process.env["PERDURE_MINUTES"] ?? 1);
const end = performance.now() + minutes * 60_000;
const goesOn = (): boolean => performance.now() < end;
/** Writers that are under way at once, each with a region of its own. */
const WRITERS = 3;
const HANG_MS = minutes * 60_000 + 300_000;

describe(`torture (--seed ${seed})`, { concurrency: true, timeout: HANG_MS }, () => {
  const reports: KillReport[] = [];
  after(() => addKillFigures(reports));

  for (let k = 0; k < WRITERS; k++) {
    const atStores = k > 0;
    test(`writer ${k}, killed ${atStores ? "at its n-th store" : "at a random moment"}`, async (t) => {
      const report = await killWriters(t, seed + k, atStores, goesOn);
      reports.push(report);
      assert.ok(report.acknowledged > 0, "the writer came to do something");
    });
  }

  test("four threads of a process, killed with it", async (t) => {
    const sum = { kills: 0, writes: 0 };
    // A region has a bounded number of lives here: then the next one follows.
    for (let series = 0; goesOn(); series++) {
      const { kills, writes } = await killThreads(t, seed + series, goesOn);
      sum.kills += kills;
      sum.writes += writes;
    }
    addFigures({
      "killed processes of four threads": sum.kills,
      "their writes acknowledged": sum.writes,
      "their writes lost": 0,
    });
  });

  test("servers of disks, killed under the load of fio", (t) => killServers(t, seed, goesOn));

  for (const model of ["kill", "power"]) {
    test(`crash states, ${model} model`, async (t) => {
      const seconds = String(60 * minutes);
      const result = await runSearch(`random-${model}`, seed, "--states", "Infinity", "--seconds", seconds);
      t.diagnostic(JSON.stringify(result));
    });
  }
});
