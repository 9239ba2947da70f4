// Hazard: whoever uses a disk takes the end of its server for the end of the disk: the mounted file system fails for
// good, programs lose what they were writing, and the machine keeps devices and mounts that nobody can take down.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { seeded } from "../src/testing/index.ts";
import { RunningCli } from "./support/cli.ts";
import { Attached } from "./support/e2e-attached.ts";
import { damagedFiles, FileWriter } from "./support/e2e-file-writer.ts";
import { requireMounts, runTool, TestBed, until } from "./support/e2e-test-bed.ts";
import { seed } from "./support/seed.ts";
import { requireTool, which } from "./support/tools.ts";

const kills = 20;

/** A region with two disks, and its server. */
async function serve(bed: TestBed): Promise<{ region: string; server: RunningCli }> {
  const region = join(bed.folder, "region");
  const disks = ["--disk", "pram0=48M", "--disk", "raw=32M"];
  return { region, server: await bed.serve(region, "--create", "--size", "128M", ...disks) };
}

/** Reads and writes that a block device has answered. */
function requestsDone(device: string): number {
  const figures = readFileSync(`/sys/class/block/${basename(device)}/stat`, "utf8")
    .trim()
    .split(/ +/);
  return Number(figures[0]) + Number(figures[4]);
}

describe("a killed server is a pause", () => {
  test(`for a mounted ext4: ${kills} kills fail nothing and lose nothing (PERDURE_SEED=${seed})`, {
    timeout: 120_000,
  }, async (t) => {
    if (!requireMounts(t, "mkfs.ext4", "e2fsck", "nbdinfo")) return;
    const bed = new TestBed(t);
    const attached = new Attached(bed);
    let { region, server } = await serve(bed);
    const folder = attached.newFolder("mnt");
    await attached.do("mount", region, "pram0", folder, "--mkfs", "ext4", "--options", "discard");
    const random = seeded(seed);
    const files = new Map<string, string>();
    const writer = new FileWriter(bed, folder, files, { prefix: "file", seed });
    for (let k = 0; k < kills; k++) {
      const before = writer.safeFiles;
      await until(() => writer.safeFiles > before, `a file after ${k} kills`);
      await sleep(random() * 100);
      await server.stop("SIGKILL");
      await sleep(random() * 100);
      server = await bed.serve(region);
      assert.match(server.stderr, /^recovered/);
    }
    await writer.stop();
    assert.deepEqual(damagedFiles(folder, files), []);
    const { keeper, nbdfuse } = attached.one;
    await attached.do("umount", folder);
    assert.deepEqual(attached.leftovers([keeper, nbdfuse]), []);

    const device = await attached.do("attach", region, "pram0");
    assert.match(await runTool("e2fsck", "-f", "-n", device), /clean|non-contiguous/);
    await attached.do("detach", device);
    await attached.do("mount", region, "pram0", folder);
    assert.deepEqual(damagedFiles(folder, files), []);
    assert.ok(files.size > 5);
    await attached.do("umount", folder);
  });

  test(`for a program on the block device: fio finds what it wrote (PERDURE_SEED=${seed})`, {
    timeout: 120_000,
  }, async (t) => {
    if (!requireMounts(t, "fio")) return;
    const bed = new TestBed(t);
    const attached = new Attached(bed);
    let { region, server } = await serve(bed);
    const device = await attached.do("attach", region, "raw");
    const options = ["--name=verify", `--filename=${device}`, "--rw=randwrite", "--bsrange=4k-256k", "--size=32M"];
    const checks = ["--verify=crc32c", "--verify_fatal=1", "--direct=1", "--rate=6M", `--randseed=${seed}`];
    // It puts its state into its working folder.
    const fio = spawn(which("fio") ?? "fio", [...options, ...checks], { cwd: bed.folder, stdio: "ignore" });
    bed.undo(() => fio.kill("SIGKILL"));
    const random = seeded(seed);
    let killed = 0;
    while (fio.exitCode === null) {
      const before = requestsDone(device);
      await until(() => requestsDone(device) > before || fio.exitCode !== null, `progress after ${killed} kills`);
      await sleep(random() * 200);
      await server.stop("SIGKILL");
      killed++;
      server = await bed.serve(region);
    }
    assert.equal(fio.exitCode, 0);
    assert.ok(killed >= 3, `${killed} kills`);
    await attached.do("detach", device);
    assert.deepEqual(attached.leftovers([]), []);
  });

  test("for qemu with a reconnect-delay", async (t) => {
    if (!requireTool(t, "qemu-io")) return;
    const bed = new TestBed(t);
    let { region, server } = await serve(bed);
    const address = `server.type=unix,server.path=${region}.sock`;
    const image = `driver=nbd,${address},export=raw,reconnect-delay=30`;
    const qemu = spawn(which("qemu-io") ?? "qemu-io", ["--image-opts", image], { stdio: ["pipe", "pipe", "inherit"] });
    bed.undo(() => qemu.kill("SIGKILL"));
    let said = "";
    qemu.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    qemu.stdin.write("write -P 1 0 1M\n");
    await until(() => /wrote 1048576/.test(said), "the first write");
    await server.stop("SIGKILL");
    qemu.stdin.write("write -P 2 512k 1M\n");
    await sleep(200);
    server = await bed.serve(region);
    qemu.stdin.end("read -P 1 0 512k\nread -P 2 512k 1M\nquit\n");
    const [code] = (await once(qemu, "exit")) as [number];
    assert.equal(code, 0);
    assert.match(said, /wrote 1048576\/1048576 bytes at offset 524288\n/);
    assert.match(said, /read 1048576\/1048576 bytes at offset 524288\n/);
    assert.doesNotMatch(said, /failed/);
  });
});

describe("what is attached", () => {
  test("is taken down also when one of its processes was killed", async (t) => {
    if (!requireMounts(t, "mkfs.ext4", "nbdinfo")) return;
    const bed = new TestBed(t);
    const attached = new Attached(bed);
    const { region } = await serve(bed);
    const folder = attached.newFolder("mnt");
    for (const victim of ["keeper", "nbdfuse"] as const) {
      await attached.do("mount", region, "pram0", folder, ...(victim === "keeper" ? ["--mkfs", "ext4"] : []));
      const { keeper, nbdfuse } = attached.one;
      process.kill(victim === "keeper" ? keeper.pid : (nbdfuse?.pid ?? 0), "SIGKILL");
      await attached.do("umount", folder);
      assert.deepEqual(attached.leftovers([keeper, nbdfuse]), [], victim);
    }
    const device = await attached.do("attach", region, "raw");
    process.kill(attached.one.keeper.pid, "SIGKILL");
    const next = await attached.do("attach", region, "raw");
    assert.equal(attached.one.device, next, `${device} was swept away`);
    await attached.do("detach", next);
  });

  test("may be read-only, as snapshots are", async (t) => {
    if (!requireMounts(t, "mkfs.ext4", "nbdinfo")) return;
    const bed = new TestBed(t);
    const attached = new Attached(bed);
    const first = await serve(bed);
    const folder = attached.newFolder("mnt");
    await attached.do("mount", first.region, "raw", folder, "--mkfs", "ext4");
    writeFileSync(join(folder, "file"), "kept");
    await attached.do("umount", folder);
    await first.server.stop("SIGTERM");
    await attached.do("disk", "snapshot", first.region, "raw", "then");
    await bed.serve(first.region);
    await attached.do("mount", first.region, "then", folder);
    assert.equal(readFileSync(join(folder, "file"), "utf8"), "kept");
    assert.throws(() => writeFileSync(join(folder, "file"), "lost"), /EROFS/);
    await attached.do("umount", folder);
    const device = await attached.do("attach", first.region, "then");
    await attached.do("detach", device);
    assert.deepEqual(attached.leftovers([]), []);
  });

  test("is given up by force when the server does not come back", async (t) => {
    if (!requireMounts(t, "mkfs.ext4", "nbdinfo")) return;
    const bed = new TestBed(t);
    const attached = new Attached(bed);
    const { region, server } = await serve(bed);
    const folder = attached.newFolder("mnt");
    await attached.do("mount", region, "pram0", folder, "--mkfs", "ext4");
    writeFileSync(join(folder, "unsaved"), "x".repeat(100_000));
    const { keeper, nbdfuse } = attached.one;
    await server.stop("SIGKILL");
    await attached.do("umount", "--force", folder);
    assert.deepEqual(attached.leftovers([keeper, nbdfuse]), []);
  });

  test("fails when its time is over, if it has one", async (t) => {
    if (!requireMounts(t)) return;
    const bed = new TestBed(t);
    const attached = new Attached(bed);
    const { region, server } = await serve(bed);
    const device = await attached.do("attach", region, "raw", "--timeout", "0.2");
    await server.stop("SIGKILL");
    await assert.rejects(runTool("dd", `of=${device}`, "if=/dev/zero", "bs=4k", "count=1", "oflag=direct"), /error/);
    await attached.do("detach", "--force", device);
  });

  test("is held in the foreground until a signal comes, and longer while it is mounted", async (t) => {
    if (!requireMounts(t, "mkfs.ext4")) return;
    const bed = new TestBed(t);
    const attached = new Attached(bed);
    const { region } = await serve(bed);
    const keeper = new RunningCli(["attach", region, "raw", "--foreground"], { env: attached.env });
    bed.undo(() => keeper.stop("SIGKILL"));
    await keeper.says("stdout", /^\/dev\/.*\n/);
    const { device } = attached.one;
    const folder = attached.newFolder("mnt");
    await runTool("mkfs.ext4", "-q", device);
    await runTool("mount", device, folder);
    process.kill(keeper.pid, "SIGTERM");
    await keeper.says("stderr", /stays attached: .* is mounted on/);
    await runTool("umount", folder);
    assert.equal((await keeper.stop("SIGTERM")).code, 0);
    assert.deepEqual(attached.leftovers([]), []);
  });

  test("is refused with a reason, and nothing is left or destroyed", async (t) => {
    if (!requireMounts(t, "mkfs.ext4", "nbdinfo")) return;
    const bed = new TestBed(t);
    const attached = new Attached(bed);
    const { region } = await serve(bed);
    const folder = attached.newFolder("mnt");
    const refused = async (expected: RegExp, ...args: string[]): Promise<void> => {
      const { code, stderr } = await attached.run(...args);
      assert.notEqual(code, 0);
      assert.match(stderr, expected);
    };
    await refused(/ENOENT: no server listens .*\n.*perdure serve/, "attach", join(bed.folder, "none"), "raw");
    await refused(/ENOENT: no disk is named "none"/, "attach", region, "none");
    await refused(/ENOENT: the server has several/, "attach", region);
    await refused(/EINVAL: .*no socket beside it/, "attach", "fd:7", "raw");
    await refused(/ENOENT: .* is no folder\n.*mkdir -p/, "mount", region, "raw", join(bed.folder, "nowhere"));
    await refused(/EIO: mount failed[^]*--mkfs/, "mount", region, "raw", folder);
    await refused(/ENOENT: .*was not attached/, "detach", "/dev/null");
    await refused(/ENOENT: nothing was mounted/, "umount", folder);
    assert.deepEqual(attached.leftovers([]), []);

    await attached.do("mount", `nbd+unix:///raw?socket=${region}.sock`, folder, "--mkfs", "ext4");
    writeFileSync(join(folder, "file"), "kept");
    const { device } = attached.one;
    await refused(/EBUSY: .* is mounted on/, "detach", device);
    await refused(/EBUSY: something is mounted/, "mount", region, "pram0", folder);
    const busy = spawn("sleep", ["100"], { cwd: folder });
    bed.undo(() => busy.kill("SIGKILL"));
    await once(busy, "spawn");
    await refused(/EBUSY: umount failed: .*busy/, "umount", folder);
    assert.ok(existsSync(join(folder, "file")), "still mounted");
    busy.kill("SIGKILL");
    await once(busy, "exit");
    await runTool("umount", folder);
    await attached.do("umount", folder);
    await refused(/EEXIST: the disk is not empty/, "mount", region, "raw", folder, "--mkfs", "ext4");
    await attached.do("mount", region, "raw", folder);
    assert.equal(readFileSync(join(folder, "file"), "utf8"), "kept");
    await attached.do("umount", folder);
  });
});
