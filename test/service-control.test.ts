// Hazard: whoever reaches the control socket, by mistake or on purpose, with anything but an operation: it must change
// nothing, end nothing, and hold up nobody.

import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { describe, test } from "node:test";
import { below, pick, seeded } from "../src/testing/index.ts";
import { perdureJson, readDisk } from "./support/cli.ts";
import { type Controlled, post, sendBytes, serveControlled, succeeds } from "./support/control.ts";
import { seed } from "./support/seed.ts";

/** Everything that a request could have changed. */
async function state({ region, exports }: Controlled): Promise<unknown> {
  return { served: await exports(), usage: await perdureJson("du", region) };
}

/** Fails unless a client of the disk and another command are served. */
async function assertServes(served: Controlled): Promise<void> {
  const client = await served.open("pram0");
  assert.equal((await readDisk(client, 0, 4096)).length, 4096);
  await succeeds("disk", "create", served.region, "proof", "--size", "64K");
  await succeeds("disk", "rm", served.region, "proof", "--purge");
}

describe("the control socket", () => {
  test("answers operations and questions as JSON", async (t) => {
    const { region, exports } = await serveControlled(t);
    const ask = async (path: string, input: object = {}): Promise<unknown> => {
      const { status, text } = await post(`${region}.control`, path, JSON.stringify(input));
      assert.equal(status, 200, text);
      return JSON.parse(text);
    };
    assert.deepEqual(await ask("/v1/disk/create", { name: "a", sizeBytes: 65536 }), { sizeBytes: 65536 });
    assert.deepEqual(await exports(), ["a", "pram0"]);
    const list = (await ask("/v1/disk/list")) as { name: string; sizeBytes: number }[];
    assert.deepEqual(
      list.map(({ name, sizeBytes }) => [name, sizeBytes]),
      [
        ["a", 65536],
        ["pram0", 2 ** 21],
      ],
    );
    const quota = { allocatedBytes: 0, minBytes: 8192, maxBytes: 0 };
    assert.deepEqual(await ask("/v1/quota/set", { subsystem: "disk", name: "a", minBytes: 5000 }), quota);
    assert.deepEqual(await ask("/v1/quota/get", { subsystem: "disk", name: "a" }), quota);
    assert.equal(((await ask("/v1/region/info")) as { state: string }).state, "open");
    assert.equal(((await ask("/v1/region/usage")) as unknown[]).length, 2);
    assert.deepEqual(await ask("/v1/region/sync"), {});
  });

  test("does what many ask at a time, one after the other", async (t) => {
    const { region, exports } = await serveControlled(t);
    const names = Array.from({ length: 30 }, (_, k) => `many${k}`);
    const body = (name: string): string => JSON.stringify({ name, sizeBytes: 4096 });
    const twice = [...names, ...names].map((name) => post(`${region}.control`, "/v1/disk/create", body(name)));
    const answers = await Promise.all(twice);
    const countOf = (status: number): number => answers.filter((answer) => answer.status === status).length;
    assert.deepEqual([countOf(200), countOf(409)], [30, 30]);
    assert.deepEqual(await exports(), [...names, "pram0"].sort());
  });

  test("refuses what is no operation, names the reason, and changes nothing", async (t) => {
    const served = await serveControlled(t);
    const before = await state(served);
    const create = "/v1/disk/create";
    const cases: [path: string, body: string, status: number, code: string][] = [
      ["/", "{}", 404, "ENOENT"],
      ["/v1/", "{}", 404, "ENOENT"],
      ["/v1/disk/destroy", "{}", 404, "ENOENT"],
      ["/v1/toString", "{}", 404, "ENOENT"],
      ["/v1/__proto__", "{}", 404, "ENOENT"],
      ["/v1/disk/remove?name=pram0", "{}", 404, "ENOENT"],
      ["/v1/disk/remove", "", 400, "EINVAL"],
      ["/v1/disk/remove", "{", 400, "EINVAL"],
      ["/v1/disk/remove", "[]", 400, "EINVAL"],
      ["/v1/disk/remove", "null", 400, "EINVAL"],
      ["/v1/disk/remove", '"pram0"', 400, "EINVAL"],
      ["/v1/disk/remove", '{"name":7}', 400, "EINVAL"],
      ["/v1/disk/remove", '{"name":["pram0"]}', 400, "EINVAL"],
      ["/v1/disk/remove", '{"name":"pram0","purge":true}', 400, "EINVAL"],
      ["/v1/disk/remove", '{"name":"pram0","__proto__":{}}', 400, "EINVAL"],
      ["/v1/disk/remove", '{"name":"pram0\\u0000"}', 400, "EINVAL"],
      ["/v1/disk/remove", '{"name":"nobody"}', 404, "ENOENT"],
      [create, '{"name":"x"}', 400, "EINVAL"],
      [create, '{"name":"x","sizeBytes":"1M"}', 400, "EINVAL"],
      [create, '{"name":"x","sizeBytes":-512}', 400, "EINVAL"],
      [create, '{"name":"x","sizeBytes":0}', 400, "EINVAL"],
      [create, '{"name":"x","sizeBytes":1e300}', 400, "EINVAL"],
      [create, '{"name":"x","sizeBytes":512.5}', 400, "EINVAL"],
      [create, '{"name":"x","sizeBytes":null}', 400, "EINVAL"],
      [create, `{"name":"${"x".repeat(300)}","sizeBytes":512}`, 400, "ENAMETOOLONG"],
      [create, `{"name":"${"x".repeat(20_000)}","sizeBytes":512}`, 413, "EINVAL"],
      ["/v1/region/info", '{"more":1}', 400, "EINVAL"],
    ];
    for (const [path, body, status, code] of cases) {
      const answer = await post(`${served.region}.control`, path, body);
      assert.equal(answer.status, status, `${path} ${body}: ${answer.text}`);
      const { error } = JSON.parse(answer.text) as { error: { code: string; message: string; remedy: string } };
      assert.equal(error.code, code, `${path} ${body}`);
      assert.ok(error.message.length > 0 && error.remedy.length > 0);
    }
    const other = await post(`${served.region}.control`, "/v1/disk/remove", '{"name":"pram0"}', {
      "perdure-memory": "1-1",
    });
    assert.equal(other.status, 421);
    assert.deepEqual(await state(served), before);
    await assertServes(served);
  });

  test("is not harmed by what is no HTTP, too long, or never ends", async (t) => {
    const served = await serveControlled(t);
    const before = await state(served);
    const socket = `${served.region}.control`;
    const removal = "POST /v1/disk/remove HTTP/1.1\r\nHost: x\r\n";
    const attacks = [
      Buffer.from("NBDMAGIC"),
      Buffer.alloc(100_000, 0),
      Buffer.alloc(100_000, "A"),
      Buffer.from("GET /v1/disk/remove HTTP/1.1\r\nHost: x\r\n\r\n"),
      Buffer.from("CONNECT /v1/disk/remove HTTP/1.1\r\nHost: x\r\n\r\n"),
      Buffer.from(`${removal}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`),
      Buffer.from(`${removal}Expect: miracles\r\n\r\n`),
      Buffer.from(`${removal}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}`),
      Buffer.from(`${removal}Content-Length: 99999999999\r\n\r\n{"name":"pram0"}`),
      Buffer.from(`${removal}Content-Length: 16\r\n\r\n{"name":"pram0"`),
      Buffer.from(`${removal}Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n{"name":"pram0"}`),
      Buffer.from(`${removal}Transfer-Encoding: chunked\r\n\r\n${`1000\r\n${"x".repeat(0x1000)}\r\n`.repeat(20)}`),
      Buffer.from(`${removal}${"X: y\r\n".repeat(50_000)}`),
      Buffer.from(`${removal}X: ${"y".repeat(50_000)}\r\n\r\n`),
    ];
    await Promise.all(attacks.map((bytes) => sendBytes(socket, bytes)));
    assert.deepEqual(await state(served), before);
    await assertServes(served);
  });

  test("is not harmed by mutations of valid requests", async (t) => {
    const served = await serveControlled(t);
    const random = seeded(seed);
    t.diagnostic(`seed ${seed}`);
    const bodies = ['{"name":"nobody","sizeBytes":4096}', '{"snapshot":"nobody","name":"pram0"}', '{"name":"none"}'];
    for (let k = 0; k < 300; k++) {
      const body = pick(random, bodies);
      const path = pick(random, ["disk/grow", "disk/clone", "region/info", "disk/undelete", "quota/get"]);
      const text = `POST /v1/${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      const bytes = Buffer.from(text);
      for (let flips = below(random, 4); flips > 0; flips--)
        bytes[below(random, bytes.length)] ^= 1 << below(random, 8);
      const cut = random() < 0.2 ? below(random, bytes.length) : bytes.length;
      await sendBytes(`${served.region}.control`, bytes.subarray(0, cut), 5);
    }
    assert.deepEqual(await served.exports(), ["pram0"]);
    await assertServes(served);
  });

  test("with more clients than it takes serves again when they are gone, and the server ends in time", async (t) => {
    const served = await serveControlled(t);
    const sockets: Socket[] = Array.from({ length: 100 }, () => connect(`${served.region}.control`));
    for (const socket of sockets) socket.on("error", () => {});
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
    for (const socket of sockets.slice(0, 90)) socket.destroy();
    await assertServes(served);
    const { code } = await served.server.stop("SIGTERM");
    assert.equal(code, 0, "those who never ask for anything do not keep it from ending");
    for (const socket of sockets) socket.destroy();
  });
});
