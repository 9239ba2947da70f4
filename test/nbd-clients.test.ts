// Hazard: a server that pleases its own tests and no real client. Here the clients are libnbd's, qemu's and fio's.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { assertServes, startNbd } from "./support/nbd-fixture.ts";
import { libnbd, requireLibnbd } from "./support/nbd-libnbd.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { run, start, succeed } from "./support/nbd-programs.ts";
import { requireTool } from "./support/tools.ts";

const MiB = 2 ** 20;
const activatedServer = fileURLToPath(new URL("./support/nbd-activated-server.js", import.meta.url));

/** What the programs tell as JSON, as far as the tests look at it. */
type Info = Record<string, unknown>;

async function succeedJson<Result>(program: string, ...args: string[]): Promise<Result> {
  return JSON.parse(await succeed(program, ...args)) as Result;
}

/** A file with data, holes and an odd tail. */
function sampleFile(path: string): Buffer {
  const content = Buffer.alloc(16 * MiB);
  for (let at = 0; at < content.length - MiB; at += 3 * MiB) content.fill(`block at ${at};`, at, at + MiB + 12_345);
  content.fill("the odd tail", content.length - 777);
  writeFileSync(path, content);
  return content;
}

describe("nbdinfo", () => {
  test("shows size, abilities, block sizes and description", async (t) => {
    if (!requireTool(t, "nbdinfo")) return;
    const { server, uri, path } = await startNbd(t);
    server.addExport(new NbdMemoryDevice(12345, { name: "the second" }), { description: "with a blank" });
    const [info] = (await succeedJson<{ exports: Info[] }>("nbdinfo", "--json", uri)).exports;
    assert.equal(info["export-size"], MiB);
    assert.deepEqual(info.contexts, ["base:allocation"]);
    assert.deepEqual(
      [info.block_size_minimum, info.block_size_preferred, info.block_size_maximum],
      [1, 4096, 32 * MiB],
    );
    const listed = await succeed("nbdinfo", "--list", `nbd+unix:///?socket=${path}`);
    assert.match(listed, /export="disk"/);
    assert.match(listed, /export="the second"[^]*description: with a blank[^]*export-size: 12345/);
    assert.equal((await succeed("nbdinfo", "--size", server.uri("the second"))).trim(), "12345");
  });

  test("finds every ability, and read-only where it is", async (t) => {
    if (!requireTool(t, "nbdinfo")) return;
    const { server, uri } = await startNbd(t);
    server.addExport(new NbdMemoryDevice(4096, { name: "frozen", readOnly: true }));
    const abilities = "connect read write zero fast-zero trim flush fua cache df multi-conn structured-reply";
    for (const ability of abilities.split(" ")) {
      assert.equal((await run("nbdinfo", "--can", ability, uri)).code, 0, ability);
    }
    assert.equal((await run("nbdinfo", "--is", "read-only", uri)).code, 2);
    assert.equal((await run("nbdinfo", "--is", "rotational", uri)).code, 2);
    assert.equal((await run("nbdinfo", "--is", "read-only", server.uri("frozen"))).code, 0);
    assert.equal((await run("nbdinfo", "--can", "trim", server.uri("frozen"))).code, 2);
  });

  test("maps allocation, and fails for an export that does not exist", async (t) => {
    if (!requireTool(t, "nbdinfo")) return;
    const { disk, uri, path } = await startNbd(t);
    disk.write(8192, Buffer.alloc(4096, 1));
    const map = await succeedJson<Info[]>("nbdinfo", "--map", "--json", uri);
    assert.deepEqual(
      map.map(({ offset, length, type }) => [offset, length, type]),
      [
        [0, 8192, 3],
        [8192, 4096, 0],
        [12288, MiB - 12288, 3],
      ],
    );
    const unknown = await run("nbdinfo", `nbd+unix:///nope?socket=${path}`);
    assert.equal(unknown.code, 1);
  });

  test("starts a server by socket activation and reads from it", async (t) => {
    if (!requireTool(t, "nbdinfo", "nbdcopy")) return;
    const command = ["[", process.execPath, activatedServer, "]"];
    assert.equal((await succeed("nbdinfo", "--size", "--", ...command)).trim(), String(MiB));
    await succeed("nbdcopy", "--", ...command, "null:");
  });
});

describe("nbdcopy", () => {
  test("copies both ways, over four connections, sparse and whole", async (t) => {
    if (!requireTool(t, "nbdcopy")) return;
    const { disk, uri, folder } = await startNbd(t, { sizeBytes: 16 * MiB });
    const [source, target] = [join(folder, "source"), join(folder, "target")];
    const content = sampleFile(source);
    await succeed("nbdcopy", "--flush", source, uri);
    assert.ok(disk.calls.flush > 0);
    assert.ok(
      disk.extents(0, 16 * MiB, 100).some(({ hole }) => hole),
      "holes stay holes",
    );
    await succeed("nbdcopy", uri, target);
    assert.ok(readFileSync(target).equals(content));
    await succeed("nbdcopy", "-C", "4", "-R", "64", "--request-size=1048576", uri, "null:");
  });

  test("twenty copies killed while they read and write leave a server that serves", async (t) => {
    if (!requireTool(t, "nbdcopy")) return;
    const nbd = await startNbd(t, { sizeBytes: 256 * MiB });
    for (let at = 0; at < 256 * MiB; at += MiB) nbd.disk.write(at, Buffer.alloc(MiB, 7));
    for (let k = 0; k < 20; k++) {
      const [from, to] = k % 2 === 0 ? [nbd.uri, "null:"] : ["/dev/zero", nbd.uri];
      const child = start(t, "nbdcopy", ...(k % 2 === 0 ? [] : ["--allocated"]), from, to);
      const exited = once(child, "exit");
      await sleep(10 + 3 * k);
      child.kill("SIGKILL");
      await exited;
      await assertServes(nbd);
    }
  });
});

describe("qemu", () => {
  test("converts, compares, maps and tells the size", async (t) => {
    if (!requireTool(t, "qemu-img")) return;
    const { uri, folder } = await startNbd(t, { sizeBytes: 16 * MiB });
    const [source, target] = [join(folder, "source"), join(folder, "target")];
    const content = sampleFile(source);
    const info = await succeedJson<Info>("qemu-img", "info", "--output=json", "-f", "raw", uri);
    assert.equal(info["virtual-size"], 16 * MiB);
    await succeed("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, uri);
    await succeed("qemu-img", "compare", "-f", "raw", "-F", "raw", source, uri);
    await succeed("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, target);
    assert.ok(readFileSync(target).equals(content));
    const map = await succeedJson<Info[]>("qemu-img", "map", "--output=json", "-f", "raw", uri);
    assert.ok(map.some(({ zero }) => zero) && map.some(({ zero }) => !zero));
  });

  test("writes, reads, discards, zeroes and flushes, also unaligned and out of order", async (t) => {
    if (!requireTool(t, "qemu-io")) return;
    const { disk, uri } = await startNbd(t);
    const commands = [
      "write -P 1 0 64k",
      "read -P 1 0 64k",
      "write -f -P 2 512 1024",
      "read -P 2 512 1024",
      "discard 0 64k",
      "read -P 0 0 64k",
      "write -P 3 0 64k",
      "write -z 0 32k",
      "write -z -u 32k 32k",
      "read -P 0 0 64k",
      "aio_write -P 2 512 512",
      "aio_read -P 0 4096 512",
      "aio_flush",
      "flush",
    ];
    const output = await succeed("qemu-io", "-f", "raw", ...commands.flatMap((command) => ["-c", command]), uri);
    assert.doesNotMatch(output, /fail|error|differ/i);
    assert.ok(disk.calls.trim > 0 && disk.calls.zero > 0 && disk.calls.flush > 0);
  });
});

describe("libnbd from Python", () => {
  test("FUA, flush, cache, zeroing, sparse reads and DF", async (t) => {
    if (!(await requireLibnbd(t))) return;
    const { disk, uri } = await startNbd(t);
    const output = await libnbd(
      uri,
      `
h.connect_uri(uri)
h.pwrite(b"x" * 4096, 4096, nbd.CMD_FLAG_FUA)
h.flush(); h.cache(8192, 0); h.trim(4096, 0, nbd.CMD_FLAG_FUA)
h.zero(4096, 16384, nbd.CMD_FLAG_NO_HOLE); h.zero(4096, 20480, nbd.CMD_FLAG_FAST_ZERO)
try: h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
except nbd.Error as e: print(e.errnum == errno.ENOTSUP)
chunks = []
h.pread_structured(16384, 0, lambda b, o, s, e: chunks.append((o, len(b), s)))
print(chunks)
chunks.clear()
h.pread_structured(16384, 0, lambda b, o, s, e: chunks.append((o, len(b), s)), nbd.CMD_FLAG_DF)
print(chunks)
h.shutdown()`,
    );
    assert.deepEqual(output.trim().split("\n"), [
      "True",
      "[(0, 4096, 2), (4096, 4096, 1), (8192, 8192, 2)]",
      "[(0, 16384, 1)]",
    ]);
    assert.equal(disk.calls.flush, 3);
  });

  test("the option phase: list, contexts, info, then go; and contexts over the whole disk", async (t) => {
    if (!(await requireLibnbd(t))) return;
    const { disk, uri } = await startNbd(t);
    disk.write(0, Buffer.alloc(4096, 1));
    const output = await libnbd(
      uri,
      `
h.set_opt_mode(True); h.add_meta_context("base:allocation")
h.connect_uri(uri)
h.opt_list(lambda name, description: print(name))
h.opt_list_meta_context(lambda name: print(name))
h.opt_info(); print(h.get_size())
h.set_export_name("nope")
try: h.opt_info()
except nbd.Error as e: print(e.errnum == errno.ENOENT)
h.set_export_name("disk"); h.opt_go()
h.block_status(${MiB}, 0, lambda name, offset, extents, error: print(name, extents))
h.block_status(${MiB}, 0, lambda name, offset, extents, error: print(extents), nbd.CMD_FLAG_REQ_ONE)
h.shutdown()`,
    );
    assert.deepEqual(output.trim().split("\n"), [
      "disk",
      "base:allocation",
      String(MiB),
      "True",
      `base:allocation [4096, 0, ${MiB - 4096}, 3]`,
      "[4096, 0]",
    ]);
  });

  test("bad requests get the errors that the specification names, and the connection stays", async (t) => {
    if (!(await requireLibnbd(t))) return;
    const { server, uri } = await startNbd(t);
    server.addExport(new NbdMemoryDevice(MiB, { name: "frozen", readOnly: true }));
    const script = (target: string) => `
h = nbd.NBD(); h.set_strict_mode(0); h.connect_uri(${JSON.stringify(target)})
def attempt(call):
  try: call(); print("ok")
  except nbd.Error as e: print(errno.errorcode[e.errnum])
attempt(lambda: h.pwrite(b"x" * 512, ${MiB} - 1))
attempt(lambda: h.pread(512, ${MiB}))
attempt(lambda: h.trim(512, 2**63 - 1))
attempt(lambda: h.zero(512, ${MiB}))
attempt(lambda: h.cache(512, ${MiB}))
attempt(lambda: h.block_status(512, 0, lambda *a: 0))
attempt(lambda: h.trim(512, 0, nbd.CMD_FLAG_DF))
attempt(lambda: h.pread(0, 0))
attempt(lambda: h.pwrite(b"x", 0))
attempt(lambda: h.flush())
h.shutdown()`;
    const first = (await libnbd(uri, script(uri))).trim().split("\n");
    const common = ["EINVAL", "EINVAL", "EINVAL"];
    assert.deepEqual(first, ["ENOSPC", "EINVAL", "EINVAL", "ENOSPC", ...common, "ok", "ok", "ok"]);
    const frozen = (await libnbd(uri, script(server.uri("frozen")))).trim().split("\n");
    assert.deepEqual(frozen, ["EPERM", "EINVAL", "EPERM", "EPERM", ...common, "ok", "EPERM", "ok"]);
  });

  test("a client without structured replies, and one without GO, are served alike", async (t) => {
    if (!(await requireLibnbd(t))) return;
    const { uri } = await startNbd(t);
    const output = await libnbd(
      uri,
      `
h.set_request_structured_replies(False); h.connect_uri(uri)
h.pwrite(b"y" * 10000, 77); print(h.pread(10000, 77) == b"y" * 10000, h.can_df())
h.shutdown()
g = nbd.NBD(); g.set_handshake_flags(0); g.set_export_name("disk"); g.connect_uri(uri)
print(g.pread(10000, 77) == b"y" * 10000, g.get_size()); g.shutdown()`,
    );
    assert.deepEqual(output.trim().split("\n"), ["True False", `True ${MiB}`]);
  });
});

describe("fio", () => {
  const common = ["--ioengine=nbd", "--size=32m", "--verify_fatal=1"];

  test("verifies what it wrote at random, aligned and not, with several jobs", async (t) => {
    if (!requireTool(t, "fio")) return;
    const { uri, folder } = await startNbd(t, { sizeBytes: 64 * MiB });
    const jobs = [
      ["--rw=randwrite", "--bs=4k", "--iodepth=32", "--verify=crc32c", "--do_verify=1"],
      [
        "--rw=randrw",
        "--bsrange=512-128k",
        "--bs_unaligned",
        "--iodepth=8",
        "--verify=xxhash",
        "--serialize_overlap=1",
      ],
      ["--rw=randtrim", "--bs=64k", "--iodepth=8"],
      ["--rw=randrw", "--bs=4k", "--iodepth=16", "--numjobs=4", "--thread", "--io_size=16m"],
    ];
    for (const job of jobs) {
      const aux = `--aux-path=${folder}`;
      await succeed("fio", "--name=job", ...common, `--uri=${uri}`, aux, "--verify_state_save=0", ...job);
    }
  });
});
