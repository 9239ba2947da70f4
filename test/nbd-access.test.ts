// Hazard: a disk in the hands of who was not meant to have it, or changed by who was to read only. Everything holds
// whether threads serve or the event loop.

import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { describe, test } from "node:test";
import { Access, type AllowList } from "../src/nbd/access.ts";
import { NbdServer } from "../src/nbd/index.ts";
import { until } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { infoData, metaData, NbdRawClient, optionFrame } from "./support/nbd-raw-client.ts";
import { startNbdOnRegion } from "./support/nbd-region-server.ts";

const OPT = { EXPORT_NAME: 1, LIST: 3, INFO: 6, GO: 7, STRUCTURED: 8, SET_META: 10 } as const;
const [ACK, SERVER, ERR_POLICY] = [1, 2, 2 ** 31 + 2];
const COMMAND = { READ: 0, WRITE: 1, FLUSH: 3, TRIM: 4, WRITE_ZEROES: 6 } as const;
const [EPERM, READ_ONLY_FLAG] = [1, 2];

const ownUid = process.getuid?.() ?? 0;
const otherUid = ownUid + 1;
/** Some machines have none. */
const hasIPv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));

for (const threads of [0, 1]) {
  describe(`with ${threads} threads`, () => {
    test("a disk that is exported read-only refuses every change; under another name it is written", async (t) => {
      const { server, disks, open, greet } = await startNbdOnRegion(t, { threads });
      server.addExport(disks.a);
      server.addExport(disks.a, { name: "look", readOnly: true });
      const asker = await greet();
      const [info] = await asker.ask(OPT.INFO, infoData("look"));
      assert.equal(info.data.readUInt16BE(10) & READ_ONLY_FLAG, READ_ONLY_FLAG);
      const [writable] = await asker.ask(OPT.INFO, infoData("a"));
      assert.equal(writable.data.readUInt16BE(10) & READ_ONLY_FLAG, 0);
      const reader = await open("look");
      const payload = Buffer.alloc(4096, "mine");
      assert.equal(await reader.errorOf({ type: COMMAND.WRITE, payload }), EPERM);
      assert.equal(await reader.errorOf({ type: COMMAND.TRIM, length: 4096 }), EPERM);
      assert.equal(await reader.errorOf({ type: COMMAND.WRITE_ZEROES, length: 4096 }), EPERM);
      assert.equal(await reader.errorOf({ type: COMMAND.FLUSH }), 0);
      server.renameExport("look", "watch");
      assert.equal(await (await open("watch")).errorOf({ type: COMMAND.WRITE, payload }), EPERM, "also when renamed");
      const writer = await open("a");
      assert.equal(await writer.errorOf({ type: COMMAND.WRITE, payload }), 0);
      const seen = Buffer.alloc(4096);
      disks.a.read(0, seen);
      assert.deepEqual(seen, payload);
    });

    test("a user who is not on the list is hung up on before the hello, and the log says who it was", async (t) => {
      const { server, disks, path, warnings } = await startNbdOnRegion(t, { threads, allow: { uids: [otherUid] } });
      server.addExport(disks.a);
      const client = await NbdRawClient.connect(path);
      assert.equal((await client.rest()).length, 0);
      await until("the log tells", () => warnings.length > 0);
      assert.match(warnings[0], new RegExp(`^user ${ownUid} may not connect`));
    });

    test("a user who is on the list is let in, through a socket that everybody reaches", async (t) => {
      const nbd = await startNbdOnRegion(t, { threads, allow: { uids: [ownUid, otherUid] } });
      nbd.server.addExport(nbd.disks.a);
      assert.equal(statSync(nbd.path).mode & 0o777, 0o666);
      assert.equal(await (await nbd.open("a")).errorOf({ type: COMMAND.FLUSH }), 0);
    });

    test("addresses count over TCP; uids alone close it; addresses alone leave Unix sockets as they are", async (t) => {
      const outcome = async (allow: AllowList, host: string): Promise<number> => {
        const { server, open, disks } = await startNbdOnRegion(t, { threads, allow });
        server.addExport(disks.a);
        if (allow.uids === undefined) await open("a");
        const port = await server.listenTcp(host, 0);
        const client = await NbdRawClient.connect({ host, port });
        const bytes = await Promise.race([
          client.closed.then(() => 0),
          client.read(18).then(({ length }) => length),
        ]).catch(() => 0);
        client.vanish();
        await server.close();
        return bytes;
      };
      assert.equal(await outcome({ addresses: ["127.0.0.0/8"] }, "127.0.0.1"), 18);
      assert.equal(await outcome({ addresses: ["10.0.0.0/8", "::1"] }, "127.0.0.1"), 0);
      assert.equal(await outcome({ uids: [ownUid] }, "127.0.0.1"), 0);
      if (hasIPv6) assert.equal(await outcome({ addresses: ["::/64"] }, "::1"), 18);
    });

    test("an export of others is not listed, and every way to open it is ERR_POLICY or the end", async (t) => {
      const { server, disks, greet, open, warnings } = await startNbdOnRegion(t, { threads });
      server.addExport(disks.a, { allow: { uids: [otherUid] } });
      server.addExport(disks.b, { allow: { uids: [ownUid] } });
      const client = await greet();
      const listed = (await client.ask(OPT.LIST)).filter(({ type }) => type === SERVER);
      assert.deepEqual(
        listed.map(({ data }) => data.subarray(4).toString()),
        ["b"],
      );
      assert.equal((await client.ask(OPT.STRUCTURED))[0].type, ACK);
      for (const [option, data] of [
        [OPT.INFO, infoData("a")],
        [OPT.GO, infoData("a")],
        [OPT.SET_META, metaData("a", ["base:allocation"])],
      ] as const) {
        assert.deepEqual(
          (await client.ask(option, data)).map(({ type }) => type),
          [ERR_POLICY],
          `option ${option}`,
        );
      }
      client.send(optionFrame(OPT.EXPORT_NAME, Buffer.from("a")));
      assert.equal((await client.rest()).length, 0);
      await until("the log tells", () => warnings.length >= 2);
      assert.match(warnings[0], new RegExp(`^user ${ownUid} may not open "a"`));
      assert.equal(await (await open("b")).errorOf({ type: COMMAND.FLUSH }), 0);
    });

    test("a thousand refused connections leave no descriptor, no place and only a few lines", async (t) => {
      const options = { threads, allow: { addresses: ["192.0.2.1"] }, maxConnections: 4 };
      const { server, disks, open, warnings } = await startNbdOnRegion(t, options);
      server.addExport(disks.a);
      const port = await server.listenTcp("127.0.0.1", 0);
      // Once a client was served, threads have all descriptors that they will ever have.
      const guest = await open("a");
      guest.vanish();
      await until("the guest is gone", () => server.connections.length === 0);
      const before = readdirSync("/proc/self/fd").length;
      for (let round = 0; round < 20; round++) {
        const knocks = Array.from({ length: 50 }, () => NbdRawClient.connect({ host: "127.0.0.1", port }));
        for (const client of await Promise.all(knocks)) assert.equal((await client.rest()).length, 0);
      }
      await until("all are closed", () => readdirSync("/proc/self/fd").length <= before);
      assert.deepEqual(server.connections, []);
      assert.ok(warnings.length > 0 && warnings.length < 100, `${warnings.length} lines`);
      // Every place is free for who may come.
      for (let k = 0; k < 4; k++) await open("a");
    });
  });
}

describe("a device that only the event loop can serve, beside threads", () => {
  test("is under the same rules: read-only, allow-list, connections", async (t) => {
    const { server, greet, open } = await startNbdOnRegion(t, { threads: 1 });
    server.addExport(new NbdMemoryDevice(2 ** 20), { readOnly: true, limits: { maxConnections: 1 } });
    server.addExport(new NbdMemoryDevice(2 ** 20), { name: "others", allow: { uids: [otherUid] } });
    const client = await open("disk");
    assert.equal(await client.errorOf({ type: COMMAND.WRITE, payload: Buffer.alloc(512) }), EPERM);
    for (const name of ["disk", "others"]) {
      const replies = await (await greet()).ask(OPT.GO, infoData(name));
      assert.equal(replies[0].type, ERR_POLICY, name);
    }
  });
});

describe("allow-lists", () => {
  const network = (address: string): { address: string; network: string } => ({ address, network: address });

  test("networks hold what they cover and nothing else", () => {
    const access = new Access({ addresses: ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "0:0::1"] });
    for (const inside of ["192.0.2.7", "10.255.0.1", "2001:db8:ffff::1", "::1"]) {
      assert.ok(access.allows(network(inside)), inside);
    }
    for (const outside of ["192.0.2.8", "11.0.0.1", "2001:db9::1", "::2"]) {
      assert.ok(!access.allows(network(outside)), outside);
    }
    assert.ok(access.allows({ uid: 1 }), "modes decide");
    assert.ok(!access.allows(undefined), "who is not known is not let in");
    assert.ok(new Access({ addresses: ["0.0.0.0/0"] }).allows(network("203.0.113.1")));
    assert.ok(!new Access({ uids: [] }).allows({ uid: 0 }), "an empty list lets nobody in, nor root");
  });

  test("what is no uid and no network is refused with an example", () => {
    for (const addresses of [
      ["localhost"],
      ["10.0.0.0/33"],
      ["::/129"],
      ["10.0.0.0/"],
      ["10.0.0.0/-1"],
      [""],
      ["fe80::1%lo"],
    ]) {
      assert.throws(() => new NbdServer({ allow: { addresses } }), { code: "EINVAL", remedy: /10\.0\.0\.0\/8/ });
    }
    for (const uid of [-1, 1.5, 2 ** 32 - 1, Number.NaN]) {
      assert.throws(() => new NbdServer({ allow: { uids: [uid] } }), { code: "EINVAL", remedy: /id -u/ });
    }
  });
});
