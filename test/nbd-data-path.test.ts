// Hazard: a socket takes a part of what it is given, at any byte. The rest of a reply is kept or looked up again; one
// byte too many or too few there, and every later reply is garbage to the client.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import type { DirectBlocks } from "../src/device/index.ts";
import { type Disk, Region } from "../src/index.ts";
import { Batch } from "../src/nbd/batch.ts";
import { type Cursor, DataPath, type Pause } from "../src/nbd/data-path.ts";
import { silentLog } from "../src/nbd/log.ts";
import type { Agreement } from "../src/nbd/negotiation.ts";
import { Workbench } from "../src/nbd/workbench.ts";
import { below, seeded } from "../src/testing/index.ts";
import { extendedFrame, type RawRequest, requestFrame } from "./support/nbd-raw-client.ts";
import { seed } from "./support/seed.ts";

const KiB = 1024;
const READ = 0;
const WRITE = 1;
type Mode = "simple" | "structured" | "extended";

/** A batch whose socket takes as many bytes as it is told. */
class StingyBatch extends Batch {
  readonly taken: Buffer[] = [];
  /** What the next calls take; all of it when there is none left. */
  gifts: number[] = [];

  override send(): number {
    const bytes = Math.min(this.lengthBytes, this.gifts.shift() ?? this.lengthBytes);
    this.taken.push(this.copyUnsent(bytes));
    return bytes;
  }
}

/** One connection whose socket is an array. */
class Wire {
  readonly path: DataPath;
  readonly batch: StingyBatch;
  lastPause: Pause = "starved";
  readonly #kept: Buffer[] = [];

  constructor(bench: Workbench, disk: Disk, mode: Mode) {
    this.batch = new StingyBatch(bench);
    const agreement: Agreement = {
      export: { name: "disk", description: "", device: disk },
      structured: mode !== "simple",
      extended: mode === "extended",
      allocationContext: false,
    };
    const outlet = { fd: -1, keep: (bytes: Buffer): void => void this.#kept.push(bytes), rest: (): boolean => false };
    this.path = new DataPath(agreement, disk.direct as DirectBlocks, outlet, { batch: this.batch, log: silentLog });
  }

  /** Says requests all at once. @returns what the client gets; what is declined is left out */
  say(requests: Buffer, gifts: readonly number[] = []): Buffer {
    this.batch.gifts = [...gifts];
    this.batch.taken.length = 0;
    requests.copy(this.batch.bench.input);
    const cursor = { start: 0, end: requests.length };
    while (this.serve(cursor) === "blocked");
    return Buffer.concat(this.batch.taken);
  }

  /** One turn; the socket takes what was kept when it has room again. */
  serve(cursor: Cursor): Pause {
    this.path.beginTurn();
    this.lastPause = this.path.serve(cursor);
    this.batch.taken.push(...this.#kept.splice(0));
    return this.lastPause;
  }
}

interface Bed {
  readonly region: Region;
  readonly disk: Disk;
  wire(mode: Mode): Wire;
}

async function bed(t: TestContext, sizes: { regionBytes: number; diskBytes: number }): Promise<Bed> {
  const folder = mkdtempSync(join("/dev/shm", "perdure-nbd-"));
  const bench = new Workbench();
  const region = await Region.open(join(folder, "region"), { create: true, size: sizes.regionBytes, pageSize: 512 });
  t.after(async () => {
    bench[Symbol.dispose]();
    await region.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const disk = region.disks.open("disk", { create: true, size: sizes.diskBytes });
  return { region, disk, wire: (mode) => new Wire(bench, disk, mode) };
}

/** Data with holes between: 5 blocks of data, 3 blocks of none, again and again. */
function fill(disk: Disk): void {
  for (let block = 0; block < disk.sizeBytes / 512; block++) {
    if (block % 8 < 5) disk.write(block * 512, Buffer.alloc(512, block % 251));
  }
}

/** Writes blocks from one on until there is no room. @returns the last one that was written */
function fillUp(disk: Disk, first: number): number {
  for (let block = first; ; block++) {
    try {
      disk.write(block * 512, Buffer.alloc(512, 1));
    } catch (error) {
      assert.ok(isPerdureError(error, "ENOSPC"));
      return block - 1;
    }
  }
}

function frames(requests: readonly RawRequest[], mode: Mode): Buffer {
  const frame = mode === "extended" ? extendedFrame : requestFrame;
  return Buffer.concat(requests.map((request, cookie) => frame({ ...request, cookie })));
}

describe("a socket that takes a part", () => {
  for (const mode of ["simple", "structured", "extended"] as const) {
    test(`stops after any byte, and the ${mode} replies are the same`, async (t) => {
      const { disk, wire } = await bed(t, { regionBytes: 512 * KiB, diskBytes: 64 * KiB });
      fill(disk);
      const requests = frames(
        [
          { type: READ, offset: 100, length: 1500 },
          { type: WRITE, offset: 60 * KiB, payload: Buffer.alloc(512, 7) },
          { type: READ, offset: 512, length: 512 },
          { type: READ, offset: 3000, length: 200 },
          { type: READ, offset: 2560, length: 1536 },
        ],
        mode,
      );
      const whole = wire(mode).say(requests);
      for (let bytes = 0; bytes <= whole.length; bytes++) {
        assert.ok(wire(mode).say(requests, [bytes]).equals(whole), `${bytes} bytes at first`);
        assert.ok(wire(mode).say(requests, [bytes, 0, 1, 17, 600]).equals(whole), `${bytes} bytes, then few`);
      }
    });
  }

  test(`again and again, in replies larger than a batch (PERDURE_SEED=${seed})`, async (t) => {
    const { disk, wire } = await bed(t, { regionBytes: 4096 * KiB, diskBytes: 2048 * KiB });
    fill(disk);
    const random = seeded(seed);
    for (const mode of ["simple", "structured", "extended"] as const) {
      const requests = frames(
        [
          { type: READ, offset: 77, length: 1900 * KiB },
          { type: READ, length: 700 },
        ],
        mode,
      );
      // Chunks may end elsewhere when the rest was looked up again, so what matters are the data.
      for (let round = 0; round < 20; round++) {
        const gifts = Array.from({ length: 40 }, () => below(random, 1 + below(random, 300 * KiB)));
        assert.deepEqual(dataOf(wire(mode).say(requests, gifts), mode), dataOf(wire(mode).say(requests), mode));
      }
    }
  });

  test("what changes while a reply waits is sent as it is then, but for the block that was begun", async (t) => {
    const { disk, wire } = await bed(t, { regionBytes: 512 * KiB, diskBytes: 64 * KiB });
    disk.write(0, Buffer.alloc(8 * 512, 1));
    for (const mode of ["simple", "structured", "extended"] as const) {
      const connection = wire(mode);
      const { batch } = connection;
      frames([{ type: READ, length: 8 * 512 }], mode).copy(batch.bench.input);
      const cursor = { start: 0, end: mode === "extended" ? 32 : 28 };
      batch.gifts = [600];
      assert.equal(connection.serve(cursor), "blocked");
      disk.write(512, Buffer.alloc(512, 2));
      disk.trim(3 * 512, 512);
      disk.write(5 * 512, Buffer.alloc(512, 2));
      assert.equal(connection.serve(cursor), "starved");
      const data = Buffer.concat(batch.taken).subarray(-8 * 512);
      assert.deepEqual(
        // A block of zeroes is a hole that became one while the client waited.
        Array.from({ length: 8 }, (_, k) => data[k * 512 + 511]),
        [1, 1, 1, 0, 1, 2, 1, 1],
      );
      disk.write(0, Buffer.alloc(8 * 512, 1));
    }
  });
});

describe("a region without room", () => {
  test("the rest of a write is declined, and stays declined while the socket takes nothing", async (t) => {
    const { disk, wire } = await bed(t, { regionBytes: 256 * KiB, diskBytes: 1024 * KiB });
    disk.write(0, Buffer.alloc(64 * 512, 1));
    const last = fillUp(disk, 64);
    // Room for a part of the payload.
    disk.trim((last - 9) * 512, 10 * 512);
    const connection = wire("simple");
    // The payload looks like requests: who loses the thread serves them.
    const payload = Buffer.alloc(64 * 512);
    for (let at = 0; at + 28 <= payload.length; at += 28) requestFrame({ type: READ, length: 512 }).copy(payload, at);
    const requests = Buffer.concat([
      requestFrame({ type: READ, length: 4096, cookie: 9 }),
      requestFrame({ type: WRITE, offset: 0, payload, cookie: 10 }),
    ]);
    const said = connection.say(requests, [100, 0, 0]);
    assert.equal(said.length, 16 + 4096, "only the reply of the READ");
    assert.equal(connection.lastPause, "declined");
    const rest = connection.path.substitute as Buffer;
    assert.deepEqual([rest.readUInt32BE(0), rest.readBigUInt64BE(8)], [0x25609513, 10n]);
    const [offset, length] = [Number(rest.readBigUInt64BE(16)), rest.readUInt32BE(24)];
    assert.equal(offset + length, payload.length);
    assert.ok(offset > 0, "it had begun");
    assert.equal(connection.path.declinedBytes, length);
    const stored = Buffer.alloc(payload.length);
    disk.read(0, stored);
    assert.ok(stored.subarray(0, offset).equals(payload.subarray(0, offset)));
    assert.ok(stored.subarray(offset).every((byte) => byte === 1));
  });
});

/** The data of all READs, put together; hole chunks as zeroes. */
function dataOf(bytes: Buffer, mode: Mode): Buffer {
  if (mode === "simple") return bytes;
  const extended = mode === "extended";
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = extended ? Number(bytes.readBigUInt64BE(at + 24)) : bytes.readUInt32BE(at + 16);
    const payload = at + (extended ? 32 : 20);
    const isData = bytes.readUInt16BE(at + 6) === 1;
    pieces.push(isData ? bytes.subarray(payload + 8, payload + length) : Buffer.alloc(bytes.readUInt32BE(payload + 8)));
    at = payload + length;
  }
  return Buffer.concat(pieces);
}
