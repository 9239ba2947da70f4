/** Hazard: a message that names the wrong process as the owner of a region. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ownerIdentity } from "../src/memory/index.ts";

test("a process is told from every other by pid, start and boot", () => {
  const { pid, startTicks, bootId } = ownerIdentity();
  assert.equal(pid, process.pid);
  // The name of the process stands in brackets and may hold blanks, so fields are counted from the end of it.
  const fields = /^\d+ \(.*\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, "latin1"))?.[1].split(" ") ?? [];
  assert.equal(startTicks, Number(fields[19]));
  assert.ok(startTicks > 0);
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  assert.equal(Buffer.from(bootId).toString("hex"), boot.replaceAll("-", ""));
});
