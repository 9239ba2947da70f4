// Hazard: a server that dies at every start, is started again for ever, and takes its data with it; or one that ran for
// a month and loses its disks because it was killed for the third time.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import type { PreflightReport, RegionInfo } from "../src/index.ts";
import { memoryFolder, perdure, perdureJson, RunningCli, readDisk, writeDisk } from "./support/cli.ts";
import { until } from "./support/e2e-test-bed.ts";
import { stateOf } from "./support/images.ts";
import { NbdRawClient } from "./support/nbd-raw-client.ts";

const create = ["--create", "--size", "8M", "--disk", "pram0=2M"];
const payload = Buffer.alloc(64 * 1024, "perdure");

async function client(t: TestContext, region: string): Promise<NbdRawClient> {
  const found = await NbdRawClient.open(`${region}.sock`, "pram0");
  t.after(() => found.vanish());
  return found;
}

/** Serves and dies by kill -9, with something written in the first life. */
async function dieAtStart(t: TestContext, region: string, times: number, ...flags: string[]): Promise<void> {
  for (let k = 0; k < times; k++) {
    const server = await RunningCli.serve(t, ["serve", region, ...create, ...flags]);
    if (k === 0) await writeDisk(await client(t, region), 0, payload);
    await server.stop("SIGKILL");
  }
}

function asideIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.includes(".quarantine-"));
}

describe("a server that was killed three times at its start", () => {
  test("serves a fresh region the fourth time; the old one is whole, and can be brought back", async (t) => {
    const folder = memoryFolder(t);
    const region = join(folder, "r");
    await dieAtStart(t, region, 3);
    const fourth = await RunningCli.serve(t, ["serve", region, ...create]);
    assert.match(fourth.stderr, /^cold: starts failed in a row: the region before was put aside\n/);
    const [name] = asideIn(folder);
    assert.ok(fourth.stderr.includes(join(folder, name)), fourth.stderr);
    assert.deepEqual(await readDisk(await client(t, region), 0, payload.length), Buffer.alloc(payload.length));
    await fourth.stop("SIGTERM");
    const aside = join(folder, name);
    const info = await perdureJson<RegionInfo>("info", aside);
    assert.deepEqual([info.state, info.lives.length, info.instances], ["not-closed", 3, 1]);
    const back = await RunningCli.serve(t, ["serve", aside, "--quarantine-after", "0"]);
    assert.deepEqual(await readDisk(await client(t, aside), 0, payload.length), payload);
    assert.match(back.stderr, /^recovered: /);
    await back.stop("SIGTERM");
    const warm = await RunningCli.serve(t, ["serve", aside]);
    assert.match(warm.stderr, /^warm: /, "a clean end is healthy");
  });

  test("is refused without --create, as JSON too, and changes nothing", async (t) => {
    const folder = memoryFolder(t);
    const region = join(folder, "r");
    await dieAtStart(t, region, 3);
    const { code, stderr } = await perdure(["serve", region, "--json"]);
    assert.equal(code, 1);
    const { error } = JSON.parse(stderr) as { error: { code: string; remedy: string } };
    assert.equal(error.code, "QUARANTINED");
    assert.match(error.remedy, /--quarantine-after 0.*--create/);
    assert.deepEqual(asideIn(folder), []);
    assert.equal((await perdureJson<RegionInfo>("info", region)).lives.length, 3);
  });

  test("goes on where protection was turned off, and warns where it is on", async (t) => {
    const folder = memoryFolder(t);
    const region = join(folder, "r");
    await dieAtStart(t, region, 4, "--quarantine-after", "0");
    const fifth = await RunningCli.serve(t, ["serve", region, "--quarantine-after", "5"]);
    assert.match(fifth.stderr, /the last 4 starts failed; after 5 in a row the region is put aside or refused/);
    assert.deepEqual(asideIn(folder), []);
  });

  test("is told in the events with --json", async (t) => {
    const region = join(memoryFolder(t), "r");
    await dieAtStart(t, region, 2);
    const third = await RunningCli.serve(t, ["serve", region, ...create, "--quarantine-after", "2", "--json"]);
    const { stdout } = await third.stop("SIGTERM");
    const start = JSON.parse(stdout.split("\n")[0]) as Record<string, unknown>;
    assert.deepEqual([start.kind, start.reason], ["cold", "quarantined"]);
    assert.ok(existsSync(String(start.quarantined)));
  });
});

test("a server that lived long enough is never quarantined, however often it is killed", async (t) => {
  const folder = memoryFolder(t);
  const region = join(folder, "r");
  await dieAtStart(t, region, 2);
  for (let k = 0; k < 3; k++) {
    const server = await RunningCli.serve(t, ["serve", region, ...create, "--healthy-after", "0.001"]);
    await until(() => stateOf(readFileSync(region)).failedStarts === 0, "the start to be healthy");
    await server.stop("SIGKILL");
    const { outcome } = await perdureJson<PreflightReport>("preflight", region);
    assert.equal(outcome, "recovered");
  }
  assert.deepEqual(asideIn(folder), []);
  const last = await RunningCli.serve(t, ["serve", region, "--quarantine-after", "1"]);
  assert.match(last.stderr, /^recovered: /);
  assert.deepEqual(await readDisk(await client(t, region), 0, payload.length), payload);
});
