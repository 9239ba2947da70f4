/** A server of two disks, killed again and again: one is under the load of fio, of the other every block counts. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { below, seeded } from "../../src/testing/index.ts";
import { perdureJson } from "../support/cli.ts";
import { StampWriter } from "../support/e2e-stamp-writer.ts";
import { ended, TestBed } from "../support/e2e-test-bed.ts";
import { addFigures } from "../support/figures.ts";
import { start } from "../support/nbd-programs.ts";
import { requireTool } from "../support/tools.ts";

const MiB = 2 ** 20;
const SIZE = 32 * MiB;

/** Each block must be what was acknowledged, or what a request under way would have made of it. */
export async function killServers(t: TestContext, seed: number, goesOn: () => boolean): Promise<void> {
  if (!requireTool(t, "fio")) return;
  const random = seeded(seed);
  const bed = new TestBed(t);
  const [region, socket] = [join(bed.folder, "region"), join(bed.folder, "socket")];
  const disks = ["--disk", `pram0=${SIZE}`, "--disk", `load=${SIZE}`];
  const args = [region, "--create", "--size", "96M", ...disks, "--unix", socket];
  const stamps = new StampWriter({ socket, name: "pram0", sizeBytes: SIZE, blockBytes: 4096 }, random);
  let kills = 0;
  for (; goesOn(); kills++) {
    const server = await bed.serve(...args);
    if (kills > 0) await stamps.judge();
    const uri = server.uris.find((one) => one.includes("load")) ?? "";
    const load = start(t, "fio", ...loadOf(uri));
    const connections = await stamps.start(2);
    await sleep(50 + below(random, 700));
    await server.stop("SIGKILL");
    await Promise.all(connections);
    load.kill("SIGKILL");
    await ended(load);
    const { findings } = await perdureJson<{ findings: readonly object[] }>("check", region);
    assert.deepEqual(findings, []);
  }
  assert.ok(stamps.acknowledged > 0, "requests were acknowledged");
  t.diagnostic(`${kills} kills of the server, ${stamps.acknowledged} requests acknowledged`);
  addFigures({
    "killed servers under load": kills,
    "killed servers under load, requests acknowledged": stamps.acknowledged,
    "killed servers under load, requests lost": 0,
  });
}

/** With --thread there is no second process that would outlive the kill. */
function loadOf(uri: string): string[] {
  const endless = ["--time_based", "--runtime=60", "--rw=randrw", "--bsrange=512-128k", "--bs_unaligned"];
  return ["--name=load", "--thread", "--ioengine=nbd", `--uri=${uri}`, `--size=${SIZE}`, "--iodepth=16", ...endless];
}
