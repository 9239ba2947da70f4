// Hazard: a byte that is lost or doubled where two chunks meet turns the rest of a conversation into nonsense.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ByteQueue } from "../src/nbd/byte-queue.ts";

describe("the queue of received bytes", () => {
  test("gives back what came in, in order, whatever the sizes of pushes, takes and drops", () => {
    const size = fc.oneof(fc.nat(40), fc.nat(3000));
    const step = fc.record({ push: size, take: size, drop: fc.oneof(fc.constant(0), size) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queue = new ByteQueue();
        let pushed = 0;
        let read = 0;
        for (const { push, take, drop } of steps) {
          queue.push(Buffer.from(Array.from({ length: push }, () => pushed++ % 251)));
          const count = Math.min(take, queue.lengthBytes);
          for (const byte of queue.take(count)) assert.equal(byte, read++ % 251);
          read += queue.drop(drop);
          assert.equal(queue.lengthBytes, pushed - read);
        }
      }),
    );
  });

  test("a megabyte that comes in single bytes costs little more than a megabyte", () => {
    const queue = new ByteQueue();
    const before = process.memoryUsage().arrayBuffers;
    for (let k = 0; k < 2 ** 20; k++) queue.push(Buffer.from([k]));
    assert.ok(process.memoryUsage().arrayBuffers - before < 4 * 2 ** 20);
    assert.equal(queue.take(2 ** 20)[2 ** 20 - 2], 254);
  });

  test("a run inside one chunk is not copied", () => {
    const queue = new ByteQueue();
    const chunk = Buffer.alloc(65_536, 7);
    queue.push(chunk);
    queue.take(28);
    assert.equal(queue.take(4096).buffer, chunk.buffer);
  });
});
