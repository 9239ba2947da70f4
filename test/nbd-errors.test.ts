// Hazard: a request that should fail and does not, or whose failure hits its neighbours. Every error is the one that
// the specification names, nothing is changed, and the connection goes on.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { startNbd } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { errorOfChunks, requestFrame } from "./support/nbd-raw-client.ts";

const CMD = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, ZEROES: 6, STATUS: 7 } as const;
const FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16, UNKNOWN: 0x8000 } as const;
const E = { PERM: 1, IO: 5, INVAL: 22, NOSPC: 28 } as const;
const MiB = 2 ** 20;

describe("errors", () => {
  test("beyond the end: ENOSPC for what stores, EINVAL for the rest; offsets near 2^64 do not wrap", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 10_000 });
    const client = await open("disk", { structured: true, context: true });
    const ranges = [
      [9_999n, 2],
      [10_001n, 0],
      [2n ** 53n, 1],
      [2n ** 64n - 1n, 1],
      [2n ** 64n - 4096n, 8192],
    ] as const;
    for (const [offset, length] of [...ranges, [0n, 0xffff_ffff]] as const) {
      for (const type of [CMD.TRIM, CMD.CACHE]) assert.equal(await client.errorOf({ type, offset, length }), E.INVAL);
      assert.equal(await client.errorOf({ type: CMD.ZEROES, offset, length }), E.NOSPC);
      for (const type of [CMD.READ, CMD.STATUS]) {
        client.send(requestFrame({ type, offset, length }));
        assert.equal(errorOfChunks(await client.chunks()), E.INVAL);
      }
      if (length > 8192) continue;
      const payload = Buffer.alloc(length);
      assert.equal(await client.errorOf({ type: CMD.WRITE, offset, payload }), E.NOSPC);
    }
    assert.equal(await client.errorOf({ type: CMD.WRITE, offset: 9_999, payload: Buffer.alloc(1) }), 0);
    assert.equal(disk.calls.write, 1);
  });

  test("unknown commands, unknown flags and flags of other commands are invalid, payloads are read past", async (t) => {
    const { open, disk } = await startNbd(t);
    const client = await open();
    for (const type of [8, 9, 255, 0xffff]) assert.equal(await client.errorOf({ type, length: 100 }), E.INVAL);
    const strange = [
      [CMD.READ, FLAG.NO_HOLE],
      [CMD.WRITE, FLAG.FAST_ZERO],
      [CMD.WRITE, 1 << 5],
      [CMD.FLUSH, FLAG.REQ_ONE],
      [CMD.TRIM, FLAG.NO_HOLE],
      [CMD.CACHE, FLAG.DF],
      [CMD.ZEROES, FLAG.UNKNOWN],
    ];
    for (const [type, flags] of strange) {
      const request = type === CMD.WRITE ? { payload: Buffer.alloc(100_000, 0x25) } : { length: 1 };
      assert.equal(await client.errorOf({ type, flags, ...request }), E.INVAL, `command ${type} flags ${flags}`);
    }
    assert.equal(await client.errorOf({ type: CMD.FLUSH, length: 1 }), E.INVAL);
    assert.deepEqual([disk.calls.write, disk.calls.read, disk.calls.flush], [0, 0, 0]);
  });

  test("a read-only export answers EPERM to everything that changes, and flushes without complaint", async (t) => {
    const { open, disk } = await startNbd(t, { disk: new NbdMemoryDevice(MiB, { readOnly: true }) });
    const client = await open();
    assert.equal(await client.errorOf({ type: CMD.WRITE, payload: Buffer.alloc(70_000) }), E.PERM);
    for (const type of [CMD.TRIM, CMD.ZEROES]) assert.equal(await client.errorOf({ type, length: 1 }), E.PERM);
    assert.equal(await client.errorOf({ type: CMD.FLUSH }), 0);
    assert.deepEqual([disk.calls.write, disk.calls.zero, disk.calls.trim], [0, 0, 0]);
  });

  test("what a device throws becomes the error of that request, and the connection goes on", async (t) => {
    const { open, disk } = await startNbd(t);
    const [plain, structured] = [await open(), await open("disk", { structured: true, context: true })];
    const codes = [
      ["ENOSPC", E.NOSPC],
      ["READ_ONLY", E.PERM],
      ["POISONED", E.IO],
      ["defect", E.IO],
    ] as const;
    for (const [code, error] of codes) {
      disk.failing = code;
      for (const type of [CMD.TRIM, CMD.ZEROES, CMD.READ]) {
        assert.equal(await plain.errorOf({ type, length: 4096 }), error, `${code}, command ${type}`);
      }
      assert.equal(await plain.errorOf({ type: CMD.FLUSH }), error);
      assert.equal(await plain.errorOf({ type: CMD.WRITE, payload: Buffer.alloc((3 * MiB) / 4) }), error);
      for (const [type, flags] of [
        [CMD.READ, 0],
        [CMD.READ, FLAG.DF],
        [CMD.STATUS, 0],
      ]) {
        structured.send(requestFrame({ type, flags, length: 4096 }));
        assert.equal(errorOfChunks(await structured.chunks()), error);
      }
      disk.failing = undefined;
      assert.equal(await plain.errorOf({ type: CMD.WRITE, payload: Buffer.alloc(8192) }), 0);
    }
  });

  test("a full device answers ENOSPC in mid-payload and reads past the rest", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 16 * MiB });
    disk.capacityBlocks = 384;
    const client = await open();
    assert.equal(await client.errorOf({ type: CMD.WRITE, payload: Buffer.alloc(8 * MiB, 1) }), E.NOSPC);
    assert.equal(disk.calls.write, 2, "after the error no further slice is tried");
    assert.equal(await client.errorOf({ type: CMD.WRITE, payload: Buffer.alloc(4096, 2) }), 0, "overwriting works");
  });

  test("a disk that grew is served at its new size on connections that are open", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 4096 });
    const client = await open();
    const request = { type: CMD.WRITE, offset: 4096, payload: Buffer.alloc(10) };
    assert.equal(await client.errorOf(request), E.NOSPC);
    disk.sizeBytes = 8192;
    assert.equal(await client.errorOf(request), 0);
  });
});
