// Writers that are killed again and again, each going on from what the last one left; and what must be found of them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Backing, MappedMemory } from "../../src/memory/index.ts";
import { createRegion, PageRegion } from "../../src/region/index.ts";
import { below, seeded } from "../../src/testing/index.ts";
import { checkImage } from "../crash/checker.ts";
import { everySite, placesIn } from "../crash/store-sites.ts";
import { World } from "../crash/world.ts";
import { ACKNOWLEDGED, Script, worldFromJson, worldToJson, writerProgram } from "./child-writer.ts";
import { memoryFolder } from "./cli.ts";
import { addFigures } from "./figures.ts";

const REGION = { size: 512 * 1200, pageSize: 512 } as const;
/** A child that does not come up in this time never will. */
const PATIENCE_MS = 30_000;

/** What a series of killed writers came to. */
export interface KillReport {
  kills: number;
  acknowledged: number;
  /** Operations that were finished and not acknowledged. */
  underWay: number;
}

/** Calls of the memory gateway at which a writer of this process died. */
const sites = new Set<string>();
const knownSites = everySite();

/** Adds what one process has seen to the figures. */
export function addKillFigures(reports: readonly KillReport[]): void {
  const sum = (key: keyof KillReport): number => reports.reduce((so, report) => so + report[key], 0);
  addFigures({
    "killed writers": sum("kills"),
    "killed writers, store sites hit": sites.size,
    "killed writers, operations acknowledged": sum("acknowledged"),
    "killed writers, operations lost": 0,
  });
}

/**
 * Kills one writer after the other, at random moments or at chosen stores. Every acknowledged operation must be there,
 * at most the one that was under way beside, and nothing else: whatever is lost fails the test.
 */
export async function killWriters(
  t: TestContext,
  seed: number,
  atStores: boolean,
  goesOn: (kills: number) => boolean,
): Promise<KillReport> {
  const random = seeded(seed);
  const path = join(memoryFolder(t), "region");
  createRegion(path, REGION).close();
  const report: KillReport = { kills: 0, acknowledged: 0, underWay: 0 };
  for (let world = new World(); goesOn(report.kills); report.kills++) {
    const life = below(random, 2 ** 31);
    const nth = atStores ? 1 + below(random, report.kills % 2 === 0 ? 30 : 500) : 0;
    const acknowledged = await live(t, path, world, life, nth);
    const text = findNext(path, report.kills % 3 === 0);
    const allowed = allowedWorlds(world, life, acknowledged);
    const found = allowed.findIndex((one) => one.text() === text);
    const context = `seed ${seed}, life ${life} from ${worldToJson(world)}, ${acknowledged} acknowledged`;
    assert.ok(found >= 0, `${context}: found\n${text}\nallowed\n${allowed.map((one) => one.text()).join("\nor\n")}`);
    world = allowed[found].reopened();
    report.acknowledged += acknowledged;
    report.underWay += Number(found > 0);
  }
  t.diagnostic(
    `${report.kills} kills, ${report.acknowledged} operations acknowledged, ${report.underWay} finished without`,
  );
  return report;
}

/** One writer: runs until it is killed, or kills itself at its n-th store. @returns how many operations returned */
async function live(t: TestContext, path: string, world: World, life: number, nth: number): Promise<number> {
  const child = spawn(process.execPath, [writerProgram, path, String(life), String(nth)], {
    stdio: ["pipe", "pipe", "inherit", "pipe"],
    timeout: PATIENCE_MS,
  });
  const kill = (): void => void child.kill("SIGKILL");
  t.signal.addEventListener("abort", kill);
  const [input, output, , stacks] = child.stdio as unknown as [Writable, Readable, null, Readable];
  input.end(worldToJson(world));
  let acknowledged = 0;
  let stack = "";
  const closed = once(child, "close");
  output.on("data", (bytes: Buffer) => {
    acknowledged += bytes.filter((byte) => byte === ACKNOWLEDGED).length;
  });
  stacks.on("data", (bytes: Buffer) => {
    stack += bytes.toString();
  });
  if (nth === 0) {
    await Promise.race([once(output, "data"), closed]);
    await sleep(life % 21);
    kill();
  }
  await closed;
  t.signal.removeEventListener("abort", kill);
  assert.equal(child.signalCode, "SIGKILL", `life ${life}: the writer ended by itself`);
  for (const place of placesIn(stack)) if (knownSites.has(place)) sites.add(place);
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
