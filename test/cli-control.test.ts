// Hazard: a disk that is changed under those who use it: clients that see another disk than they opened, or lose what
// they were told was written; a command that says done and is not; one that changes a region it was not meant for.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { perdure, perdureJson, RunningCli, readDisk, writeDisk } from "./support/cli.ts";
import { isDisconnected, listExports, serveControlled, succeeds, ways } from "./support/control.ts";
import { run, start, succeed } from "./support/nbd-programs.ts";
import { requestFrame } from "./support/nbd-raw-client.ts";
import { requireTool } from "./support/tools.ts";

const KIB = 1024;
const MIB = KIB * KIB;
const WRITE = 1;
const old = Buffer.alloc(4096, "old");
const fresh = Buffer.alloc(4096, "fresh");

describe("commands on a region that a server has open", () => {
  /** What was said and how it ended, whatever the region is called. */
  async function outcome(region: string, ...args: string[]): Promise<unknown> {
    const { code, stdout, stderr } = await perdure(args.map((arg) => (arg === "R" ? region : arg)));
    return { args, code, stdout, stderr: stderr.replaceAll(region, "R").replaceAll(/[\d.]+ [KM]iB are free/g, "free") };
  }

  test("say, refuse and end as they do without one", async (t) => {
    const served = await serveControlled(t);
    const alone = join(served.folder, "alone");
    await succeeds("format", alone, "--size", "16M");
    await succeeds("disk", "create", alone, "pram0", "--size", "2M");
    const script = [
      ["disk", "create", "R", "pram1", "--size", "1M"],
      ["disk", "create", "R", "pram1", "--size", "1M"],
      ["disk", "create", "R", "odd", "--size", "1000"],
      ["disk", "create", "R", "n".repeat(300), "--size", "1M"],
      ["disk", "create", "R", "", "--size", "1M"],
      ["disk", "grow", "R", "pram1", "--size", "3M"],
      ["disk", "grow", "R", "pram1", "--size", "1M"],
      ["disk", "grow", "R", "nobody", "--size", "1M"],
      ["disk", "snapshot", "R", "pram0", "monday"],
      ["disk", "snapshot", "R", "pram0", "monday"],
      ["disk", "grow", "R", "monday", "--size", "4M"],
      ["disk", "clone", "R", "monday", "trial"],
      ["disk", "clone", "R", "pram1", "trial2"],
      ["disk", "promote", "R", "trial", "pram0"],
      ["disk", "promote", "R", "pram0", "monday"],
      ["disk", "promote", "R", "pram0", "pram0"],
      ["disk", "rename", "R", "pram1", "pram2"],
      ["disk", "rename", "R", "pram2", "pram0"],
      ["disk", "rename", "R", "pram2", "pram2"],
      ["disk", "rm", "R", "pram2"],
      ["disk", "rm", "R", "pram2"],
      ["disk", "create", "R", "pram2", "--size", "1M"],
      ["disk", "undelete", "R", "pram2"],
      ["disk", "undelete", "R", "pram2", "--as", "back"],
      ["disk", "undelete", "R", "never"],
      ["disk", "rm", "R", "back", "--purge"],
      ["disk", "rm", "R", "back", "--purge"],
      ["quota", "R", "pram0", "--min", "1M", "--max", "2M"],
      ["quota", "R", "pram0", "--max", "0", "--json"],
      ["quota", "R", "pram0", "--min", "5G"],
      ["quota", "R", "pram0", "--min", "2M", "--max", "1M"],
      ["quota", "R", "nobody", "--min", "1M"],
      ["quota", "R", "pram0"],
    ];
    for (const args of script) {
      const both = [served.region, alone].map((region) => outcome(region, ...args));
      const [through, direct] = await Promise.all(both);
      assert.deepEqual(through, direct);
    }
    const disks = async (region: string): Promise<unknown> => {
      const found = await perdureJson<{ created: string }[]>("disk", "ls", region);
      return found.map((disk) => ({ ...disk, created: "" }));
    };
    assert.deepEqual(await disks(served.region), await disks(alone));
    assert.deepEqual(await served.exports(), ["monday", "pram0", "pram2"]);
    await served.server.stop("SIGTERM");
    assert.deepEqual(await disks(served.region), await disks(alone), "and it is there when the server is gone");
    assert.equal((await perdureJson<{ findings: unknown[] }>("check", served.region)).findings.length, 0);
  });

  for (const { way, flags } of ways) {
    test(`${way}: disks come, go, and change their names for clients at once`, async (t) => {
      const { region, open, exports } = await serveControlled(t, ...flags);
      const first = await open("pram0");
      await writeDisk(first, 0, old);
      await succeeds("disk", "create", region, "pram1", "--size", "1M");
      assert.deepEqual(await exports(), ["pram0", "pram1"]);
      const second = await open("pram1");
      await writeDisk(second, 0, fresh);
      await succeeds("disk", "rename", region, "pram1", "scratch");
      assert.deepEqual(await exports(), ["pram0", "scratch"]);
      assert.deepEqual(await readDisk(second, 0, 4096), fresh, "who has it open goes on with it");
      assert.deepEqual(await readDisk(await open("scratch"), 0, 4096), fresh);
      await succeeds("disk", "rm", region, "scratch");
      assert.deepEqual(await exports(), ["pram0"]);
      assert.ok(await isDisconnected(second));
      await assert.rejects(open("scratch"), /GO failed/);
      await succeeds("disk", "undelete", region, "scratch");
      assert.deepEqual(await readDisk(await open("scratch"), 0, 4096), fresh);
      await succeeds("disk", "rm", region, "scratch", "--purge");
      assert.deepEqual(await readDisk(first, 0, 4096), old, "nobody else has noticed");
    });

    test(`${way}: a disk grows for clients that have it open, and for those that come`, async (t) => {
      const { region, open } = await serveControlled(t, ...flags);
      const client = await open("pram0");
      assert.equal(await client.errorOf({ type: WRITE, offset: 2 * MIB, payload: fresh }), 28);
      await succeeds("disk", "grow", region, "pram0", "--size", "4M");
      await writeDisk(client, 4 * MIB - 4096, fresh);
      assert.equal(await client.errorOf({ type: WRITE, offset: 4 * MIB, payload: fresh }), 28);
      assert.deepEqual(await readDisk(await open("pram0"), 4 * MIB - 4096, 4096), fresh);
    });

    test(`${way}: a snapshot keeps what it shows; promoting it, or a clone, brings that back`, async (t) => {
      const { region, open, exports } = await serveControlled(t, ...flags);
      const writer = await open("pram0");
      await writeDisk(writer, 0, old);
      await succeeds("disk", "snapshot", region, "pram0", "monday");
      await writeDisk(writer, 0, fresh);
      const monday = await open("monday");
      assert.deepEqual(await readDisk(monday, 0, 4096), old);
      assert.equal(await monday.errorOf({ type: WRITE, payload: fresh }), 1, "EPERM");
      await succeeds("disk", "promote", region, "monday", "pram0");
      assert.ok(await isDisconnected(writer), "what it had open is another disk now");
      assert.deepEqual(await readDisk(await open("pram0"), 0, 4096), old);
      assert.deepEqual(await readDisk(monday, 0, 4096), old);
      await succeeds("disk", "clone", region, "monday", "trial");
      const trial = await open("trial");
      await writeDisk(trial, 0, fresh);
      await succeeds("disk", "promote", region, "trial", "pram0");
      assert.deepEqual(await exports(), ["monday", "pram0"]);
      assert.deepEqual(await readDisk(trial, 0, 4096), fresh, "the clone has another name, and its clients stay");
      assert.deepEqual(await readDisk(await open("pram0"), 0, 4096), fresh);
    });

    test(`${way}: who is in the middle of a write to a disk that is deleted gets the answer`, async (t) => {
      const { region, open } = await serveControlled(t, ...flags);
      const client = await open("pram0");
      const payload = Buffer.alloc(64 * KIB, "whole");
      const frame = requestFrame({ type: WRITE, payload });
      client.send(frame.subarray(0, 1000));
      await writeDisk(await open("pram0"), MIB, old);
      const removed = [1, 2].map(() => perdure(["disk", "rm", region, "pram0"]));
      const isGone = async (): Promise<boolean> => (await listExports(`${region}.sock`)).length === 0;
      while (!(await isGone()));
      client.send(frame.subarray(1000));
      assert.equal((await client.simpleReply()).error, 0);
      assert.ok(await isDisconnected(client));
      const codes = (await Promise.all(removed)).map(({ code }) => code);
      assert.deepEqual(
        codes.toSorted((a, b) => Number(a) - Number(b)),
        [0, 1],
        "who asks for the same meanwhile finds it done",
      );
      await succeeds("disk", "undelete", region, "pram0");
      assert.deepEqual(await readDisk(await open("pram0"), 0, payload.length), payload);
    });
  }

  test("what is refused for certain costs no client its connection", async (t) => {
    const { region, open } = await serveControlled(t);
    await succeeds("disk", "snapshot", region, "pram0", "monday");
    const monday = await open("monday");
    for (const args of [
      ["promote", region, "pram0", "monday"],
      ["promote", region, "monday", "monday"],
    ]) {
      assert.notEqual((await perdure(["disk", ...args])).code, 0);
    }
    assert.equal((await readDisk(monday, 0, 4096)).length, 4096);
  });

  test("a client copies and another one sees new disks meanwhile", async (t) => {
    if (!requireTool(t, "nbdcopy", "nbdinfo", "fio")) return;
    const { region, folder, server } = await serveControlled(t);
    await succeeds("disk", "create", region, "big", "--size", "4M");
    const uri = (name: string): string => server.uris[0].replace("/pram0?", `/${name}?`);
    const image = join(folder, "image");
    writeFileSync(image, Buffer.alloc(4 * MIB, "content"));
    const load = ["--name=load", "--ioengine=nbd", `--uri=${uri("pram0")}`, "--rw=randwrite", "--bs=4k", "--iodepth=8"];
    const fio = start(
      t,
      "fio",
      ...load,
      "--time_based",
      "--runtime=30",
      "--verify=crc32c",
      "--do_verify=0",
      "--verify_state_save=0",
    );
    await succeed("nbdcopy", image, uri("big"));
    for (let k = 0; k < 5; k++) {
      const copied = succeed("nbdcopy", uri("big"), join(folder, `copy${k}`));
      await succeeds("disk", "create", region, `new${k}`, "--size", "1M");
      assert.equal((await succeed("nbdinfo", "--size", uri(`new${k}`))).trim(), String(MIB));
      await succeeds("disk", "snapshot", region, "pram0", `pram0-${k}`);
      await succeeds("disk", "snapshot", region, "big", `big-${k}`);
      await succeeds("disk", "grow", region, `new${k}`, "--size", "2M");
      assert.equal((await succeed("nbdinfo", "--size", uri(`new${k}`))).trim(), String(2 * MIB));
      await succeeds("disk", "rm", region, `new${k}`, "--purge");
      assert.notEqual((await run("nbdinfo", "--size", uri(`new${k}`))).code, 0);
      await succeeds("disk", "rm", region, `pram0-${k}`, "--purge");
      await copied;
      assert.equal((await run("cmp", image, join(folder, `copy${k}`))).code, 0);
    }
    assert.equal(fio.exitCode, null, "the load has not failed");
    fio.kill("SIGKILL");
    await server.stop("SIGTERM");
    assert.equal((await perdure(["check", region])).code, 0);
  });

  test("with --disk only what is named is served, whatever it is under that name", async (t) => {
    const { region, server } = await serveControlled(t);
    await server.stop("SIGTERM");
    await RunningCli.serve(t, ["serve", region, "--disk", "pram0=2M"]);
    const exports = (): Promise<string[]> => listExports(`${region}.sock`);
    await succeeds("disk", "create", region, "other", "--size", "1M");
    await succeeds("disk", "snapshot", region, "pram0", "monday");
    assert.deepEqual(await exports(), ["pram0"]);
    await succeeds("disk", "promote", region, "monday", "pram0");
    assert.deepEqual(await exports(), ["pram0"]);
    await succeeds("disk", "rm", region, "pram0");
    assert.deepEqual(await exports(), []);
    await succeeds("disk", "undelete", region, "pram0");
    assert.deepEqual(await exports(), ["pram0"]);
    await succeeds("disk", "rename", region, "pram0", "renamed");
    assert.deepEqual(await exports(), ["renamed"]);
    await succeeds("disk", "rename", region, "other", "pram0");
    assert.deepEqual(await exports(), ["renamed"]);
  });
});
