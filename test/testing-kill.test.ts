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
  const images = Array.from(killImages(start, memory.recording.events, seeded(3)), ({ bytes }) => bytes().slice());
  const words = images.map((image) => new Uint32Array(image.buffer, 0, 4));
  assert.deepEqual(
    words.map((four) => Array.from(four)),
    [
      [1, 0, 0, 0],
      [1, 0, 0, 0],
      [1, 0, 0, 0],
      [1, 0, 2, 3],
    ],
  );
  const filled = images.map((image) => image.subarray(64, 96).filter((byte) => byte === 9).length);
  assert.deepEqual([filled[0], filled[2], filled[3]], [0, 32, 32]);
});

test("the middle of a bulk store is old and new bytes, mixed in many ways", () => {
  const shapes = new Set<string>();
  for (let seed = 0; seed < 100; seed++) {
    const memory = RecordingMemory.blank(64);
    memory.fill(0, new Uint8Array(16).fill(1));
    const [torn] = Array.from(killImages(new Uint8Array(64), memory.recording.events, seeded(seed)), ({ bytes }) =>
      bytes().slice(0, 16),
    );
    assert.ok(torn.every((byte) => byte === 0 || byte === 1));
    shapes.add(torn.join(""));
  }
  assert.ok(shapes.size > 30, `${shapes.size} mixtures`);
});

test("equal images have equal keys, and different ones different keys", () => {
  const memory = RecordingMemory.blank(256);
  for (let k = 0; k < 40; k++) memory.commit32(4 * (k % 20), k < 20 ? k + 1 : 0);
  const seen = new Map<number, string>();
  for (const { key, bytes } of killImages(new Uint8Array(256), memory.recording.events, seeded(1))) {
    const text = Buffer.from(bytes()).toString("hex");
    assert.equal(seen.get(key) ?? text, text, "one key, one image");
    seen.set(key, text);
  }
  assert.equal(new Set(seen.values()).size, seen.size, "one image, one key");
});
