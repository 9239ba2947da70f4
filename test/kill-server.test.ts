/**
 * Hazard: a server acknowledges what only its kill undoes. Two clients on two threads write and trim through the direct
 * path; the server is killed at a random moment, and what was answered must be found by the next one.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Region } from "../src/index.ts";
import { below, seeded } from "../src/testing/index.ts";
import { Child } from "./support/child.ts";
import { memoryFolder } from "./support/cli.ts";
import { NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";
import { seed } from "./support/seed.ts";

const childServer = fileURLToPath(new URL("./support/nbd-child-server.js", import.meta.url));
const LIVES = Math.ceil(Number(process.env["PERDURE_KILLS"] ?? 100) / 20);
const WRITE = 1;
const TRIM = 4;
const BLOCK = 4096;
/** Blocks of each client, in a half of the disk of its own. */
const BLOCKS = 300;

/** What the next owner may find in the blocks of one client: what was answered, or anything asked since. */
class Half {
  readonly #first: number;
  /** For each block what it may hold, by version; 0 is a hole. What was answered last comes first. */
  readonly #allowed: number[][] = Array.from({ length: BLOCKS }, () => [0]);
  #version: number;
  #answered = 0;

  constructor(first: number) {
    this.#first = first;
    this.#version = first;
  }

  get answered(): number {
    return this.#answered;
  }

  /** Writes and trims until the server is gone. */
  async work(client: NbdRawClient, random: () => number): Promise<void> {
    try {
      for (;;) {
        const asked = Array.from({ length: 1 + below(random, 32) }, () => this.#next(random));
        client.send(Buffer.concat(asked.map(({ request }) => request)));
        for (const { block, count } of asked) {
          assert.equal((await client.simpleReply()).error, 0);
          for (let k = block; k < block + count; k++) this.#allowed[k].shift();
          this.#answered++;
        }
      }
    } catch (error) {
      if (!(error as Error).message.startsWith("the server hung up")) throw error;
    } finally {
      client.vanish();
    }
  }

  #next(random: () => number): { request: Buffer; block: number; count: number } {
    const block = below(random, BLOCKS - 16);
    const count = 1 + below(random, below(random, 4) === 0 ? 16 : 2);
    const trims = below(random, 8) === 0;
    const version = trims ? 0 : ++this.#version;
    for (let k = block; k < block + count; k++) this.#allowed[k].push(version);
    const offset = (this.#first + block) * BLOCK;
    const payload = (): Buffer => Buffer.concat(Array.from({ length: count }, () => stamped(version)));
    const request = trims
      ? requestFrame({ type: TRIM, offset, length: count * BLOCK })
      : requestFrame({ type: WRITE, offset, payload: payload() });
    return { request, block, count };
  }

  /** Fails unless every block holds what it may; that is what it holds from now on. */
  check(content: Buffer): void {
    for (let k = 0; k < BLOCKS; k++) {
      const found = content.subarray((this.#first + k) * BLOCK, (this.#first + k + 1) * BLOCK);
      const version = found.readUInt32LE(0);
      const context = `block ${this.#first + k}: found ${version}, allowed ${this.#allowed[k].join()}`;
      assert.ok(this.#allowed[k].includes(version), context);
      assert.ok(found.equals(version === 0 ? Buffer.alloc(BLOCK) : stamped(version)), `${context}, torn`);
      this.#allowed[k] = [version];
    }
  }
}

function stamped(version: number): Buffer {
  const bytes = Buffer.alloc(BLOCK, version % 256);
  for (let at = 0; at < BLOCK; at += 512) bytes.writeUInt32LE(version, at);
  return bytes;
}

async function contentAfterDeath(path: string): Promise<Buffer> {
  const region = await Region.open(path);
  try {
    const content = Buffer.alloc(2 * BLOCKS * BLOCK);
    region.disks.open("disk").read(0, content);
    return content;
  } finally {
    await region.close();
  }
}

const promise = "a killed server loses nothing that two clients on two threads were told is done";

test(`${promise} (PERDURE_SEED=${seed})`, async (t: TestContext) => {
  const random = seeded(seed);
  const folder = memoryFolder(t);
  const [path, socket] = [join(folder, "region"), join(folder, "nbd.sock")];
  const halves = [new Half(0), new Half(BLOCKS)];
  for (let life = 0; life < LIVES; life++) {
    const child = new Child(t, [path, socket], childServer);
    assert.equal(await child.line(), "ready");
    const clients = [await NbdRawClient.open(socket), await NbdRawClient.open(socket)];
    const work = halves.map((half, k) => half.work(clients[k], random));
    await sleep(20 + below(random, 200));
    await child.kill();
    await Promise.all(work);
    const content = await contentAfterDeath(path);
    for (const half of halves) half.check(content);
  }
  const answered = halves.map((half) => half.answered);
  t.diagnostic(`${LIVES} kills, ${answered.join(" and ")} requests answered`);
  assert.ok(answered.every((count) => count > LIVES));
});
