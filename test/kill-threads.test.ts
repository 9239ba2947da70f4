/**
 * Hazard: a process of many threads is killed while all of them change one region, and an acknowledged write is gone,
 * or a page is mixed of two. A kill stops each thread at a store of its own.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Region } from "../src/index.ts";
import { checkRegion } from "../src/region/index.ts";
import { below, seeded } from "../src/testing/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { COMMON, INDICES, valueOf } from "./support/thread-hammer.ts";
import { processProgram } from "./support/thread-process.ts";

const seed = Number(process.env["PERDURE_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const LIVES = Number(process.env["PERDURE_KILLS"] ?? 12);
const WORKERS = 4;
/** Values of one life; the lower 24 bits of a value count. */
const VALUES_PER_LIFE: number = 2 ** 24 / 128;
const MESSAGE_BYTES = 6;

/** Runs the threads until they have told of a write, and some time more. @returns what they told, in order */
async function live(t: TestContext, path: string, life: number, afterMs: number): Promise<[number, number][]> {
  const args = [processProgram, path, String(WORKERS), String(seed + life), String((life % 128) * VALUES_PER_LIFE)];
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

test(`threads that are killed lose no acknowledged write (PERDURE_SEED=${seed})`, async (t) => {
  const random = seeded(seed);
  const path = join(memoryFolder(t), "region");
  const first = await Region.open(path, { create: true, size: "2M", pageSize: 512 });
  first.instance("test", COMMON, { create: true });
  await first.close();
  const expected = new Map<number, number>();
  let writes = 0;
  for (let life = 1; life <= LIVES; life++) {
    const told = await live(t, path, life, below(random, 150));
    for (const [index, value] of told) expected.set(index, value);
    writes += told.length;
    assert.deepEqual((await checkRegion(path)).findings, [], `life ${life}`);
    const next = await Region.open(path);
    assert.equal(next.start.kind, "recovered");
    const common = next.instance("test", COMMON);
    for (let index = 0; index < INDICES; index++) {
      const found = valueOf(common.read(index));
      const least = expected.get(index) ?? 0;
      // The write under way when it was killed may be there, too; its value is a little higher.
      assert.ok(found >= least, `life ${life}, index ${index}: ${found.toString(16)} after ${least.toString(16)}`);
      expected.set(index, found);
    }
    if (life % 3 === 0) await next.close();
    else next[Symbol.dispose]();
  }
  t.diagnostic(`${LIVES} kills, ${writes} writes told of`);
  assert.ok(writes > LIVES, "the threads came to do something");
});
