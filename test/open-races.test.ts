/**
 * Hazard: two writers of one region. Many processes want the same path at once, the one that has it is killed at any of
 * its system calls, and a device that has two nodes has two locks.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { checkRegion, Region } from "../src/index.ts";
import { Backing } from "../src/memory/index.ts";
import { Child } from "./support/child.ts";
import { memoryFolder } from "./support/cli.ts";
import { requireRoot } from "./support/mounts.ts";
import { openerProgram } from "./support/racing-opener.ts";
import { formattedImage, openCopy, refusal } from "./support/region.ts";

const RACERS = 8;

async function startRacer(t: TestContext): Promise<Child> {
  const child = new Child(t, ["race"], openerProgram);
  assert.equal(await child.line(), "ready");
  return child;
}

interface Won {
  readonly winner: Child;
  readonly generation: number;
  readonly reason: string;
  readonly count: number;
}

/** Lets all open a path at once. Exactly one gets it, and the others are told which one. */
async function race(racers: readonly Child[], path: string): Promise<Won> {
  for (const { process } of racers) process.stdin?.write(`${path}\n`);
  const answers = await Promise.all(racers.map((racer) => racer.line()));
  const winners = racers.filter((_, k) => answers[k]?.startsWith("held "));
  assert.equal(winners.length, 1, `one wins: ${answers.join("; ")}`);
  const [winner] = winners;
  const lost = `LOCKED ${path} is open for writing in process ${winner.process.pid}`;
  for (const [k, racer] of racers.entries()) if (racer !== winner) assert.equal(answers[k], lost);
  const [, generation, reason, count] = String(answers[racers.indexOf(winner)]).split(" ");
  return { winner, generation: Number(generation), reason, count: Number(count) };
}

async function letGo(racers: readonly Child[]): Promise<void> {
  for (const { process } of racers) process.stdin?.write("close\n");
  for (const racer of racers) assert.equal(await racer.line(), "closed");
}

describe("of many processes that want one path", { timeout: 120_000 }, () => {
  test("exactly one creates the region, and the others are told who has it", async (t) => {
    const folder = memoryFolder(t);
    const racers = await Promise.all(Array.from({ length: RACERS }, () => startRacer(t)));
    for (let round = 0; round < 25; round++) {
      const path = join(folder, `region-${round}`);
      const { generation, reason, count } = await race(racers, path);
      assert.deepEqual([generation, reason, count], [1, "formatted", 1]);
      await letGo(racers);
      assert.deepEqual((await checkRegion(path)).findings, []);
    }
    assert.equal(readdirSync(folder).length, 25, "those who lost left nothing");
  });

  test("exactly one opens it, again and again, also when the last one was killed", async (t) => {
    const path = join(memoryFolder(t), "region");
    const racers = await Promise.all(Array.from({ length: RACERS }, () => startRacer(t)));
    let died = false;
    for (let round = 1; round <= 40; round++) {
      const { winner, generation, reason, count } = await race(racers, path);
      assert.deepEqual([generation, count], [round, round], "no generation and no number is given twice");
      assert.equal(reason, round === 1 ? "formatted" : died ? "owner-died" : "closed");
      died = round % 4 === 0;
      if (died) {
        await winner.kill();
        racers[racers.indexOf(winner)] = await startRacer(t);
      } else await letGo(racers);
    }
    assert.deepEqual((await checkRegion(path)).findings, []);
  });
});

describe("a process that is killed at any of its system calls", { timeout: 120_000 }, () => {
  /** What the next one finds after a death at each call. */
  async function dieEverywhere(t: TestContext, prepare: (path: string) => void, least: number): Promise<void> {
    const racers = await Promise.all(Array.from({ length: 3 }, () => startRacer(t)));
    let nth = 1;
    for (; ; nth++) {
      const folder = memoryFolder(t);
      const path = join(folder, "region");
      prepare(path);
      const victim = new Child(t, ["die", path, String(nth)], openerProgram);
      const said = await victim.line();
      const end = await victim.end();
      if (end !== "SIGKILL") assert.equal(end, 0, `call ${nth}`);
      const { count } = await race(racers, path);
      // What it said was done; what it was not to say any more may be done or not.
      if (said !== undefined) assert.equal(count, Number(said.split(" ")[3]) + 1, `call ${nth}`);
      else assert.ok(count >= least && count <= least + 1, `call ${nth}`);
      await letGo(racers);
      assert.deepEqual(readdirSync(folder), ["region"], `call ${nth}: nothing lies about`);
      assert.deepEqual((await checkRegion(path)).findings, []);
      if (end === 0) break;
    }
    t.diagnostic(`${nth - 1} deaths`);
    assert.ok(nth > 20, "it was killed at every call");
  }

  test("while it creates, leaves nothing or a region that the next one opens", async (t) => {
    await dieEverywhere(t, () => undefined, 1);
  });

  test("while it recovers, leaves a region that the next one recovers", async (t) => {
    const { region, recording } = openCopy(formattedImage(512));
    const counter = region.instance("race", "counter", { create: true });
    counter.write(0, Uint8Array.of(41));
    await dieEverywhere(t, (path) => writeFileSync(path, recording.image, { mode: 0o600 }), 42);
  });
});

describe("two nodes of one device, whose locks do not know of each other", () => {
  test("are no backings when they are block devices", (t) => {
    if (!requireRoot(t)) return;
    const folder = memoryFolder(t);
    // The first loop device, attached or not: its kind alone is judged.
    for (const name of ["one", "two"]) {
      const node = join(folder, name);
      execFileSync("mknod", ["-m", "600", node, "b", "7", "0"]);
      for (const readOnly of [false, true]) {
        assert.throws(() => Backing.open(node, { readOnly }), refusal("ENODEV"));
      }
    }
  });

  /** A writer whose region a second process has taken over: the same bytes, mapped twice, and a lock each. */
  async function takenOver(t: TestContext): Promise<{ path: string; first: Region; second: Child }> {
    const path = join(memoryFolder(t), "region");
    const first = await Region.open(path, { create: true, size: "1M" });
    first.disks.open("disk", { create: true, size: "64K" }).write(0, Uint8Array.of(7));
    const second = new Child(t, ["seize", path], openerProgram);
    assert.equal(await second.line(), "held 2 owner-died 1");
    return { path, first, second };
  }

  test("the first writer notices at a FLUSH that it was displaced, and stores nothing any more", async (t) => {
    const { path, first, second } = await takenOver(t);
    const disk = first.disks.open("disk");
    assert.throws(() => disk.flush(), refusal("POISONED"));
    const image = readFileSync(path);
    assert.throws(() => disk.write(0, Uint8Array.of(8)), refusal("POISONED"));
    await first.close();
    assert.deepEqual(readFileSync(path), image, "closing stores nothing, either");
    assert.equal(await second.end(), 0);
    assert.deepEqual((await checkRegion(path)).findings, []);
    const next = await Region.open(path);
    assert.deepEqual([next.start.kind, next.start.generation], ["warm", 3], "the second one has closed it");
    await next.close();
  });

  test("the first writer notices at its close that it was displaced, and does not call it closed", async (t) => {
    const { path, first, second } = await takenOver(t);
    const image = readFileSync(path);
    await assert.rejects(first.close(), refusal("POISONED"));
    assert.deepEqual(readFileSync(path), image);
    await second.kill();
    const next = await Region.open(path);
    assert.deepEqual([next.start.reason, next.start.generation], ["owner-died", 3]);
    const block = new Uint8Array(1);
    next.disks.open("disk").read(0, block);
    assert.deepEqual(block, Uint8Array.of(7));
    await next.close();
    assert.deepEqual((await checkRegion(path)).findings, []);
  });
});
