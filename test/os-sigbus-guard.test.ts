/**
 * Hazard: somebody makes the file of a mapping shorter, and the process ends without a word at its next touch; or the
 * handler that should prevent it keeps a process alive that somebody else's fault should have ended.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { SigbusGuard } from "../src/os/sigbus-guard.ts";
import { sigbusHandler, sigbusHandlerCode, sigbusTable } from "../src/os/sigbus-handler.ts";
import { Child } from "./support/child.ts";
import { foreignExitCode, sigbusProgram } from "./support/child-sigbus.ts";
import { refusal } from "./support/region.ts";
import { requireTool, which } from "./support/tools.ts";

const skip = process.arch === "x64" ? false : "the guard is for x86-64 only";

function start(t: TestContext, ...args: string[]): Child {
  return new Child(t, args, sigbusProgram);
}

describe("memory that is lost under a guarded mapping", { skip }, () => {
  test("reads as zeroes, hundreds of times in two threads at once, and other mappings stay whole", async (t) => {
    const child = start(t, "storm");
    const lines = [await child.line(), await child.line()];
    assert.deepEqual(lines.map(String).sort(), ["main: 300 rounds, 0 wrong", "worker: 300 rounds, 0 wrong"]);
    assert.equal(await child.line(), "worker: exit code 0");
    assert.equal(await child.end(), 0);
  });
});

test("another thread is told of the mapping that it shares, whichever handler is installed", { skip }, async (t) => {
  const child = start(t, "borrow");
  assert.equal(await child.line(), "lost: true,false");
  assert.equal(await child.end(), 0);
});

describe("a signal that is not about guarded memory does what it did before", { skip }, () => {
  test("sent by another process, it ends this one", async (t) => {
    const child = start(t, "wait");
    assert.equal(await child.line(), "active");
    child.process.kill("SIGBUS");
    assert.equal(await child.end(), "SIGBUS");
    assert.equal(await child.line(), undefined);
  });

  test("sent by another process, it is ignored where it was ignored", async (t) => {
    const child = start(t, "wait", "ignored");
    assert.equal(await child.line(), "active");
    child.process.kill("SIGBUS");
    child.process.kill("SIGBUS");
    assert.equal(await child.end(), 0);
    assert.equal(await child.line(), "alive");
  });

  test("sent by another process, it goes to the handler that was there", async (t) => {
    const child = start(t, "wait", "handled");
    assert.equal(await child.line(), "active");
    child.process.kill("SIGBUS");
    assert.equal(await child.end(), foreignExitCode);
  });

  test("from a mapping that is not guarded, or not any longer, it ends the process", async (t) => {
    assert.equal(await start(t, "foreign").end(), "SIGBUS");
  });

  test("from a mapping that is not guarded, it goes to the handler that was there", async (t) => {
    assert.equal(await start(t, "foreign", "handled").end(), foreignExitCode);
  });

  const patience = { timeout: 20_000 };
  test("from a mapping that cannot be replaced, it ends the process and is not met for ever", patience, async (t) => {
    assert.equal(await start(t, "irreplaceable").end(), "SIGBUS");
  });
});

test("more mappings than the table holds are refused, until others end", { skip }, () => {
  const most = sigbusTable.tableBytes / sigbusTable.entryBytes - 1;
  // Addresses below the first that the kernel ever maps: nobody touches them.
  const guards = Array.from({ length: most }, () => new SigbusGuard(1n, 1));
  assert.throws(() => new SigbusGuard(1n, 1), refusal("EBUSY"));
  guards.pop()?.[Symbol.dispose]();
  guards.push(new SigbusGuard(1n, 1));
  for (const guard of guards) guard[Symbol.dispose]();
  for (const guard of guards) guard[Symbol.dispose]();
  new SigbusGuard(1n, 1)[Symbol.dispose]();
});

test("the bytes of the handler are the instructions that stand beside them", (t) => {
  if (!requireTool(t, "objdump")) return;
  const folder = mkdtempSync(join(tmpdir(), "perdure-handler-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "code");
  writeFileSync(file, sigbusHandlerCode());
  const options = ["-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--insn-width=16"];
  const text = execFileSync(which("objdump") ?? "", [...options, file], { encoding: "latin1" });
  const found = [...text.matchAll(/^ *([0-9a-f]+):\t([0-9a-f ]+)\t(.*)$/gm)].map(([, offset, bytes, assembly]) => [
    Number.parseInt(offset, 16),
    bytes.trim(),
    assembly
      .replace(/ +#.*/, "")
      .replace(/ +/g, " ")
      .replace(/\b0x(?=[0-9a-f]+$)/, (prefix) => (assembly.startsWith("j") ? "" : prefix))
      .toLowerCase()
      .trim(),
  ]);
  assert.deepEqual(
    found,
    sigbusHandler.map(([offset, bytes, assembly]) => [offset, bytes, assembly]),
  );
});
