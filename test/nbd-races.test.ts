// Hazard: one thread lets the kernel send a page while another thread replaces, frees and fills it again. A client then
// reads half a write, or blocks of somebody else.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { below, seeded } from "../src/testing/index.ts";
import { type NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";
import { serveDisk } from "./support/nbd-served-disk.ts";
import { seed } from "./support/seed.ts";

const READ = 0;
const WRITE = 1;
const TRIM = 4;
const BLOCK = 4096;
/** Many small blocks: a page that falls free is taken again soon. */
const BLOCKS = 400;

/** A block that says in each sector which one it is, and in which version. */
function stamped(block: number, version: number): Buffer {
  const bytes = Buffer.alloc(BLOCK);
  for (let at = 0; at < BLOCK; at += 512) {
    bytes.writeUInt32LE(block + 1, at);
    bytes.writeUInt32LE(version, at + 4);
    bytes.writeUInt32LE(block + 1, at + 508);
  }
  return bytes;
}

/** Fails unless a block is wholly one version of itself, or wholly zeroes. */
function assertWhole(bytes: Buffer, block: number, what: string): void {
  const version = bytes.readUInt32LE(4);
  const expected = bytes.readUInt32LE(0) === 0 ? Buffer.alloc(BLOCK) : stamped(block, version);
  assert.ok(bytes.equals(expected), `${what}: block ${block} holds block ${bytes.readUInt32LE(0) - 1}, or is torn`);
}

describe(`two threads on one disk (PERDURE_SEED=${seed})`, () => {
  // Half of the region is the disk: the other half are pages that wait to be used.
  for (const [title, regionBlocks] of [
    ["with room", 3 * BLOCKS],
    ["in a region that is nearly full", BLOCKS + 60],
  ] as const) {
    test(`${title}: every block that is read is wholly one version of that very block`, async (t) => {
      const random = seeded(seed);
      const served = await serveDisk(t, { threads: 2, regionBytes: regionBlocks * BLOCK, diskBytes: BLOCKS * BLOCK });
      const written = Math.min(BLOCKS, await fillUp(await served.open()));
      const writers = [await served.open(), await served.open()];
      const readers = [await served.open(), await served.open()];
      const end = new AbortController();
      const reading = readers.map(async (reader, k) => {
        for (let round = 0; !end.signal.aborted; round++) {
          const first = below(random, written - 64);
          // More than a socket takes at once, so that a part is looked up again; read slowly by one of them.
          reader.send(
            ...Array.from({ length: 16 }, () =>
              requestFrame({ type: READ, offset: first * BLOCK, length: 64 * BLOCK }),
            ),
          );
          for (let n = 0; n < 16; n++) {
            if (k === 1) await turn();
            const { error, data } = await reader.simpleReply(64 * BLOCK);
            assert.equal(error, 0);
            for (let block = 0; block < 64; block++) {
              assertWhole(
                data.subarray(block * BLOCK, (block + 1) * BLOCK),
                first + block,
                `reply ${n} of round ${round}`,
              );
            }
          }
        }
      });
      await Promise.all(writers.map((writer, k) => overwrite(writer, { written, first: k * 1_000_000, random })));
      end.abort();
      await Promise.all(reading);
    });
  }
});

/** Writes all blocks there is room for. @returns how many */
async function fillUp(client: NbdRawClient): Promise<number> {
  for (let block = 0; block < BLOCKS; block++) {
    if ((await client.errorOf({ type: WRITE, offset: block * BLOCK, payload: stamped(block, 0) })) !== 0) return block;
  }
  return BLOCKS;
}

/** Overwrites and trims blocks that are there, many at a time; each answer must be that it was done. */
async function overwrite(
  client: NbdRawClient,
  { written, first, random }: { written: number; first: number; random: () => number },
): Promise<void> {
  for (let round = 0; round < 60; round++) {
    const requests = Array.from({ length: 32 }, (_, k) => {
      const block = below(random, written);
      const offset = block * BLOCK;
      if (k % 16 === 15) return [requestFrame({ type: TRIM, offset, length: BLOCK }), rewrite(block, first + round)];
      return [rewrite(block, first + round * 32 + k)];
    }).flat();
    client.send(Buffer.concat(requests));
    for (let k = 0; k < requests.length; k++) {
      assert.equal((await client.simpleReply()).error, 0, `request ${k} of round ${round}`);
    }
  }
}

function rewrite(block: number, version: number): Buffer {
  return requestFrame({ type: WRITE, offset: block * BLOCK, payload: stamped(block, version) });
}
