// Hazard: an open, a format or a check of a large region that is stopped half-way leaves a lock, a file, memory that is
// taken, or a region that is not what it was.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatMemory, openMemory } from "../src/format/index.ts";
import { checkRegion, type Progress, Region } from "../src/index.ts";
import { analyze } from "../src/region/index.ts";
import { memoryFolder, RunningCli } from "./support/cli.ts";
import { refusal } from "./support/region.ts";

const MIB = 2 ** 20;
/** Long enough to be met in the middle, small enough for any machine. */
const largeBytes = 1024 * MIB;

type Act = (options: { signal: AbortSignal; onProgress: (progress: Progress) => void }) => Promise<unknown>;

/** Stops the work after each of its steps in turn, until it is done before. @returns what the steps were */
async function stopEverywhere(act: Act, after: () => void | Promise<void>): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let stopAt = 0; ; stopAt++) {
    const controller = new AbortController();
    if (stopAt === 0) controller.abort();
    let steps = 0;
    const onProgress = ({ what, doneBytes, totalBytes }: Progress): void => {
      assert.ok(doneBytes > 0 && doneBytes <= totalBytes);
      seen.add(what);
      if (++steps === stopAt) controller.abort();
    };
    const result = act({ signal: controller.signal, onProgress });
    if (stopAt > 0 && (await settles(result)) && steps < stopAt) return seen;
    await assert.rejects(result, refusal("ABORTED"));
    await after();
  }
}

function settles(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

async function closedRegion(t: TestContext): Promise<string> {
  const path = join(memoryFolder(t), "region");
  const region = await Region.open(path, { create: true, size: "16M", pageSize: 512 });
  region.instance("test", "kept", { create: true }).write(3, Buffer.from("kept"));
  await region.close();
  return path;
}

describe("stopped at any step", () => {
  test("making a region leaves nothing behind", async (t) => {
    const folder = memoryFolder(t);
    const path = join(folder, "region");
    const create: Act = async (options) => {
      const region = await Region.open(path, { create: true, size: "128M", ...options });
      await region.close();
    };
    const seen = await stopEverywhere(create, () => {
      // What had its name already is whole.
      const left = readdirSync(folder);
      if (left.length === 0) return;
      assert.equal(analyze(openMemory(path, { readOnly: true })).state.generation, 0);
      rmSync(path);
    });
    assert.deepEqual([...seen], ["reserving memory", "reading the frame table"]);
  });

  test("formatting a blank file leaves it blank, or whole", async (t) => {
    const path = join(memoryFolder(t), "region");
    writeFileSync(path, "", { mode: 0o600 });
    truncateSync(path, 9 * MIB);
    const seen = await stopEverywhere(
      (options) => Region.open(path, { create: true, ...options }).then((region) => region.close()),
      () => {
        const head = readFileSync(path).subarray(0, 4);
        assert.ok(["00000000", "53524550"].includes(head.toString("hex")));
      },
    );
    assert.deepEqual([...seen], ["looking for data", "reserving memory", "reading the frame table"]);
  });

  test("opening leaves the region as it was, and unlocked", async (t) => {
    const path = await closedRegion(t);
    const before = readFileSync(path);
    const open: Act = async (options) => {
      const region = await Region.open(path, options);
      assert.equal(region.start.kind, "warm");
      await region.close();
    };
    const seen = await stopEverywhere(open, () => {
      assert.ok(before.equals(readFileSync(path)));
      openMemory(path).close();
    });
    assert.deepEqual([...seen], ["reading the frame table"]);
  });

  test("a check ends at once", async (t) => {
    const path = await closedRegion(t);
    const seen = await stopEverywhere(
      (options) => checkRegion(path, options),
      () => undefined,
    );
    assert.deepEqual([...seen], ["reading the frame table"]);
  });
});

describe("Ctrl-C", () => {
  test("during `format` ends with 130 and leaves nothing", async (t) => {
    const folder = memoryFolder(t);
    const command = new RunningCli(["format", join(folder, "region"), "--size", String(largeBytes)]);
    await hasOpen(command.pid, folder);
    const { code, stderr } = await command.stop("SIGINT");
    assert.equal(code, 130, stderr);
    assert.match(stderr, /^perdure: ABORTED: /);
    assert.deepEqual(readdirSync(folder), []);
  });

  test("during `check` ends with 130 and changes nothing", async (t) => {
    const folder = memoryFolder(t);
    const path = join(folder, "region");
    writeFileSync(path, "", { mode: 0o600 });
    truncateSync(path, 16 * largeBytes);
    // Holes stand in for pages that nobody stores into: this region is larger than the machine's memory.
    const memory = openMemory(path, { keepHoles: true });
    formatMemory(memory, 1, { force: true });
    memory.close();
    const before = statSync(path).blocks;
    const command = new RunningCli(["check", path]);
    await hasOpen(command.pid, folder);
    const { code, stdout } = await command.stop("SIGINT");
    assert.equal(code, 130);
    assert.equal(stdout, "");
    assert.equal(statSync(path).blocks, before);
  });
});

/** Waits until a process has a file of a folder open. */
async function hasOpen(pid: number, folder: string): Promise<void> {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(1)) {
    const links = readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
    if (links.some((link) => link.startsWith(folder))) return;
  }
  assert.fail(`process ${pid} did not open anything in ${folder}`);
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // It was closed meanwhile.
    return "";
  }
}
