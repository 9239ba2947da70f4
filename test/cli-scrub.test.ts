// Hazard: a disk hands out bytes that have changed by themselves, takes its server down over them, or nobody can find
// out which of its blocks are concerned.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ScrubReport } from "../src/index.ts";
import { memoryFolder, perdure, perdureJson, RunningCli, readDisk, writeDisk } from "./support/cli.ts";
import { NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";

const READ = 0;
const EIO = 5;
const blockBytes = 4096;
const damagedBlock = 5;
const blocks = Buffer.from(Array.from({ length: 16 * blockBytes }, (_, k) => k * 7 + (k >>> 12) * 3));

/** A region with checksums and two disks; the first has 16 blocks, of which a bit of one is flipped. */
async function damagedRegion(t: TestContext): Promise<string> {
  const region = join(memoryFolder(t), "r");
  assert.equal((await perdure(["format", region, "--size", "8M", "--checksums"])).code, 0);
  const server = await RunningCli.serve(t, ["serve", region, "--disks", "1M,1M"]);
  const client = await NbdRawClient.open(`${region}.sock`, "pram0");
  t.after(() => client.vanish());
  await writeDisk(client, 0, blocks);
  await server.stop("SIGTERM");
  const image = readFileSync(region);
  const at = image.indexOf(blocks.subarray(damagedBlock * blockBytes, (damagedBlock + 1) * blockBytes));
  assert.ok(at > 0);
  image[at + 1000] ^= 1;
  writeFileSync(region, image);
  return region;
}

test("scrub tells the disk and the byte that are damaged, with exit code 3", async (t) => {
  const region = await damagedRegion(t);
  const { code, stdout, stderr } = await perdure(["scrub", region]);
  assert.equal(code, 3);
  assert.match(stdout, /read +16 pages of 4 KiB\nintact +15\nnot sealed +0\nresult +damaged: 1 page\n/);
  assert.match(stdout, /\ndisk pram0 +20480 +5 +\d+\n/);
  assert.match(stderr, /^perdure: DATA_CORRUPT: .*1 page\n {2}\w/);
  const json = await perdure(["scrub", region, "pram0", "pram1", "--json"]);
  assert.equal(json.code, 3);
  const report = JSON.parse(json.stdout) as ScrubReport;
  const { subsystem, name, index, offsetBytes } = report.damaged[0];
  assert.deepEqual([subsystem, name, index, offsetBytes], ["disk", "pram0", damagedBlock, damagedBlock * blockBytes]);
  assert.equal((await perdureJson<ScrubReport>("scrub", region, "pram1")).intactPages, 0);
});

test("a server answers EIO for a damaged block alone, and a block that is written whole is well again", async (t) => {
  const region = await damagedRegion(t);
  await RunningCli.serve(t, ["serve", region]);
  const client = await NbdRawClient.open(`${region}.sock`, "pram0");
  t.after(() => client.vanish());
  const offset = damagedBlock * blockBytes;
  for (const length of [blockBytes, 10]) {
    client.send(requestFrame({ type: READ, offset, length }));
    assert.equal((await client.simpleReply(length)).error, EIO);
  }
  await assert.rejects(writeDisk(client, offset + 100, Buffer.alloc(100)), /error 5/);
  assert.deepEqual(await readDisk(client, 0, offset), blocks.subarray(0, offset));
  await writeDisk(client, offset, blocks.subarray(offset, offset + blockBytes));
  assert.deepEqual(await readDisk(client, 0, blocks.length), blocks);
  const report = await perdureJson<ScrubReport>("scrub", region);
  assert.deepEqual([report.intactPages, report.damagedPages], [16, 0], "beside the server");
});

test("what cannot be scrubbed is refused, and info says why", async (t) => {
  const region = join(memoryFolder(t), "r");
  await perdure(["format", region, "--size", "4M"]);
  const { code, stderr } = await perdure(["scrub", region]);
  assert.equal(code, 2);
  assert.match(stderr, /^perdure: EINVAL: .*no checksums of its content\n {2}.*format --checksums/);
  assert.equal((await perdureJson<{ checksums: boolean }>("info", region)).checksums, false);
  const sealed = `${region}.sealed`;
  await perdure(["format", sealed, "--size", "4M", "--checksums"]);
  assert.equal((await perdureJson<{ checksums: boolean }>("info", sealed)).checksums, true);
  assert.match((await perdure(["info", sealed])).stdout, /^checksums +of metadata and of content$/m);
  const unknown = await perdure(["scrub", sealed, "pram0"]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /^perdure: ENOENT: .*"pram0"/);
});
