// Hazard: a message that sends people the wrong way: to destroy a region that could be mended, to look for a file that
// is not the cause, or to use another file than they meant.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { memoryFolder, perdure } from "./support/cli.ts";

test("a region without its superblock is told to be checked before it is formatted, and can be", async (t) => {
  const region = join(memoryFolder(t), "r");
  await perdure(["format", region, "--size", "1M"]);
  await perdure(["disk", "create", region, "pram0", "--size", "64K"]);
  writeFileSync(region, readFileSync(region).fill(0, 0, 4096));
  const { code, stderr } = await perdure(["disk", "ls", region]);
  assert.equal(code, 1);
  assert.match(stderr, /^perdure: FOREIGN_DATA: .*\n.*`perdure check` .* damaged region/);
  assert.equal((await perdure(["check", region, "--repair"])).code, 0);
  assert.match((await perdure(["disk", "ls", region])).stdout, /^pram0 /m);
});

test("a region that was cut off is told how to be read again", async (t) => {
  const region = join(memoryFolder(t), "r");
  await perdure(["format", region, "--size", "1M"]);
  truncateSync(region, 2 ** 19);
  const { code, stderr } = await perdure(["check", region]);
  assert.equal(code, 3);
  assert.match(stderr, /^perdure: CORRUPT: .*\n.*bring back a copy.*truncate -s/);
  truncateSync(region, 2 ** 20);
  assert.equal((await perdure(["check", region, "--repair"])).code, 0);
});

test("a path that is empty, or no UTF-8, is refused, and no file is made", async (t) => {
  const folder = memoryFolder(t);
  for (const path of ["", join(folder, "a\u{FFFD}")]) {
    const { code, stderr } = await perdure(["format", path, "--size", "1M"]);
    assert.equal(code, 2);
    assert.match(stderr, /^perdure: EINVAL: REGION: the path is /);
  }
  assert.deepEqual(readdirSync(folder), []);
});

test("what stands in the way is named: a link, a folder that is missing, a file system without regions", async (t) => {
  const folder = memoryFolder(t);
  symlinkSync("r", join(folder, "link"));
  const link = await perdure(["info", join(folder, "link")]);
  assert.match(link.stderr, /^perdure: EACCES: .*symbolic link.*\n.*the file that the link leads to/);
  const lost = await perdure(["format", join(folder, "none", "r"), "--size", "1M"]);
  assert.match(lost.stderr, /^perdure: ENOENT: .*\n.*check the path and its folder/);
  const proc = await perdure(["format", "/proc/r", "--size", "1M"]);
  assert.match(proc.stderr, /^perdure: ENODEV: /);
  const start = await perdure(["start", "--dir", join(folder, "none")]);
  assert.match(start.stderr, /^perdure: ENOENT: .*is no folder\n.*mkdir -p/);
});

test("preflight does not count failed starts that it cannot read", async (t) => {
  const region = join(memoryFolder(t), "r");
  writeFileSync(region, "", { mode: 0o600 });
  assert.match((await perdure(["preflight", region])).stdout, /^failed starts +unknown/m);
  const { stdout } = await perdure(["preflight", region, "--json"]);
  assert.equal((JSON.parse(stdout) as { failedStarts: unknown }).failedStarts, null);
});
