/** Hazard: somebody is told to stop a process that has nothing to do with the region. */
import assert from "node:assert/strict";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { lockByte, lockHolder } from "../src/os/index.ts";
import { Child } from "./support/child.ts";
import { memoryFolder } from "./support/cli.ts";
import { openerProgram } from "./support/racing-opener.ts";

test("the holder of an exclusive lock of that file is found, and nobody else", (t) => {
  const folder = memoryFolder(t);
  const [path, other] = [join(folder, "file"), join(folder, "other")];
  for (const each of [path, other]) writeFileSync(each, "x");
  const [asking, holding, foreign] = [openSync(path, "r"), openSync(path, "r+"), openSync(other, "r+")];
  assert.equal(lockHolder(asking), undefined);
  lockByte(foreign, 0, "exclusive");
  lockByte(asking, 0, "shared");
  assert.equal(lockHolder(asking), undefined, "another file, and a reader's lock");
  closeSync(asking);
  lockByte(holding, 0, "exclusive");
  assert.equal(lockHolder(holding), process.pid);
  for (const fd of [holding, foreign]) closeSync(fd);
});

test("the holder is found in another process until that ends", async (t) => {
  const path = join(memoryFolder(t), "region");
  const child = new Child(t, ["race"], openerProgram);
  assert.equal(await child.line(), "ready");
  child.process.stdin?.write(`${path}\n`);
  assert.match(String(await child.line()), /^held /);
  const fd = openSync(path, "r");
  assert.equal(lockHolder(fd), child.process.pid);
  await child.kill();
  assert.equal(lockHolder(fd), undefined);
  closeSync(fd);
});
