// Hazard: the first thing that a new user tries. It must find a place for the region by itself, say which, and find
// everything again.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { chooseFolder } from "../src/cli/default-folder.ts";
import { memoryFolder, perdure, perdureJson, RunningCli, writeDisk } from "./support/cli.ts";
import { NbdRawClient } from "./support/nbd-raw-client.ts";

const MiB = 2 ** 20;

describe("start", () => {
  test("serves pram0 from a private folder, and finds everything again after kill -9", async (t) => {
    const env = { PERDURE_DIR: memoryFolder(t) };
    const folder = join(env.PERDURE_DIR, "perdure");
    const region = join(folder, "default.region");
    const first = await RunningCli.serve(t, ["start"], { env });
    await first.says("stderr", /Stop with Ctrl-C/);
    assert.deepEqual(first.uris, [`nbd+unix:///pram0?socket=${region}.sock`]);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    assert.equal(statSync(region).mode & 0o777, 0o600);
    assert.match(first.stderr, /^the region is .*default\.region \(PERDURE_DIR\)\ncold: /);
    const client = await NbdRawClient.open(`${region}.sock`, "pram0");
    t.after(() => client.vanish());
    await writeDisk(client, MiB, Buffer.alloc(MiB, 7));
    await first.stop("SIGKILL");
    const second = await RunningCli.serve(t, ["start"], { env });
    assert.match(
      second.stderr,
      new RegExp(`\nrecovered: .* \\(process ${first.pid}\\)\n {2}generation 2, 256 blocks `),
    );
  });

  test("the disk takes 512 MiB, and takes them again when it is full", async (t) => {
    const env = { PERDURE_DIR: memoryFolder(t) };
    const server = await RunningCli.serve(t, ["start"], { env });
    const region = join(env.PERDURE_DIR, "perdure", "default.region");
    const client = await NbdRawClient.open(`${region}.sock`, "pram0");
    t.after(() => client.vanish());
    for (const value of [1, 2]) {
      const payload = Buffer.alloc(32 * MiB, value);
      for (let offset = 0; offset < 512 * MiB; offset += payload.length) await writeDisk(client, offset, payload);
    }
    const [disk] = await perdureJson<{ sizeBytes: number; allocatedBytes: number }[]>("disk", "ls", region);
    assert.equal(disk.sizeBytes, 512 * MiB);
    assert.equal(disk.allocatedBytes, 512 * MiB);
    assert.equal((await server.stop("SIGTERM")).code, 0);
  });

  test("a folder that was asked for and cannot be used is refused, and nothing else is tried", async (t) => {
    const folder = memoryFolder(t);
    const { code, stderr } = await perdure(["start", "--dir", join(folder, "none")]);
    assert.equal(code, 1);
    assert.match(stderr, /^perdure: ENOENT: .*none is no folder\n/);
    mkdirSync(join(folder, "perdure"));
    chmodSync(join(folder, "perdure"), 0o777);
    const open = await perdure(["start"], { env: { PERDURE_DIR: folder } });
    assert.match(open.stderr, /^perdure: EACCES: .*\n {2}.*chmod 700/);
  });
});

describe("the folder of the default region", () => {
  // Not the name that `npm start` gives: a region of that in shared memory would be preferred, rightly.
  const wish = { dir: undefined, file: "only-in-this-test.region", roomBytes: 1 };

  test("is the first that has room; the refused ones are told with a reason", (t) => {
    const folder = memoryFolder(t);
    writeFileSync(join(folder, "file"), "");
    const { folder: chosen, from } = chooseFolder({ ...wish, env: { XDG_RUNTIME_DIR: folder } });
    assert.equal(chosen, join(folder, "perdure"));
    assert.equal(from, "XDG_RUNTIME_DIR");
    const noFolder = { ...wish, env: { XDG_RUNTIME_DIR: join(folder, "file") }, dir: folder };
    assert.equal(chooseFolder(noFolder).folder, join(folder, "perdure"), "--dir comes first");
  });

  test("needs no room where the region is already", (t) => {
    const folder = memoryFolder(t);
    mkdirSync(join(folder, "perdure"), { mode: 0o700 });
    writeFileSync(join(folder, "perdure", wish.file), "");
    const chosen = chooseFolder({ ...wish, env: { XDG_RUNTIME_DIR: folder }, roomBytes: 2 ** 60 });
    assert.equal(chosen.folder, join(folder, "perdure"));
  });

  test("without room anywhere the error says what to paste", () => {
    const noRoom = (error: unknown): boolean =>
      isPerdureError(error, "ENOSPC") &&
      /shared memory: \/dev\/shm has .* free/.test(error.message) &&
      /mount -t tmpfs -o size=\d+G,mode=700,uid=\d+ perdure \/mnt\/perdure/.test(error.remedy);
    assert.throws(() => chooseFolder({ ...wish, env: {}, roomBytes: 2 ** 60 }), noRoom);
  });

  test("is never a link that somebody else may have planted", (t) => {
    const folder = memoryFolder(t);
    mkdirSync(join(folder, "elsewhere"), { mode: 0o700 });
    symlinkSync(join(folder, "elsewhere"), join(folder, "perdure"));
    assert.throws(() => chooseFolder({ ...wish, dir: folder, env: {} }), /no folder of this user alone/);
  });
});
