// A process of many threads that is killed again and again, each going on from what the last one left.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Region } from "../../src/index.ts";
import { checkRegion } from "../../src/region/index.ts";
import { below, seeded } from "../../src/testing/index.ts";
import { memoryFolder } from "./cli.ts";
import { COMMON, INDICES, valueOf } from "./thread-hammer.ts";
import { processProgram } from "./thread-process.ts";

const WORKERS = 4;
/** Values of one life; the lower 24 bits of a value count, so a region has so many lives at most. */
const MOST_LIVES = 127;
const VALUES_PER_LIFE: number = 2 ** 24 / 128;
const MESSAGE_BYTES = 6;

/** What killed processes came to. */
export interface ThreadKills {
  readonly kills: number;
  /** Writes that a thread had told of. */
  readonly writes: number;
}

/** Kills processes while `goesOn` says so. Whatever a thread had told of must be there, or the test fails. */
export async function killThreads(
  t: TestContext,
  seed: number,
  goesOn: (kills: number) => boolean,
): Promise<ThreadKills> {
  const random = seeded(seed);
  const path = join(memoryFolder(t), "region");
  const first = await Region.open(path, { create: true, size: "2M", pageSize: 512 });
  first.instance("test", COMMON, { create: true });
  await first.close();
  const expected = new Map<number, number>();
  let writes = 0;
  let life = 0;
  while (life < MOST_LIVES && goesOn(life)) {
    life++;
    const told = await live(t, path, { seed, life, afterMs: below(random, 150) });
    for (const [index, value] of told) expected.set(index, value);
    writes += told.length;
    assert.deepEqual((await checkRegion(path)).findings, [], `seed ${seed}, life ${life}`);
    const next = await Region.open(path);
    assert.equal(next.start.kind, "recovered");
    const common = next.instance("test", COMMON);
    for (let index = 0; index < INDICES; index++) {
      const found = valueOf(common.read(index));
      const least = expected.get(index) ?? 0;
      // The write under way when it was killed may be there, too; its value is a little higher.
      const context = `seed ${seed}, life ${life}, index ${index}`;
      assert.ok(found >= least, `${context}: ${found.toString(16)} after ${least.toString(16)}`);
      expected.set(index, found);
    }
    await next.close();
  }
  t.diagnostic(`${life} kills, ${writes} writes told of`);
  return { kills: life, writes };
}

/** Runs the threads until they have told of a write, and some time more. @returns what they told, in order */
async function live(
  t: TestContext,
  path: string,
  { seed, life, afterMs }: { seed: number; life: number; afterMs: number },
): Promise<[number, number][]> {
  const args = [processProgram, path, String(WORKERS), String(seed + life), String(life * VALUES_PER_LIFE)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const chunks: Buffer[] = [];
  child.stdout.on("data", (bytes: Buffer) => chunks.push(bytes));
  const closed = once(child, "close");
  await Promise.race([once(child.stdout, "data"), closed]);
  await sleep(afterMs);
  child.kill("SIGKILL");
  await closed;
  assert.equal(child.signalCode, "SIGKILL", `life ${life}: it ended by itself`);
  const told = Buffer.concat(chunks);
  return Array.from({ length: Math.floor(told.length / MESSAGE_BYTES) }, (_, k) => [
    told.readUInt16LE(k * MESSAGE_BYTES),
    told.readUInt32LE(k * MESSAGE_BYTES + 2),
  ]);
}
