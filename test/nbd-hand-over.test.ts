// Hazard: a client that begins in a thread and goes on in the event loop loses what it agreed, what it said already or
// what it was answered; or nobody disconnects it when the server closes.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { Region } from "../src/index.ts";
import { assertServes, until } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { anyMode, anyRequest, assertAnswers, cut, stream } from "./support/nbd-oracle.ts";
import { infoData, type OptionReply, optionFrame, requestFrame } from "./support/nbd-raw-client.ts";
import { serveDisk, talk } from "./support/nbd-served-disk.ts";
import { seed } from "./support/seed.ts";

const OPT = { LIST: 3, INFO: 6, GO: 7, STRUCTURED: 8 } as const;
const UNKNOWN = 2 ** 31 + 6;
const namesOf = (replies: readonly OptionReply[]): string[] =>
  replies.filter(({ type }) => type === 2).map(({ data }) => data.toString("utf8", 4, 4 + data.readUInt32BE(0)));

describe("a device that only the event loop has", () => {
  test(`gives the answers of a plain array, however what was said is cut (PERDURE_SEED=${seed})`, async (t) => {
    const served = await serveDisk(t, { threads: 2 });
    const sizeBytes = 20 * 512 + 77;
    const sizes = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 10 });
    const pace = fc.record({ slowWriter: fc.boolean(), readBytes: fc.integer({ min: 50, max: 9000 }) });
    const requests = fc.array(anyRequest(sizeBytes, 512), { maxLength: 30 });
    let count = 0;
    await fc.assert(
      fc.asyncProperty(requests, anyMode, sizes, pace, async (asked, mode, pieces, how) => {
        served.server.addExport(new NbdMemoryDevice(sizeBytes, { name: "foreign", blockBytes: 512 }));
        const bytes = stream(asked, mode, ++count % 2 === 0, "foreign");
        const said = count % 3 === 0 ? [bytes] : cut(bytes, pieces);
        assertAnswers(await talk(served.path, said, how), Buffer.alloc(sizeBytes), asked, mode);
        await served.server.removeExport("foreign");
      }),
      { numRuns: 80, seed },
    );
  });

  test("stands in one list with the others, and each is opened by its name in the same conversation", async (t) => {
    const served = await serveDisk(t, { threads: 2 });
    served.server.addExport(new NbdMemoryDevice(2 ** 16, { name: "foreign" }));
    for (const name of ["disk", "foreign"]) {
      const client = await served.greet();
      assert.equal((await client.ask(OPT.STRUCTURED))[0].type, 1);
      assert.deepEqual(namesOf(await client.ask(OPT.LIST)).toSorted(), ["disk", "foreign"]);
      for (const other of ["foreign", "disk"])
        assert.equal((await client.ask(OPT.INFO, infoData(other))).at(-1)?.type, 1);
      for (const unknown of ["", "none"])
        assert.equal((await client.ask(OPT.INFO, infoData(unknown)))[0].type, UNKNOWN);
      assert.equal((await client.ask(OPT.GO, infoData(name))).at(-1)?.type, 1);
      client.send(requestFrame({ type: 1, payload: Buffer.alloc(4096, 5) }), requestFrame({ type: 0, length: 4096 }));
      assert.equal((await client.simpleReply()).error, 0);
      assert.equal((await client.chunks())[0].payload[8], 5, "what was agreed before still holds");
      assert.equal(served.server.connections.at(-1)?.exportName, name);
      client.vanish();
      await until("it is gone", () => served.server.connections.length === 0);
    }
  });

  test("counts for the limit of connections, and makes room when its client is gone", async (t) => {
    const served = await serveDisk(t, { threads: 2, maxConnections: 3 });
    served.server.addExport(new NbdMemoryDevice(2 ** 16, { name: "foreign" }));
    const clients = [await served.open("foreign"), await served.open("disk"), await served.open("foreign")];
    await assert.rejects(served.open("disk"));
    assert.equal(served.server.connections.length, 3);
    for (const client of clients) assert.equal(await client.errorOf({ type: 3 }), 0);
    clients[0].vanish();
    await until("there is room", () => served.server.connections.length < 3);
    await assertServes(served);
  });

  test("does not keep a server from closing, at whatever moment its clients come", async (t) => {
    for (let round = 0; round < 8; round++) {
      const served = await serveDisk(t, { threads: 2, drainTimeoutMs: 300 });
      served.server.addExport(new NbdMemoryDevice(2 ** 16, { name: "foreign" }));
      const visit = async (): Promise<void> => {
        const client = await served.greet();
        client.send(optionFrame(OPT.LIST), optionFrame(OPT.GO, infoData("foreign")));
        await client.closed;
      };
      const visits = Promise.allSettled(Array.from({ length: 12 }, visit));
      await sleep(round * 3);
      await served.server.close();
      assert.deepEqual(served.server.connections, []);
      await visits;
    }
  });
});

test("disks of thin regions and of regions opened read-only are served beside those of threads", async (t) => {
  const served = await serveDisk(t, { threads: 2 });
  const folder = mkdtempSync(join("/dev/shm", "perdure-nbd-"));
  const regions: Region[] = [];
  t.after(async () => {
    for (const region of regions) await region.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const thin = await Region.open(join(folder, "thin"), { create: true, size: "16M", thin: true });
  regions.push(thin);
  served.server.addExport(thin.disks.open("thin", { create: true, size: "1M" }));
  const path = join(folder, "kept");
  const before = await Region.open(path, { create: true, size: "8M" });
  before.disks.open("kept", { create: true, size: "1M" }).write(0, Buffer.alloc(4096, 3));
  await before.close();
  const kept = await Region.open(path, { readOnly: true });
  regions.push(kept);
  served.server.addExport(kept.disks.open("kept"));
  const [writer, reader] = [await served.open("thin"), await served.open("kept")];
  assert.equal(await writer.errorOf({ type: 1, payload: Buffer.alloc(8192, 4) }), 0);
  writer.send(requestFrame({ type: 0, length: 4096 }));
  assert.equal((await writer.simpleReply(4096)).data[1], 4);
  reader.send(requestFrame({ type: 0, length: 4096 }));
  assert.equal((await reader.simpleReply(4096)).data[1], 3);
  assert.equal(await reader.errorOf({ type: 1, payload: Buffer.alloc(512) }), 1);
  await assertServes(served);
  await served.server.close();
});
