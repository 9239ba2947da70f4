// Hazard: a client that misreads what was agreed corrupts the disk later. Every answer of the option phase is checked
// byte by byte against the NBD specification.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { startNbd } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { infoData, metaData, NbdRawClient, optionFrame, requestFrame } from "./support/nbd-raw-client.ts";

const OPT = { EXPORT_NAME: 1, ABORT: 2, LIST: 3, PEEK: 4, INFO: 6, GO: 7, STRUCTURED: 8 } as const;
const META = { LIST: 9, SET: 10 } as const;
const REP = { ACK: 1, SERVER: 2, INFO: 3, META_CONTEXT: 4 } as const;
const ERR = {
  UNSUP: 2 ** 31 + 1,
  INVALID: 2 ** 31 + 3,
  UNKNOWN: 2 ** 31 + 6,
  SHUTDOWN: 2 ** 31 + 7,
  TOO_BIG: 2 ** 31 + 9,
};
/** HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, CAN_MULTI_CONN, CACHE, FAST_ZERO. */
const WRITABLE = 0b1101_0110_1101;
const READ_ONLY = 0b0101_0000_1111;
const DF = 1 << 7;

describe("the handshake", () => {
  test("the server offers fixed newstyle without zeroes", async (t) => {
    const { path } = await startNbd(t);
    const client = await NbdRawClient.connect(path);
    assert.deepEqual(await client.read(18), Buffer.from("NBDMAGICIHAVEOPT\0\x03", "latin1"));
    client.vanish();
  });

  test("a client flag that was not offered ends the connection", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet(0b111);
    assert.equal((await client.rest()).length, 0);
  });

  test("a client without fixed newstyle may ask for an export name and nothing else", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet(0);
    for (const option of [OPT.LIST, OPT.GO, 0x7654321]) {
      assert.equal((await client.ask(option, infoData("disk")))[0].type, ERR.INVALID);
    }
    client.send(optionFrame(OPT.EXPORT_NAME, Buffer.from("disk")));
    assert.equal((await client.read(134)).readBigUInt64BE(0), 2n ** 20n);
  });
});

describe("EXPORT_NAME", () => {
  test("is answered with size, flags and 124 zeroes, or without the zeroes when the client agreed", async (t) => {
    const { greet } = await startNbd(t);
    for (const [flags, zeroes] of [
      [1, 124],
      [3, 0],
    ]) {
      const client = await greet(flags);
      client.send(optionFrame(OPT.EXPORT_NAME, Buffer.from("disk")));
      const answer = await client.read(10 + zeroes);
      assert.equal(answer.readBigUInt64BE(0), 2n ** 20n);
      assert.equal(answer.readUInt16BE(8), WRITABLE);
      assert.ok(answer.subarray(10).every((byte) => byte === 0));
      assert.equal(await client.errorOf({ type: 3 }), 0, "the command phase begins right behind the answer");
    }
  });

  test("an unknown, an overlong and a malformed name end the connection: no error reply exists", async (t) => {
    const { greet } = await startNbd(t);
    for (const name of [Buffer.from("nope"), Buffer.alloc(4097, 97), Buffer.from([0xff, 0xfe])]) {
      const client = await greet();
      client.send(optionFrame(OPT.EXPORT_NAME, name));
      assert.equal((await client.rest()).length, 0);
    }
  });

  test("the empty name means the only export, and nothing when there are two", async (t) => {
    const { server, greet, open } = await startNbd(t);
    await open("");
    server.addExport(new NbdMemoryDevice(8192, { name: "other" }));
    const client = await greet();
    assert.equal((await client.ask(OPT.GO, infoData("")))[0].type, ERR.UNKNOWN);
  });
});

describe("INFO and GO", () => {
  test("INFO and GO give the same answers: size and flags always, the rest when asked", async (t) => {
    const { server, greet } = await startNbd(t);
    server.addExport(new NbdMemoryDevice(12345, { name: "b" }), { description: "the second" });
    const client = await greet();
    const wanted = infoData("b", [1, 2, 3, 3, 77]);
    const told = await client.ask(OPT.INFO, wanted);
    assert.deepEqual(
      told.map(({ data }) => data.toString("hex")),
      [
        `0000${(12345).toString(16).padStart(16, "0")}${WRITABLE.toString(16).padStart(4, "0")}`,
        `0001${Buffer.from("b").toString("hex")}`,
        `0002${Buffer.from("the second").toString("hex")}`,
        "0003000000010000100002000000",
        "",
      ],
    );
    const went = await client.ask(OPT.GO, wanted);
    assert.deepEqual(
      went.map(({ type, data }) => [type, data]),
      told.map(({ type, data }) => [type, data]),
    );
    const other = await greet();
    assert.equal((await other.ask(OPT.INFO, infoData("b"))).length, 2, "only EXPORT comes unasked");
  });

  test("DF is offered only with structured replies, changes only on writable exports", async (t) => {
    const { server, greet } = await startNbd(t);
    server.addExport(new NbdMemoryDevice(4096, { name: "frozen", readOnly: true }));
    const client = await greet();
    const flagsOf = async (name: string) => (await client.ask(OPT.INFO, infoData(name)))[0].data.readUInt16BE(10);
    assert.equal(await flagsOf("disk"), WRITABLE);
    assert.equal(await flagsOf("frozen"), READ_ONLY);
    assert.equal((await client.ask(OPT.STRUCTURED))[0].type, REP.ACK);
    assert.equal(await flagsOf("disk"), WRITABLE | DF);
  });

  test("an unknown export is an error after which the client may go on", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet();
    for (const option of [OPT.INFO, OPT.GO]) {
      assert.equal((await client.ask(option, infoData("nope")))[0].type, ERR.UNKNOWN);
    }
    assert.equal((await client.ask(OPT.GO, infoData("disk"))).at(-1)?.type, REP.ACK);
  });

  test("lengths that do not add up, and names that are no text, are invalid", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet();
    const good = infoData("disk", [3]);
    const lying = Buffer.from(good);
    lying.writeUInt32BE(0xffff_ffff, 0);
    const bad = [Buffer.alloc(0), Buffer.alloc(5), good.subarray(0, -1), Buffer.concat([good, Buffer.alloc(1)]), lying];
    for (const data of [...bad, infoData(Buffer.from([0xc3, 0x28]))]) {
      assert.equal((await client.ask(OPT.GO, data))[0].type, ERR.INVALID, data.toString("hex"));
    }
    assert.equal((await client.ask(OPT.GO, infoData(Buffer.alloc(4097, 97))))[0].type, ERR.TOO_BIG);
    assert.equal((await client.ask(OPT.GO, good)).at(-1)?.type, REP.ACK);
  });
});

describe("the other options", () => {
  test("LIST names every export with its description, and takes no data", async (t) => {
    const { server, greet } = await startNbd(t);
    server.addExport(new NbdMemoryDevice(4096, { name: "b" }), { description: "second" });
    const client = await greet();
    const listed = await client.ask(OPT.LIST);
    assert.deepEqual(
      listed.map(({ type, data }) => [type, data.toString("latin1")]),
      [
        [REP.SERVER, "\0\0\0\x04disk"],
        [REP.SERVER, "\0\0\0\x01bsecond"],
        [REP.ACK, ""],
      ],
    );
    assert.equal((await client.ask(OPT.LIST, Buffer.from("x")))[0].type, ERR.INVALID);
  });

  test("ABORT is acknowledged, then the server hangs up", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet();
    assert.equal((await client.ask(OPT.ABORT, Buffer.from("whatever")))[0].type, REP.ACK);
    assert.equal((await client.rest()).length, 0);
  });

  test("options that are not there are unsupported, their data are read past", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet();
    for (const option of [OPT.PEEK, 0x7654321]) {
      const [reply] = await client.ask(option, Buffer.alloc(1000, 0x25));
      assert.deepEqual([reply.option, reply.type], [option, ERR.UNSUP]);
    }
    assert.equal((await client.ask(OPT.STRUCTURED, Buffer.from("x")))[0].type, ERR.INVALID);
  });

  test("while the server drains, options get ERR_SHUTDOWN and EXPORT_NAME is hung up on", async (t) => {
    const { server, greet } = await startNbd(t);
    const [early, named] = [await greet(), await greet()];
    await server.drain();
    const late = await greet();
    for (const client of [early, late]) {
      assert.equal((await client.ask(OPT.GO, infoData("disk")))[0].type, ERR.SHUTDOWN);
      assert.equal((await client.ask(OPT.LIST))[0].type, ERR.SHUTDOWN);
    }
    named.send(optionFrame(OPT.EXPORT_NAME, Buffer.from("disk")));
    assert.equal((await named.rest()).length, 0);
  });
});

describe("metadata contexts", () => {
  test("LIST_META_CONTEXT finds base:allocation by name, by namespace and by asking for all", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet();
    for (const queries of [[], ["base:"], ["base:allocation"], ["x:y", "base:allocation", "base:"]]) {
      const replies = await client.ask(META.LIST, metaData("disk", queries));
      assert.deepEqual(
        replies.map(({ type, data }) => [type, data.toString("latin1")]),
        [
          [REP.META_CONTEXT, "\0\0\0\0base:allocation"],
          [REP.ACK, ""],
        ],
      );
    }
    assert.equal((await client.ask(META.LIST, metaData("disk", ["qemu:dirty", "base:other"]))).length, 1);
  });

  test("SET_META_CONTEXT selects what is named exactly, and needs structured replies", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet();
    assert.equal((await client.ask(META.SET, metaData("disk", ["base:allocation"])))[0].type, ERR.INVALID);
    await client.ask(OPT.STRUCTURED);
    for (const queries of [[], ["base:"], ["x:y"]]) {
      assert.equal((await client.ask(META.SET, metaData("disk", queries)))[0].type, REP.ACK, queries.join());
    }
    const [selected] = await client.ask(META.SET, metaData("disk", ["base:allocation", "base:allocation"]));
    assert.deepEqual(selected.data, Buffer.from("\0\0\0\x01base:allocation", "latin1"));
    assert.equal((await client.ask(META.SET, metaData("nope", ["base:allocation"])))[0].type, ERR.UNKNOWN);
  });

  test("a selection that failed, or that was made for another export, is void", async (t) => {
    const { server, greet } = await startNbd(t);
    server.addExport(new NbdMemoryDevice(8192, { name: "b" }));
    const status = requestFrame({ type: 7, length: 4096 });
    for (const [last, expected] of [
      ["disk", 0],
      ["b", 22],
      ["nope", 22],
    ] as const) {
      const client = await greet();
      await client.ask(OPT.STRUCTURED);
      await client.ask(META.SET, metaData("disk", ["base:allocation"]));
      if (last !== "disk") await client.ask(META.SET, metaData(last, ["base:allocation"]));
      await client.ask(OPT.GO, infoData("disk"));
      client.send(status);
      const [chunk] = await client.chunks();
      assert.equal(chunk.type === 5 ? 0 : chunk.payload.readUInt32BE(0), expected, last);
    }
  });

  test("lengths that do not add up are invalid", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet();
    const good = metaData("disk", ["base:allocation"]);
    const manyQueries = Buffer.from(good);
    manyQueries.writeUInt32BE(0xffff_ffff, 8);
    const longQuery = Buffer.from(good);
    longQuery.writeUInt32BE(0xffff_ffff, 12);
    for (const data of [Buffer.alloc(3), good.subarray(0, -1), manyQueries, longQuery, Buffer.concat([good, good])]) {
      assert.equal((await client.ask(META.LIST, data))[0].type, ERR.INVALID, data.toString("hex"));
    }
  });
});

describe("exports", () => {
  test("an export that is added while clients are connected can be opened, a removed one cannot", async (t) => {
    const { server, greet } = await startNbd(t);
    const client = await greet();
    server.addExport(new NbdMemoryDevice(4096, { name: "late" }));
    assert.equal((await client.ask(OPT.INFO, infoData("late"))).at(-1)?.type, REP.ACK);
    await server.removeExport("late");
    assert.equal((await client.ask(OPT.INFO, infoData("late")))[0].type, ERR.UNKNOWN);
  });

  test("a taken name, an unknown one and one that the protocol cannot carry are refused", async (t) => {
    const { server } = await startNbd(t);
    const device = new NbdMemoryDevice(4096);
    assert.throws(() => server.addExport(device), { code: "EEXIST" });
    assert.throws(() => server.addExport(device, { name: "a\0b" }), { code: "EINVAL" });
    assert.throws(() => server.addExport(device, { name: "é".repeat(2049) }), { code: "EINVAL" });
    assert.throws(() => server.uri("nope"), { code: "ENOENT" });
    await assert.rejects(server.removeExport("nope"), { code: "ENOENT" });
  });
});
