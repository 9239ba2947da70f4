// Hazard: threads and the event loop serve one disk by different code, and a client gets other answers from one than
// from the other. Random conversations over real sockets, cut at any place, are compared with a plain array for each.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { anyMode, anyRequest, assertAnswers, cut, type Mode, stream } from "./support/nbd-oracle.ts";
import type { RawRequest } from "./support/nbd-raw-client.ts";
import { type Pace, type ServedDisk, serveDisk, talk } from "./support/nbd-served-disk.ts";
import { seed } from "./support/seed.ts";

const CMD = { READ: 0, WRITE: 1, TRIM: 4 } as const;
const MiB = 2 ** 20;
/** The event loop, one thread, and several of them. */
const THREADS = [0, 1, 2];

/** A disk of its own for each conversation: the answers depend on what it held before. */
class Conversations {
  readonly #served: ServedDisk;
  readonly #diskBytes: number;
  #count = 0;

  constructor(served: ServedDisk, diskBytes: number) {
    this.#served = served;
    this.#diskBytes = diskBytes;
  }

  async check(requests: readonly RawRequest[], mode: Mode, how: Pace & { sizes?: readonly number[] }): Promise<void> {
    const { server, region, path } = this.#served;
    const name = `disk${++this.#count}`;
    const disk = region.disks.open(name, { create: true, size: this.#diskBytes });
    server.addExport(disk, { name: "next" });
    try {
      const bytes = stream(requests, mode, this.#count % 2 === 0, "next");
      const array = Buffer.alloc(this.#diskBytes);
      assertAnswers(await talk(path, cut(bytes, how.sizes ?? [bytes.length]), how), array, requests, mode);
      const content = Buffer.alloc(this.#diskBytes);
      disk.read(0, content);
      assert.ok(content.equals(array), "the disk holds what was answered");
    } finally {
      await server.removeExport("next");
      disk.purge();
    }
  }
}

for (const threads of THREADS) {
  describe(`random conversations with ${threads} threads (PERDURE_SEED=${seed})`, () => {
    for (const [title, options, numRuns] of [
      ["blocks of 512 bytes", { pageBytes: 512 }, 60],
      ["blocks of 4 KiB", { pageBytes: 4096 }, 60],
      ["blocks of 4 KiB with checksums", { pageBytes: 4096, checksums: true }, 25],
    ] as const) {
      test(`${title}: every answer is the one that a plain array gives`, async (t) => {
        // The last block is a short one where that can be.
        const diskBytes = 20 * options.pageBytes + 512;
        const talks = new Conversations(await serveDisk(t, { threads, ...options }), diskBytes);
        const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9000 })), {
          minLength: 1,
          maxLength: 20,
        });
        const pace = fc.record({
          sizes: fc.oneof(sizes, fc.constant(undefined)),
          slowWriter: fc.boolean(),
          readBytes: fc.oneof(fc.constant(undefined), fc.integer({ min: 500, max: 9000 })),
        });
        const requests = fc.array(anyRequest(diskBytes, options.pageBytes), { maxLength: 40 });
        await fc.assert(
          fc.asyncProperty(requests, anyMode, pace, (asked, mode, { sizes: pieces, readBytes, ...how }) =>
            talks.check(asked, mode, {
              ...how,
              ...(pieces === undefined ? {} : { sizes: pieces }),
              ...(readBytes === undefined ? {} : { readBytes }),
            }),
          ),
          { numRuns, seed },
        );
      });
    }

    test("large requests among small ones, in pages of 2 MiB and of 4 KiB, whatever the reader does", async (t) => {
      for (const pageBytes of [4096, 2 * MiB]) {
        const served = await serveDisk(t, { threads, pageBytes, regionBytes: 320 * MiB, diskBytes: 2 * MiB });
        const talks = new Conversations(served, 80 * MiB);
        const requests: RawRequest[] = [
          { type: CMD.WRITE, offset: 0, payload: patterned(64 * MiB, 1) },
          { type: CMD.READ, offset: 4096, length: 4096 },
          { type: CMD.WRITE, offset: 10 * MiB + 77, payload: patterned(5 * MiB + 3, 2) },
          { type: CMD.TRIM, offset: 3 * MiB, length: 3 * MiB },
          { type: CMD.READ, offset: 0, length: 64 * MiB },
          { type: CMD.READ, offset: 2 * MiB, length: 8 * MiB, flags: 4 },
          { type: CMD.WRITE, offset: 2 * MiB, payload: patterned(2 * MiB, 3) },
          { type: CMD.READ, offset: 511, length: 20 * MiB },
        ];
        await talks.check(requests, "simple", {});
        await talks.check(requests, "structured", { readBytes: 300_000 });
        await talks.check(requests, "extended", { sizes: [1_000_003], slowWriter: true });
      }
    });
  });
}

function patterned(lengthBytes: number, seedOfIt: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at + 4 <= lengthBytes; at += 512) bytes.writeUInt32LE((at * 31 + seedOfIt) >>> 0, at);
  return bytes;
}
