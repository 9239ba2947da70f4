// Hazard: a kill in the middle of a store leaves a block half old and half new, or neither. A kill hardly ever meets
// the microsecond that a block of 4 KiB takes. So here the server does nothing but store when it is killed: blocks of
// 1 MiB, most of whose time is the copy itself, and of 512 bytes, most of whose time is what makes the copy count.

import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { below, type Random, seeded } from "../src/testing/index.ts";
import { perdureJson, RunningCli } from "./support/cli.ts";
import { StampWriter } from "./support/e2e-stamp-writer.ts";
import { TestBed } from "./support/e2e-test-bed.ts";
import { seed } from "./support/seed.ts";

const MiB = 2 ** 20;
/** Kills that may be tried until enough of them have met the server at work. */
const tries = 40;
const timeout = 180_000;

/** A whole disk that is changed by one request, again and again. */
interface Sweep {
  readonly type: "stamp" | "zero";
  readonly blockBytes: number;
  readonly sizeBytes: number;
  /** Kills that must meet the server at work. */
  readonly hits: number;
}

async function killInMidSweep(
  t: TestContext,
  { type, blockBytes, sizeBytes, hits }: Sweep,
  random: Random,
): Promise<void> {
  const bed = new TestBed(t);
  const [region, socket] = [join(bed.folder, "region"), join(bed.folder, "socket")];
  const make = ["--create", "--size", String(sizeBytes * 2), "--page-size", String(blockBytes)];
  const args = [region, ...make, "--disk", `pram0=${sizeBytes}`, "--unix", socket];
  const stamps = new StampWriter({ socket, name: "pram0", sizeBytes, blockBytes }, random);
  for (let hit = 0, k = 0; hit < hits; k++) {
    assert.ok(k < tries, `only ${hit} of ${k} kills met the server at work`);
    const server = await bed.serve(...args);
    await finish(stamps, "stamp");
    const sweepMs = await finish(stamps, type);
    await finish(stamps, "stamp");
    const { isDone } = await stamps.sweep(type);
    await sleep((0.1 + 0.6 * random()) * sweepMs);
    await server.stop("SIGKILL");
    await isDone;
    await killWhileStarting(bed, args, below(random, 200));
    const { findings } = await perdureJson<{ findings: readonly object[] }>("check", region);
    assert.deepEqual(findings, []);
    if (await judge(bed, args, stamps)) hit++;
  }
}

/** Looks at what a kill has left. @returns whether it met the server at work */
async function judge(bed: TestBed, args: readonly string[], stamps: StampWriter): Promise<boolean> {
  const server = await bed.serve(...args);
  const { newBlocks, oldBlocks } = await stamps.judge();
  await server.stop("SIGTERM");
  return newBlocks > 0 && oldBlocks > 0;
}

/** A sweep that nothing disturbs. @returns how long the server took */
async function finish(stamps: StampWriter, type: Sweep["type"]): Promise<number> {
  const { isDone } = await stamps.sweep(type);
  const begin = performance.now();
  assert.ok(await isDone);
  return stamps.answeredAt - begin;
}

/** A server that dies before it is ready must leave everything to the next one. */
async function killWhileStarting(bed: TestBed, args: readonly string[], afterMs: number): Promise<void> {
  const server = new RunningCli(["serve", ...args]);
  const undo = bed.undo(() => server.stop("SIGKILL"));
  await sleep(afterMs);
  await undo();
}

describe(`a kill in the middle of a store tears no block (PERDURE_SEED=${seed})`, () => {
  test("of 1 MiB", { timeout }, (t) =>
    killInMidSweep(t, { type: "zero", blockBytes: MiB, sizeBytes: 64 * MiB, hits: 3 }, seeded(seed)),
  );
  test("of 512 bytes", { timeout }, (t) =>
    killInMidSweep(t, { type: "stamp", blockBytes: 512, sizeBytes: 8 * MiB, hits: 12 }, seeded(seed)),
  );
});
