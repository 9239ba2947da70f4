// Hazard: bytes arrive cut at any place, and requests come in any mix. Random conversations are compared with a plain
// array as the disk, and must give the same answers however they are cut. A failure prints fast-check's seed.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { converse } from "./support/nbd-loopback.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { anyMode, anyRequest, assertAnswers, cut, stream } from "./support/nbd-oracle.ts";

const blockBytes = 512;
/** Odd on purpose: the last block is a short one. */
const diskBytes = 20 * blockBytes + 77;
const request = anyRequest(diskBytes, blockBytes);

function device(): NbdMemoryDevice {
  return new NbdMemoryDevice(diskBytes, { blockBytes });
}

describe("random conversations", () => {
  test("every answer is the one that a plain array gives", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 40 }), anyMode, async (requests, agreed) => {
        const bytes = await converse(device(), [stream(requests, agreed)], false);
        assertAnswers(bytes, Buffer.alloc(diskBytes), requests, agreed);
      }),
      { numRuns: 300 },
    );
  });

  test("the answers do not depend on how the bytes were cut, nor on how slowly they are read", async () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 5000 })), {
      minLength: 1,
      maxLength: 30,
    });
    const conversation = fc.tuple(fc.array(request, { maxLength: 25 }), anyMode, sizes, fc.boolean());
    await fc.assert(
      fc.asyncProperty(conversation, async ([requests, agreed, pieces, isSlow]) => {
        const bytes = stream(requests, agreed);
        const whole = await converse(device(), [bytes], false);
        const cutUp = await converse(device(), cut(bytes, pieces), isSlow);
        assert.ok(whole.equals(cutUp));
      }),
      { numRuns: 200 },
    );
  });

  test("garbage in either phase never throws and always ends", async () => {
    const opening = stream([], "extended");
    const start = fc.constantFrom(0, 4, 20, opening.length - 32);
    await fc.assert(
      fc.asyncProperty(start, fc.uint8Array({ maxLength: 300 }), async (keep, garbage) => {
        await converse(device(), [opening.subarray(0, keep), Buffer.from(garbage)], false);
      }),
      { numRuns: 500 },
    );
  });
});
