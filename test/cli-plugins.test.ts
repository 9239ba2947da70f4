// Hazard: somebody else's code inside of the command: what it does wrong looks like a defect of Perdure, harms a memory
// that is not its own, or ends in a stack trace.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { memoryFolder, perdure, perdureJson } from "./support/cli.ts";

const type = 0x80;
const sound = {
  type: String(type),
  name: '"mine"',
  format: "(memory) => memory.fill(4096, new Uint8Array([42]))",
  probe: "(memory) => memory.read(4096, 1)[0]",
  cleanup: "() => {}",
  describe: "(handle) => ({ answer: handle })",
};

/** Writes a plug-in whose format has these methods instead. */
function pluginWith(folder: string, change: Partial<typeof sound> = {}): string {
  const path = join(folder, `plugin-${readdirSync(folder).length}.mjs`);
  const fields = Object.entries({ ...sound, ...change }).map(([key, text]) => `${key}: ${text}`);
  writeFileSync(path, `export default { ${fields.join(", ")} };`);
  return path;
}

/** A folder, a plug-in and a memory of its format. */
async function madeBy(t: TestContext): Promise<{ folder: string; plugin: string; path: string }> {
  const folder = memoryFolder(t);
  const plugin = pluginWith(folder);
  const path = join(folder, "memory");
  const made = await perdure(["format", path, "--size", "64K", "--format", "mine", "--plugin", plugin]);
  assert.equal(made.code, 0, made.stderr);
  return { folder, plugin, path };
}

describe("a format that a plug-in brings", () => {
  test("is made by name or number, described, checked, and cleaned up", async (t) => {
    const { folder, plugin, path } = await madeBy(t);
    const info = await perdureJson<{ format: number; facts: unknown }>("info", path, "--plugin", plugin);
    assert.deepEqual([info.format, info.facts], [type, { answer: 42 }]);
    const check = await perdure(["check", path, "--plugin", plugin]);
    assert.match(check.stdout, /opens/);
    const other = join(folder, "other");
    const byNumber = ["format", other, "--size", "64K", "--format", String(type), "--plugin", plugin];
    assert.match((await perdure(byNumber)).stderr, /64 KiB in the format mine \(128\)/);
    assert.deepEqual(readFileSync(other).subarray(0, 12), readFileSync(path).subarray(0, 12));
  });

  test("is damaged where its probe says so: exit code 3", async (t) => {
    const { folder, path } = await madeBy(t);
    const probe = `() => { throw Object.assign(new Error("no answer"),
      { name: "PerdureError", code: "CORRUPT", remedy: "ask again" }); }`;
    const strict = pluginWith(folder, { probe });
    const { code, stderr } = await perdure(["check", path, "--plugin", strict]);
    assert.equal(code, 3);
    assert.equal(stderr, "perdure: CORRUPT: no answer\n  ask again\n");
  });

  test("is not known without the plug-in, and the message says what to pass", async (t) => {
    const { path } = await madeBy(t);
    for (const command of [["info"], ["ls"], ["check"], ["serve"], ["disk", "ls"]]) {
      const { code, stderr } = await perdure([...command, path]);
      assert.equal(code, 1);
      assert.match(stderr, /^perdure: UNKNOWN_FORMAT: .*type 128.*\n {2}.*--plugin FILE/);
    }
  });

  test("is no region: what lives in regions is refused, and nothing changes", async (t) => {
    const { folder, plugin, path } = await madeBy(t);
    const before = readFileSync(path);
    const onDisk = ["disk", "create", path, "pram0", "--size", "4K"];
    for (const command of [["ls", path], ["disk", "ls", path], ["serve", path], onDisk]) {
      const { code, stderr } = await perdure([...command, "--plugin", plugin]);
      assert.equal(code, 1);
      assert.match(stderr, /^perdure: UNKNOWN_FORMAT: .*"mine", no region/);
    }
    assert.deepEqual(readFileSync(path), before);
    assert.deepEqual(readdirSync(folder).toSorted(), ["memory", "plugin-0.mjs"]);
  });

  test("stands beside regions: they are opened as ever", async (t) => {
    const { folder, plugin } = await madeBy(t);
    const region = join(folder, "region");
    assert.equal((await perdure(["format", region, "--size", "1M", "--plugin", plugin])).code, 0);
    const info = await perdureJson<{ format: number }>("info", region, "--plugin", plugin, "--plugin", plugin);
    assert.equal(info.format, 1);
  });

  test("replaces a region only with --force, and takes no page size", async (t) => {
    const { folder, plugin, path } = await madeBy(t);
    const region = join(folder, "region");
    await perdure(["format", region, "--size", "64K"]);
    const before = readFileSync(region);
    const command = ["format", region, "--format", "mine", "--plugin", plugin];
    assert.match((await perdure(command)).stderr, /^perdure: EEXIST/);
    assert.match((await perdure([...command, "--page-size", "4K"])).stderr, /^perdure: EINVAL: .*--page-size/);
    assert.deepEqual(readFileSync(region), before);
    assert.equal((await perdure([...command, "--force"])).code, 0);
    assert.deepEqual(readFileSync(region), readFileSync(path));
  });
});

describe("a plug-in that is wrong ends in two lines that name it, and nothing else happens", () => {
  const files: [string, string, string | undefined, RegExp][] = [
    ["missing", "ENOENT", undefined, /there is no plug-in/],
    ["no JavaScript", "PLUGIN", "what a person wrote", /could not be loaded/],
    ["that throws when it is loaded", "PLUGIN", 'throw new Error("bad day");', /could not be loaded: bad day/],
    ["that imports what is not there", "PLUGIN", 'import "nowhere";', /could not be loaded: .*nowhere/],
    ["without an export", "PLUGIN", "const format = 1;", /exports no format/],
    ["whose export is half a format", "PLUGIN", 'export const format = { type: 2, name: "x" };', /exports no format/],
    ["that exports nothing", "PLUGIN", "export default null;", /exports no format/],
  ];
  for (const [what, code, text, message] of files) {
    test(what, async (t) => {
      const folder = memoryFolder(t);
      const plugin = join(folder, "plugin.mjs");
      if (text !== undefined) writeFileSync(plugin, text);
      await refusedBy(folder, plugin, code, message);
    });
  }

  const formats: [string, string, Partial<typeof sound>, RegExp][] = [
    ["a type of even parity", "EINVAL", { type: "3" }, /format type 3/],
    ["the type of regions", "EEXIST", { type: "1" }, /1 \(mine\), but there is 1 \(region\)/],
    ["the name of regions", "EEXIST", { name: '"region"' }, /128 \(region\), but there is 1 \(region\)/],
    ["a format that throws", "PLUGIN", { format: '() => { throw new Error("full"); }' }, /failed in format\(\): full/],
    ["a format that throws no error", "PLUGIN", { format: "() => { throw null; }" }, /failed in format\(\): null/],
    ["a probe that throws", "PLUGIN", { probe: '() => { throw new TypeError("x"); }' }, /failed in probe\(\): x/],
    ["a cleanup that throws", "PLUGIN", { cleanup: '() => { throw new Error("x"); }' }, /failed in cleanup\(\): x/],
    ["a description that throws", "PLUGIN", { describe: "() => nothing" }, /failed in describe\(\): nothing is not/],
  ];
  for (const [what, code, change, message] of formats) {
    test(what, async (t) => {
      const folder = memoryFolder(t);
      await refusedBy(folder, pluginWith(folder, change), code, message);
    });
  }

  async function refusedBy(folder: string, plugin: string, code: string, message: RegExp): Promise<void> {
    const path = join(folder, "memory");
    const command = ["format", path, "--size", "64K", "--format", "mine", "--plugin", plugin];
    const { code: exit, stdout, stderr } = await perdure(command);
    assert.equal(exit, code === "EINVAL" ? 2 : 1);
    assert.equal(stdout, "");
    assert.match(stderr, new RegExp(`^perdure: ${code}: `));
    assert.match(stderr, message);
    assert.equal(stderr.split("\n").length, 3, stderr);
    assert.doesNotMatch(stderr, /^\s+at /m);
    // What fails while the result is described was made.
    if (!/probe|cleanup|describe/.test(message.source)) assert.equal(existsSync(path), false);
  }
});
