// Hazard: what a user does with a disk over its whole life, one server after the other: each must find what the last
// one left, say how it was left, and let the disk grow.

import assert from "node:assert/strict";
import { closeSync, ftruncateSync, readFileSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { createMemfd } from "../src/os/index.ts";
import { perdure, perdureJson, RunningCli } from "./support/cli.ts";
import { MountedDisk } from "./support/e2e-mounted-disk.ts";
import { requireMounts, runTool, TestBed } from "./support/e2e-test-bed.ts";
import { run, succeed } from "./support/nbd-programs.ts";
import { requireTool } from "./support/tools.ts";

const MiB = 2 ** 20;
const timeout = 60_000;

/** A pattern of qemu-io that is this disk's alone. */
function fillDisk(uri: string, pattern: number, range = "0 1M"): Promise<string> {
  return succeed("qemu-io", "-f", "raw", "-c", `write -q -P ${pattern} ${range}`, uri);
}

async function assertFilled(uri: string, pattern: number, range = "0 1M"): Promise<void> {
  await succeed("qemu-io", "-f", "raw", "-c", `read -q -P ${pattern} ${range}`, uri);
}

describe("the lives of a region", () => {
  test("are counted, and each start tells how the last one ended", { timeout }, async (t) => {
    if (!requireTool(t, "qemu-io")) return;
    const bed = new TestBed(t);
    const region = join(bed.folder, "region");
    const ends = ["SIGTERM", "SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGKILL"] as const;
    let expected = "cold";
    for (const [k, signal] of ends.entries()) {
      const server = await bed.serve(region, "--create", "--size", "8M", "--disk", "pram0=4M");
      assert.match(server.stderr, new RegExp(`^${expected}: [^]*generation ${k + 1},`));
      if (k > 0) await assertFilled(server.uris[0], k);
      await fillDisk(server.uris[0], k + 1);
      await server.stop(signal);
      expected = signal === "SIGKILL" ? "recovered" : "warm";
    }
    const { lives } = await perdureJson<{ lives: { generation: number; end: string }[] }>("info", region);
    const told = new Map(lives.map(({ generation, end }) => [generation, end]));
    for (const [k, signal] of ends.entries()) {
      assert.equal(told.get(k + 1), signal === "SIGKILL" ? "died" : "closed", `life ${k + 1}`);
    }
  });

  test("go on in a memfd whose holder starts one server after the other", { timeout }, async (t) => {
    if (!requireTool(t, "qemu-io")) return;
    const bed = new TestBed(t);
    // This process is the holder: the memory has no name, and lasts as long as a descriptor of it.
    const fd = createMemfd("e2e");
    bed.undo(() => closeSync(fd));
    ftruncateSync(fd, 16 * MiB);
    const socket = join(bed.folder, "socket");
    const stdio = ["ignore", "pipe", "pipe", fd] as const;
    const env = { XDG_RUNTIME_DIR: bed.folder };
    const { code, stderr } = await perdure(["format", "fd:3"], { stdio: [...stdio] });
    assert.equal(code, 0, stderr);
    for (const life of [1, 2, 3]) {
      const args = ["serve", "fd:3", "--disk", "pram0=8M", "--unix", socket];
      const server = await bed.ready(new RunningCli(args, { stdio: [...stdio], env }));
      assert.match(server.stderr, new RegExp(`^${life === 1 ? "cold" : "recovered"}: [^]*generation ${life},`));
      if (life > 1) await assertFilled(server.uris[0], life - 1);
      await fillDisk(server.uris[0], life);
      await server.stop("SIGKILL");
    }
  });
});

test("a disk grows while no server runs, and its file system follows", { timeout }, async (t) => {
  if (!requireMounts(t, "mkfs.ext4", "e2fsck", "resize2fs")) return;
  const bed = new TestBed(t);
  const region = join(bed.folder, "region");
  const before = await bed.serve(region, "--create", "--size", "80M", "--disk", "pram0=16M");
  const small = await MountedDisk.attach(bed, before.uris[0]);
  await runTool("mkfs.ext4", "-q", small.device);
  const smallFolder = await small.mount();
  writeFileSync(join(smallFolder, "kept"), Buffer.alloc(5 * MiB, "kept "));
  await small.unmount(smallFolder);
  await small.detach();
  await before.stop("SIGTERM");

  const grown = await perdure(["disk", "grow", region, "pram0", "--size", "64M"]);
  assert.equal(grown.code, 0, grown.stderr);
  const after = await bed.serve(region);
  const large = await MountedDisk.attach(bed, after.uris[0]);
  await runTool("e2fsck", "-f", "-p", large.device);
  await runTool("resize2fs", large.device);
  const folder = await large.mount();
  const { blocks, bsize } = statfsSync(folder);
  assert.ok(blocks * bsize > 50 * MiB, `${blocks} blocks of ${bsize}`);
  const more = Buffer.alloc(30 * MiB, "more ");
  writeFileSync(join(folder, "more"), more);
  await large.unmount(folder);
  await runTool("e2fsck", "-f", "-n", large.device);
  const again = await large.mount();
  assert.ok(readFileSync(join(again, "kept")).equals(Buffer.alloc(5 * MiB, "kept ")));
  assert.ok(readFileSync(join(again, "more")).equals(more));
  await large.detach();
});

test("eight disks on one socket keep apart, also over a kill", { timeout }, async (t) => {
  if (!requireTool(t, "qemu-io", "nbdinfo")) return;
  const bed = new TestBed(t);
  const region = join(bed.folder, "region");
  const sizes = "1M,1M,1M,1M,2M,2M,3M,1536K";
  const server = await bed.serve(region, "--create", "--size", "24M", "--disks", sizes);
  assert.equal(server.uris.length, 8);
  await Promise.all(server.uris.map((uri, k) => fillDisk(uri, k + 1)));
  await server.stop("SIGKILL");
  const { uris } = await bed.serve(region);
  assert.deepEqual(uris, server.uris);
  for (const [k, uri] of uris.entries()) await assertFilled(uri, k + 1);
  const socket = new URL(uris[0]).searchParams.get("socket") ?? "";
  const listed = await succeed("nbdinfo", "--list", "--json", `nbd+unix:///?socket=${socket}`);
  const { exports } = JSON.parse(listed) as { exports: Record<string, unknown>[] };
  const sizesMiB = exports.map((disk) => Number(disk["export-size"]) / MiB);
  assert.deepEqual(sizesMiB, [1, 1, 1, 1, 2, 2, 3, 1.5]);
  await succeed("qemu-io", "-f", "raw", "-c", "discard 0 1M", uris[3]);
  await assertFilled(uris[3], 0);
  await assertFilled(uris[2], 3);
  await assertFilled(uris[4], 5);
});

test("a disk is served over TCP", { timeout }, async (t) => {
  if (!requireTool(t, "qemu-io", "nbdinfo")) return;
  const bed = new TestBed(t);
  const region = join(bed.folder, "region");
  const args = ["--create", "--size", "8M", "--disk", "pram0=4M", "--tcp", "127.0.0.1:0"];
  const server = await bed.serve(region, ...args);
  assert.match(server.uris[0], /^nbd:\/\/127\.0\.0\.1:\d+\/pram0$/);
  await fillDisk(server.uris[0], 9, "3M 1M");
  await server.stop("SIGKILL");
  assert.notEqual((await run("nbdinfo", "--size", server.uris[0])).code, 0);
  const next = await bed.serve(region, "--tcp", "127.0.0.1:0");
  await assertFilled(next.uris[0], 9, "3M 1M");
});
