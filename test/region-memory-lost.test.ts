/**
 * Hazard: somebody makes the file of an open region shorter, or deletes it. Zeroes in the place of lost pages are taken
 * for data; what is stored there is acknowledged; the process ends without a word; or all goes on as if nothing was,
 * and everything is gone with the process.
 */
import assert from "node:assert/strict";
import { copyFileSync, readFileSync, renameSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { type Instance, Region } from "../src/index.ts";
import { below, seeded } from "../src/testing/index.ts";
import { Child } from "./support/child.ts";
import { lostRegionProgram } from "./support/child-lost-region.ts";
import { memoryFolder, RunningCli, writeDisk } from "./support/cli.ts";
import { NbdRawClient } from "./support/nbd-raw-client.ts";
import { refusal } from "./support/region.ts";
import { seed } from "./support/seed.ts";

const skip = process.arch === "x64" ? false : "the guard is for x86-64 only";
const SIZE = 2 ** 20;
const PAGE = 512;
const MACHINE_PAGE = 4096;
const INDICES = 1000;
const ROUNDS = 40;

/** A region in which page k of the instance "kept" is full of k + 1; it is closed before its folder goes. */
async function stamped(t: TestContext): Promise<{ path: string; region: Region; kept: Instance }> {
  let region: Region | undefined;
  t.after(async () => {
    // The first close may refuse; the second gives up what is left.
    await region?.close().catch(() => {});
    await region?.close();
  });
  const path = join(memoryFolder(t), "region");
  region = await Region.open(path, { create: true, size: SIZE, pageSize: PAGE });
  const kept = region.instance("test", "kept", { create: true });
  for (let index = 0; index < INDICES; index++) kept.write(index, new Uint8Array(PAGE).fill(index + 1));
  return { path, region, kept };
}

describe("a region whose file was made shorter", { skip }, () => {
  test("refuses everything that touches what is lost, and what it refused once it goes on refusing", async (t) => {
    const acts: ((kept: Instance, region: Region) => unknown)[] = [
      (kept) => kept.read(3),
      (kept) => kept.readInto(3, 100, new Uint8Array(1)),
      (kept) => kept.write(3, new Uint8Array(PAGE)),
      (kept) => kept.write(3, new Uint8Array(10), 5),
      (kept) => kept.free(3),
      (kept) => kept.ensure(INDICES),
      (kept) => kept.ensureRun(1024, 2),
      (kept) => kept.ensureVolatile(0),
      (kept) => kept.resize(0),
      (kept) => kept.setAttributes(new Uint8Array(9)),
      (kept) => kept.delete(),
      (_kept, region) => region.instance("test", "new", { create: true }),
      (_kept, region) => region.disks.open("new", { create: true, size: "64K" }),
      (_kept, region) => region.sync(),
      (_kept, region) => region[Symbol.dispose](),
    ];
    for (const act of acts) {
      const { path, region, kept } = await stamped(t);
      truncateSync(path, 0);
      assert.throws(() => act(kept, region), refusal("MEMORY_LOST"), String(act));
      for (const again of [(): unknown => kept.read(3), (): unknown => kept.write(3, new Uint8Array(PAGE))]) {
        assert.throws(again, (error) => isPerdureError(error, "MEMORY_LOST") || isPerdureError(error, "POISONED"));
      }
      assert.throws(() => kept.write(3, new Uint8Array(PAGE)), refusal("POISONED"));
    }
  });

  test(`serves nothing but what was stored, and stores nothing once it has noticed (seed ${seed})`, async (t) => {
    const random = seeded(seed);
    for (let round = 0; round < ROUNDS; round++) {
      const { path, kept } = await stamped(t);
      const stamps = Array.from({ length: INDICES }, (_, index) => (index + 1) & 0xff);
      // The kernel gives no signal for the rest of a page of which the file still has a part, and zeroes it.
      const left = MACHINE_PAGE * below(random, SIZE / 2 / MACHINE_PAGE);
      const context = `round ${round}, ${left} bytes left`;
      truncateSync(path, left);
      const act = (): void => {
        const index = below(random, INDICES);
        const read = kept.read(index);
        assert.ok(!read.some((byte) => byte !== stamps[index]), `${context}: index ${index}`);
        const stamp = below(random, 256);
        kept.write(index, new Uint8Array(PAGE).fill(stamp));
        stamps[index] = stamp;
      };
      const workUntilLost = (): void => {
        for (let k = 0; k < 20_000; k++) act();
      };
      assert.throws(workUntilLost, refusal("MEMORY_LOST"), context);
      const image = readFileSync(path);
      for (let k = 0; k < 50; k++) assert.throws(act, (error) => isPerdureError(error), context);
      assert.deepEqual(readFileSync(path), image, context);
    }
  });

  test("says so at a sync, also when nothing that is lost was touched", async (t) => {
    const { path, region, kept } = await stamped(t);
    region.sync();
    truncateSync(path, SIZE - 1);
    kept.write(0, new Uint8Array(PAGE));
    assert.throws(() => region.sync(), refusal("MEMORY_LOST"));
    assert.throws(() => kept.read(0), refusal("POISONED"));
  });

  test("is not scrubbed as if it was damaged", async (t) => {
    const path = join(memoryFolder(t), "region");
    const region = await Region.open(path, { create: true, size: SIZE, pageSize: PAGE, checksums: true });
    t.after(() => region.close());
    const kept = region.instance("test", "kept", { create: true });
    for (let index = 0; index < INDICES; index++) kept.write(index, new Uint8Array(PAGE).fill(index + 1));
    truncateSync(path, SIZE / 4);
    await assert.rejects(region.scrub(), refusal("MEMORY_LOST"));
    await region.close().catch(() => {});
  });

  test("is named with its sizes, hands out no more bytes, and leaves no mapping behind", async (t) => {
    const { path, region, kept } = await stamped(t);
    const page = kept.get(0);
    truncateSync(path, 4096);
    assert.equal(page.bytes.length, PAGE);
    const told = { code: "MEMORY_LOST", message: new RegExp(`^${path} .* 4 KiB, and had 1 MiB$`) };
    assert.throws(() => kept.read(900), told);
    assert.throws(() => page.bytes, told);
    assert.throws(() => page.persist(), told);
    page[Symbol.dispose]();
    await region.close();
    assert.ok(!readFileSync("/proc/self/maps", "utf8").includes(path));
  });

  test("is not opened again", async (t) => {
    for (const [left, code] of [
      [0, "ENODEV"],
      [SIZE / 2, "CORRUPT"],
    ] as const) {
      const { path, region } = await stamped(t);
      truncateSync(path, left);
      await assert.rejects(region.close(), refusal("MEMORY_LOST"));
      await region.close();
      await assert.rejects(Region.open(path), refusal(code));
      await assert.rejects(Region.open(path, { readOnly: true }), refusal(code));
    }
  });

  test("is refused to its readers, too", async (t) => {
    const { path, region } = await stamped(t);
    await region.close();
    const reader = await Region.open(path, { readOnly: true });
    const kept = reader.instance("test", "kept");
    assert.equal(kept.read(3)[0], 4);
    truncateSync(path, 0);
    for (const index of [3, 999]) assert.throws(() => kept.read(index), refusal("MEMORY_LOST"));
    await reader.close();
  });

  test("does no harm to the process, whichever thread works on it at that moment", async (t) => {
    const folder = memoryFolder(t);
    const paths = ["main", "worker"].map((name) => join(folder, name));
    const child = new Child(t, paths, lostRegionProgram);
    const ready = [await child.line(), await child.line()];
    assert.deepEqual(ready.map(String).sort(), ["main ready", "worker ready"]);
    for (const [k, path] of paths.entries()) truncateSync(path, k * 65_536);
    const lines: string[] = [];
    while (lines.length < 5) lines.push(String(await child.line()));
    const expected = ["main MEMORY_LOST", "main closed", "worker MEMORY_LOST", "worker closed", "worker ended with 0"];
    assert.deepEqual(lines.sort(), expected);
    assert.equal(await child.end(), 0);
  });

  test("lets its server answer EIO, tell why, and end with an error when it is stopped", async (t) => {
    const path = join(memoryFolder(t), "region");
    const server = await RunningCli.serve(t, ["serve", path, "--create", "--size", "8M", "--disk", "pram0=2M"]);
    const client = await NbdRawClient.open(`${path}.sock`, "pram0");
    t.after(() => client.vanish());
    await writeDisk(client, 0, Buffer.alloc(65_536, 1));
    truncateSync(path, 0);
    const IO = 5;
    const [READ, WRITE, FLUSH] = [0, 1, 3];
    for (let k = 0; k < 3; k++) {
      assert.equal(await client.errorOf({ type: READ, offset: 4096 * k, length: 4096 }), IO);
      assert.equal(await client.errorOf({ type: WRITE, offset: 4096 * k, payload: Buffer.alloc(4096) }), IO);
      assert.equal(await client.errorOf({ type: FLUSH }), IO);
    }
    const { code, signal, stderr } = await server.stop("SIGTERM");
    assert.deepEqual([code, signal], [1, null]);
    assert.match(stderr, /request failed: \S+ was made shorter while it was in use: it has 0 B, and had/);
    assert.match(stderr, /perdure: POISONED: .* was made shorter while it was in use/);
    assert.doesNotMatch(stderr, /next start is warm/);
  });
});

describe("a region whose file was deleted", () => {
  test("says so at a sync and at its first close, and all of it can be copied until then", async (t) => {
    const { path, region, kept } = await stamped(t);
    const copy = `${path}.copy`;
    rmSync(path);
    let open = "";
    assert.throws(
      () => region.sync(),
      (error) => {
        open = /\/proc\/\d+\/fd\/\d+/.exec((error as Error).message)?.[0] ?? "";
        return isPerdureError(error, "ENOENT") && error.message.startsWith(path);
      },
    );
    assert.equal(kept.read(3)[0], 4);
    kept.write(3, new Uint8Array(PAGE).fill(99));
    await assert.rejects(region.close(), refusal("ENOENT"));
    copyFileSync(open, copy);
    await region.close();
    await assert.rejects(Region.open(path), refusal("ENOENT"));
    const saved = await Region.open(copy);
    assert.equal(saved.start.kind, "warm");
    assert.equal(saved.instance("test", "kept").read(3)[0], 99);
    await saved.close();
  });

  test("says so when another file was put in its place", async (t) => {
    const { path, region } = await stamped(t);
    const other = await Region.open(`${path}.new`, { create: true, size: SIZE });
    await other.close();
    renameSync(`${path}.new`, path);
    assert.throws(() => region.sync(), refusal("ENOENT"));
  });

  test("says nothing when it was only moved: nothing is lost", async (t) => {
    const { path, region, kept } = await stamped(t);
    renameSync(path, `${path}.moved`);
    region.sync();
    kept.write(3, new Uint8Array(PAGE).fill(99));
    await region.close();
    const moved = await Region.open(`${path}.moved`);
    assert.equal(moved.instance("test", "kept").read(3)[0], 99);
    await moved.close();
  });
});
