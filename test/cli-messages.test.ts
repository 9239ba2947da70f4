// Hazard: a user follows what an error says and stands where he was: an option that the command does not have, a device
// that was never there and is a file now, a process 0 that nobody can stop, a name that writes over the line before.

import assert from "node:assert/strict";
import { chmodSync, closeSync, existsSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { Region } from "../src/index.ts";
import { lifeLayout, maxLives, stateLayout, stateSlots, superblockOffsets } from "../src/region/layout.ts";
import { memoryFolder, perdure, RunningCli } from "./support/cli.ts";

/** A region of 4 MiB with the disk "pram0" of 1 MiB, of which 16 blocks are written. */
async function diskRegion(t: TestContext): Promise<string> {
  const path = join(memoryFolder(t), "r");
  const region = await Region.open(path, { create: true, size: "4M" });
  region.disks.open("pram0", { create: true, size: "1M" }).write(0, Buffer.alloc(64 * 1024, 7));
  await region.close();
  return path;
}

/** What a command that must fail says on standard error. */
async function refused(...args: string[]): Promise<string> {
  const { code, stderr } = await perdure(args);
  assert.notEqual(code, 0, args.join(" "));
  return stderr;
}

describe("where a region is looked for", () => {
  for (const device of ["dax987.6", "perdure-no-device"]) {
    test(`/dev/${device} is not made a file`, async (t) => {
      const path = `/dev/${device}`;
      t.after(() => rmSync(path, { force: true }));
      const socket = join(memoryFolder(t), "socket");
      for (const args of [
        ["info", path],
        ["format", path, "--size", "1M"],
        ["serve", path, "--create", "--size", "1M", "--disk", "a=64K", "--unix", socket],
      ])
        assert.match(await refused(...args), /^perdure: ENOENT: .*no such device.*\n {2}.*\/dev\/shm/);
      assert.ok(!existsSync(path));
      assert.match((await perdure(["preflight", path])).stdout, /next start +refused/);
    });
  }

  test("a descriptor that is not there is told as one", async () => {
    for (const source of ["fd:x", "fd:", "fd:987"])
      assert.match(await refused("info", source), /^perdure: ENOENT: fd:\w*: .*no such descriptor\n {2}.*such as fd:3/);
  });

  test("a file that others may write: no option is named, since there is none", async (t) => {
    const path = await diskRegion(t);
    chmodSync(path, 0o666);
    const told = await refused("info", path);
    assert.match(told, /^perdure: EACCES: .*\n {2}.*chmod 600/);
    assert.doesNotMatch(told, /option/);
  });

  test("a region where one is to be formatted is called that", async (t) => {
    const path = await diskRegion(t);
    assert.match(await refused("format", path), /^perdure: EEXIST: .* holds a region already\n/);
  });

  test("sizes are written with units", async (t) => {
    const path = await diskRegion(t);
    assert.match(await refused("format", path, "--size", "1M"), /has 4 MiB, not 1 MiB/);
    assert.match(await refused("disk", "create", path, "a", "--size", "1"), /a disk of 1 B/);
    assert.match(await refused("disk", "grow", path, "pram0", "--size", "512K"), /"pram0" has 1 MiB: a disk grows/);
  });
});

describe("what was done", () => {
  test("a snapshot of a snapshot is refused with what can be done", async (t) => {
    const path = await diskRegion(t);
    await perdure(["disk", "snapshot", path, "pram0", "monday"]);
    const told = await refused("disk", "snapshot", path, "monday", "again");
    assert.match(told, /^perdure: READ_ONLY: "monday" is a snapshot\n {2}.*never changes.*clone/);
  });

  test("a purge says why what is shared is not free", async (t) => {
    const path = await diskRegion(t);
    for (const args of [
      ["snapshot", path, "pram0", "monday"],
      ["clone", path, "monday", "trial"],
    ])
      await perdure(["disk", ...args]);
    const purge = async (name: string): Promise<string> =>
      (await perdure(["disk", "rm", path, name, "--purge"])).stderr;
    assert.match(await purge("monday"), /0 B are free again; 64 KiB stay with the disks that share them/);
    assert.match(await purge("trial"), /64 KiB are free again|0 B are free again, since it held nothing/);
    assert.match(await purge("pram0"), /64 KiB are free again\n/);
  });

  test("a check of a region that does not know its last process names none", async (t) => {
    const path = await diskRegion(t);
    const fd = openSync(path, "r+");
    const lost = [stateSlots.a, stateSlots.b].map((slot) => [slot, stateLayout.sizeBytes]);
    lost.push([superblockOffsets.lives, maxLives * lifeLayout.sizeBytes]);
    for (const [offset, length] of lost) writeSync(fd, Buffer.alloc(length), 0, length, offset);
    closeSync(fd);
    const { code, stdout } = await perdure(["check", path]);
    assert.equal(code, 3);
    assert.match(stdout, /^state +(not )?closed/m);
    assert.doesNotMatch(stdout, /process 0/);
  });

  test("a name that steers a terminal is escaped, in results and in errors", async (t) => {
    const path = await diskRegion(t);
    const name = "a\u001B[2J\nb";
    const escaped = "a\\u{1b}[2J\\u{a}b";
    const made = await perdure(["disk", "create", path, name, "--size", "64K"]);
    assert.equal(made.stderr, `made the disk "${escaped}" of 64 KiB\n`);
    const socket = join(memoryFolder(t), "socket");
    const server = await RunningCli.serve(t, ["serve", path, "--disk", `${name}=1M`, "--unix", socket]);
    const { stderr } = await server.stop("SIGTERM");
    assert.ok(stderr.includes(`the disk "${escaped}" is there and keeps its size, 64 KiB\n`), stderr);
    for (const args of [
      ["create", path, name, "--size", "64K"],
      ["grow", path, name, "--size", "512"],
      ["rename", path, `${name}?`, "other"],
    ]) {
      const told = await refused("disk", ...args);
      assert.ok(told.includes(escaped), told);
      assert.equal(told.split("\n").length, 3, told);
      assert.ok(!told.includes("\u001B"), told);
    }
  });
});
