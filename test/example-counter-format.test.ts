// Hazard: the example that authors copy loses what it promises to keep, in a crash that its author did not think of.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { attachMemory, type Format, formatMemory, registerFormat } from "../src/format/index.ts";
import { isPerdureError } from "../src/index.ts";
import {
  type CrashImage,
  type CrashModel,
  KillModel,
  PowerModel,
  Recording,
  RecordingMemory,
  seeded,
} from "../src/testing/index.ts";
import { memoryFolder, perdure, perdureJson } from "./support/cli.ts";
import { seed } from "./support/seed.ts";

interface Counter {
  readonly count: number;
  add(step: number): void;
}

const folder = fileURLToPath(new URL("../../examples/counter-format", import.meta.url));
const plugin = join(folder, "counter-format.js");
const { format } = (await import(plugin)) as { format: Format<Counter> };
registerFormat(format);

const memoryBytes = 4096;

/** The number that the next owner finds in an image. */
function countIn(image: Uint8Array): number {
  const attached = attachMemory<Counter>(new RecordingMemory(new Recording(image.slice())));
  const { count } = attached.handle;
  attached.detach();
  return count;
}

/** Takes every image that a kill or a power cut may leave while this happens. */
function crashAt(models: readonly CrashModel[], recording: Recording, judge: (crash: CrashImage) => void): void {
  for (const event of recording.events) {
    for (const model of models) {
      for (const crash of model.during(event)) judge(crash);
      model.add(event);
    }
  }
  recording.events = [];
}

function modelsOf(image: Uint8Array): CrashModel[] {
  const random = seeded(seed);
  return [new KillModel(image, random), new PowerModel(image, random)];
}

test(`a crash inside of a step leaves the number before or after it (PERDURE_SEED=${seed})`, () => {
  const memory = RecordingMemory.blank(memoryBytes);
  formatMemory(memory, format);
  const { recording } = memory;
  const { handle: counter } = attachMemory<Counter>(memory);
  const models = modelsOf(recording.recorded);
  recording.events = [];
  for (let step = 1; step <= 20; step++) {
    const before = counter.count;
    counter.add(step);
    let images = 0;
    crashAt(models, recording, (crash) => {
      assert.ok([before, before + step].includes(countIn(crash.bytes())), crash.label);
      images++;
    });
    assert.ok(images >= 3);
    for (const model of models) {
      for (const crash of model.now()) assert.equal(countIn(crash.bytes()), before + step, crash.label);
    }
  }
});

test(`a crash while a counter is formatted anew leaves none, or one that is new (PERDURE_SEED=${seed})`, () => {
  const memory = RecordingMemory.blank(memoryBytes);
  formatMemory(memory, format);
  attachMemory<Counter>(memory).handle.add(41);
  const { recording } = memory;
  const models = modelsOf(recording.recorded);
  recording.events = [];
  formatMemory(memory, format, { force: true });
  let fresh = 0;
  crashAt(models, recording, (crash) => {
    const found = outcome(crash.bytes());
    // Before the first fence the old counter may still be whole.
    assert.ok([0, 41, "UNFORMATTED"].includes(found), `${crash.label}: ${found}`);
    if (found === 0) fresh++;
  });
  assert.ok(fresh > 0);
  assert.equal(countIn(recording.recorded), 0);
});

function outcome(image: Uint8Array): number | string {
  try {
    return countIn(image);
  } catch (error) {
    return isPerdureError(error) ? error.code : String(error);
  }
}

test("the command makes, describes and checks a counter, and the program beside it counts", async (t) => {
  const path = join(memoryFolder(t), "visits");
  const made = await perdure(["format", path, "--size", "64K", "--format", "counter", "--plugin", plugin]);
  assert.equal(made.code, 0, made.stderr);
  for (const times of [1, 2]) {
    const output = execFileSync(process.execPath, [join(folder, "count.js"), path], { encoding: "utf8" });
    assert.equal(output, `run ${times} times\n`);
  }
  const info = await perdureJson<{ name: string; facts: { count: number } }>("info", path, "--plugin", plugin);
  assert.deepEqual([info.name, info.facts.count], ["counter", 2]);
  assert.equal((await perdure(["check", path, "--plugin", plugin])).code, 0);
});
