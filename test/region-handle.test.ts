/**
 * Hazard: threads that work on one region at once and see halves of each other's changes, lose writes, or go on after
 * one of them died in the middle. Real workers share real mappings here.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { Region } from "../src/index.ts";
import { Backing, MappedMemory } from "../src/memory/index.ts";
import { checkRegion, PageRegion } from "../src/region/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { refusal } from "./support/region.ts";
import { seed } from "./support/seed.ts";
import { COMMON, type HammerResult, type HammerTask, INDICES, valueOf } from "./support/thread-hammer.ts";
import type { Order } from "./support/thread-region.ts";
import { nextMessage, startThread } from "./support/threads.ts";

const TURNS = Number(process.env["PERDURE_TURNS"] ?? 3000);
const WORKERS = 4;

/** A region, by default of small pages, with an instance that all threads use. */
async function openRegion(t: TestContext, size = "2M", pageSize = "512"): Promise<{ path: string; region: Region }> {
  const path = join(memoryFolder(t), "region");
  await (await Region.open(path, { create: true, size, pageSize })).close();
  const region = await Region.open(path);
  region.instance("test", COMMON, { create: true });
  return { path, region };
}

/** Lets threads hammer a region at once. @returns what each of them left */
function hammer(t: TestContext, region: Region, turns: number, firstSeed: number): Promise<HammerResult>[] {
  return Array.from({ length: WORKERS }, (_, worker) => {
    const task: HammerTask = { handle: region.share(), worker, workers: WORKERS, seed: firstSeed, turns };
    return nextMessage<HammerResult>(startThread(t, "./thread-hammer.js", task));
  });
}

test(`threads that do everything at once lose nothing and mix nothing up (PERDURE_SEED=${seed})`, async (t) => {
  const { path, region } = await openRegion(t);
  const results = await Promise.all(hammer(t, region, TURNS, seed));
  const common = region.instance("test", COMMON);
  const expected = new Map(results.flatMap((result) => [...result.common]));
  for (let index = 0; index < INDICES; index++) {
    assert.equal(valueOf(common.read(index)), expected.get(index) ?? 0, `index ${index}`);
  }
  const counted = region.list().reduce((sum, { pages }) => sum + pages, 0);
  const owned = results.reduce((sum, { own }) => sum + (own?.size ?? 0), expected.size);
  assert.equal(counted, owned, "pages that instances count");
  await region.close();
  const report = await checkRegion(path);
  assert.deepEqual(report.findings, []);
  const next = await Region.open(path);
  assert.equal(next.start.kind, "warm");
  assert.deepEqual(next.start.recovered, { losers: 0, orphans: 0, beyondSize: 0, volatile: 0, unfinished: 0 });
  await next.close();
});

test("a scan beside threads at work never finds corruption", async (t) => {
  const { path, region } = await openRegion(t);
  region.instance("test", COMMON).write(INDICES, new Uint8Array(region.pageBytes));
  const endless = hammer(t, region, Number.POSITIVE_INFINITY, seed);
  const failed = Promise.race(endless);
  for (let scan = 0; scan < 5; scan++) {
    const report = await Promise.race([checkRegion(path), failed]);
    assert.ok("findings" in report);
    assert.deepEqual(report.findings, []);
    const reader = await Region.open(path, { readOnly: true });
    assert.ok(reader.instance("test", COMMON).pageCount > 0);
    await reader.close();
  }
});

/** A thread that has joined a region. */
async function joined(t: TestContext, region: Region): Promise<Worker> {
  const worker = startThread(t, "./thread-region.js", region.share());
  assert.equal(await nextMessage(worker), "joined");
  return worker;
}

function tell(worker: Worker, order: Order): Promise<unknown> {
  const answer = nextMessage(worker);
  worker.postMessage(order);
  return answer;
}

/** A memory whose thread sleeps before one of its bulk stores, so that another thread comes first. */
class PausingMemory extends MappedMemory {
  #fills = 0;
  #act: (() => void) | undefined;

  pauseBefore(fills: number, act: () => void): void {
    this.#fills = fills;
    this.#act = act;
  }

  override fill(offset: number, source: Uint8Array): void {
    if (--this.#fills === 0) {
      this.#act?.();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    }
    super.fill(offset, source);
  }
}

const filled = (region: Region, byte: number): Uint8Array => new Uint8Array(region.pageBytes).fill(byte);
const mappingsOf = (path: string): number => readFileSync("/proc/self/maps", "latin1").split(path).length - 1;

describe("a region in two threads", () => {
  test("a page that is read while another thread replaces it is wholly one of them", async (t) => {
    // Pages so large that copying one takes long, and so few that each is soon used again.
    const { region } = await openRegion(t, "2M", "128K");
    const worker = await joined(t, region);
    const common = region.instance("test", COMMON);
    const answers: unknown[] = [];
    const answered = tell(worker, "write often").then((answer) => answers.push(answer));
    let reads = 0;
    for (; answers.length === 0; reads++) {
      valueOf(common.read(0));
      await nextTurn();
    }
    await answered;
    assert.deepEqual(answers, ["done"]);
    assert.ok(reads > 10, `${reads} reads`);
    await worker.terminate();
    await region.close();
  });

  test("each sees what the other has done, and both have one mapping", async (t) => {
    const { path, region } = await openRegion(t);
    const worker = await joined(t, region);
    assert.equal(await tell(worker, "read"), 0);
    region.instance("test", COMMON).write(0, filled(region, 7));
    assert.equal(await tell(worker, "read"), 7);
    assert.equal(await tell(worker, "create"), "done");
    assert.equal(region.instance("test", "theirs").read(3)[0], 4);
    assert.equal(mappingsOf(path), 1);
    assert.equal(await tell(worker, "close"), "done");
    await region.close();
    assert.equal(mappingsOf(path), 0);
  });

  test("a handle goes on with its instance when another thread takes a snapshot, resizes and renames", async (t) => {
    const { region } = await openRegion(t);
    const worker = await joined(t, region);
    const common = region.instance("test", COMMON);
    common.write(0, filled(region, 1));
    common.snapshot("then");
    common.rename("other");
    assert.equal(await tell(worker, "write"), "done");
    assert.equal(common.read(0)[0], 9);
    assert.equal(region.instance("test", "then").read(0)[0], 1);
    common.resize(0);
    assert.equal(await tell(worker, "read"), "EINVAL");
    common.delete();
    assert.equal(await tell(worker, "read"), "ENOENT");
    await worker.terminate();
    await region.close();
  });

  test("a view is never one of a snapshot that another thread takes meanwhile", async (t) => {
    const path = join(memoryFolder(t), "region");
    await (await Region.open(path, { create: true, size: "2M" })).close();
    const memory = new PausingMemory([Backing.open(path)]);
    const region = PageRegion.attach(memory);
    const common = region.instance("test", COMMON, { create: true });
    common.write(0, new Uint8Array(4096).fill(1));
    const worker = startThread(t, "./thread-region.js", region.share());
    assert.equal(await nextMessage(worker), "joined");
    const answer = nextMessage(worker);
    // Two slots of each of three records: before the last of them the instance is a snapshot already.
    memory.pauseBefore(5, () => worker.postMessage("store" satisfies Order));
    common.snapshot("then");
    assert.equal(await answer, "done");
    assert.equal(region.instance("test", "then").read(0)[0], 1);
    assert.equal(common.read(0)[0], 9);
    await worker.terminate();
    await region.close();
  });

  test("masks above a mark that another thread has raised are in the sums of the close", async (t) => {
    const { path, region } = await openRegion(t, "12M");
    const other = Region.attach(region.share());
    const common = other.instance("test", COMMON);
    // More than the 16,384 pages below the first mark.
    for (let index = 0; index < 17_000; index++) common.write(index, filled(region, 1));
    common.snapshot("then");
    common.free(5);
    await other.close();
    await region.close();
    const next = await Region.open(path);
    assert.equal(next.start.kind, "warm");
    assert.equal(next.instance("test", COMMON).has(5), false);
    await next.close();
  });

  test("a page that is held in one is held for the other", async (t) => {
    const { region } = await openRegion(t);
    const worker = await joined(t, region);
    const common = region.instance("test", COMMON);
    assert.equal(await tell(worker, "hold"), "done");
    assert.throws(() => common.write(0, filled(region, 1)), refusal("EBUSY"));
    assert.throws(() => common.delete(), refusal("EBUSY"));
    assert.equal(await tell(worker, "close"), "EBUSY");
    assert.equal(await tell(worker, "let go"), "done");
    common.write(0, filled(region, 1));
    assert.equal(await tell(worker, "close"), "done");
    await region.close();
  });

  test("the owner closes last, and a thread that closes is gone", async (t) => {
    const { region } = await openRegion(t);
    const worker = await joined(t, region);
    await assert.rejects(region.close(), refusal("EBUSY"));
    region.instance("test", COMMON).write(0, filled(region, 1));
    assert.equal(await tell(worker, "close"), "done");
    assert.equal(await tell(worker, "read"), "CLOSED");
    const handle = region.share();
    await region.close();
    assert.throws(() => Region.attach(handle), refusal("CLOSED"));
  });

  test("only the main thread shares, and only what can be written", async (t) => {
    const { path, region } = await openRegion(t);
    const worker = await joined(t, region);
    assert.equal(await tell(worker, "share"), "EINVAL");
    await worker.terminate();
    await region.close();
    const reader = await Region.open(path, { readOnly: true });
    assert.throws(() => reader.share(), refusal("READ_ONLY"));
    await reader.close();
  });
});

describe("a thread that ends", () => {
  for (const how of ["by itself", "by terminate()"] as const) {
    test(`${how} between operations: the others go on, and the region is closed`, async (t) => {
      const { path, region } = await openRegion(t);
      const worker = await joined(t, region);
      assert.equal(await tell(worker, "write"), "done");
      const ended = once(worker, "exit");
      if (how === "by itself") worker.postMessage("exit" satisfies Order);
      else await worker.terminate();
      await ended;
      region.instance("test", COMMON).write(0, filled(region, 1));
      await region.close();
      const next = await Region.open(path);
      assert.equal(next.start.kind, "warm");
      await next.close();
    });
  }

  test("inside of an operation: who waits for it finds the region poisoned", async (t) => {
    const { path, region } = await openRegion(t);
    const common = region.instance("test", COMMON);
    common.write(0, filled(region, 5));
    const worker = await joined(t, region);
    assert.equal(await tell(worker, "sleep inside"), "inside");
    await worker.terminate();
    assert.throws(() => common.write(0, filled(region, 6)), refusal("POISONED"));
    assert.throws(() => common.read(0), refusal("POISONED"));
    assert.throws(() => region.share(), refusal("POISONED"));
    await region.close();
    await findsRecovered(path, 5);
  });

  test("inside of an operation, and nobody waits: the owner finds out when it closes", async (t) => {
    const { path, region } = await openRegion(t);
    region.instance("test", COMMON).write(0, filled(region, 5));
    const worker = await joined(t, region);
    assert.equal(await tell(worker, "sleep inside"), "inside");
    await worker.terminate();
    region.instance("test", COMMON).write(1, filled(region, 6));
    await region.close();
    await findsRecovered(path, 5);
  });

  test("with an error inside of an operation: the others are told at once", async (t) => {
    const { path, region } = await openRegion(t);
    region.instance("test", COMMON).write(0, filled(region, 5));
    const worker = await joined(t, region);
    const handle = region.share();
    assert.equal(await tell(worker, "throw inside"), "a bug");
    const isTold = (error: Error & { cause?: Error }): boolean => error.cause?.message === "a bug";
    assert.throws(() => Region.attach(handle), refusal("POISONED"));
    assert.throws(() => region.instance("test", COMMON), isTold);
    await worker.terminate();
    await region.close();
    await findsRecovered(path, 5);
  });

  async function findsRecovered(path: string, byte: number): Promise<void> {
    const next = await Region.open(path);
    assert.equal(next.start.kind, "recovered");
    assert.equal(next.instance("test", COMMON).read(0)[0], byte);
    await next.close();
    assert.deepEqual((await checkRegion(path)).findings, []);
  }
});
