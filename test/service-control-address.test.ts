// Hazard: a command that speaks to the wrong server, or to none though one has the region open: it changes what it was
// not meant for, or is refused what it may do.

import assert from "node:assert/strict";
import { chownSync, existsSync, mkdirSync, openSync, renameSync, statSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { memoryFolder, perdure, perdureJson, RunningCli } from "./support/cli.ts";
import { listExports, serveControlled, succeeds } from "./support/control.ts";

describe("the control socket", () => {
  /** Makes a disk by a command that writes the region as `spelled`, and tells whether the server has made it. */
  async function isServed(region: string, spelled: string, options: object = {}): Promise<boolean> {
    const { code, stderr } = await perdure(["disk", "create", spelled, "new", "--size", "1M"], options);
    assert.equal(code, 0, stderr);
    return (await listExports(`${region}.sock`)).includes("new");
  }

  test("is its owner's alone, and gone when the server is", async (t) => {
    const { region, server } = await serveControlled(t);
    assert.equal(statSync(`${region}.control`).mode & 0o777, 0o600);
    await server.stop("SIGTERM");
    assert.ok(!existsSync(`${region}.control`));
  });

  test("is found however the region is spelled, from the server and to the command", async (t) => {
    const { region, folder, server } = await serveControlled(t);
    await server.stop("SIGTERM");
    symlinkSync(folder, join(folder, "link"));
    const options = { cwd: folder };
    await RunningCli.serve(t, ["serve", "./link/r"], options);
    for (const spelled of ["r", region, `../${basename(folder)}/r`, join(folder, "link", "r")]) {
      assert.ok(await isServed(region, spelled, options), spelled);
      await succeeds("disk", "rm", region, "new", "--purge");
    }
  });

  test("of a region without a folder is in that of the user", async (t) => {
    const folder = memoryFolder(t);
    const region = join(folder, "r");
    await succeeds("format", region, "--size", "8M");
    await succeeds("disk", "create", region, "pram0", "--size", "1M");
    const env = { XDG_RUNTIME_DIR: join(folder, "run") };
    mkdirSync(env.XDG_RUNTIME_DIR, { mode: 0o700 });
    const options = { env, stdio: ["ignore", "pipe", "pipe", openSync(region, "r+")] as never };
    const server = await RunningCli.serve(t, ["serve", "fd:3", "--unix", `${region}.sock`], options);
    assert.equal(statSync(join(env.XDG_RUNTIME_DIR, "perdure")).mode & 0o777, 0o700);
    assert.ok(!existsSync(`${region}.control`));
    assert.ok(await isServed(region, region, { env }));
    await server.stop("SIGTERM");
  });

  test("that a killed server left is recognised: a command works directly, the next server replaces it", async (t) => {
    const { region, server } = await serveControlled(t);
    await server.stop("SIGKILL");
    assert.ok(existsSync(`${region}.control`));
    await succeeds("disk", "create", region, "direct", "--size", "1M");
    await RunningCli.serve(t, ["serve", region]);
    assert.ok(await isServed(region, region));
    assert.deepEqual(await listExports(`${region}.sock`), ["direct", "new", "pram0"]);
  });

  test("of a server whose region was moved away does not change it for another one in its place", async (t) => {
    const { region, exports } = await serveControlled(t);
    renameSync(region, `${region}.moved`);
    await succeeds("format", region, "--size", "8M");
    await succeeds("disk", "create", region, "elsewhere", "--size", "1M");
    assert.deepEqual(await exports(), ["pram0"]);
    const found = await perdureJson<{ name: string }[]>("disk", "ls", region);
    assert.deepEqual(
      found.map(({ name }) => name),
      ["elsewhere"],
    );
  });

  test("of somebody else is not believed", async (t) => {
    if (process.geteuid?.() !== 0) return t.skip("needs root, to make a socket of another user");
    const { region, server } = await serveControlled(t);
    await server.stop("SIGTERM");
    let asked = 0;
    const trap = createServer(() => asked++).listen(`${region}.control`);
    t.after(() => trap.close());
    await new Promise((resolve) => trap.once("listening", resolve));
    chownSync(`${region}.control`, 65534, 65534);
    await succeeds("disk", "create", region, "direct", "--size", "1M");
    assert.equal(asked, 0);
  });

  test("is done without, and that is said, where there is no place for it", async (t) => {
    const { folder, region, server } = await serveControlled(t);
    await server.stop("SIGTERM");
    mkdirSync(`${region}.control`);
    const next = await RunningCli.serve(t, ["serve", region], { env: { XDG_RUNTIME_DIR: join(folder, "none") } });
    await next.says("stderr", /perdure: there is no control socket: disks cannot be changed while they are served: /);
    const { code, stderr } = await perdure(["disk", "rm", region, "pram0"]);
    assert.equal(code, 1);
    assert.match(stderr, /^perdure: LOCKED: .*open for writing in process/);
  });

  test("is not made by a server that only reads", async (t) => {
    const { region, server } = await serveControlled(t);
    await server.stop("SIGTERM");
    await RunningCli.serve(t, ["serve", region, "--read-only"]);
    assert.ok(!existsSync(`${region}.control`));
  });
});
