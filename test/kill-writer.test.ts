/**
 * Hazard: what a real process stored through a real mapping is not what the model of a kill says. A writer is killed
 * again and again, at random moments and at chosen stores; each next owner must find every acknowledged operation, at
 * most the one that was under way, and nothing else.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Backing, MappedMemory } from "../src/memory/index.ts";
import { createRegion, PageRegion } from "../src/region/index.ts";
import { below, seeded } from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import { World } from "./crash/world.ts";
import { ACKNOWLEDGED, Script, worldFromJson, worldToJson, writerProgram } from "./support/child-writer.ts";
import { memoryFolder } from "./support/cli.ts";

const seed = Number(process.env["PERDURE_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const LIVES = Number(process.env["PERDURE_KILLS"] ?? 100);
const REGION = { size: 512 * 1200, pageSize: 512 } as const;
/** A child that does not come up in this time never will. */
const PATIENCE_MS = 30_000;

/** One writer: runs until it is killed, or kills itself at its n-th store. @returns how many operations returned */
async function live(t: TestContext, path: string, world: World, life: number, nth: number): Promise<number> {
  const child = spawn(process.execPath, [writerProgram, path, String(life), String(nth)], {
    stdio: ["pipe", "pipe", "inherit"],
    timeout: PATIENCE_MS,
  });
  t.after(() => child.kill("SIGKILL"));
  child.stdin.end(worldToJson(world));
  let acknowledged = 0;
  const closed = once(child, "close");
  child.stdout.on("data", (bytes: Buffer) => {
    acknowledged += bytes.filter((byte) => byte === ACKNOWLEDGED).length;
  });
  if (nth === 0) {
    await Promise.race([once(child.stdout, "data"), closed]);
    await sleep(life % 21);
    child.kill("SIGKILL");
  }
  await closed;
  assert.equal(child.signalCode, "SIGKILL", `life ${life}: the writer ended by itself`);
  return acknowledged;
}

/** What the next owner finds. It closes the region, or dies itself. */
function findNext(path: string, closes: boolean): string {
  const memory = new MappedMemory([Backing.open(path)]);
  try {
    const region = PageRegion.attach(memory);
    const { text } = checkImage(readFileSync(path));
    if (closes) region[Symbol.dispose]();
    return text;
  } finally {
    memory.close();
  }
}

/** The worlds that may be found: after what was acknowledged, or after a step of the operation under way. */
function allowedWorlds(world: World, life: number, acknowledged: number): World[] {
  const script = new Script(life, worldFromJson(worldToJson(world)));
  for (let k = 0; k < acknowledged; k++) for (const step of script.next().steps) step(script.world);
  const allowed = [script.world.copy()];
  for (const step of script.next().steps) {
    step(script.world);
    allowed.push(script.world.copy());
  }
  return allowed;
}

async function killAgainAndAgain(t: TestContext, atStores: boolean): Promise<void> {
  const random = seeded(seed + Number(atStores));
  const path = join(memoryFolder(t), "region");
  createRegion(path, REGION).close();
  let world = new World();
  let operations = 0;
  let underWay = 0;
  for (let k = 0; k < LIVES; k++) {
    const life = below(random, 2 ** 31);
    const acknowledged = await live(t, path, world, life, atStores ? 1 + below(random, k % 2 === 0 ? 30 : 500) : 0);
    const text = findNext(path, k % 3 === 0);
    const allowed = allowedWorlds(world, life, acknowledged);
    const found = allowed.findIndex((one) => one.text() === text);
    const context = `life ${life} from ${worldToJson(world)}, ${acknowledged} acknowledged`;
    assert.ok(found >= 0, `${context}: found\n${text}\nallowed\n${allowed.map((one) => one.text()).join("\nor\n")}`);
    world = allowed[found].reopened();
    operations += acknowledged;
    underWay += Number(found > 0);
  }
  t.diagnostic(
    `${LIVES} kills, ${operations} operations acknowledged, ${underWay} finished without being acknowledged`,
  );
  assert.ok(operations > LIVES, "the writers came to do something");
}

describe(`a killed writer loses no acknowledged operation (PERDURE_SEED=${seed})`, { concurrency: 2 }, () => {
  test("killed at a random moment", (t) => killAgainAndAgain(t, false));
  test("killed at its n-th store", (t) => killAgainAndAgain(t, true));
});
