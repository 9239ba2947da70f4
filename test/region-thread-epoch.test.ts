/** Hazard: a scan that met the middle of a change and is taken for the truth, or one that is doubted for ever. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { checkRegion, Region } from "../src/index.ts";
import { Backing, MappedMemory } from "../src/memory/index.ts";
import { PageRegion } from "../src/region/index.ts";
import { epochOffset, readEpochs, stoodStill } from "../src/region/thread-epoch.ts";
import { maxThreads } from "../src/region/thread-table.ts";
import { RecordingMemory } from "../src/testing/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { freshRegion } from "./support/region.ts";

test("every thread has a word of its own, and neighbours are not in one line of the cache", () => {
  const offsets = Array.from({ length: maxThreads }, (_, k) => epochOffset(k + 1));
  assert.equal(new Set(offsets).size, maxThreads);
  assert.ok(offsets.every((offset) => offset >= 3072 && offset < 3328 && offset % 4 === 0));
  assert.equal(new Set(offsets.slice(0, 4).map((offset) => Math.floor(offset / 64))).size, 4);
});

test("an epoch is odd from the first store of an operation to its end, and stays where nothing is stored", () => {
  const { recording, region } = freshRegion();
  const memory = new RecordingMemory(recording);
  const instance = region.instance("test", "a", { create: true, sizeBytes: 512 });
  const epochs = (): readonly number[] => readEpochs(memory);
  const rest = epochs();
  const seen: boolean[] = [];
  recording.before = (event) => {
    if (event.kind === "fence") seen.push(epochs()[0] % 2 === 1);
  };
  instance.write(0, new Uint8Array(512));
  recording.before = undefined;
  // The first fence is that of a draft, which nobody can reach; the second that of its claim.
  assert.deepEqual(seen, [false, true]);
  assert.ok(!stoodStill(rest, epochs()));
  const after = epochs();
  assert.ok(after.every((epoch) => epoch % 2 === 0));
  assert.throws(() => instance.write(7, new Uint8Array(512)));
  assert.ok(stoodStill(after, epochs()));
});

test("no scan finds a number of before a change again, whoever had the word before", () => {
  const { recording, region } = freshRegion();
  const memory = new RecordingMemory(recording);
  const rest = readEpochs(memory);
  region.instance("test", "a", { create: true });
  const after = readEpochs(memory);
  assert.ok(!stoodStill(rest, after), "the first change after the recovery");
});

test("a scan is provisional beside a thread in the middle of a change, and not beside one at rest", async (t) => {
  const path = join(memoryFolder(t), "region");
  await (await Region.open(path, { create: true, size: "1M" })).close();
  const memory = new MappedMemory([Backing.open(path)]);
  const writer = PageRegion.attach(memory);
  const scan = async (): Promise<boolean[]> => {
    const reader = await Region.open(path, { readOnly: true });
    const { provisional } = reader.start;
    await reader.close();
    return [provisional, (await checkRegion(path)).provisional];
  };
  assert.deepEqual(await scan(), [false, false]);
  memory.commit32(epochOffset(7), 1);
  assert.deepEqual(await scan(), [true, true]);
  memory.commit32(epochOffset(7), 2);
  assert.deepEqual(await scan(), [false, false]);
  memory.commit32(epochOffset(7), 3);
  await writer.close();
  assert.deepEqual(await scan(), [false, false], "without a writer an odd epoch says nothing");
  const next = await Region.open(path);
  assert.deepEqual(await scan(), [false, false], "the next writer begins anew");
  await next.close();
});
