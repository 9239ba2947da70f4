/**
 * Hazard: a process of many threads is killed while all of them change one region, and an acknowledged write is gone,
 * or a page is mixed of two. A kill stops each thread at a store of its own.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { killThreads } from "./support/killed-threads.ts";
import { seed } from "./support/seed.ts";

const LIVES = Number(process.env["PERDURE_KILLS"] ?? 12);

test(`threads that are killed lose no acknowledged write (PERDURE_SEED=${seed})`, async (t) => {
  const { kills, writes } = await killThreads(t, seed, (lives) => lives < LIVES);
  assert.equal(kills, LIVES);
  assert.ok(writes > LIVES, "the threads came to do something");
});
