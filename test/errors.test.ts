// Hazard: an error that nobody has seen: its code is wrong, its message names nothing, its remedy does not help, or
// what was refused is half done. Every code of the table is provoked here or in errors-own.test.ts, through what users
// call; docs/errors.md lists these tests by their names.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { formatMemory } from "../src/format/index.ts";
import { isPerdureError, Region } from "../src/index.ts";
import { FailingMemory, Recording, RecordingMemory } from "../src/testing/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { provoke, provokeAll } from "./support/provoke.ts";
import { openRegion, pageBytes, refused, savedImage, savedRegion, sevens } from "./support/saved-region.ts";

const eights = new Uint8Array(pageBytes).fill(8);
const isErrno = (code: string): boolean => /^E[A-Z]+$/.test(code);

provoke("EACCES", "a file that others may write", async (t) => {
  const { folder, path } = await savedRegion(t);
  chmodSync(path, 0o620);
  await refused("EACCES", path, folder, () => Region.open(path));
  await (await Region.open(path, { trustFile: true })).close();
});

provoke("EACCES", "a symbolic link", async (t) => {
  const { folder, path } = await savedRegion(t);
  const link = join(folder, "link");
  symlinkSync(path, link);
  await refused("EACCES", link, folder, () => Region.open(link));
  await refused("EACCES", link, folder, () => Region.open(link, { readOnly: true }));
});

provoke("EACCES", "a file of another user", async (t) => {
  if (process.geteuid?.() !== 0) return t.skip("only root can give a file away");
  const { folder, path } = await savedRegion(t);
  chownSync(path, 12345, 12345);
  await refused("EACCES", "user 12345", folder, () => Region.open(path));
});

provoke("EBUSY", "a page that is held is replaced, freed, moved or deleted", async (t) => {
  const { folder, kept, region } = await openRegion(t);
  const other = region.instance("test", "other", { create: true });
  const page = kept.get(3);
  const held = `page ${page.number}`;
  await refused("EBUSY", held, folder, () => kept.write(3, eights));
  await refused("EBUSY", held, folder, () => kept.free(3));
  await refused("EBUSY", held, folder, () => kept.handOver(3, other, 0));
  await refused("EBUSY", held, folder, () => kept.resize(0));
  await refused("EBUSY", held, folder, () => kept.delete());
  page[Symbol.dispose]();
  kept.delete();
});

provoke("EBUSY", "a region is closed while a page of it is held", async (t) => {
  const { folder, path, kept, region } = await openRegion(t);
  const page = kept.get(3);
  await refused("EBUSY", path, folder, () => region.close());
  kept.write(4, eights);
  page[Symbol.dispose]();
  await region.close();
});

provoke("EBUSY", "an instance is changed while its pages are being saved", async (t) => {
  const { folder, kept, region } = await openRegion(t);
  const save = region.instance("test", "save", { pending: true, source: { subsystem: "test", name: "kept" } });
  kept.handOver(3, save, 3);
  await refused("EBUSY", '"kept"', folder, () => kept.write(3, eights));
  await refused("EBUSY", '"kept"', folder, () => kept.delete());
});

provoke("EEXIST", "a name is published that was taken meanwhile", async (t) => {
  const { folder, region } = await openRegion(t);
  const pending = region.instance("test", "wanted", { pending: true });
  region.instance("test", "wanted", { create: true });
  await refused("EEXIST", '"wanted"', folder, () => pending.publish());
});

provoke("EEXIST", "an aligned run where a page stands", async (t) => {
  const { folder, kept } = await openRegion(t);
  await refused("EEXIST", "index 3", folder, () => kept.ensureRun(0, 2));
});

provoke("EEXIST", "a memory that holds a region is formatted", async () => {
  const { image } = savedImage();
  const memory = new RecordingMemory(new Recording(image.slice()));
  await refused("EEXIST", "recorded memory", undefined, () => formatMemory(memory, 1));
  assert.deepEqual(memory.recording.image, image);
});

provoke("EINVAL", "a page size that is no power of two, a region without a size", async (t) => {
  const folder = memoryFolder(t);
  const path = join(folder, "new.region");
  await refused("EINVAL", "1000", folder, () => Region.open(path, { create: true, size: "1M", pageSize: 1000 }));
  await refused("EINVAL", "needs a size", folder, () => Region.open(path, { create: true }));
  await refused("EINVAL", "much", folder, () => Region.open(path, { create: true, size: "much" }));
});

provoke("EINVAL", "an index beyond the size of an instance", async (t) => {
  const { folder, region } = await openRegion(t);
  const small = region.instance("test", "small", { create: true, sizeBytes: 3 * pageBytes });
  await refused("EINVAL", '"small"', folder, () => small.write(3, eights));
  await refused("EINVAL", '"small"', folder, () => small.read(-1));
});

provoke("EIO", "the backing fails at any read, store or fence of an open and a write", async () => {
  const { image } = savedImage();
  for (const call of ["read", "fill", "commit", "fence"] as const) {
    let done = false;
    for (let nth = 1; !done; nth++) {
      const recording = new Recording(image.slice());
      const memory = new FailingMemory(new RecordingMemory(recording), call, nth);
      try {
        Region.attach(memory).instance("test", "kept").write(3, eights);
        done = true;
      } catch (error) {
        // A store that only says that an open is over does not undo it, but nobody goes on after it.
        const isKnown = isPerdureError(error, "EIO") || (call === "commit" && isPerdureError(error, "POISONED"));
        assert.ok(isKnown, String(error));
      }
      assert.ok(done || memory.failed);
      const again = Region.attach(new RecordingMemory(new Recording(recording.image.slice())));
      const possible = done ? [eights] : [sevens, eights];
      const page = again.instance("test", "kept").read(3);
      assert.ok(possible.some((content) => Buffer.compare(page, content) === 0));
      assert.ok(!done || nth > 2, `${call} ${nth - 1} times only`);
    }
  }
});

provoke("ENAMETOOLONG", "a name of 256 bytes, a subsystem of 32", async (t) => {
  const { folder, region } = await openRegion(t);
  const create = { create: true };
  await refused("ENAMETOOLONG", "255 bytes", folder, () => region.instance("test", "é".repeat(128), create));
  await refused("ENAMETOOLONG", "31 bytes", folder, () => region.instance("s".repeat(32), "name", create));
  region.instance("s".repeat(31), "n".repeat(255), create);
});

provoke("ENODATA", "a page or run that is not there", async (t) => {
  const { folder, kept, region } = await openRegion(t);
  const other = region.instance("test", "other", { create: true });
  await refused("ENODATA", "index 5", folder, () => kept.get(5));
  await refused("ENODATA", "index 3", folder, () => kept.freeRun(3));
  await refused("ENODATA", "index 5", folder, () => kept.handOver(5, other, 0));
});

provoke("ENODEV", "a FIFO, a device, a folder, a file in /proc", async (t) => {
  const folder = memoryFolder(t);
  const fifo = join(folder, "fifo");
  execFileSync("mkfifo", ["-m", "600", fifo]);
  for (const path of [fifo, "/dev/null", folder, "/proc/self/status"]) {
    await refused("ENODEV", path, folder, () => Region.open(path, { readOnly: path.startsWith("/proc") }));
  }
});

provoke("ENOENT", "no file, no folder, no descriptor", async (t) => {
  const folder = memoryFolder(t);
  const missing = join(folder, "missing.region");
  await refused("ENOENT", missing, folder, () => Region.open(missing));
  await refused("ENOENT", "fd:987654", folder, () => Region.open("fd:987654"));
  const deep = join(folder, "none", "new.region");
  await refused("ENOENT", deep, folder, () => Region.open(deep, { create: true, size: "1M" }));
});

provoke("ENOENT", "no instance of that name, or one that was deleted", async (t) => {
  const { folder, kept, region } = await openRegion(t);
  await refused("ENOENT", '"nobody"', folder, () => region.instance("test", "nobody"));
  await refused("ENOENT", '"nobody"', folder, () => region.disks.open("nobody"));
  kept.delete();
  await refused("ENOENT", '"kept"', folder, () => kept.write(3, eights));
});

provoke("ENOENT", "a sync or the first close of a region whose file was deleted meanwhile", async (t) => {
  const { folder, path, kept, region } = await openRegion(t);
  rmSync(path);
  await refused("ENOENT", path, folder, () => region.sync());
  kept.write(3, eights);
  assert.deepEqual(kept.read(3), eights);
  await refused("ENOENT", path, folder, () => region.close());
  await region.close();
});

provoke("ENOSPC", "a region that is full still takes new content for what it holds", async (t) => {
  const { folder, path, kept } = await openRegion(t);
  const fill = (): void => {
    for (let index = 10; ; index++) kept.write(index, sevens);
  };
  assert.throws(fill, { code: "ENOSPC" });
  await refused("ENOSPC", path, folder, () => kept.write(9, eights));
  await refused("ENOSPC", path, folder, () => kept.ensure(9));
  await refused("ENOSPC", path, folder, () => kept.ensureRun(0, 1));
  kept.write(10, eights);
  kept.free(11);
  kept.write(9, eights);
});

provoke("ENOSPC", "a region larger than its file system", async (t) => {
  const folder = memoryFolder(t);
  const path = join(folder, "huge.region");
  await refused("ENOSPC", path, folder, () => Region.open(path, { create: true, size: "1P" }));
});

provoke("EDQUOT", "a page more than an instance may have", async (t) => {
  const { folder, path } = await savedRegion(t);
  using region = await Region.open(path);
  const kept = region.instance("test", "kept");
  kept.setQuota({ maxPages: kept.pageCount });
  await refused("EDQUOT", '"kept"', folder, () => kept.write(4000, eights));
  kept.write(3, eights);
});

provokeAll("every errno of the table is provoked", isErrno);
