// Hazard: an error that nobody has seen: its code is wrong, its message names nothing, its remedy does not help, or
// what was refused is half done. Every code of the table is provoked here or in errors.test.ts, through what users
// call; docs/errors.md lists these tests by their names.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, gzipSync } from "node:zlib";
import { loadPlugins } from "../src/cli/plugins.ts";
import { registerFormat, unregisterFormat } from "../src/format/index.ts";
import { checkRegion, Region, repairRegion } from "../src/index.ts";
import { FailingMemory, Recording, RecordingMemory } from "../src/testing/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { forgeState, markFormatting } from "./support/images.ts";
import { provoke, provokeAll } from "./support/provoke.ts";
import { openRegion, pageBytes, refused, savedImage, savedRegion, sevens } from "./support/saved-region.ts";

const eights = new Uint8Array(pageBytes).fill(8);
const isErrno = (code: string): boolean => /^E[A-Z]+$/.test(code);

provoke("ABORTED", "an open and a check that an AbortSignal stops", async (t) => {
  const { folder, path } = await savedRegion(t);
  const signal = AbortSignal.abort();
  await refused("ABORTED", "stopped", folder, () => Region.open(path, { signal }));
  await refused("ABORTED", "stopped", folder, () =>
    Region.open(join(folder, "new"), { create: true, size: "1M", signal }),
  );
  await refused("ABORTED", "stopped", folder, () => checkRegion(path, { signal }));
});

provoke("CLOSED", "a region that was closed, a page that was disposed", async (t) => {
  const { folder, path, kept, region } = await openRegion(t);
  const page = kept.get(3);
  page[Symbol.dispose]();
  await refused("CLOSED", "index 3", folder, () => page.bytes);
  await region.close();
  await refused("CLOSED", path, folder, () => kept.write(3, eights));
  await refused("CLOSED", path, folder, () => region.list());
});

provoke("CORRUPT", "flipped bits, zeroes in the frame table, a damaged superblock", async (t) => {
  const { folder, path, page } = await savedRegion(t);
  const good = readFileSync(path);
  const entry = 4096 + 8 * page;
  const damage: ((image: Buffer) => void)[] = [
    (image) => flip(image, entry + 1),
    (image) => flip(image, entry + 6),
    (image) => image.fill(0, entry, entry + 64),
    (image) => [512, 1024].forEach((slot) => flip(image, slot + 300)),
    (image) => [28, image.length - 512 + 28].forEach((at) => flip(image, at)),
  ];
  for (const change of damage) {
    const image = Buffer.from(good);
    change(image);
    writeFileSync(path, image);
    await refused("CORRUPT", path, folder, () => Region.open(path));
    await refused("CORRUPT", path, folder, () => Region.open(path, { readOnly: true }));
  }
});

provoke("DATA_CORRUPT", "a page of which a byte has changed by itself is read, or written in part", async (t) => {
  const folder = memoryFolder(t);
  const path = join(folder, "sealed.region");
  const options = { create: true, size: "256K", pageSize: pageBytes, checksums: true };
  const region = await Region.open(path, options);
  region.instance("test", "kept", { create: true }).write(3, randomBytes(pageBytes));
  const held = region.instance("test", "kept").get(3);
  const { number } = held;
  held[Symbol.dispose]();
  await region.close();
  const image = readFileSync(path);
  flip(image, number * pageBytes + 100);
  writeFileSync(path, image);
  for (const readOnly of [false, true]) {
    const again = await Region.open(path, { readOnly });
    const kept = again.instance("test", "kept");
    await refused("DATA_CORRUPT", 'index 3 of test "kept"', folder, () => kept.read(3));
    if (!readOnly) await refused("DATA_CORRUPT", `page ${number}`, folder, () => kept.write(3, Uint8Array.of(1)));
    await again.close();
  }
});

provoke("FOREIGN_DATA", "file systems, programs, archives, text and bytes of no known kind", async (t) => {
  const folder = memoryFolder(t);
  const path = join(folder, "somebody.img");
  const ext4 = Buffer.alloc(65536);
  ext4.writeUInt16LE(0xef53, 1080);
  const backupOnly = Buffer.alloc(2 ** 21);
  backupOnly.write("EFI PART", backupOnly.length - 512);
  const foreign: Record<string, Buffer> = {
    "an ext2/3/4 file system": ext4,
    "an ELF program": readFileSync(process.execPath).subarray(0, 65536),
    "gzip data": gzipSync(randomBytes(65536)),
    text: Buffer.from("What a person wrote, line by line.\n".repeat(200)),
    "data of an unknown kind": Buffer.concat([Buffer.alloc(9000), Buffer.from([1, 2, 3, 4])]),
    "data at the end": backupOnly,
  };
  for (const [name, content] of Object.entries(foreign)) {
    writeFileSync(path, content, { mode: 0o600 });
    await refused("FOREIGN_DATA", name, folder, () => Region.open(path));
    await refused("FOREIGN_DATA", name, folder, () => Region.open(path, { create: true, size: "1M" }));
  }
});

provoke("LOCKED", "a region that this process or another one writes to", async (t) => {
  const { folder, path } = await savedRegion(t);
  const first = await Region.open(path);
  await refused("LOCKED", path, folder, () => Region.open(path));
  await first.close();
  const index = new URL("../src/index.js", import.meta.url).href;
  const program = `const { Region } = await import(${JSON.stringify(index)});
    await Region.open(${JSON.stringify(path)}); console.log("open"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program]);
  t.after(() => child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  await refused("LOCKED", path, folder, () => Region.open(path));
  const gone = new Promise((resolve) => child.once("close", resolve));
  child.kill("SIGKILL");
  await gone;
  const next = await Region.open(path);
  assert.equal(next.start.reason, "owner-died");
  await next.close();
});

provoke("MEMORY_LOST", "the file of an open region is made shorter", async (t) => {
  const { folder, path, kept, region } = await openRegion(t);
  truncateSync(path, 4096);
  await refused("MEMORY_LOST", path, folder, () => region.sync());
  await refused("POISONED", path, folder, () => kept.read(3));
});

provoke("PLUGIN", "a file that exports no format, a format whose code fails", async (t) => {
  const { folder, path } = await savedRegion(t);
  await refused("PLUGIN", "index.js", folder, () => loadPlugins([join(import.meta.dirname, "../src/index.js")]));
  const plugin = join(folder, "plugin.mjs");
  const methods = 'format() {}, probe() { throw new Error("no") }, cleanup() {}';
  writeFileSync(plugin, `export const format = { type: 4, name: "failing", ${methods} };`);
  await loadPlugins([plugin]);
  t.after(() => unregisterFormat(4));
  const image = readFileSync(path);
  image.writeUInt32LE(4, 8);
  writeFileSync(path, image);
  await refused("PLUGIN", plugin, folder, () => Region.open(path));
});

provoke("POISONED", "everything after a store that failed, until the region is opened again", async () => {
  const { image } = savedImage();
  const recording = new Recording(image.slice());
  const region = Region.attach(new FailingMemory(new RecordingMemory(recording), "sync", 1));
  const kept = region.instance("test", "kept");
  kept.write(3, eights);
  assert.throws(() => region.sync(), { code: "EIO" });
  const before = recording.image.slice();
  await refused("POISONED", "recorded memory", undefined, () => kept.write(3, sevens));
  await refused("POISONED", "recorded memory", undefined, () => kept.read(3));
  await region.close();
  assert.deepEqual(recording.image, before);
  const again = Region.attach(new RecordingMemory(recording));
  assert.deepEqual(again.instance("test", "kept").read(3), eights);
});

provoke("POISONED", "a second writer that the lock did not see has taken the region over", async () => {
  const { image } = savedImage();
  const recording = new Recording(image.slice());
  const first = Region.attach(new RecordingMemory(recording));
  const second = Region.attach(new RecordingMemory(recording));
  await refused("POISONED", "recorded memory", undefined, () => first.sync());
  await first.close();
  second.instance("test", "kept").write(3, eights);
  await second.close();
  assert.equal(Region.attach(new RecordingMemory(recording)).start.kind, "warm");
});

provoke("QUARANTINED", "a region whose last starts all failed, where nothing may take its place", async (t) => {
  const { folder, path } = await savedRegion(t);
  const image = readFileSync(path);
  forgeState(image, { state: 1, failedStarts: 3 });
  writeFileSync(path, image);
  await refused("QUARANTINED", path, folder, () => Region.open(path, { quarantineAfter: 3 }));
  await (await Region.open(path, { quarantineAfter: 4 })).close();
});

provoke("READ_ONLY", "a change of a region that was opened for reading", async (t) => {
  const { folder, path } = await savedRegion(t);
  const region = await Region.open(path, { readOnly: true });
  const create = { create: true, size: "4K" };
  await refused("READ_ONLY", path, folder, () => region.instance("test", "new", create));
  await refused("READ_ONLY", path, folder, () => region.disks.open("new", create));
  const kept = region.instance("test", "kept");
  await refused("READ_ONLY", path, folder, () => kept.write(3, eights));
  await refused("READ_ONLY", path, folder, () => kept.delete());
  await region.close();
});

provoke("SCHEMA_MISMATCH", "an instance of another schema number", async (t) => {
  const { folder, region } = await openRegion(t);
  region.instance("test", "table", { create: true, schema: 2 });
  await refused("SCHEMA_MISMATCH", '"table"', folder, () => region.instance("test", "table", { schema: 3 }));
  assert.equal(region.instance("test", "table", { schema: 2 }).schema, 2);
});

provoke("UNFORMATTED", "a blank file", async (t) => {
  const folder = memoryFolder(t);
  const path = join(folder, "blank");
  writeFileSync(path, Buffer.alloc(2 ** 20), { mode: 0o600 });
  await refused("UNFORMATTED", path, folder, () => Region.open(path, { readOnly: true }));
  await (await Region.open(path, { create: true })).close();
});

provoke("UNFORMATTED", "a memory whose format was cut off", async (t) => {
  const { folder, path } = await savedRegion(t);
  const image = readFileSync(path);
  // As a format leaves it that is killed before its last store.
  markFormatting(image);
  writeFileSync(path, image);
  await refused("UNFORMATTED", path, folder, () => Region.open(path));
  await refused("UNFORMATTED", path, folder, () => checkRegion(path));
  await refused("UNFORMATTED", path, folder, () => repairRegion(path));
  const region = await Region.open(path, { create: true });
  assert.equal(region.start.kind, "cold");
  await region.close();
});

provoke("UNKNOWN_FORMAT", "a superblock that names a format of somebody else", async (t) => {
  const { folder, path } = await savedRegion(t);
  const image = readFileSync(path);
  image.writeUInt32LE(2, 8);
  writeFileSync(path, image);
  await refused("UNKNOWN_FORMAT", "type 2", folder, () => Region.open(path));
  registerFormat({ type: 2, name: "mine", format: () => {}, probe: () => ({}), cleanup: () => {} });
  t.after(() => unregisterFormat(2));
  await refused("UNKNOWN_FORMAT", '"mine"', folder, () => Region.open(path));
});

provoke("UNSUPPORTED_VERSION", "a later format version, a feature that nobody here knows", async (t) => {
  const { folder, path } = await savedRegion(t);
  const good = readFileSync(path);
  const patch = (at: number, value: number): void => {
    const image = Buffer.from(good);
    image.writeUInt32LE(value, at);
    image.writeUInt32LE(crc32(image.subarray(12, 64)), 64);
    writeFileSync(path, image);
  };
  patch(12, 2);
  await refused("UNSUPPORTED_VERSION", "version 2", folder, () => Region.open(path));
  patch(24, 0x80);
  await refused("UNSUPPORTED_VERSION", "0x80", folder, () => Region.open(path));
  patch(20, 0x80);
  await refused("UNSUPPORTED_VERSION", path, folder, () => Region.open(path));
  await (await Region.open(path, { readOnly: true })).close();
});

provokeAll("every code of our own is provoked", (code) => !isErrno(code));

function flip(image: Buffer, at: number): void {
  image[at] ^= 1;
}
