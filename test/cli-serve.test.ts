// Hazard: a server whose end, orderly or not, loses what clients were told was written, or that leaves a user without a
// word about who holds his region.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { memoryFolder, perdure, perdureBin, perdureJson, RunningCli, readDisk, writeDisk } from "./support/cli.ts";
import { makeCertificates } from "./support/nbd-certificates.ts";
import { run } from "./support/nbd-programs.ts";
import { NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";
import { requireTool } from "./support/tools.ts";

const create = ["--create", "--size", "8M"];

describe("serve", () => {
  test("says ready when clients can connect, and ends clean on SIGTERM: the next start is warm", async (t) => {
    const folder = memoryFolder(t);
    const region = join(folder, "a.region");
    const server = await RunningCli.serve(t, ["serve", region, ...create, "--disks", "2M,1M"]);
    assert.match(server.stderr, /^cold: the region was new/);
    const socket = `${region}.sock`;
    assert.deepEqual(server.uris, [`nbd+unix:///pram0?socket=${socket}`, `nbd+unix:///pram1?socket=${socket}`]);
    assert.equal(statSync(socket).mode & 0o777, 0o600);
    assert.equal(statSync(region).mode & 0o777, 0o600);
    const { code, stderr } = await server.stop("SIGTERM");
    assert.equal(code, 0);
    assert.match(stderr, /closed: the next start is warm/);
    assert.deepEqual(readdirSync(folder), ["a.region"], "the socket is gone");
    const next = await RunningCli.serve(t, ["serve", region]);
    assert.match(next.stderr, new RegExp(`^warm: the last owner closed the region \\(process ${server.pid}\\)`));
    assert.equal(next.uris.length, 2, "without --disk every disk is served");
  });

  test("a killed server loses no acknowledged write, and the next start says that it recovered", async (t) => {
    const region = join(memoryFolder(t), "r");
    const server = await RunningCli.serve(t, ["serve", region, ...create, "--disk", "pram0=2M"]);
    const client = await NbdRawClient.open(`${region}.sock`, "pram0");
    t.after(() => client.vanish());
    const payload = Buffer.alloc(64 * 1024, "perdure");
    await writeDisk(client, 0, payload);
    await server.stop("SIGKILL");
    const next = await RunningCli.serve(t, ["serve", region]);
    const told = new RegExp(
      `^recovered: the last owner died without closing the region \\(process ${server.pid}\\)\n` +
        " {2}generation 2, 16 blocks \\(64 KiB\\) of disks kept, \\d+\\.\\d ms\n",
    );
    assert.match(next.stderr, told);
    const again = await NbdRawClient.open(`${region}.sock`, "pram0");
    t.after(() => again.vanish());
    assert.deepEqual(await readDisk(again, 0, payload.length), payload);
  });

  test("with certificates or keys the URI is that of an encrypted disk, and nobody gets in without", async (t) => {
    if (!requireTool(t, "openssl", "nbdinfo")) return;
    const folder = memoryFolder(t);
    const { server: certificates, client, nobody } = makeCertificates(folder);
    const region = join(folder, "r");
    const verified = ["--tls-certificates", certificates, "--tls-verify-peer"];
    const server = await RunningCli.serve(t, ["serve", region, ...create, "--disk", "pram0=2M", ...verified]);
    const [uri] = server.uris;
    assert.equal(uri, `nbds+unix:///pram0?socket=${region}.sock`);
    const sizeAs = (who: string) => run("nbdinfo", "--size", `${uri}&tls-certificates=${who}`);
    assert.equal((await sizeAs(client)).stdout.trim(), String(2 * 2 ** 20));
    assert.notEqual((await sizeAs(nobody)).code, 0);
    assert.notEqual((await run("nbdinfo", "--size", uri.replace("nbds", "nbd"))).code, 0);
    await server.says("stderr", /failed the TLS handshake: .*; give the client a certificate/);
    await server.stop("SIGTERM");
    const keys = join(folder, "keys.psk");
    writeFileSync(keys, `alice:${"5a".repeat(32)}\n`);
    const optional = await RunningCli.serve(t, ["serve", region, "--tls", "on", "--tls-psk", keys]);
    const withKey = `${optional.uris[0].replace("///", "//alice@/")}&tls-psk-file=${keys}`;
    for (const each of [withKey, optional.uris[0].replace("nbds", "nbd")]) {
      assert.equal((await run("nbdinfo", "--size", each)).code, 0, each);
    }
    await optional.stop("SIGTERM");
    for (const args of [["--tls", "require"], ["--tls-verify-peer"], ["--tls-psk", join(folder, "none")]]) {
      const { code, stderr } = await perdure(["serve", join(folder, "new"), ...create, "--disk", "pram0=2M", ...args]);
      assert.notEqual(code, 0);
      assert.match(stderr, /^perdure: (?:EINVAL|ENOENT): TLS needs/, "nothing was opened before");
    }
    assert.ok(!existsSync(join(folder, "new")));
    const off = await RunningCli.serve(t, ["serve", region, "--tls", "off", "--tls-psk", keys]);
    assert.match(off.uris[0], /^nbd\+unix/);
  });

  test("a second server is told which process has the region; so are format and repair", async (t) => {
    const region = join(memoryFolder(t), "r");
    const server = await RunningCli.serve(t, ["serve", region, ...create, "--disk", "pram0=2M"]);
    const attempts = [
      ["serve", region, "--unix", `${region}.other`],
      ["serve", region, "--read-only", "--unix", `${region}.other`],
      ["format", region, "--force"],
      ["check", region, "--repair"],
    ];
    for (const args of attempts) {
      const { code, stderr } = await perdure(args);
      assert.equal(code, 1);
      assert.match(
        stderr,
        new RegExp(`^perdure: LOCKED: .*open for writing in process ${server.pid}\n {2}.*(?:kill|stop)`),
      );
    }
  });

  test("a disk that is there keeps its size, and the user is told", async (t) => {
    const region = join(memoryFolder(t), "r");
    await (await RunningCli.serve(t, ["serve", region, ...create, "--disk", "pram0=2M"])).stop("SIGTERM");
    const server = await RunningCli.serve(t, ["serve", region, "--disk", "pram0=4M"]);
    assert.match(server.stderr, /the disk "pram0" is there and keeps its size, 2 MiB/);
  });

  test("disks that promise more than the region holds are announced", async (t) => {
    const region = join(memoryFolder(t), "r");
    const server = await RunningCli.serve(t, ["serve", region, ...create, "--disk", "pram0=1G"]);
    assert.match(server.stderr, /the disks could take 1 GiB more, the region has 7\.\d MiB/);
  });

  test("a region without disks, a taken socket and a missing folder are failures that leave it closed", async (t) => {
    const folder = memoryFolder(t);
    const region = join(folder, "r");
    const none = await perdure(["serve", region, ...create]);
    assert.match(none.stderr, /^cold.*\n.*\nperdure: ENOENT: .*has no disks to serve\n {2}.*--disk/);
    assert.equal(none.code, 1);
    const missing = await perdure(["serve", region, "--disk", "a=1M", "--unix", join(folder, "no", "sock")]);
    assert.equal(missing.code, 1);
    const info = await perdureJson<{ state: string }>("info", region);
    assert.equal(info.state, "closed");
  });

  test("--json prints one event a line: start, ready, closed", async (t) => {
    const region = join(memoryFolder(t), "r");
    const server = await RunningCli.serve(t, ["serve", region, ...create, "--disk", "pram0=2M", "--json"]);
    const { stdout, stderr } = await server.stop("SIGINT");
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      events.map(({ event }) => event),
      ["start", "ready", "closed"],
    );
    assert.equal(events[0].kind, "cold");
    assert.equal(events[1].uri, `nbd+unix:///pram0?socket=${region}.sock`);
    assert.equal(stderr, "");
  });

  test("--read-only changes nothing", async (t) => {
    const region = join(memoryFolder(t), "r");
    await (await RunningCli.serve(t, ["serve", region, ...create, "--disk", "pram0=2M"])).stop("SIGKILL");
    const server = await RunningCli.serve(t, ["serve", region, "--read-only"]);
    assert.match(server.stderr, /^read-only: the last owner died/);
    await server.stop("SIGTERM");
    const info = await perdureJson<{ state: string; lives: unknown[] }>("info", region);
    assert.equal(info.state, "not-closed");
    assert.equal(info.lives.length, 1);
  });

  test("listens on TCP and on a Unix socket at once; the URI is that of the first", async (t) => {
    const folder = memoryFolder(t);
    const unix = join(folder, "sock");
    const args = ["serve", join(folder, "r"), ...create, "--disk", "pram0=2M", "--unix", unix, "--tcp", "127.0.0.1:0"];
    const server = await RunningCli.serve(t, args);
    assert.deepEqual(server.uris, [`nbd+unix:///pram0?socket=${unix}`]);
    assert.equal(existsSync(`${join(folder, "r")}.sock`), false);
  });

  test("a socket handed over by a service manager is used, and no other is made", async (t) => {
    if (!requireTool(t, "nbdinfo")) return;
    const folder = memoryFolder(t);
    const server = [process.execPath, perdureBin, "serve", join(folder, "r"), ...create, "--disk", "pram0=2M"];
    const size = execFileSync("nbdinfo", ["--size", "--", "[", ...server, "]"], { encoding: "utf8", stdio: "pipe" });
    assert.equal(size, `ready pram0\n${2 * 2 ** 20}\n`);
    assert.deepEqual(readdirSync(folder), ["r"]);
  });

  test("a second signal ends at once what the first one waits for", async (t) => {
    const region = join(memoryFolder(t), "r");
    const server = await RunningCli.serve(t, ["serve", region, ...create, "--disk", "pram0=2M"]);
    const client = await NbdRawClient.open(`${region}.sock`, "pram0");
    t.after(() => client.vanish());
    // Replies that nobody reads keep the server from finishing what it was asked.
    client.socket.pause();
    for (let k = 0; k < 16; k++) client.send(requestFrame({ type: 0, offset: 0, length: 2 * 2 ** 20 }));
    await new Promise((resolve) => setTimeout(resolve, 300));
    process.kill(server.pid, "SIGTERM");
    await server.says("stderr", /once more ends at once/);
    const asked = Date.now();
    const { signal } = await server.stop("SIGTERM");
    assert.equal(signal, "SIGTERM");
    assert.ok(Date.now() - asked < 2_000);
  });

  test("a reader of the ready lines that goes away does not end the server", async (t) => {
    const region = join(memoryFolder(t), "r");
    const server = new RunningCli(["serve", region, ...create, "--disk", "pram0=2M"]);
    t.after(() => server.stop("SIGKILL"));
    server.closeStdout();
    await server.says("stderr", /generation 1/);
    const { code } = await server.stop("SIGTERM");
    assert.equal(code, 0);
  });
});
