/**
 * Hazard: what a real process stored through a real mapping is not what the model of a kill says. A writer is killed
 * again and again, at random moments and at chosen stores; each next owner must find every acknowledged operation, at
 * most the one that was under way, and nothing else.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { addKillFigures, type KillReport, killWriters } from "./support/killed-writer.ts";
import { seed } from "./support/seed.ts";

const LIVES = Number(process.env["PERDURE_KILLS"] ?? 100);

describe(`a killed writer loses no acknowledged operation (PERDURE_SEED=${seed})`, { concurrency: 2 }, () => {
  const reports: KillReport[] = [];
  after(() => addKillFigures(reports));

  for (const [name, atStores] of [
    ["killed at a random moment", false],
    ["killed at its n-th store", true],
  ] as const) {
    test(name, async (t) => {
      const report = await killWriters(t, seed + Number(atStores), atStores, (kills) => kills < LIVES);
      reports.push(report);
      assert.ok(report.acknowledged > LIVES, "the writers came to do something");
    });
  }
});
