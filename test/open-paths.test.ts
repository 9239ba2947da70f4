/**
 * Hazard: a region in a file that was changed by others between two steps of opening it, or something else in its
 * place: the wrong file is written, a file that nobody finds is used, or what belongs to others is changed.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { Region } from "../src/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { requireRoot } from "./support/mounts.ts";
import { formattedImage, openCopy, refusal } from "./support/region.ts";
import { type CallName, held, intercept } from "./support/system-faults.ts";

/** The user "nobody" of every Linux. */
const NOBODY = 65_534;

/** A closed region with a note in it, as a file. */
function placeRegion(path: string, note: number): void {
  const { region, recording } = openCopy(formattedImage(512));
  region.instance("test", "note", { create: true }).write(0, Uint8Array.of(note));
  region[Symbol.dispose]();
  writeFileSync(path, recording.image, { mode: 0o600 });
}

async function noteIn(path: string): Promise<number> {
  const region = await Region.open(path);
  const [note] = region.instance("test", "note").read(0);
  await region.close();
  return note;
}

/** The calls of an open and a close, each with what of the path it was given. */
async function callsOf(path: string): Promise<{ name: CallName; byPath: boolean }[]> {
  const calls: { name: CallName; byPath: boolean }[] = [];
  using _ = intercept((name, _nth, make, args) => {
    calls.push({ name, byPath: args.includes(path) });
    return make();
  });
  await (await Region.open(path)).close();
  return calls;
}

describe("a path that changes between two steps of opening it", () => {
  test("is used once to open it and once to see whether it is still the same file", async (t) => {
    const path = join(memoryFolder(t), "region");
    placeRegion(path, 1);
    const calls = await callsOf(path);
    const byPath = calls.filter((call) => call.byPath).map(({ name }) => name);
    assert.deepEqual(byPath, ["open", "stat"]);
    const names = calls.map(({ name }) => name);
    assert.ok(names.indexOf("fcntl") < names.indexOf("stat"), "it is compared when the lock is held");
  });

  type Change = (path: string, other: string) => void;
  const changes: Readonly<Record<string, Change>> = {
    unlinked: unlinkSync,
    "replaced by another region": (path, other) => renameSync(other, path),
    "replaced by a link to another region": (path, other) => {
      unlinkSync(path);
      symlinkSync(other, path);
    },
    "replaced by a folder": (path) => {
      unlinkSync(path);
      mkdirSync(path);
    },
    "given to everybody": (path) => chmodSync(path, 0o666),
    "cut off": (path) => truncateSync(path, 0),
    "cut in two": (path) => truncateSync(path, 100_000),
  };
  for (const [name, change] of Object.entries(changes)) {
    test(`${name}: the file that others find is opened, or none`, async (t) => {
      const folder = memoryFolder(t);
      const [path, other] = [join(folder, "region"), join(folder, "other")];
      placeRegion(path, 1);
      const names = (await callsOf(path)).map((call) => call.name);
      // From the mapping on the file is in use, and no open is there to refuse it any more.
      const last = names.indexOf("mmap");
      for (let nth = 1; nth <= last; nth++) await changeAt(folder, path, other, change, nth, names.indexOf("stat") + 1);
    });
  }
});

/** Changes the path before the n-th call of an open. */
async function changeAt(
  folder: string,
  path: string,
  other: string,
  change: (path: string, other: string) => void,
  nth: number,
  compared: number,
): Promise<void> {
  rmSync(path, { recursive: true, force: true });
  placeRegion(path, 1);
  placeRegion(other, 2);
  const otherImage = readFileSync(other);
  const before = held(folder);
  let opened: Region | undefined;
  {
    using _ = intercept((_name, call, make) => {
      if (call === nth) change(path, other);
      return make();
    });
    try {
      opened = await Region.open(path);
    } catch (error) {
      assert.ok(isPerdureError(error), `call ${nth}: ${(error as Error).stack}`);
    }
  }
  if (opened !== undefined && nth <= compared) {
    assert.equal(opened.info().state, "open");
    const [note] = opened.instance("test", "note").read(0);
    assert.equal(note, lstatSync(path).isFile() && existsSync(other) ? 1 : 2, `call ${nth}: what the path names`);
  }
  await opened?.close().catch((error: unknown) => {
    // A file without a name is given up at the second close only.
    assert.ok(isPerdureError(error, "ENOENT"), String(error));
    return opened.close();
  });
  assert.deepEqual(held(folder), before);
  if (opened === undefined && existsSync(other)) assert.deepEqual(readFileSync(other), otherImage, `call ${nth}`);
}

describe("what stands in the way of a region that is to be created", () => {
  const things: Readonly<Record<string, { make: (path: string) => unknown; code: "EACCES" | "ENODEV" }>> = {
    "a link to a file": { make: (path) => symlinkSync("target", path), code: "EACCES" },
    "a link to nothing": { make: (path) => symlinkSync("nothing", path), code: "EACCES" },
    "a pipe": { make: (path) => execFileSync("mkfifo", ["-m", "600", path]), code: "ENODEV" },
    "a folder": { make: (path) => mkdirSync(path), code: "ENODEV" },
    "a socket": { make: listenAt, code: "ENODEV" },
    "a file that its group may write": { make: (path) => writeMode(path, 0o660), code: "EACCES" },
    "a file that everybody may write": { make: (path) => writeMode(path, 0o606), code: "EACCES" },
    "a tiny file": { make: (path) => writeMode(path, 0o600), code: "ENODEV" },
  };
  for (const [name, { make, code }] of Object.entries(things)) {
    test(`${name} is refused and stays as it is`, { timeout: 10_000 }, async (t) => {
      const folder = memoryFolder(t);
      const path = join(folder, "region");
      writeFileSync(join(folder, "target"), "somebody else's", { mode: 0o600 });
      await make(path);
      const found = (): unknown[] => readdirSync(folder).map((entry) => [entry, statsOf(join(folder, entry))]);
      const before = found();
      for (const readOnly of [false, true]) {
        await assert.rejects(Region.open(path, { create: true, size: "1M", readOnly }), refusal(code));
      }
      assert.deepEqual(found(), before);
      assert.equal(readFileSync(join(folder, "target"), "utf8"), "somebody else's");
    });
  }

  test("a foreign file, also where everybody may put one, is refused and stays as it is", async (t) => {
    if (!requireRoot(t)) return;
    const folder = memoryFolder(t);
    for (const mode of [0o777, 0o1777, 0o770]) {
      chmodSync(folder, mode);
      const path = join(folder, `region-${mode}`);
      placeRegion(path, 3);
      chownSync(path, NOBODY, NOBODY);
      for (const readOnly of [false, true]) {
        await assert.rejects(Region.open(path, { create: true, size: "1M", readOnly }), refusal("EACCES"));
      }
      assert.equal(statSync(path).uid, NOBODY);
      chownSync(path, 0, 0);
      assert.equal(await noteIn(path), 3, "the folder is no reason to refuse what is one's own");
    }
  });

  test("another user neither opens the region of this one nor makes one in its folder", async (t) => {
    if (!requireRoot(t)) return;
    const folder = memoryFolder(t);
    const path = join(folder, "region");
    placeRegion(path, 4);
    const asNobody = async (act: () => Promise<unknown>): Promise<void> => {
      process.seteuid?.(NOBODY);
      try {
        await act();
      } finally {
        process.seteuid?.(0);
      }
    };
    for (const [folderMode, mode] of [
      [0o700, 0o600],
      [0o755, 0o600],
      [0o755, 0o644],
    ]) {
      chmodSync(folder, folderMode);
      chmodSync(path, mode);
      for (const readOnly of [false, true]) {
        await asNobody(() => assert.rejects(Region.open(path, { readOnly }), refusal("EACCES")));
      }
      const fresh = Region.open.bind(Region, join(folder, "new"), { create: true, size: "1M" });
      await asNobody(() => assert.rejects(fresh(), refusal("EACCES")));
    }
    assert.deepEqual(readdirSync(folder), ["region"]);
    assert.equal(await noteIn(path), 4);
  });
});

test("a hard link is the same region: one lock, one content", async (t) => {
  const folder = memoryFolder(t);
  const [path, link] = [join(folder, "region"), join(folder, "link")];
  placeRegion(path, 5);
  linkSync(path, link);
  const region = await Region.open(path);
  const holder = new RegExp(`^${link} is open for writing in process ${process.pid}$`);
  await assert.rejects(Region.open(link), { code: "LOCKED", message: holder });
  unlinkSync(path);
  region.instance("test", "note").write(0, Uint8Array.of(6));
  await region.close();
  assert.equal(await noteIn(link), 6);
});

function writeMode(path: string, mode: number): void {
  writeFileSync(path, "", { mode: 0o600 });
  chmodSync(path, mode);
}

function statsOf(path: string): unknown[] {
  const { mode, ino, size, uid, mtimeMs } = lstatSync(path);
  return [mode, ino, size, uid, mtimeMs];
}

/** A socket file; nobody listens there any longer. */
async function listenAt(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  // Closing would unlink it.
  renameSync(path, `${path}.kept`);
  await new Promise((resolve) => server.close(resolve));
  renameSync(`${path}.kept`, path);
  chmodSync(path, 0o600);
}
