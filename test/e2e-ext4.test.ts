// Hazard: a server that is killed while file systems and databases use its disks takes with it what they had been told
// is safe, or leaves blocks that are half old and half new, which no file system expects.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Random, seeded } from "../src/testing/index.ts";
import { perdureJson, type RunningCli } from "./support/cli.ts";
import { damagedFiles, FileWriter } from "./support/e2e-file-writer.ts";
import { MountedDisk } from "./support/e2e-mounted-disk.ts";
import { StampWriter } from "./support/e2e-stamp-writer.ts";
import { requireMounts, runTool, TestBed, until } from "./support/e2e-test-bed.ts";
import { run } from "./support/nbd-programs.ts";
import { seed } from "./support/seed.ts";
import { which } from "./support/tools.ts";

const MiB = 2 ** 20;
const rounds = 20;
const logBytes = 32 * MiB;

/** One region, one file system and one raw disk, which age over all rounds. */
class Torture {
  readonly region: string;
  readonly socket: string;
  readonly files: Map<string, string> = new Map();
  readonly stamps: StampWriter;
  /** What the kills have left of the raw disk, all rounds together. */
  readonly found = { inFlight: 0, newBlocks: 0, oldBlocks: 0 };
  readonly #bed: TestBed;
  readonly #random: Random;

  constructor(bed: TestBed, random: Random) {
    this.#bed = bed;
    this.#random = random;
    this.region = join(bed.folder, "region");
    this.socket = join(bed.folder, "socket");
    const log = { socket: this.socket, name: "log", sizeBytes: logBytes, blockBytes: 4096 };
    this.stamps = new StampWriter(log, random);
  }

  /** Starts a server, looks at everything that was there before, and kills it while clients write. */
  async round(round: number): Promise<void> {
    const { server, disk, folder } = await this.open(round);
    const options = { prefix: `round-${round}`, seed: Math.floor(this.#random() * 2 ** 31) };
    const writer = new FileWriter(this.#bed, folder, this.files, options);
    await until(() => writer.safeFiles >= 3, "the first files");
    const connections = await this.stamps.start(2);
    await sleep(50 + this.#random() * 350);
    await server.stop("SIGKILL");

    await Promise.all(connections);
    assert.equal(await writer.ended, 0);
    await disk.detach();
    const { findings } = await perdureJson<{ findings: readonly object[] }>("check", this.region);
    assert.deepEqual(findings, []);
  }

  /** Starts a server and looks at everything that the kill before has left. */
  async open(round: number): Promise<{ server: RunningCli; disk: MountedDisk; folder: string }> {
    const disks = ["--disk", "pram0=48M", "--disk", `log=${logBytes}`];
    const server = await this.#bed.serve(this.region, "--create", "--size", "128M", ...disks, "--unix", this.socket);
    assert.match(server.stderr, round === 0 ? /^cold/ : /^recovered/);
    const { inFlight, newBlocks, oldBlocks } = await this.stamps.judge();
    this.found.inFlight += inFlight;
    this.found.newBlocks += newBlocks;
    this.found.oldBlocks += oldBlocks;
    const disk = await MountedDisk.attach(this.#bed, server.uris[0]);
    if (round === 0) await runTool("mkfs.ext4", "-q", "-E", "nodiscard", disk.device);
    else await mend(disk.device);
    const folder = await disk.mount();
    assert.deepEqual(damagedFiles(folder, this.files), [], `files in round ${round}`);
    return { server, disk, folder };
  }
}

/** The journal mends what a kill left; after that nothing may be wrong. */
async function mend(device: string): Promise<void> {
  const e2fsck = which("e2fsck") ?? "e2fsck";
  const preen = await run(e2fsck, "-f", "-p", device);
  // 1: mended without a question, which the replay of the journal already is.
  assert.ok(preen.code === 0 || preen.code === 1, `e2fsck -p: ${preen.code}\n${preen.stdout}${preen.stderr}`);
  const check = await run(e2fsck, "-f", "-n", device);
  assert.equal(check.code, 0, check.stdout);
}

test(`${rounds} kills lose no synced file and no acknowledged block, and tear none (PERDURE_SEED=${seed})`, {
  timeout: 170_000,
}, async (t) => {
  if (!requireMounts(t, "mkfs.ext4", "e2fsck")) return;
  const torture = new Torture(new TestBed(t), seeded(seed));
  for (let round = 0; round < rounds; round++) await torture.round(round);
  await torture.open(rounds);
  const { files, found, stamps } = torture;
  const { acknowledged, acknowledgedFua } = stamps;
  t.diagnostic(JSON.stringify({ files: files.size, acknowledged, acknowledgedFua, ...found }));
  // The test is worth nothing when the kills come while nothing happens.
  assert.ok(found.inFlight >= rounds, "requests were under way");
  assert.ok(found.newBlocks > 0 && found.oldBlocks > 0, "some were done, some were not");
  assert.ok(acknowledgedFua > 0 && files.size > 2 * rounds);
});
