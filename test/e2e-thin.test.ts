// Hazard: a thin region promises more memory than there is; when it is gone, the server dies of SIGBUS or forgets what
// it held; when it is trimmed, nobody else gets the memory.

import assert from "node:assert/strict";
import { rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Region } from "../src/index.ts";
import { below, seeded } from "../src/testing/index.ts";
import { memoryFolder, perdure, perdureJson, type RunningCli, readDisk } from "./support/cli.ts";
import { TestBed } from "./support/e2e-test-bed.ts";
import { mountImage, mountTmpfs, requireRoot } from "./support/mounts.ts";
import { NbdRawClient } from "./support/nbd-raw-client.ts";
import { seed } from "./support/seed.ts";

const MIB = 2 ** 20;
const blockBytes = 4096;
const ENOSPC = 28;
const command = { write: 1, trim: 4 } as const;
/** What stays with a region beside what it holds: the reserve and the chunks that are not given back at once. */
const spareBytes = 11 * MIB;

/** A file that takes memory away from the region, and gives it back. */
class Ballast {
  readonly #path: string;

  constructor(folder: string) {
    this.#path = join(folder, "ballast");
  }

  /** Takes what is left, to the last page. */
  fill(): void {
    const page = Buffer.alloc(blockBytes, 1);
    assert.throws(() => {
      for (;;) writeFileSync(this.#path, page, { flag: "a" });
    }, /ENOSPC/);
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }
}

/** The disk of a server, and what it must hold. */
class ThinDisk {
  readonly blocks: Map<number, number> = new Map();
  readonly #client: NbdRawClient;

  constructor(client: NbdRawClient) {
    this.#client = client;
  }

  async write(block: number, version: number): Promise<number> {
    const payload = Buffer.alloc(blockBytes, version);
    const error = await this.#client.errorOf({ type: command.write, offset: block * blockBytes, payload });
    if (error === 0) this.blocks.set(block, version);
    else assert.equal(error, ENOSPC);
    return error;
  }

  async trim(first: number, count: number): Promise<void> {
    const range = { offset: first * blockBytes, length: count * blockBytes };
    assert.equal(await this.#client.errorOf({ type: command.trim, ...range }), 0);
    for (let block = first; block < first + count; block++) this.blocks.delete(block);
  }

  async assertHolds(blocks: number): Promise<void> {
    for (let block = 0; block < blocks; block++) {
      const found = await readDisk(this.#client, block * blockBytes, blockBytes);
      assert.deepEqual(found, Buffer.alloc(blockBytes, this.blocks.get(block) ?? 0), `block ${block}`);
    }
  }
}

/** Serves a disk of a thin region; the server is gone, and the folder unmounted, when the test is over. */
async function serve(t: TestContext, bed: TestBed, region: string, ...args: string[]): Promise<[RunningCli, ThinDisk]> {
  const socket = join(bed.folder, "socket");
  const server = await bed.serve(region, ...args, "--unix", socket);
  const client = await NbdRawClient.open(socket, "pram0");
  t.after(() => client.vanish());
  return [server, new ThinDisk(client)];
}

test(`a thin disk on a tmpfs that is full now and then holds what it took, also after a kill (PERDURE_SEED=${seed})`, {
  timeout: 120_000,
}, async (t) => {
  if (!requireRoot(t)) return;
  const bed = new TestBed(t);
  const tmpfs = await bed.mountTmpfs("tmpfs", "24M");
  const region = join(tmpfs, "region");
  const create = ["--create", "--size", "256M", "--thin", "--disk", "pram0=256M"];
  let [server, disk] = await serve(t, bed, region, ...create);
  const ballast = new Ballast(tmpfs);
  const random = seeded(seed);
  const blocks = 6000;
  let refused = 0;
  for (let turn = 0; turn < 24; turn++) {
    const first = below(random, blocks - 700);
    for (let k = 0; k < 700; k++) if ((await disk.write(first + k, 1 + below(random, 255))) !== 0) refused++;
    if (turn % 4 === 1) ballast.fill();
    // What is there takes new content, however full the file system is.
    for (const block of [...disk.blocks.keys()].slice(0, 300)) assert.equal(await disk.write(block, 7), 0);
    if (turn % 3 === 2) await disk.trim(below(random, blocks - 1500), 1500);
    if (turn % 4 === 3) ballast.remove();
    if (turn % 8 !== 7) continue;
    await server.stop("SIGKILL");
    const { findings } = await perdureJson<{ findings: readonly object[] }>("check", region);
    assert.deepEqual(findings, []);
    const held = disk.blocks;
    [server, disk] = await serve(t, bed, region);
    for (const [block, version] of held) disk.blocks.set(block, version);
  }
  assert.ok(refused > 0, "the file system was full");
  await disk.assertHolds(blocks);
  await server.stop("SIGTERM");
});

/** Fills a region and empties it: the blocks of its file follow. */
async function followUse(folder: string): Promise<void> {
  const path = join(folder, "region");
  const heldBytes = (): number => statSync(path).blocks * 512;
  const region = await Region.open(path, { create: true, size: "200M", thin: true });
  assert.ok(heldBytes() < 4 * MIB, `${heldBytes()} bytes when it is new`);
  const instance = region.instance("test", "one", { create: true });
  const page = new Uint8Array(blockBytes).fill(7);
  const pages = (64 * MIB) / blockBytes;
  for (let index = 0; index < pages; index++) instance.write(index, page);
  assert.ok(heldBytes() >= 64 * MIB && heldBytes() <= 64 * MIB + spareBytes, `${heldBytes()} bytes when written`);
  assert.equal(region.info().backedBytes, heldBytes());
  for (let index = 100; index < pages; index++) instance.free(index);
  assert.ok(heldBytes() <= spareBytes, `${heldBytes()} bytes when freed`);
  await region.close();
  assert.ok(heldBytes() < 8 * MIB, `${heldBytes()} bytes when closed`);
  const again = await Region.open(path);
  assert.deepEqual([again.start.kind, again.info().thin], ["warm", true]);
  assert.ok(heldBytes() < 8 * MIB, `${heldBytes()} bytes when opened again`);
  assert.deepEqual(again.instance("test", "one").read(99), page);
  await again.close();
}

test("the blocks of the file follow the use: tmpfs", (t) => followUse(memoryFolder(t)));

for (const kind of ["ext4", "xfs"] as const) {
  test(`the blocks of the file follow the use: ${kind}`, async (t) => {
    const folder = mountImage(t, kind);
    if (folder !== undefined) await followUse(folder);
  });
}

test("a thin region may be larger than its file system, one that is not thin may not", async (t) => {
  if (!requireRoot(t)) return;
  const path = join(mountTmpfs(t, 8 * MIB), "region");
  const make = ["format", path, "--size", "16G"];
  assert.match((await perdure(make)).stderr, /^perdure: ENOSPC/);
  assert.equal((await perdure([...make, "--thin"])).code, 0);
  const info = await perdureJson<{ thin: boolean; backedBytes: number; sizeBytes: number }>("info", path);
  assert.deepEqual([info.thin, info.sizeBytes], [true, 16 * 1024 * MIB]);
  assert.ok(info.backedBytes < MIB);
  // Neither a look nor a mistake takes memory.
  for (const act of [["ls"], ["check"], ["format"]]) await perdure([...act, path]);
  assert.equal((await perdureJson<{ backedBytes: number }>("info", path)).backedBytes, info.backedBytes);
});

test("a file that is there becomes thin by force, and what it held is gone with its memory", async (t) => {
  const path = join(memoryFolder(t), "region");
  writeFileSync(path, Buffer.alloc(16 * MIB, "precious "), { mode: 0o600 });
  assert.equal((await perdure(["format", path, "--thin"])).code, 1);
  assert.equal((await perdure(["format", path, "--thin", "--force"])).code, 0);
  assert.ok(statSync(path).blocks * 512 < MIB);
});

test("a blank file is made thin on request, else all of it is reserved", async (t) => {
  const folder = memoryFolder(t);
  for (const thin of [true, false]) {
    const path = join(folder, String(thin));
    writeFileSync(path, "", { mode: 0o600 });
    truncateSync(path, 16 * MIB);
    const region = await Region.open(path, { create: true, thin });
    assert.equal(region.info().thin, thin);
    assert.equal(region.info().backedBytes < MIB, thin);
    await region.close();
  }
});
