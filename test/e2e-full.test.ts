// Hazard: memory runs out, and the server dies of SIGBUS, forgets what it held, or can never be written again.

import assert from "node:assert/strict";
import { readdirSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { perdure, perdureJson, type RunningCli, readDisk } from "./support/cli.ts";
import { requireMounts, TestBed } from "./support/e2e-test-bed.ts";
import { run } from "./support/nbd-programs.ts";
import { NbdRawClient } from "./support/nbd-raw-client.ts";
import { requireTool } from "./support/tools.ts";

const blockBytes = 4096;
const ENOSPC = 28;
const command = { write: 1, trim: 4, writeZeroes: 6 } as const;
const NO_HOLE = 2;
const timeout = 60_000;

/** A disk that is larger than its region, and what it must hold. */
class OverfullDisk {
  /** The version of every block that was written. */
  readonly blocks: Map<number, number> = new Map();
  readonly #client: NbdRawClient;

  private constructor(client: NbdRawClient) {
    this.#client = client;
  }

  static async open(t: TestContext, socket: string): Promise<OverfullDisk> {
    const client = await NbdRawClient.open(socket, "pram0");
    t.after(() => client.vanish());
    return new OverfullDisk(client);
  }

  /** Writes one block. @returns the error number of the answer */
  async write(block: number, version: number): Promise<number> {
    const payload = content(block, version);
    const error = await this.#client.errorOf({ type: command.write, offset: block * blockBytes, payload });
    if (error === 0) this.blocks.set(block, version);
    return error;
  }

  /** Writes blocks from `first` on until there is no more room. @returns how many there was room for */
  async fill(first = 0): Promise<number> {
    for (let block = first; ; block++) {
      const error = await this.write(block, 1);
      if (error === ENOSPC) return block - first;
      assert.equal(error, 0);
    }
  }

  /** Overwrites every block in two parts, which a full region must take as well as whole ones. */
  async overwriteAll(version: number): Promise<void> {
    for (const block of this.blocks.keys()) {
      const payload = content(block, version);
      const parts = [payload.subarray(0, 1000), payload.subarray(1000)];
      for (const [k, part] of parts.entries()) {
        const offset = block * blockBytes + 1000 * k;
        assert.equal(await this.#client.errorOf({ type: command.write, offset, payload: part }), 0, `block ${block}`);
      }
      this.blocks.set(block, version);
    }
  }

  async trim(first: number, count: number): Promise<void> {
    const range = { offset: first * blockBytes, length: count * blockBytes };
    assert.equal(await this.#client.errorOf({ type: command.trim, ...range }), 0);
    for (let block = first; block < first + count; block++) this.blocks.delete(block);
  }

  /** Asks for room that must stay. @returns the error number of the answer */
  reserve(block: number): Promise<number> {
    const range = { flags: NO_HOLE, offset: block * blockBytes, length: 16 * blockBytes };
    return this.#client.errorOf({ type: command.writeZeroes, ...range });
  }

  async assertHolds(blocks: ReadonlyMap<number, number> = this.blocks): Promise<void> {
    const end = Math.max(...blocks.keys()) + 2;
    const disk = await readDisk(this.#client, 0, end * blockBytes);
    for (let block = 0; block < end; block++) {
      const version = blocks.get(block);
      const expected = version === undefined ? Buffer.alloc(blockBytes) : content(block, version);
      const found = disk.subarray(block * blockBytes, (block + 1) * blockBytes);
      assert.ok(found.equals(expected), `block ${block} is not version ${version}: ${found.toString("latin1", 0, 24)}`);
    }
  }
}

function content(block: number, version: number): Buffer {
  return Buffer.alloc(blockBytes, `block ${block} version ${version}; `);
}

/** Fills a disk, overwrites it twice, frees a part and fills that again: all of it with a server that must not end. */
async function exhaust(disk: OverfullDisk): Promise<void> {
  const room = await disk.fill();
  assert.ok(room > 2000, `${room} blocks`);
  assert.equal(await disk.reserve(room + 1000), ENOSPC);
  for (const version of [2, 3]) await disk.overwriteAll(version);
  await disk.assertHolds();
  await disk.trim(100, 500);
  assert.equal(await disk.fill(room), 500, "trimmed pages are free again, and no more than those");
  await disk.assertHolds();
}

/** A kill and a second life of the same full region. */
async function outliveKill(t: TestContext, place: Place, server: RunningCli, disk: OverfullDisk): Promise<void> {
  await server.stop("SIGKILL");
  const { findings } = await perdureJson<{ findings: readonly object[] }>("check", place.region);
  assert.deepEqual(findings, []);
  const { disk: again } = await serve(t, place);
  await again.assertHolds(disk.blocks);
  assert.equal(await again.write(Math.max(...disk.blocks.keys()) + 1, 1), ENOSPC);
  for (const [block, version] of disk.blocks) again.blocks.set(block, version);
  await again.overwriteAll(4);
  await again.assertHolds();
}

/** Where a region is and how it is reached. */
interface Place {
  readonly bed: TestBed;
  readonly region: string;
}

async function serve(t: TestContext, { bed, region }: Place, ...args: string[]): Promise<Served> {
  const socket = join(bed.folder, "socket");
  const server = await bed.serve(region, ...args, "--unix", socket);
  return { server, disk: await OverfullDisk.open(t, socket) };
}

interface Served {
  readonly server: RunningCli;
  readonly disk: OverfullDisk;
}

describe("a full region", () => {
  test("answers ENOSPC, is overwritten twice, gives trimmed pages back, and outlives a kill", {
    timeout,
  }, async (t) => {
    const bed = new TestBed(t);
    const place = { bed, region: join(bed.folder, "region") };
    const { server, disk } = await serve(t, place, "--create", "--size", "12M", "--disk", "pram0=64M");
    await exhaust(disk);
    await outliveKill(t, place, server, disk);
  });

  test("tells qemu that there is no space left", { timeout }, async (t) => {
    if (!requireTool(t, "qemu-io")) return;
    const bed = new TestBed(t);
    const server = await bed.serve(join(bed.folder, "r"), "--create", "--size", "8M", "--disk", "pram0=32M");
    const write = await run("qemu-io", "-f", "raw", "-c", "write -q -P 1 0 16M", server.uris[0]);
    assert.match(write.stdout + write.stderr, /No space left on device/);
    const rest = await run(
      "qemu-io",
      "-f",
      "raw",
      "-c",
      "write -q -P 2 0 4M",
      "-c",
      "read -q -P 2 0 4M",
      server.uris[0],
    );
    assert.equal(rest.code, 0, rest.stdout + rest.stderr);
  });
});

describe("a full tmpfs", () => {
  test("does not end the server: no byte that it needs was left to chance", { timeout }, async (t) => {
    if (!requireMounts(t)) return;
    const bed = new TestBed(t);
    const tmpfs = await bed.mountTmpfs("tmpfs", "16M");
    const place = { bed, region: join(tmpfs, "region") };
    const { server, disk } = await serve(t, place, "--create", "--size", "14M", "--disk", "pram0=64M");
    fillFileSystem(tmpfs);
    await exhaust(disk);
    await outliveKill(t, place, server, disk);
  });

  test("too small for a region refuses it at once and is left as it was", { timeout }, async (t) => {
    if (!requireMounts(t)) return;
    const tmpfs = await new TestBed(t).mountTmpfs("tmpfs", "16M");
    const region = join(tmpfs, "region");
    const { code, stderr } = await perdure(["serve", region, "--create", "--size", "32M", "--disk", "pram0=8M"]);
    assert.equal(code, 1);
    assert.match(stderr, /^perdure: ENOSPC: /);
    assert.deepEqual(readdirSync(tmpfs), []);
    const { bfree, blocks } = statfsSync(tmpfs);
    assert.equal(bfree, blocks);
  });
});

/** Takes what is left, to the last page. */
function fillFileSystem(folder: string): void {
  const page = Buffer.alloc(blockBytes, 1);
  assert.throws(() => {
    for (let k = 0; ; k++) writeFileSync(join(folder, "ballast"), page, { flag: "a" });
  }, /ENOSPC/);
  assert.equal(statfsSync(folder).bfree, 0);
}
