/**
 * Hazard: a region in a file that is not what it seems: a link to somebody else's file, a pipe that blocks for ever, a
 * file that others write or that was replaced meanwhile, a file with holes that end the process at the first store.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { Region } from "../src/index.ts";
import { Backing, MappedMemory } from "../src/memory/index.ts";
import { createMemfd } from "../src/os/index.ts";
import { Child } from "./support/child.ts";
import { memoryFolder } from "./support/cli.ts";
import { mountImage, mountTmpfs, requireRoot } from "./support/mounts.ts";
import { refusal } from "./support/region.ts";

const SIZE = 2 ** 20;

async function makeRegion(t: TestContext, options: { folder?: string; durable?: boolean } = {}): Promise<string> {
  const path = join(options.folder ?? memoryFolder(t), "region");
  const region = await Region.open(path, { create: true, size: SIZE, durable: options.durable ?? false });
  region.instance("test", "kept", { create: true }).write(0, Buffer.from("kept"));
  await region.close();
  return path;
}

function refuse(source: string, code: "EACCES" | "ENODEV" | "ENOENT" | "LOCKED", readOnly = false): void {
  assert.throws(() => Backing.open(source, { readOnly }), refusal(code));
}

describe("only what can be trusted is opened", () => {
  test("a symbolic link is not followed", async (t) => {
    const path = await makeRegion(t);
    symlinkSync(path, `${path}.link`);
    refuse(`${path}.link`, "EACCES");
    refuse(`${path}.link`, "EACCES", true);
  });

  test("a hard link is the same file, so it is under the same lock", async (t) => {
    const path = await makeRegion(t);
    linkSync(path, `${path}.link`);
    using first = Backing.open(path);
    refuse(`${first.source}.link`, "LOCKED");
  });

  test("a pipe neither blocks nor is taken for a file", { timeout: 10_000 }, (t) => {
    const path = join(memoryFolder(t), "pipe");
    execFileSync("mkfifo", [path]);
    refuse(path, "ENODEV");
    refuse(path, "ENODEV", true);
  });

  test("folders, devices and files on untested file systems keep no region", (t) => {
    const folder = memoryFolder(t);
    for (const readOnly of [false, true]) {
      refuse(folder, "ENODEV", readOnly);
      refuse("/dev/null", "ENODEV", readOnly);
    }
    refuse("/proc/self/maps", "ENODEV", true);
    refuse(join(folder, "missing"), "ENOENT");
    refuse(join(folder, "missing", "file"), "ENOENT");
  });

  test("a file of another user is refused unless it is trusted", async (t) => {
    if (!requireRoot(t)) return;
    const path = await makeRegion(t);
    chownSync(path, 1, 1);
    refuse(path, "EACCES");
    refuse(path, "EACCES", true);
    Backing.open(path, { trustFile: true })[Symbol.dispose]();
  });

  test("a file that others may write is refused unless it is trusted", async (t) => {
    const path = await makeRegion(t);
    for (const mode of [0o620, 0o602, 0o666]) {
      chmodSync(path, mode);
      refuse(path, "EACCES");
      Backing.open(path, { trustFile: true })[Symbol.dispose]();
    }
    chmodSync(path, 0o644);
    Backing.open(path)[Symbol.dispose]();
  });

  test("a file that is too small for a superblock is refused", (t) => {
    const path = join(memoryFolder(t), "tiny");
    for (const size of [0, 1, 12, 4095]) {
      writeFileSync(path, Buffer.alloc(size), { mode: 0o600 });
      refuse(path, "ENODEV");
    }
  });
});

describe("what is created", () => {
  test("has mode 0600 whatever the umask says", async (t) => {
    const folder = memoryFolder(t);
    for (const mask of ["000", "022", "777"]) {
      const path = join(folder, mask);
      const child = new Child(t, ["umask", path, mask]);
      assert.equal(await child.line(), "created");
      assert.equal(await child.end(), 0);
      assert.equal(statSync(path).mode & 0o777, 0o600, `umask ${mask}`);
    }
  });

  test("has no name before it is published, and no holes", (t) => {
    const path = join(memoryFolder(t), "region");
    using backing = Backing.create(path, SIZE);
    assert.ok(!existsSync(path));
    backing.publish();
    assert.equal(statSync(path).size, SIZE);
    assert.ok(statSync(path).blocks * 512 >= SIZE);
    using second = Backing.create(path, SIZE);
    assert.throws(() => second.publish(), refusal("EEXIST"));
  });

  test("is made by one of several that race for the name", async (t) => {
    const folder = memoryFolder(t);
    const path = join(folder, "raced");
    const children = Array.from({ length: 4 }, () => new Child(t, ["create", path, String(SIZE)]));
    for (const child of children) assert.equal(await child.line(), "ready");
    const ends = children.map((child) => child.end());
    const answers = await Promise.all(children.map((child) => child.line()));
    await Promise.all(ends);
    assert.deepEqual(answers.map(String).sort(), ["EEXIST", "EEXIST", "EEXIST", "created"]);
    assert.deepEqual(readdirSync(folder), ["raced"]);
  });

  test("does not fit a file system that is too small, and then leaves nothing", async (t) => {
    if (!requireRoot(t)) return;
    const folder = mountTmpfs(t, SIZE);
    const path = join(folder, "region");
    assert.throws(() => Backing.create(path, 2 * SIZE), refusal("ENOSPC"));
    await assert.rejects(Region.open(path, { create: true, size: 2 * SIZE }), refusal("ENOSPC"));
    assert.deepEqual(readdirSync(folder), []);
    Backing.create(path, SIZE / 2)[Symbol.dispose]();
  });

  test("is refused where a size, a page size or a folder makes no sense, and then leaves nothing", async (t) => {
    const folder = memoryFolder(t);
    const path = join(folder, "region");
    for (const size of [0, -1, 4095, 1.5]) {
      await assert.rejects(Region.open(path, { create: true, size }), refusal("EINVAL"));
    }
    await assert.rejects(Region.open(path, { create: true }), refusal("EINVAL"));
    await assert.rejects(Region.open(path, { create: true, size: SIZE, pageSize: 1000 }), refusal("EINVAL"));
    await assert.rejects(Region.open(path, { create: true, size: SIZE, pageSize: "2M" }), refusal("EINVAL"));
    await assert.rejects(Region.open(join(path, "x"), { create: true, size: SIZE }), refusal("ENOENT"));
    assert.deepEqual(readdirSync(folder), []);
  });
});

describe("holes", () => {
  test("are filled before a region is used, and what stands around them stays", async (t) => {
    const path = await makeRegion(t);
    execFileSync("fallocate", ["--punch-hole", "--offset", String(SIZE / 2), "--length", "65536", path]);
    const holed = statSync(path).blocks;
    const region = await Region.open(path);
    assert.ok(statSync(path).blocks > holed);
    assert.equal(Buffer.from(region.instance("test", "kept").read(0)).toString("latin1", 0, 4), "kept");
    await region.close();
  });

  test("that cannot be filled are ENOSPC at the open, not a signal later", (t) => {
    if (!requireRoot(t)) return;
    const folder = mountTmpfs(t, SIZE);
    const path = join(folder, "region");
    writeFileSync(path, "", { mode: 0o600 });
    truncateSync(path, 4 * SIZE);
    assert.throws(() => Backing.open(path), refusal("ENOSPC"));
    assert.equal(statSync(path).blocks, 0, "nothing was taken");
  });

  test("of a file that is only read are not filled", async (t) => {
    const path = join(memoryFolder(t), "sparse");
    writeFileSync(path, "", { mode: 0o600 });
    truncateSync(path, SIZE);
    await assert.rejects(Region.open(path, { readOnly: true }), refusal("UNFORMATTED"));
    assert.equal(statSync(path).blocks, 0);
  });
});

describe("locks", () => {
  test("keep a second writer out, in this process and in another", async (t) => {
    const path = await makeRegion(t);
    const region = await Region.open(path);
    await assert.rejects(Region.open(path), refusal("LOCKED"));
    const other = new Child(t, ["open", path]);
    assert.equal(await other.line(), "LOCKED");
    // The attempt closed a descriptor of the file: that must not have dropped the lock.
    await assert.rejects(Region.open(path), refusal("LOCKED"));
    await region.close();
    const next = new Child(t, ["open", path]);
    assert.equal(await next.line(), "open warm closed");
    assert.equal(await next.end(), 0);
  });

  test("let readers in beside a writer", async (t) => {
    const path = await makeRegion(t);
    const writer = await Region.open(path);
    const readers = await Promise.all([1, 2].map(() => Region.open(path, { readOnly: true })));
    const child = new Child(t, ["open", path, "read-only"]);
    assert.equal(await child.line(), "open warm in-use");
    for (const reader of readers) {
      assert.equal(reader.start.reason, "in-use");
      assert.equal(Buffer.from(reader.instance("test", "kept").read(0)).toString("latin1", 0, 4), "kept");
      await reader.close();
    }
    assert.equal(await child.end(), 0);
    await writer.close();
  });

  test("do not let a reader keep the writer out", async (t) => {
    const path = await makeRegion(t);
    const reader = await Region.open(path, { readOnly: true });
    const writer = await Region.open(path);
    await writer.close();
    await reader.close();
  });

  test("end with a writer that is killed", async (t) => {
    const path = await makeRegion(t);
    const holder = new Child(t, ["open", path]);
    assert.equal(await holder.line(), "open warm closed");
    await assert.rejects(Region.open(path), refusal("LOCKED"));
    await holder.kill();
    const region = await Region.open(path);
    assert.equal(region.start.reason, "owner-died");
    await region.close();
  });
});

test("a path that is replaced while it is opened never gives a file that nobody finds", async (t) => {
  const path = await makeRegion(t);
  const image = `${path}.image`;
  writeFileSync(image, readFileSync(path), { mode: 0o600 });
  const replacer = new Child(t, ["replace", path, image]);
  assert.equal(await replacer.line(), "ready");
  let replaced = 0;
  for (const end = Date.now() + 10_000; replaced === 0 && Date.now() < end; ) {
    try {
      Backing.open(path)[Symbol.dispose]();
    } catch (error) {
      assert.match((error as Error).message, /was replaced|no such file/);
      replaced++;
    }
  }
  await replacer.kill();
  assert.ok(replaced > 0, "the race was met");
});

describe("inherited descriptors", () => {
  test("a memfd holds a region as long as it is open", async (t) => {
    const fd = createMemfd("perdure-test");
    t.after(() => closeSync(fd));
    ftruncateSync(fd, SIZE);
    const first = await Region.open(`fd:${fd}`, { create: true });
    first.instance("test", "kept", { create: true }).write(3, Buffer.from("in a memfd"));
    assert.deepEqual(first.info().survival, { crash: true, lastClose: false, powerLoss: false });
    await first.close();
    assert.ok(fstatSync(fd).size === SIZE, "the descriptor is the caller's, so it stays open");
    const second = await Region.open(`fd:${fd}`);
    assert.equal(second.start.kind, "warm");
    assert.equal(Buffer.from(second.instance("test", "kept").read(3)).toString("latin1", 0, 10), "in a memfd");
    await second.close();
  });

  test("a descriptor that is not open, of a folder, or for reading only is refused", async (t) => {
    const path = await makeRegion(t);
    refuse("fd:987654", "ENOENT");
    const folder = openSync("/dev/shm", "r");
    refuse(`fd:${folder}`, "ENODEV");
    closeSync(folder);
    const fd = openSync(path, "r");
    refuse(`fd:${fd}`, "EACCES");
    Backing.open(`fd:${fd}`, { readOnly: true })[Symbol.dispose]();
    closeSync(fd);
  });
});

describe("file systems on disks", () => {
  test("a hole is filled also where the blocks of a file are as many as its size asks for", (t) => {
    const folder = mountImage(t, "ext4");
    if (folder === undefined) return;
    mkdirSync(join(folder, "private"), { mode: 0o700 });
    const path = join(folder, "private", "region");
    const made = Backing.create(path, 4 * 2 ** 20);
    made.publish();
    // So many pieces that ext4 needs a block of its own to find them, and one block less of content.
    const { bsize } = statfsSync(folder);
    for (let k = 0; k < 20; k++) made.space?.punch(8192 * (k + 50), bsize);
    for (let k = 1; k < 20; k++) writeSync(made.fd, Buffer.alloc(bsize, 1), 0, bsize, 8192 * (k + 50));
    fsyncSync(made.fd);
    made[Symbol.dispose]();
    const heldBytes = (): number => statSync(path).blocks * 512;
    assert.equal(heldBytes(), 4 * 2 ** 20, "the test has made the file that it is about");
    Backing.open(path)[Symbol.dispose]();
    assert.equal(heldBytes(), 4 * 2 ** 20 + bsize);
  });

  for (const kind of ["ext4", "xfs"] as const) {
    test(`a region lives on ${kind}, and durable there outlives a power cut`, async (t) => {
      const folder = mountImage(t, kind);
      if (folder === undefined) return;
      mkdirSync(join(folder, "private"), { mode: 0o700 });
      const path = await makeRegion(t, { folder: join(folder, "private"), durable: true });
      const region = await Region.open(path, { durable: true });
      assert.deepEqual(region.info().survival, { crash: true, lastClose: true, powerLoss: true });
      region.instance("test", "kept").write(1, Buffer.from("more"));
      region.sync();
      await region.close();
      using backing = Backing.open(path);
      assert.equal(backing.kind, kind);
      const memory = new MappedMemory([backing]);
      assert.equal(memory.survival.powerLoss, false, "without msync nothing is promised");
      memory.close();
    });
  }
});
