// Hazard: a client that takes a snapshot for a disk it may write, a clone that writes through to its snapshot, or a
// client that leaves out blocks because they are shared. The clients are libnbd's; the server is stopped between.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { memoryFolder, perdure, RunningCli } from "./support/cli.ts";
import { run, succeed } from "./support/nbd-programs.ts";
import { requireTool } from "./support/tools.ts";

const KiB = 1024;
const sizeBytes = 1024 * KiB;

/** What `nbdinfo --map` calls a range: bit 0 says that it takes no memory, bit 1 that it reads as zeroes. */
const DATA = 0;
const RESERVED_HOLE = 2;
const HOLE = 3;

/** 256 KiB of text, then zeroes, as a file beside the region. */
function content(folder: string, name: string, word: string): { path: string; bytes: Buffer } {
  const bytes = Buffer.alloc(sizeBytes).fill(word, 0, 256 * KiB);
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return { path, bytes };
}

async function command(...args: string[]): Promise<void> {
  const { code, stderr } = await perdure(args);
  assert.equal(code, 0, stderr);
}

/** Serves a region, and gives the URI of a disk by its name. */
async function serve(t: TestContext, region: string): Promise<{ server: RunningCli; uri: (name: string) => string }> {
  const server = await RunningCli.serve(t, ["serve", region]);
  const uri = (name: string): string => server.uris.find((one) => one.includes(`/${name}?`)) ?? assert.fail(name);
  return { server, uri };
}

async function mapOf(uri: string): Promise<number[][]> {
  const ranges = JSON.parse(await succeed("nbdinfo", "--map", "--json", uri)) as Record<string, number>[];
  return ranges.map(({ offset, length, type }) => [offset / KiB, length / KiB, type]);
}

test("a snapshot is served read-only, a clone is written on its own, shared blocks are data", async (t) => {
  if (!requireTool(t, "nbdinfo", "nbdcopy")) return;
  const folder = memoryFolder(t);
  const region = join(folder, "r");
  const [first, second] = ["first ", "second "].map((word) => content(folder, word.trim(), word));
  await command("format", region, "--size", "8M");
  await command("disk", "create", region, "pram0", "--size", "1M");
  const before = await serve(t, region);
  await succeed("nbdcopy", first.path, before.uri("pram0"));
  await before.server.stop("SIGTERM");

  await command("disk", "snapshot", region, "pram0", "monday");
  await command("disk", "clone", region, "monday", "trial");
  const { server, uri } = await serve(t, region);
  const read = async (name: string): Promise<Buffer> => {
    const path = join(folder, `copy of ${name}`);
    await succeed("nbdcopy", uri(name), path);
    return readFileSync(path);
  };
  assert.equal((await run("nbdinfo", "--is", "read-only", uri("monday"))).code, 0);
  for (const name of ["pram0", "trial"])
    assert.equal((await run("nbdinfo", "--is", "read-only", uri(name))).code, 2, `${name} may be written`);
  assert.notEqual((await run("nbdcopy", second.path, uri("monday"))).code, 0, "a write to the snapshot is refused");
  assert.deepEqual(await mapOf(uri("monday")), [
    [0, 256, DATA],
    [256, 768, HOLE],
  ]);
  assert.deepEqual(await mapOf(uri("trial")), [
    [0, 256, DATA],
    [256, 768, HOLE],
  ]);

  const half = join(folder, "half");
  writeFileSync(half, second.bytes.subarray(0, 128 * KiB));
  await succeed("nbdcopy", "--destination-is-zero", half, uri("trial"));
  assert.deepEqual(await mapOf(uri("trial")), [
    [0, 256, DATA],
    [256, 768, HOLE],
  ]);
  const mixed = Buffer.concat([second.bytes.subarray(0, 128 * KiB), first.bytes.subarray(128 * KiB)]);
  assert.ok(mixed.equals(await read("trial")));
  assert.ok(first.bytes.equals(await read("monday")));
  assert.ok(first.bytes.equals(await read("pram0")));
  await server.stop("SIGKILL");

  await command("quota", region, "trial", "--min", "1M");
  const after = await serve(t, region);
  assert.deepEqual(await mapOf(after.uri("trial")), [
    [0, 256, DATA],
    [256, 768, RESERVED_HOLE],
  ]);
  assert.deepEqual(await mapOf(after.uri("pram0")), [
    [0, 256, DATA],
    [256, 768, HOLE],
  ]);
});

test("qemu-img finds a disk equal to its snapshot, and different from a blank disk", async (t) => {
  if (!requireTool(t, "nbdcopy", "qemu-img")) return;
  const folder = memoryFolder(t);
  const region = join(folder, "r");
  await command("format", region, "--size", "8M");
  for (const name of ["pram0", "blank"]) await command("disk", "create", region, name, "--size", "1M");
  const before = await serve(t, region);
  await succeed("nbdcopy", content(folder, "first", "first ").path, before.uri("pram0"));
  await before.server.stop("SIGTERM");

  await command("disk", "snapshot", region, "pram0", "monday");
  const { uri } = await serve(t, region);
  const compare = (a: string, b: string): ReturnType<typeof run> =>
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri(a), uri(b));
  assert.equal((await compare("pram0", "monday")).code, 0);
  assert.equal((await compare("pram0", "blank")).code, 1);
});
