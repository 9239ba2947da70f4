// Hazard: a flag that is misread leaves a disk open to who was to be kept out, without anybody noticing.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { memoryFolder, perdure, RunningCli } from "./support/cli.ts";
import { infoData, NbdRawClient } from "./support/nbd-raw-client.ts";

const create = ["--create", "--size", "8M", "--disks", "1M,1M"];
const ownUid = process.getuid?.() ?? 0;
const [GO, WRITE, EPERM, ERR_POLICY] = [7, 1, 1, 2 ** 31 + 2];

describe("serve, and who may have what", () => {
  test("lets in only the users it is told to, and says whom it refused", async (t) => {
    const region = join(memoryFolder(t), "r");
    const closed = await RunningCli.serve(t, ["serve", region, ...create, "--allow-uid", String(ownUid + 1)]);
    const client = await NbdRawClient.connect(`${region}.sock`);
    assert.equal((await client.rest()).length, 0);
    await closed.says("stderr", new RegExp(`user ${ownUid} may not connect`));
    await closed.stop("SIGTERM");
    const uids = ["--allow-uid", "4000000000", "--allow-uid", String(ownUid)];
    await RunningCli.serve(t, [
      "serve",
      region,
      ...uids,
      "--allow-from",
      "192.0.2.0/24",
      "--allow-from",
      "2001:db8::/32",
    ]);
    (await NbdRawClient.open(`${region}.sock`, "pram0")).vanish();
  });

  test("limits connections of server, disk and client; one disk is read-only, another is not", async (t) => {
    const region = join(memoryFolder(t), "r");
    const limits = ["--disk-read-only", "pram0", "--disk-connections", "pram1=1", "--max-connections", "3"];
    const rates = [
      "--disk-rate",
      "pram0=100M",
      "--disk-iops",
      "pram0=50000",
      "--client-rate",
      "1G",
      "--client-iops",
      "90000",
    ];
    const server = await RunningCli.serve(t, ["serve", region, ...create, ...limits, ...rates, "--json"]);
    await server.says("stdout", /"disk":"pram0".*"readOnly":true/);
    await server.says("stdout", /"disk":"pram1".*"readOnly":false/);
    const socket = `${region}.sock`;
    const open = async (name: string): Promise<NbdRawClient> => {
      const client = await NbdRawClient.open(socket, name);
      t.after(() => client.vanish());
      return client;
    };
    const payload = Buffer.alloc(4096);
    assert.equal(await (await open("pram0")).errorOf({ type: WRITE, payload }), EPERM);
    assert.equal(await (await open("pram1")).errorOf({ type: WRITE, payload }), 0);
    const third = await NbdRawClient.greet(socket);
    t.after(() => third.vanish());
    assert.equal((await third.ask(GO, infoData("pram1")))[0].type, ERR_POLICY);
    assert.equal((await (await NbdRawClient.connect(socket)).rest()).length, 0);
    await server.stop("SIGTERM");
    const single = await RunningCli.serve(t, ["serve", region, "--client-connections", "1"]);
    await open("pram0");
    assert.equal((await (await NbdRawClient.connect(socket)).rest()).length, 0);
    await single.says("stderr", /it has 1, as many as a client may have/);
  });

  test("refuses what it cannot mean, and disks that it does not serve, before anybody can connect", async (t) => {
    const region = join(memoryFolder(t), "r");
    for (const [flag, value, what] of [
      ["--allow-uid", "root", /"root" is no number/],
      ["--allow-uid", "4294967295", /is no uid/],
      ["--allow-from", "localhost", /"localhost" is no address/],
      ["--max-connections", "0", /"0" is no number/],
      ["--client-rate", "0", /nothing a second/],
      ["--disk-rate", "100M", /does not say which disk/],
      ["--disk-iops", "pram0=many", /"many" is no number/],
    ] as const) {
      const { code, stderr } = await perdure(["serve", region, ...create, flag, value]);
      assert.notEqual(code, 0);
      assert.match(stderr, what);
      assert.ok(!existsSync(region), "nothing was made before");
    }
    const { code, stderr } = await perdure(["serve", region, ...create, "--disk-read-only", "pram7"]);
    assert.equal(code, 1);
    assert.match(stderr, /ENOENT: a flag is about the disk "pram7", which is not served[^]*pram0, pram1/);
  });
});
