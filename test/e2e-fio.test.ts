// Hazard: a server that keeps what it was told when one client asks kindly, and not when fio checks every block after a
// kill, when qemu and libnbd talk to it as they like, or when clients die in the middle of a request.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { seeded } from "../src/testing/index.ts";
import type { RunningCli } from "./support/cli.ts";
import { ended, TestBed } from "./support/e2e-test-bed.ts";
import { run, start, succeed } from "./support/nbd-programs.ts";
import { seed } from "./support/seed.ts";
import { requireTool } from "./support/tools.ts";

const MiB = 2 ** 20;
const timeout = 60_000;

/** A bed with a server of the disks pram0 and other. */
async function serve(t: TestContext, bed: TestBed = new TestBed(t)): Promise<{ bed: TestBed; server: RunningCli }> {
  const disks = ["--disk", "pram0=64M", "--disk", "other=32M"];
  const server = await bed.serve(join(bed.folder, "region"), "--create", "--size", "112M", ...disks);
  return { bed, server };
}

/** The same job writes, and after the kill reads again what it has written. */
function fio(uri: string, job: readonly string[], ...phase: string[]): Promise<string> {
  const common = [
    "--name=job",
    "--thread",
    "--ioengine=nbd",
    `--uri=${uri}`,
    "--size=32m",
    "--verify=crc32c",
    "--verify_fatal=1",
    "--verify_state_save=0",
  ];
  return succeed("fio", ...common, ...job, ...phase, "--output-format=terse");
}

const jobs: Record<string, readonly string[]> = {
  "4 KiB at random": ["--rw=randwrite", "--bs=4k", "--iodepth=32"],
  "sizes that are no blocks": ["--rw=randwrite", "--bsrange=512-128k", "--bs_unaligned", "--iodepth=8"],
  "sizes that are no blocks, in order": ["--rw=write", "--bsrange=1k-64k", "--bs_unaligned", "--iodepth=8"],
};

describe("fio finds every block after the server was killed", () => {
  for (const [name, job] of Object.entries(jobs)) {
    test(name, { timeout }, async (t) => {
      if (!requireTool(t, "fio", "nbdcopy", "qemu-io")) return;
      const { bed, server } = await serve(t);
      await fio(server.uris[0], job, "--do_verify=0");
      // The other disk is being written when the server dies.
      const noise = join(bed.folder, "noise");
      writeFileSync(noise, randomBytes(32 * MiB));
      const copy = start(t, "nbdcopy", noise, server.uris[1]);
      await sleep(20);
      await server.stop("SIGKILL");
      await ended(copy);
      const next = await serve(t, bed);
      assert.match(next.server.stderr, /^recovered/);
      await fio(next.server.uris[0], job, "--verify_only=1");
      const changed = next.server.uris[0];
      await succeed("qemu-io", "-f", "raw", "-c", "write -q -P 7 20M 8k", changed);
      await assert.rejects(fio(changed, job, "--verify_only=1"), /verify/, "fio can tell");
    });
  }
});

describe("clients of every make work with the real server", () => {
  test("nbdinfo shows size, abilities and map", { timeout }, async (t) => {
    if (!requireTool(t, "nbdinfo", "qemu-io")) return;
    const { server } = await serve(t);
    const [uri] = server.uris;
    const { exports } = JSON.parse(await succeed("nbdinfo", "--json", uri)) as { exports: Record<string, unknown>[] };
    assert.equal(exports[0]["export-size"], 64 * MiB);
    assert.equal(exports[0].block_size_preferred, 4096);
    for (const ability of ["read", "write", "zero", "fast-zero", "trim", "flush", "fua", "cache", "df", "multi-conn"]) {
      assert.equal((await run("nbdinfo", "--can", ability, uri)).code, 0, ability);
    }
    await succeed("qemu-io", "-f", "raw", "-c", "write -q -f -P 1 1M 1M", "-c", "write -q -P 2 4M 100", uri);
    assert.deepEqual(await mapOf(uri), [
      [0, MiB, 3],
      [MiB, MiB, 0],
      [2 * MiB, 2 * MiB, 3],
      [4 * MiB, 4096, 0],
      [4 * MiB + 4096, 60 * MiB - 4096, 3],
    ]);
    await succeed("qemu-io", "-f", "raw", "-c", "discard 1M 1M", "-c", "write -q -z -u 4M 64k", uri);
    assert.deepEqual(await mapOf(uri), [[0, 64 * MiB, 3]]);
  });

  test("qemu-io and qemu-img read what they wrote, over a kill", { timeout }, async (t) => {
    if (!requireTool(t, "qemu-io", "qemu-img")) return;
    const { bed, server } = await serve(t);
    const source = join(bed.folder, "source");
    writeFileSync(source, randomBytes(5 * MiB));
    truncateSync(source, 32 * MiB);
    const [uri, other] = server.uris;
    await succeed("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, other);
    await succeed("qemu-io", "-f", "raw", "-c", "write -q -P 1 511 100k", "-c", "write -q -f -P 2 1000 3", uri);
    await server.stop("SIGKILL");
    await serve(t, bed);
    await succeed("qemu-img", "compare", "-f", "raw", "-F", "raw", source, other);
    await succeed("qemu-io", "-f", "raw", "-c", "read -q -P 2 1000 3", "-c", "read -q -P 1 1003 1000", uri);
  });

  test("nbdcopy copies in and out over four connections", { timeout }, async (t) => {
    if (!requireTool(t, "nbdcopy", "cmp")) return;
    const { bed, server } = await serve(t);
    const [source, result] = [join(bed.folder, "source"), join(bed.folder, "result")];
    writeFileSync(source, randomBytes(32 * MiB));
    await succeed("nbdcopy", "--flush", "--connections=4", "--requests=64", source, server.uris[1]);
    await succeed("nbdcopy", "--connections=4", server.uris[1], result);
    await succeed("cmp", source, result);
  });
});

test(`20 clients that are killed in mid-read and mid-write leave the server serving (PERDURE_SEED=${seed})`, {
  timeout,
}, async (t) => {
  if (!requireTool(t, "nbdcopy", "nbdinfo", "fio", "cmp")) return;
  const { bed, server } = await serve(t);
  const [uri, other] = server.uris;
  const [large, small] = [join(bed.folder, "large"), join(bed.folder, "small")];
  writeFileSync(large, randomBytes(64 * MiB));
  writeFileSync(small, randomBytes(32 * MiB));
  await succeed("nbdcopy", large, uri);
  await succeed("nbdcopy", small, other);
  const wide = ["--connections=4", "--requests=64"];
  const kinds: readonly (readonly [string, ...string[]])[] = [
    ["nbdcopy", ...wide, uri, "null:"],
    ["nbdcopy", ...wide, large, uri],
    // With --thread there is no second process that would outlive the kill.
    [
      "fio",
      "--name=j",
      "--thread",
      "--ioengine=nbd",
      `--uri=${uri}`,
      "--rw=randrw",
      "--bs=64k",
      "--iodepth=32",
      "--size=64m",
    ],
    ["nbdcopy", "--connections=4", "--request-size=1048576", uri, join(bed.folder, "out")],
  ];
  const random = seeded(seed);
  const durationsMs: number[] = [];
  for (const kind of kinds) {
    const begin = performance.now();
    await succeed(...kind);
    durationsMs.push(performance.now() - begin);
  }
  let killed = 0;
  for (let k = 0; k < 20; k++) {
    const client = start(t, ...kinds[k % kinds.length]);
    await sleep(durationsMs[k % kinds.length] * (0.2 + 0.6 * random()));
    client.kill("SIGKILL");
    await ended(client);
    if (client.signalCode === "SIGKILL") killed++;
    assert.equal((await run("nbdinfo", "--size", uri)).stdout.trim(), String(64 * MiB), `after client ${k}`);
  }
  assert.ok(killed >= 10, `only ${killed} clients were still at work`);
  const result = join(bed.folder, "result");
  await succeed("nbdcopy", other, result);
  await succeed("cmp", small, result);
  // Nothing of the killed ones stays in the way of an orderly end.
  const { code, stderr } = await server.stop("SIGTERM");
  assert.equal(code, 0, stderr);
});

/** Offset, length and type of every extent. */
async function mapOf(uri: string): Promise<number[][]> {
  const map = JSON.parse(await succeed("nbdinfo", "--map", "--json", uri)) as Record<string, number>[];
  return map.map(({ offset, length, type }) => [offset, length, type]);
}
