/**
 * Hazard: a program that dies at every start is counted as well, or one that ran well as a failure; and a timer that
 * keeps a process alive, or ends it.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Region } from "../src/index.ts";
import { PageRegion } from "../src/region/index.ts";
import { failedStartsOf, HealthTimer } from "../src/region/start-protection.ts";
import { type FailingCall, FailingMemory, Recording, RecordingMemory } from "../src/testing/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { until } from "./support/e2e-test-bed.ts";
import { stateOf } from "./support/images.ts";
import { afterClose, afterDeath, freshRegion, openCopy, refusal, type Trial } from "./support/region.ts";

const failedStarts = ({ recording }: Trial): number =>
  failedStartsOf(new RecordingMemory(new Recording(recording.image.slice())));

test("deaths count until a start is healthy or closes", () => {
  let trial = afterDeath(afterDeath(freshRegion()));
  assert.equal(failedStarts(trial), 3);
  trial.region.healthy();
  assert.equal(failedStarts(trial), 0);
  trial = afterDeath(trial);
  assert.equal(trial.region.start.failedStarts, 1, "a death after that is no failed start");
  trial = afterClose(afterDeath(trial));
  assert.equal(trial.region.start.failedStarts, 1);
});

test("healthy leaves everything else of the state as it is, and a second time stores nothing", () => {
  const trial = afterDeath(freshRegion());
  const before = stateOf(trial.recording.image);
  trial.region.healthy();
  const after = stateOf(trial.recording.image);
  assert.deepEqual(
    { ...after, crc: 0 },
    { ...before, crc: 0, failedStarts: 0, sequence: before.sequence + 1 },
    "only the counter and what marks a new version",
  );
  const stores = trial.recording.events.length;
  trial.region.healthy();
  assert.equal(trial.recording.events.length, stores);
  assert.equal(openCopy(trial.recording.image).region.start.kind, "recovered");
});

test("a healthy that fails poisons the handle, and what is opened again is what was there", () => {
  const { image } = afterDeath(freshRegion()).recording;
  for (const call of ["fence", "fill"] as const satisfies FailingCall[]) {
    let failures = 0;
    for (let nth = 1, failed = true; failed; nth++) {
      const recording = new Recording(image.slice());
      const backing = new RecordingMemory(recording);
      const opened = new FailingMemory(backing, call, Number.POSITIVE_INFINITY);
      const failing = { current: opened };
      const memory = new Proxy(opened, {
        get: (_target, key) => {
          const value: unknown = Reflect.get(failing.current, key, failing.current);
          return typeof value === "function" ? (value.bind(failing.current) as unknown) : value;
        },
      });
      const region = PageRegion.attach(memory);
      failing.current = new FailingMemory(backing, call, nth);
      try {
        region.healthy();
      } catch (error) {
        assert.equal((error as { code?: string }).code, "EIO");
        assert.throws(() => region.healthy(), refusal("POISONED"));
        assert.throws(() => region.list(), refusal("POISONED"));
      }
      failed = failing.current.failed;
      if (failed) failures++;
      const found = openCopy(recording.image).region.start.failedStarts;
      assert.ok(found === 4 || found === 1, `${call} ${nth}: ${found}`);
    }
    assert.ok(failures >= 2, "both slots of the record are written");
  }
});

test("a region that another writer took over is not told to be healthy", () => {
  const { recording, region } = afterDeath(freshRegion());
  PageRegion.attach(new RecordingMemory(recording));
  const foreign = recording.image.slice();
  assert.throws(() => region.healthy(), refusal("POISONED"));
  assert.deepEqual(recording.image, foreign);
});

test("a reader has nothing to say, and a closed region is closed", async (t) => {
  const path = join(memoryFolder(t), "r");
  const writer = await Region.open(path, { create: true, size: "1M" });
  const reader = await Region.open(path, { readOnly: true });
  assert.equal(reader.start.failedStarts, 1);
  reader.healthy();
  await reader.close();
  await writer.close();
  assert.throws(() => writer.healthy(), refusal("CLOSED"));
});

test("a start that lives long enough is healthy by itself", async (t) => {
  const path = join(memoryFolder(t), "r");
  using region = await Region.open(path, { create: true, size: "1M", healthyAfterMs: 1 });
  await until(() => stateOf(readFileSync(path)).failedStarts === 0, "the start to be healthy");
  assert.equal(stateOf(readFileSync(path)).state, 1, "it is still open");
  assert.equal(region.info().state, "open");
});

test("waiting for health keeps no process alive", async (t) => {
  const path = join(memoryFolder(t), "r");
  const index = new URL("../src/index.js", import.meta.url).href;
  const program = `const { Region } = await import(${JSON.stringify(index)});
    await Region.open(${JSON.stringify(path)}, { create: true, size: "1M", healthyAfterMs: 20_000 });`;
  const { status } = spawnSync(process.execPath, ["--input-type=module", "--eval", program]);
  assert.equal(status, 0);
  using reader = await Region.open(path, { readOnly: true });
  assert.equal(reader.start.failedStarts, 1, "the process ended before the timer");
});

test("a timer whose region fails ends nothing", async () => {
  const said: string[] = [];
  const failAs = (name: string) => (): void => {
    said.push(name);
    throw new Error("the device failed");
  };
  new HealthTimer(failAs("stopped"), { healthyAfterMs: 1 }).stop();
  const timer = new HealthTimer(failAs("running"), { healthyAfterMs: 1 });
  await sleep(50);
  timer.stop();
  assert.deepEqual(said, ["running"]);
});

test("options that make no sense are refused before anything is opened", async (t) => {
  const path = join(memoryFolder(t), "r");
  const wrong = [{ quarantineAfter: -1 }, { quarantineAfter: 1.5 }, { healthyAfterMs: 0 }, { healthyAfterMs: 2 ** 31 }];
  for (const options of wrong) {
    await assert.rejects(Region.open(path, { create: true, size: "1M", ...options }), refusal("EINVAL"));
  }
});
