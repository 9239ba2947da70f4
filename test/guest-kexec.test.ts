// Hazard: what holds for a killed process may not hold for a replaced kernel. The next kernel could clear, use or
// move the reserved memory, and stores that were never written back from the caches could be lost with the old one.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { bootGuest, requireGuest } from "./guest/run.ts";

test("a region on reserved memory is found whole by the kernel that kexec starts", async (t) => {
  if (!requireGuest(t)) return;
  const { lines, exit } = await bootGuest({
    program: join(import.meta.dirname, "guest/two-lives.js"),
    memoryMiB: 1536,
    reserve: { sizeMiB: 256, atMiB: 1024 },
    timeoutMs: 80_000,
  });
  try {
    assert.deepEqual(
      lines.filter((line) => line.startsWith("life ")),
      [
        "life 1: start cold, formatted",
        "life 1: wrote 4096 pages",
        "life 2: start recovered, machine-restarted",
        "life 2: 4096 pages, 0 bad words",
      ],
    );
    assert.equal(exit, 0);
  } catch (error) {
    console.error(lines.join("\n"));
    throw error;
  }
});
