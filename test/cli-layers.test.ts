// Hazard: snapshots that nobody can find, a delete that says it can be taken back and cannot, or a command that does
// something else than it says. Every command on layers, deleted disks, quotas and versions, as a shell sees it.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { type DiskInfo, type InstanceInfo, Region, type RegionInfo } from "../src/index.ts";
import { type CliResult, memoryFolder, perdure, perdureJson, RunningCli, writeDisk } from "./support/cli.ts";
import { goldenImage } from "./support/golden.ts";
import { NbdRawClient } from "./support/nbd-raw-client.ts";

const block = Buffer.alloc(4096, "perdure ");
const KiB = 1024;

/** A region of 4 MiB with the disk "pram0" of 1 MiB, of which 16 blocks are written. */
async function diskRegion(t: TestContext): Promise<string> {
  const path = join(memoryFolder(t), "r");
  const region = await Region.open(path, { create: true, size: "4M" });
  const disk = region.disks.open("pram0", { create: true, size: "1M" });
  for (let k = 0; k < 16; k++) disk.write(k * block.length, block);
  await region.close();
  return path;
}

/** Runs a command that must succeed. @returns what it told */
async function done(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await perdure(args);
  assert.equal(code, 0, stderr);
  return stdout + stderr;
}

/** The error of a command that must fail, as scripts read it. */
async function refused(exitCode: number, ...args: string[]): Promise<string> {
  const plain = await perdure(args);
  assert.equal(plain.code, exitCode, plain.stderr);
  assert.equal(plain.stdout, "");
  const [, code] = /^perdure: (\w+): .+\n {2}\S.+\n$/.exec(plain.stderr) ?? assert.fail(plain.stderr);
  return code;
}

async function inRegion<T>(path: string, act: (region: Region) => T): Promise<T> {
  const region = await Region.open(path);
  try {
    return act(region);
  } finally {
    await region.close();
  }
}

const kinds = async (path: string): Promise<string[]> =>
  (await perdureJson<DiskInfo[]>("disk", "ls", path)).map(
    ({ name, readOnly, parent }) =>
      `${name}${readOnly ? ", read-only" : ""}${parent === null ? "" : ` over ${parent}`}`,
  );

describe("snapshots and clones", () => {
  test("are made, listed, and share their blocks", async (t) => {
    const path = await diskRegion(t);
    assert.match(await done("disk", "snapshot", path, "pram0", "monday"), /"monday" is the disk "pram0" as it is now/);
    assert.match(await done("disk", "clone", path, "monday", "trial"), /made the disk "trial".*"monday"/);
    assert.deepEqual(await kinds(path), ["monday, read-only", "pram0 over monday", "trial over monday"]);
    assert.match((await perdure(["disk", "ls", path])).stdout, /^trial .* disk over monday$/m);
    const usage = await perdureJson<{ instances: Record<string, unknown>[]; deleted: unknown[] }>("du", path);
    assert.deepEqual(
      usage.instances.map(({ name, allocatedBytes, sharedBytes }) => [name, allocatedBytes, sharedBytes]),
      [
        ["monday", 64 * KiB, 0],
        ["pram0", 0, 64 * KiB],
        ["trial", 0, 64 * KiB],
      ],
    );
    const { stdout } = await perdure(["du", path]);
    assert.match(stdout, /^ *OWN +SHARED +SIZE +SUBSYSTEM +NAME +OVER$/m);
    assert.match(stdout, /^ *0 B +64 KiB +1 MiB +disk +trial +monday$/m);
  });

  test("are refused with a reason where they make no sense", async (t) => {
    const path = await diskRegion(t);
    await done("disk", "snapshot", path, "pram0", "monday");
    assert.equal(await refused(1, "disk", "snapshot", path, "pram0", "monday"), "EEXIST");
    assert.equal(await refused(1, "disk", "snapshot", path, "monday", "tuesday"), "READ_ONLY");
    assert.equal(await refused(1, "disk", "snapshot", path, "nobody", "tuesday"), "ENOENT");
    assert.equal(await refused(2, "disk", "clone", path, "pram0", "trial"), "EINVAL");
    assert.equal(await refused(2, "disk", "snapshot", path, "pram0"), "EINVAL");
    assert.equal(await refused(1, "disk", "promote", path, "pram0", "monday"), "READ_ONLY");
    assert.equal(await refused(1, "disk", "grow", path, "monday", "--size", "2M"), "READ_ONLY");
    assert.deepEqual(await kinds(path), ["monday, read-only", "pram0 over monday"]);
  });

  test("are promoted, and what was replaced can be brought back by the line that is printed", async (t) => {
    const path = await diskRegion(t);
    await done("disk", "snapshot", path, "pram0", "monday");
    await inRegion(path, ({ disks }) => disks.open("pram0").write(0, Buffer.alloc(4096, 9)));
    const told = await done("disk", "promote", path, "monday", "pram0");
    const first = (name: string) =>
      inRegion(path, ({ disks }) => {
        const bytes = Buffer.alloc(4096);
        disks.open(name).read(0, bytes);
        return bytes;
      });
    assert.deepEqual(await first("pram0"), block);
    const [, line] = /^ {2}perdure (disk undelete .*) NEW-NAME$/m.exec(told) ?? assert.fail(told);
    await done(...line.split(" "), "before");
    assert.deepEqual(await first("before"), Buffer.alloc(4096, 9));
    await done("disk", "clone", path, "monday", "trial");
    await done("disk", "promote", path, "trial", "pram0");
    assert.deepEqual(await kinds(path), ["before over monday", "monday, read-only", "pram0 over monday"]);
  });

  test("are renamed, whatever stands on them", async (t) => {
    const path = await diskRegion(t);
    await done("disk", "snapshot", path, "pram0", "monday");
    await done("disk", "rename", path, "monday", "1st");
    await done("disk", "rename", path, "pram0", "data");
    assert.deepEqual(await kinds(path), ["1st, read-only", "data over 1st"]);
    assert.equal(await refused(1, "disk", "rename", path, "data", "1st"), "EEXIST");
    assert.equal(await refused(1, "disk", "rename", path, "pram0", "x"), "ENOENT");
  });
});

describe("deleting", () => {
  test("is told how to take it back, listed, and taken back", async (t) => {
    const path = await diskRegion(t);
    const told = await done("disk", "rm", path, "pram0");
    assert.deepEqual(await kinds(path), []);
    const listed = await perdureJson<(InstanceInfo & { deleted: string })[]>("ls", path, "--deleted");
    assert.deepEqual(
      listed.map(({ name, pages }) => [name, pages]),
      [["pram0", 16]],
    );
    assert.ok(Date.parse(listed[0].deleted) > Date.parse(String(listed[0].created)));
    assert.match((await perdure(["ls", path, "--deleted"])).stdout, /NAME .*DELETED \(UTC\)\n.*pram0 +1 MiB +64 KiB/);
    assert.match((await perdure(["du", path])).stdout, /^ *64 KiB +- +1 MiB +disk +pram0 \(deleted\)/m);
    assert.match((await perdure(["info", path])).stdout, /^deleted +64 KiB that can be undeleted/m);
    const [, line] = /^ {2}perdure (disk undelete .*)$/m.exec(told) ?? assert.fail(told);
    assert.match(await done(...line.split(" ")), /the disk "pram0" is back/);
    assert.deepEqual(await kinds(path), ["pram0"]);
    assert.match(await done("ls", path, "--deleted"), /keeps nothing that was deleted/);
  });

  test("undelete takes another name where its own was taken", async (t) => {
    const path = await diskRegion(t);
    await done("disk", "rm", path, "pram0");
    await done("disk", "create", path, "pram0", "--size", "1M");
    const { stderr } = await perdure(["disk", "undelete", path, "pram0"]);
    assert.match(stderr, /^perdure: EEXIST: .*\n.*perdure disk undelete .* pram0 --as NEW-NAME\n/);
    await done("disk", "undelete", path, "pram0", "--as", "old");
    assert.deepEqual(await kinds(path), ["old", "pram0"]);
    assert.equal(await refused(1, "disk", "undelete", path, "pram0"), "ENOENT");
  });

  test("--purge frees the memory now, also of what was deleted before, and says how much", async (t) => {
    const path = await diskRegion(t);
    await done("disk", "snapshot", path, "pram0", "monday");
    await done("disk", "rm", path, "pram0");
    await done("disk", "rm", path, "pram0", "--purge");
    assert.match(await done("disk", "rm", path, "monday", "--purge"), /for good; 64 KiB are free again/);
    assert.equal(await refused(1, "disk", "rm", path, "monday", "--purge"), "ENOENT");
    assert.equal(await refused(1, "disk", "rm", path, "monday"), "ENOENT");
    assert.deepEqual((await perdureJson<RegionInfo>("info", path)).deletedPages, 0);
  });

  test("a purged snapshot that clones still share is accounted for as hidden", async (t) => {
    const path = await diskRegion(t);
    await done("disk", "snapshot", path, "pram0", "monday");
    await done("disk", "clone", path, "monday", "trial");
    await done("disk", "rm", path, "monday", "--purge");
    assert.equal((await perdureJson<RegionInfo>("info", path)).hiddenPages, 16);
    assert.match((await perdure(["info", path])).stdout, /^hidden +64 KiB of purged snapshots/m);
    assert.match((await perdure(["du", path])).stdout, /^ *64 KiB .*\(purged, still shared\)/m);
    assert.equal((await perdureJson<{ hiddenBytes: number }>("du", path)).hiddenBytes, 64 * KiB);
    await done("disk", "rm", path, "trial", "--purge");
    const { hiddenPages } = await perdureJson<RegionInfo>("info", path);
    assert.equal(hiddenPages, 0);
    const usage = await perdureJson<{ instances: { allocatedBytes: number }[] }>("du", path);
    assert.equal(usage.instances[0].allocatedBytes, 64 * KiB);
  });
});

describe("quota", () => {
  const quota = (...args: string[]) =>
    perdureJson<{ allocatedBytes: number; minBytes: number; maxBytes: number }>("quota", ...args);

  test("is shown, set, and taken back", async (t) => {
    const path = await diskRegion(t);
    assert.deepEqual(await quota(path, "pram0"), { allocatedBytes: 64 * KiB, minBytes: 0, maxBytes: 0 });
    assert.match((await perdure(["quota", path, "pram0"])).stdout, /guaranteed +nothing\nat most +no limit\n/);
    assert.match(await done("quota", path, "pram0", "--min", "1M", "--max", "2M"), /guaranteed 1 MiB, at most 2 MiB/);
    assert.deepEqual((await quota(path, "pram0")).minBytes, 1024 * KiB);
    assert.match((await perdure(["info", path])).stdout, /^guaranteed +960 KiB of the free memory/m);
    assert.deepEqual(await quota(path, "pram0", "--min", "0"), {
      allocatedBytes: 64 * KiB,
      minBytes: 0,
      maxBytes: 2048 * KiB,
    });
  });

  test("is refused where there is no room, for a snapshot, and where the minimum is above the maximum", async (t) => {
    const path = await diskRegion(t);
    await done("disk", "snapshot", path, "pram0", "monday");
    assert.equal(await refused(1, "quota", path, "pram0", "--min", "5G"), "ENOSPC");
    assert.equal(await refused(1, "quota", path, "monday", "--max", "1M"), "READ_ONLY");
    assert.equal(await refused(2, "quota", path, "pram0", "--min", "2M", "--max", "1M"), "EINVAL");
    assert.equal(await refused(1, "quota", path, "nobody"), "ENOENT");
    assert.equal(await refused(1, "quota", path, "pram0", "--subsystem", "cache"), "ENOENT");
  });
});

describe("a server", () => {
  test("answers ENOSPC beyond a quota, and does not count snapshots among what may be written", async (t) => {
    const path = await diskRegion(t);
    await done("disk", "create", path, "big", "--size", "2M");
    await done("disk", "snapshot", path, "big", "first");
    await done("quota", path, "pram0", "--max", "64K");
    const server = await RunningCli.serve(t, ["serve", path]);
    assert.doesNotMatch(server.stderr, /ENOSPC/);
    const client = await NbdRawClient.open(`${path}.sock`, "pram0");
    t.after(() => client.vanish());
    await writeDisk(client, 0, block);
    await assert.rejects(writeDisk(client, 20 * block.length, block), /error 28/);
  });
});

describe("upgrade", () => {
  test("raises a region of version 0, which then has snapshots", async (t) => {
    const path = join(memoryFolder(t), "r");
    writeFileSync(path, goldenImage("v0"), { mode: 0o600 });
    assert.equal(await refused(1, "disk", "snapshot", path, "pram0", "monday"), "UNSUPPORTED_VERSION");
    assert.match((await perdure(["disk", "snapshot", path, "pram0", "x"])).stderr, /run `perdure upgrade` on it/);
    assert.match(await done("upgrade", path), /is of format version 1 now; it was 0/);
    assert.match(await done("upgrade", path), /is of format version 1 already/);
    await done("disk", "snapshot", path, "pram0", "monday");
    assert.equal((await perdureJson<RegionInfo>("info", path)).version, 1);
  });

  test("before it a delete is for good, and says nothing else", async (t) => {
    const path = join(memoryFolder(t), "r");
    writeFileSync(path, goldenImage("v0"), { mode: 0o600 });
    assert.equal(await done("disk", "rm", path, "pram0"), 'deleted the disk "pram0"\n');
    assert.equal(await refused(1, "disk", "undelete", path, "pram0"), "ENOENT");
  });
});

test("help and tables of all these commands fit 80 columns", async (t) => {
  const path = await diskRegion(t);
  const commands = ["snapshot", "clone", "promote", "rename", "rm", "undelete"].map((name) => ["disk", name]);
  const helps: string[][] = [...commands, ["disk"], ["du"], ["quota"], ["upgrade"], ["ls"]];
  const shown: CliResult[] = [];
  for (const command of helps) shown.push(await perdure([...command, "--help"]));
  await done("disk", "snapshot", path, "pram0", "a-snapshot");
  await done("disk", "rm", path, "pram0");
  await done("disk", "clone", path, "a-snapshot", "pram1");
  await done("quota", path, "pram1", "--min", "1M");
  for (const command of [["ls", "--deleted"], ["du"], ["info"], ["disk", "ls"]])
    shown.push(await perdure([...command, path]));
  const wide = shown.flatMap(({ stdout }) => stdout.split("\n")).filter((line) => line.length > 80);
  assert.deepEqual(wide, []);
});
