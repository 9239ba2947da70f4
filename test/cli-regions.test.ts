// Hazard: a command that destroys somebody's data by mistake, calls damage sound, or calls what a crash leaves damage.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import type { CheckReport } from "../src/index.ts";
import { memoryFolder, perdure, perdureJson, RunningCli } from "./support/cli.ts";
import { requireTool } from "./support/tools.ts";

/** A region of 4 MiB that was never opened. */
async function newRegion(t: TestContext, ...flags: string[]): Promise<string> {
  const region = join(memoryFolder(t), "test.region");
  const { code, stderr } = await perdure(["format", region, "--size", "4M", ...flags]);
  assert.equal(code, 0, stderr);
  return region;
}

function flipBit(path: string, offset: number): void {
  const fd = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, offset);
  byte[0] ^= 1;
  writeSync(fd, byte, 0, 1, offset);
  closeSync(fd);
}

const hashOf = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

describe("format", () => {
  test("makes a private file of the size that was asked for", async (t) => {
    const region = await newRegion(t, "--page-size", "8K");
    const { size, mode } = statSync(region);
    assert.equal(size, 4 * 2 ** 20);
    assert.equal(mode & 0o777, 0o600);
    const info = await perdureJson<{ pageBytes: number; state: string }>("info", region);
    assert.equal(info.pageBytes, 8192);
    assert.equal(info.state, "new");
  });

  test("a file that is not there needs a size, and nothing is left behind without", async (t) => {
    const region = join(memoryFolder(t), "r");
    const { code, stderr } = await perdure(["format", region]);
    assert.equal(code, 2);
    assert.match(stderr, /pass --size/);
    assert.equal(existsSync(region), false);
  });

  test("a page size that is none is wrong usage, and leaves nothing behind", async (t) => {
    const region = join(memoryFolder(t), "r");
    assert.equal((await perdure(["format", region, "--size", "4M", "--page-size", "3000"])).code, 2);
    assert.equal(existsSync(region), false);
  });

  test("a blank file and an inherited descriptor are formatted as they are", async (t) => {
    const blank = join(memoryFolder(t), "blank");
    writeFileSync(blank, "", { mode: 0o600 });
    truncateSync(blank, 2 * 2 ** 20);
    assert.equal((await perdure(["format", blank])).code, 0);
    const other = join(memoryFolder(t), "other");
    writeFileSync(other, Buffer.alloc(2 ** 20), { mode: 0o600 });
    const fd = openSync(other, "r+");
    t.after(() => closeSync(fd));
    const { code } = await perdure(["format", "fd:3"], { stdio: ["ignore", "pipe", "pipe", fd] });
    assert.equal(code, 0);
    assert.equal((await perdureJson<{ sizeBytes: number }>("info", other)).sizeBytes, 2 ** 20);
  });

  test("a descriptor that is not there is no file name", async (t) => {
    const folder = memoryFolder(t);
    const { code, stderr } = await perdure(["format", "fd:999", "--size", "4M"], { cwd: folder });
    assert.equal(code, 1);
    assert.match(stderr, /^perdure: ENOENT/);
    assert.deepEqual(readdirSync(folder), []);
  });

  test("a size that contradicts the file is wrong usage", async (t) => {
    const region = await newRegion(t);
    const { code, stderr } = await perdure(["format", region, "--size", "8M", "--force"]);
    assert.equal(code, 2);
    assert.match(stderr, /has 4 MiB, not 8 MiB/);
  });

  test("a region is formatted again only with --force, and then nothing of it is left", async (t) => {
    const region = await newRegion(t);
    await perdure(["disk", "create", region, "pram0", "--size", "1M"]);
    const before = hashOf(region);
    assert.equal((await perdure(["format", region])).code, 1);
    assert.equal(hashOf(region), before);
    assert.equal((await perdure(["format", region, "--force"])).code, 0);
    assert.deepEqual(await perdureJson("ls", region), []);
  });

  test("--force wipes foreign data to the last byte", async (t) => {
    const path = join(memoryFolder(t), "old");
    writeFileSync(path, Buffer.alloc(2 ** 20, "secret "), { mode: 0o600 });
    const { code, stderr } = await perdure(["format", path, "--force"]);
    assert.equal(code, 0);
    assert.match(stderr, /holds text: wiping it/);
    assert.equal(readFileSync(path).includes("secret"), false);
  });

  test("--force destroys nothing for a format that cannot be made", async (t) => {
    const path = join(memoryFolder(t), "old");
    writeFileSync(path, "precious ".repeat(1000), { mode: 0o600 });
    const before = hashOf(path);
    for (const pageSize of ["3000", "2M"]) {
      assert.equal((await perdure(["format", path, "--force", "--page-size", pageSize])).code, 2);
    }
    assert.equal(hashOf(path), before);
  });

  test("the native format is named by its name or number, and one that is not known is refused", async (t) => {
    await newRegion(t, "--format", "region");
    await newRegion(t, "--format", "1");
    const { code, stderr } = await perdure(["format", "x", "--size", "1M", "--format", "ext4"]);
    assert.equal(code, 1);
    assert.match(stderr, /^perdure: UNKNOWN_FORMAT: .*"ext4"\n {2}choose from: 1 \(region\)/);
  });
});

describe("what is no region is refused by every command, named, and left as it is", () => {
  const files: [string, string, RegExp, (path: string) => void][] = [
    ["an ELF program", "FOREIGN_DATA", /an ELF program/, (path) => copyFileSync(process.execPath, path)],
    ["a text", "FOREIGN_DATA", /holds text/, (path) => writeFileSync(path, "hello, world\n".repeat(1000))],
    ["a short file", "ENODEV", /has 5 B:/, (path) => writeFileSync(path, "hello")],
    ["an empty file", "ENODEV", /has 0 B:/, (path) => writeFileSync(path, "")],
    ["a folder", "ENODEV", /./, (path) => mkdirSync(path)],
    ["a FIFO", "ENODEV", /no regular file/, (path) => execFileSync("mkfifo", ["-m", "600", path])],
    ["a symbolic link", "EACCES", /./, (path) => symlinkSync("/dev/null", path)],
  ];
  for (const [what, code, message, make] of files) {
    test(what, async (t) => {
      const path = join(memoryFolder(t), "it");
      make(path);
      if (code !== "EACCES") chmodSync(path, 0o600);
      await refusedByAll(path, code, message);
    });
  }

  test("an ext4 image", async (t) => {
    if (!requireTool(t, "mke2fs")) return;
    const path = join(memoryFolder(t), "image");
    writeFileSync(path, Buffer.alloc(2 ** 20), { mode: 0o600 });
    execFileSync("mke2fs", ["-q", "-F", path], { env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
    await refusedByAll(path, "FOREIGN_DATA", /an ext2\/3\/4 file system/);
  });

  test("a file of somebody else, or without permission", async (t) => {
    const region = await newRegion(t);
    if (process.geteuid?.() === 0) chownSync(region, 65534, 65534);
    else chmodSync(region, 0o000);
    await refusedByAll(region, "EACCES", /./);
  });

  test("a file that others may write", async (t) => {
    const region = await newRegion(t);
    chmodSync(region, 0o666);
    await refusedByAll(region, "EACCES", /written by other users/);
  });

  test("a name that no file can have", async () => {
    const { code, stderr } = await perdure(["info", `/dev/shm/${"x".repeat(300)}`]);
    assert.equal(code, 2);
    assert.match(stderr, /^perdure: EINVAL: .*the path is too long/);
    assert.doesNotMatch(stderr, /^ +at /m);
  });

  test("nothing at all: the reading commands and serve make no file", async (t) => {
    const folder = memoryFolder(t);
    for (const command of [["info"], ["ls"], ["check"], ["disk", "ls"], ["serve"]]) {
      const { code, stderr } = await perdure([...command, join(folder, "x")]);
      assert.equal(code, 1);
      assert.match(stderr, /^perdure: ENOENT: /);
    }
    assert.deepEqual(readdirSync(folder), []);
  });

  async function refusedByAll(path: string, expected: string, message: RegExp): Promise<void> {
    const isFile = statSync(path).isFile() && expected !== "EACCES";
    const before = isFile ? hashOf(path) : "";
    const disk = [
      ["disk", "ls", path],
      ["disk", "create", path, "d", "--size", "1M"],
    ];
    for (const args of [["format", path], ["info", path], ["ls", path], ["check", path], ["serve", path], ...disk]) {
      const { code, stdout, stderr } = await perdure(args);
      assert.match(stderr, new RegExp(`^perdure: ${expected}: .+\n {2}.+\n`), args.join(" "));
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /^ +at /m);
      assert.equal(code, 1);
      assert.equal(stdout, "");
    }
    if (isFile) assert.equal(hashOf(path), before);
  }
});

describe("disks", () => {
  test("are made, listed, grown and deleted", async (t) => {
    const region = await newRegion(t);
    assert.equal((await perdure(["disk", "create", region, "pram0", "--size", "1MiB"])).code, 0);
    assert.equal((await perdure(["disk", "grow", region, "pram0", "--size", "3M"])).code, 0);
    const [disk] = await perdureJson<Record<string, unknown>[]>("disk", "ls", region);
    assert.deepEqual(Object.keys(disk), ["name", "sizeBytes", "allocatedBytes", "created", "readOnly", "parent"]);
    assert.equal(disk.sizeBytes, 3 * 2 ** 20);
    const { stdout } = await perdure(["disk", "ls", region]);
    assert.match(stdout, /^DISK +SIZE +ALLOCATED +FULL +CREATED \(UTC\) +KIND\npram0 +3 MiB +0 B +0% +\d{4}-/);
    const [instance] = await perdureJson<Record<string, unknown>[]>("ls", region);
    assert.equal(instance.subsystem, "disk");
    assert.equal((await perdure(["disk", "rm", region, "pram0"])).code, 0);
    assert.deepEqual(await perdureJson("disk", "ls", region), []);
  });

  test("a name that is taken, one that is not there, a disk that would shrink", async (t) => {
    const region = await newRegion(t);
    await perdure(["disk", "create", region, "a", "--size", "1M"]);
    assert.match((await perdure(["disk", "create", region, "a", "--size", "1M"])).stderr, /^perdure: EEXIST/);
    assert.match((await perdure(["disk", "rm", region, "b"])).stderr, /^perdure: ENOENT/);
    const shrunk = await perdure(["disk", "grow", region, "a", "--size", "512"]);
    assert.match(shrunk.stderr, /does not shrink/);
    assert.equal(shrunk.code, 2);
  });

  test("a name cannot steer the terminal of who lists it", async (t) => {
    const region = await newRegion(t);
    await perdure(["disk", "create", region, "a\u001B[2Jb", "--size", "1M"]);
    assert.match((await perdure(["disk", "ls", region])).stdout, /a\\u\{1b\}\[2Jb/);
  });
});

describe("check", () => {
  test("a sound region is exit code 0", async (t) => {
    const region = await newRegion(t);
    const { code, stdout, stderr } = await perdure(["check", region]);
    assert.equal(code, 0);
    assert.equal(stderr, "");
    assert.match(stdout, /result +no corruption\n/);
  });

  test("a flipped bit of the metadata is exit code 3, with what was expected and found", async (t) => {
    const region = await newRegion(t);
    await perdure(["disk", "create", region, "pram0", "--size", "1M"]);
    flipBit(region, 4096 + 8 * 100);
    const { code, stdout, stderr } = await perdure(["check", region]);
    assert.equal(code, 3);
    assert.match(stdout, /Corruption:\n {2}checksums of page 0: expected CRC \d+ .*, found CRC\s+\d+/);
    assert.match(stderr, /^perdure: CORRUPT: /);
    const json = await perdure(["check", region, "--json"]);
    const report = JSON.parse(json.stdout) as { findingCount: number; findings: { where: string; page: number }[] };
    assert.equal(json.code, 3);
    assert.equal(report.findingCount, report.findings.length);
    assert.equal(report.findings[0].where, "checksums");
    assert.equal((JSON.parse(json.stderr) as { error: { code: string } }).error.code, "CORRUPT");
  });

  test("a region that lost its magic or type is told as a damaged region, not as a stranger's data", async (t) => {
    const region = await newRegion(t);
    const findings: [number, RegExp][] = [
      [0, /expected the magic of a superblock, found none/],
      [8, /expected format type 1, found 0/],
    ];
    for (const [offset, told] of findings) {
      flipBit(region, offset);
      const { code, stdout } = await perdure(["check", region]);
      assert.equal(code, 3);
      assert.match(stdout, told);
      flipBit(region, offset);
    }
  });

  test("a damaged state record is exit code 3", async (t) => {
    const region = await newRegion(t);
    await perdure(["disk", "create", region, "pram0", "--size", "1M"]);
    for (const slot of [512, 1024]) flipBit(region, slot + 8);
    assert.equal((await perdure(["check", region])).code, 3);
    assert.equal((await perdure(["info", region])).code, 3);
  });

  test("--repair mends what check says it would, line by line; a second one has nothing to do", async (t) => {
    const region = await newRegion(t);
    await perdure(["disk", "create", region, "pram0", "--size", "1M"]);
    flipBit(region, 4096 + 8 * 100);
    const planned = await perdure(["check", region]);
    assert.match(
      planned.stdout,
      /What check --repair would do, without a loss:\n {2}frame of page 100: bit 0 of its entry/,
    );
    assert.match(planned.stderr, /check --repair/);
    const { code, stdout } = await perdure(["check", "--repair", region]);
    assert.equal(code, 0);
    assert.match(stdout, /result +repaired, without a loss\n\nDone:\n {2}frame of page 100: bit 0 of its entry/);
    assert.match(stdout, /\ndisk pram0 +live +0 +sound\n/);
    for (const { stdout: told } of [planned, { stdout }]) {
      assert.deepEqual(
        told.split("\n").filter((line) => line.length > 80),
        [],
      );
    }
    const again = await perdureJson<{ findingCount: number; mends: unknown[] }>("check", "--repair", region);
    assert.deepEqual([again.findingCount, again.mends], [0, []]);
    assert.equal((await perdure(["check", region])).code, 0);
  });

  test("a check counts every page once, and tells what becomes of every instance", async (t) => {
    const region = await newRegion(t);
    await perdure(["disk", "create", region, "pram0", "--size", "1M"]);
    await perdure(["disk", "snapshot", region, "pram0", "monday"]);
    await perdure(["disk", "create", region, "gone", "--size", "1M"]);
    await perdure(["disk", "rm", region, "gone"]);
    const report = await perdureJson<CheckReport>("check", region);
    assert.equal(
      Object.values(report.pageCounts).reduce((sum, count) => sum + count, 0),
      report.pages,
    );
    const conditions = report.instances.map(({ name, condition, isSound }) => `${name} ${condition} ${isSound}`);
    assert.deepEqual(conditions.sort(), ["gone deleted true", "monday snapshot true", "pram0 live true"]);
  });

  test("what a kill leaves behind is not corruption", async (t) => {
    const region = await newRegion(t);
    const server = await RunningCli.serve(t, ["serve", region, "--disk", "pram0=1M"]);
    await server.stop("SIGKILL");
    const { code, stdout } = await perdure(["check", region]);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`state +not closed by process ${server.pid}, which is gone`));
  });

  test("beside a writer that does nothing the result counts", async (t) => {
    const region = await newRegion(t);
    const server = await RunningCli.serve(t, ["serve", region, "--disk", "pram0=1M"]);
    const report = await perdureJson<Record<string, unknown>>("check", region);
    assert.equal(report.provisional, false);
    assert.equal(report.state, "open");
    assert.equal(report.ownerPid, server.pid);
    assert.equal(report.findingCount, 0);
  });
});

describe("info", () => {
  test("tells the lives of a region and whether it is open", async (t) => {
    const region = await newRegion(t);
    await perdure(["disk", "create", region, "pram0", "--size", "1M"]);
    const server = await RunningCli.serve(t, ["serve", region]);
    const open = await perdureJson<{ state: string; lives: { end: string }[] }>("info", region);
    assert.equal(open.state, "open");
    assert.deepEqual(
      open.lives.map(({ end }) => end),
      ["closed", "running"],
    );
    await server.stop("SIGKILL");
    const left = await perdureJson<{ state: string; lives: { end: string; closed: unknown }[] }>("info", region);
    assert.equal(left.state, "not-closed");
    assert.equal(left.lives[1].end, "died");
    assert.equal(left.lives[1].closed, null);
    assert.match((await perdure(["info", region])).stdout, /\n +2 +\d+ +warm +.* +- +died\n/);
  });
});
