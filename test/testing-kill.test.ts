/** Hazard: a crash engine that forgets images which a real kill leaves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { killImages, RecordingMemory, seeded } from "../src/testing/index.ts";

test("every prefix of the stores is an image, and bulk stores have a middle", () => {
  const memory = RecordingMemory.blank(128);
  const start = memory.recording.image.slice();
  memory.commit32(0, 1);
  memory.fill(64, new Uint8Array(32).fill(9));
  memory.flush(0, 128);
  memory.fence();
  memory.commit64(8, 2, 3);
  const images = Array.from(killImages(start, memory.recording.events, seeded(3)), (crash) => crash.bytes());
  const outcomes = images.map((image) => {
    const filled = image.subarray(64, 96).filter((byte) => byte === 9).length;
    return `${new Uint32Array(image.buffer, 0, 4).join(" ")}, ${filled % 32 === 0 ? filled : "torn"}`;
  });
  const torn = "1 0 0 0, torn";
  assert.deepEqual(outcomes, ["1 0 0 0, 0", torn, torn, torn, torn, "1 0 0 0, 32", "1 0 2 3, 32"]);
});

test("the middle of a bulk store is old and new bytes, mixed in many ways", () => {
  const shapes = new Set<string>();
  for (let seed = 0; seed < 100; seed++) {
    const memory = RecordingMemory.blank(64);
    memory.fill(0, new Uint8Array(16).fill(1));
    for (const crash of killImages(new Uint8Array(64), memory.recording.events, seeded(seed))) {
      const mixed = crash.bytes().slice(0, 16);
      assert.ok(mixed.every((byte) => byte === 0 || byte === 1));
      shapes.add(mixed.join(""));
    }
  }
  assert.ok(shapes.size > 100, `${shapes.size} mixtures`);
});

test("equal images have equal keys, and different ones different keys", () => {
  const memory = RecordingMemory.blank(256);
  for (let k = 0; k < 40; k++) memory.commit32(4 * (k % 20), k < 20 ? k + 1 : 0);
  const seen = new Map<number, string>();
  for (const crash of killImages(new Uint8Array(256), memory.recording.events, seeded(1))) {
    const text = Buffer.from(crash.bytes()).toString("hex");
    assert.equal(seen.get(crash.key) ?? text, text, "one key, one image");
    seen.set(crash.key, text);
  }
  assert.equal(new Set(seen.values()).size, seen.size, "one image, one key");
});
