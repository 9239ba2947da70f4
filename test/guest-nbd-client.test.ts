// Hazard: the kernel's own NBD client takes the end of a connection for the end of the disk, and the file system on it
// is lost until it is mounted anew. Only a kernel that has the client can show whether a relay keeps that from it.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { bootGuest, requireGuest } from "./guest/run.ts";
import { requireTool } from "./support/tools.ts";

test("a file system on the kernel's client goes on when its server was killed, twice over", async (t) => {
  const tools = ["nbd-client", "mkfs.ext4", "e2fsck"];
  if (!requireTool(t, ...tools) || !requireGuest(t)) return;
  const { lines, exit } = await bootGuest({
    program: join(import.meta.dirname, "guest/held-mount.js"),
    memoryMiB: 1024,
    modules: ["nbd"],
    tools,
    timeoutMs: 170_000,
  });
  try {
    const told = lines.filter((line) => /^(?:attached|life|the file|\d+ of|detached)/.test(line));
    assert.deepEqual(told, [
      "attached /dev/nbd0",
      "life 1: the writer ended with 0",
      "life 2: the writer ended with 0",
      "the file system is clean",
      "20 of 20 files are whole",
      "detached",
    ]);
    assert.equal(exit, 0);
  } catch (error) {
    console.error(lines.join("\n"));
    throw error;
  }
});
