/**
 * Hazard: an acknowledged write is lost, or a half-done operation is found, after a kill or a power cut at some store.
 * Random sequences over the whole API of region and disk, every crash state of every operation judged.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runInterleavings } from "./crash/interleavings.ts";
import { runSequences } from "./crash/sequences.ts";

const seed = Number(process.env["PERDURE_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const states = Number(process.env["PERDURE_CRASH_STATES"] ?? 20_000);

test(`a kill at any store leaves the state before or after (PERDURE_SEED=${seed})`, (context) => {
  const tally = runSequences("kill", seed, { states });
  context.diagnostic(JSON.stringify({ model: "kill", seed, ...tally }));
  assert.ok(tally.states >= states);
  assert.ok(tally.inRecovery > 0, "recovery was crashed, too");
});

test(`a power cut at any fence leaves the state before or after (PERDURE_SEED=${seed})`, (context) => {
  const tally = runSequences("power", seed, { states });
  context.diagnostic(JSON.stringify({ model: "power", seed, ...tally }));
  assert.ok(tally.states >= states);
});

test(`two threads on one name and a kill at any store (PERDURE_SEED=${seed})`, (context) => {
  const tally = runInterleavings("kill", seed);
  context.diagnostic(JSON.stringify({ model: "threads, kill", seed, ...tally }));
  assert.ok(tally.operations > 20, "the second thread got in often enough");
});

test(`two threads on one name and a power cut at any fence (PERDURE_SEED=${seed})`, (context) => {
  const tally = runInterleavings("power", seed);
  context.diagnostic(JSON.stringify({ model: "threads, power", seed, ...tally }));
  assert.ok(tally.states > 1000);
});
