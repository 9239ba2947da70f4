// Hazard: a machine that empties, swaps out or kills what was kept, and a doctor that says it is fine. The machine is
// made up here; what the doctor asks of a real one is tried at the end.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { examine } from "../src/cli/commands/doctor.ts";
import type { Host } from "../src/cli/doctor/host.ts";
import { oldestNode } from "../src/cli/doctor/process-limits.ts";
import type { Level, Verdict } from "../src/cli/doctor/verdict.ts";
import { memoryFolder, perdure, perdureJson } from "./support/cli.ts";

const GiB = 2 ** 30;

interface Machine {
  readonly files: Record<string, string>;
  /** Of files whose text does not matter. */
  readonly sizes: Record<string, number>;
  readonly programs: readonly string[];
  readonly rooms: Record<string, { sizeBytes: number; freeBytes: number }>;
  readonly userId: number;
  readonly nodeVersion: string;
}

const mounts = ["/dev/vda / ext4 rw 0 0", "tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0"];

/** A desktop on which everything is as it should be. */
const healthy: Machine = {
  files: {
    "/proc/self/mounts": mounts.join("\n"),
    "/proc/meminfo": "MemTotal: 16777216 kB\nSwapTotal: 0 kB\nHugetlb: 0 kB\nCommitLimit: 8388608 kB\n",
    "/proc/self/cgroup": "0::/user.slice/session.scope\n",
    "/proc/self/maps": "one\ntwo\n",
    "/proc/sys/vm/max_map_count": "65530\n",
    "/proc/sys/vm/overcommit_memory": "0\n",
    "/proc/sys/kernel/osrelease": "6.12.0\n",
    "/run/systemd/system": "",
    "/var/lib/systemd/linger/ann": "",
    "/lib/modules/6.12.0/modules.dep": "kernel/drivers/block/nbd.ko.xz:\n",
  },
  sizes: {},
  programs: ["nbdinfo", "nbdcopy", "nbdfuse", "fusermount3", "qemu-nbd", "qemu-img", "nbd-client"],
  rooms: {
    "/": { sizeBytes: 100 * GiB, freeBytes: 50 * GiB },
    "/dev/shm": { sizeBytes: 8 * GiB, freeBytes: 7 * GiB },
  },
  userId: 1000,
  nodeVersion: "22.1.0",
};

/** Answers in place of a machine. */
function hostOf({ files, sizes, programs, rooms, userId, nodeVersion }: Machine): Host {
  const paths = [...Object.keys(files), ...Object.keys(sizes), ...Object.keys(rooms)];
  return {
    userId,
    userName: "ann",
    nodeVersion,
    read: (path) => files[path],
    list: (path) => paths.flatMap((one) => (one.startsWith(`${path}/`) ? [one.slice(path.length + 1)] : [])),
    exists: (path) => paths.includes(path),
    sizeOf: (path) => sizes[path],
    room: (path) => rooms[path],
    hasProgram: (name) => programs.includes(name),
  };
}

/** What is said about one thing when some of a healthy machine is otherwise. */
function verdict(check: string, change: Partial<Machine>, region?: string): Verdict {
  const { files, sizes, rooms } = healthy;
  const machine: Machine = {
    ...healthy,
    ...change,
    files: { ...files, ...change.files },
    sizes: { ...sizes, ...change.sizes },
    rooms: { ...rooms, ...change.rooms },
  };
  const found = examine(hostOf(machine), region).find((one) => one.check === check);
  assert.ok(found !== undefined, check);
  assert.match(found.text, /^\S.*[.]$/s);
  assert.equal(found.remedy === undefined, found.level === "ok");
  return found;
}

const level = (check: string, change: Partial<Machine>, region?: string): Level => verdict(check, change, region).level;
const withFile = (path: string, text: string): Partial<Machine> => ({ files: { [path]: text } });

test("a machine on which all is well gets no remedies", () => {
  assert.deepEqual(
    examine(hostOf(healthy), undefined).filter((one) => one.level !== "ok"),
    [],
  );
});

describe("room", () => {
  test("the 64 MiB of a container are told from a tmpfs that is just full", () => {
    const small = { rooms: { "/dev/shm": { sizeBytes: 64 * 2 ** 20, freeBytes: 64 * 2 ** 20 } } };
    assert.equal(level("room", small), "warn");
    assert.match(verdict("room", small).remedy ?? "", /--shm-size/);
    const full = verdict("room", { rooms: { "/dev/shm": { sizeBytes: 8 * GiB, freeBytes: 1 } } });
    assert.equal(full.level, "warn");
    assert.match(full.text, /1 B free; `perdure start` needs 640 MiB/);
  });

  test("a region says whether a second one fits beside it: quarantine needs that", () => {
    const there = { sizes: { "/dev/shm/r": 4 * GiB }, rooms: { "/dev/shm/r": { sizeBytes: 8 * GiB, freeBytes: GiB } } };
    assert.match(verdict("room", there, "/dev/shm/r").text, /has its 4 GiB; there is no room for a second/);
    there.rooms["/dev/shm/r"].freeBytes = 4 * GiB;
    assert.match(verdict("room", there, "/dev/shm/r").text, /there is room for a second/);
  });

  test("a missing folder and a file system that is refused fail", () => {
    assert.equal(level("room", {}, "/none/r"), "fail");
    const nfs = { files: { "/proc/self/mounts": "server:/x / nfs4 rw 0 0" } };
    assert.equal(level("room", nfs, "/r"), "fail");
  });

  test("the last of several mounts counts, and blanks in its name", () => {
    const lines = [...mounts, "tmpfs /dev/shm tmpfs ro 0 0", "tmpfs /mnt/my\\040place tmpfs rw,huge=always 0 0"];
    const machine = withFile("/proc/self/mounts", lines.join("\n"));
    assert.equal(level("mount options", machine), "fail");
    assert.match(verdict("mount options", machine, "/mnt/my place/r").text, /^\/mnt\/my place: rw,huge=always/);
    assert.match(verdict("mount options", {}, "/dev/shmother").text, /^\/: rw/, "a folder is more than its letters");
  });
});

describe("logout", () => {
  const noLinger: Partial<Machine> = {
    files: Object.fromEntries(Object.entries(healthy.files).filter(([path]) => !path.includes("linger"))),
  };
  /** Without the lingering that saves a healthy machine. */
  const told = (change: Partial<Machine>, region?: string): Verdict => {
    const machine = { ...healthy, ...change, files: { ...noLinger.files, ...change.files } };
    const found = examine(hostOf(machine), region).find((one) => one.check === "logout");
    assert.ok(found !== undefined);
    return found;
  };

  test("systemd deletes the files of a user who does not linger", () => {
    assert.equal(told({}).level, "warn");
    assert.match(told({}).remedy ?? "", /enable-linger ann/);
    assert.equal(level("logout", {}), "ok", "lingering helps");
  });

  test("root and users of the system are spared, and nobody deletes where systemd does not run", () => {
    assert.equal(told({ userId: 0 }).level, "ok");
    assert.equal(told({ userId: 999 }).level, "ok");
    const { "/run/systemd/system": _, ...files } = healthy.files;
    const found = examine(hostOf({ ...healthy, files }), undefined).find((one) => one.check === "logout");
    assert.match(found?.text ?? "", /systemd does not run/);
  });

  test("the setting is read as systemd reads it: sections, comments, drop-ins, folders", () => {
    const off = "[Login]\nRemoveIPC=no\n";
    const on = "[Login]\nRemoveIPC = yes\n";
    const main = "/etc/systemd/logind.conf";
    assert.equal(told(withFile(main, off)).level, "ok");
    assert.equal(told(withFile(main, "[Login]\n#RemoveIPC=no\n")).level, "warn");
    assert.equal(told(withFile(main, "[Other]\nRemoveIPC=no\n")).level, "warn");
    assert.equal(told({ files: { [main]: off, [`${main}.d/50-x.conf`]: on } }).level, "warn");
    assert.equal(
      told({ files: { [`${main}.d/10-a.conf`]: on, "/usr/lib/systemd/logind.conf.d/20-b.conf": off } }).level,
      "ok",
    );
    const shadowed = { [`${main}.d/10-a.conf`]: on, "/usr/lib/systemd/logind.conf.d/10-a.conf": off };
    assert.equal(told({ files: shadowed }).level, "warn", "a file hides those of its name in later folders");
    assert.equal(told({ files: { [main]: on, "/usr/lib/systemd/logind.conf": off } }).level, "warn");
  });

  test("a user's run-time folder goes with the last session, other places stay", () => {
    const lines = [...mounts, "tmpfs /run/user/1000 tmpfs rw 0 0"].join("\n");
    assert.equal(told(withFile("/proc/self/mounts", lines), "/run/user/1000/r").level, "warn");
    assert.equal(told({}, "/srv/r").level, "ok");
  });
});

describe("pressure", () => {
  const swapping = withFile("/proc/meminfo", "MemTotal: 16777216 kB\nSwapTotal: 1048576 kB\n");

  test("swap is a warning, unless the mount forbids it or the region is no shared memory", () => {
    assert.match(verdict("swap", swapping).text, /1 GiB of swap/);
    assert.equal(level("swap", swapping, "/srv/r"), "ok");
    const lines = [...mounts, "tmpfs /mnt/p tmpfs rw,noswap 0 0"].join("\n");
    const own = { files: { ...swapping.files, "/proc/self/mounts": lines } };
    assert.equal(level("swap", own, "/mnt/p/r"), "ok");
  });

  test("a limit of any group above counts; below the region's size it fails", () => {
    const limited = withFile("/sys/fs/cgroup/user.slice/memory.max", String(GiB));
    assert.match(verdict("cgroup limit", limited).text, /user\.slice\/memory\.max is 1 GiB/);
    assert.equal(level("cgroup limit", limited), "warn");
    const region = { ...limited, sizes: { "/dev/shm/r": 2 * GiB } };
    assert.equal(level("cgroup limit", region, "/dev/shm/r"), "fail");
    assert.equal(level("cgroup limit", { ...region, sizes: { "/dev/shm/r": GiB / 2 } }, "/dev/shm/r"), "ok");
    assert.equal(level("cgroup limit", withFile("/sys/fs/cgroup/user.slice/memory.max", "max\n")), "ok");
  });

  test("version 1 of control groups is understood, also where a container hides the path", () => {
    const groups = "4:cpuacct,memory:/docker/abc\n1:name=systemd:/\n0::/\n";
    const root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
    const files = { "/proc/self/cgroup": groups, [root]: String(GiB) };
    assert.equal(level("cgroup limit", { files }), "warn");
    const none = { files: { ...files, [root]: "9223372036854771712" } };
    assert.match(verdict("cgroup limit", none).text, /^No control group limits/);
  });

  test("strict accounting and memory set aside as huge pages are told", () => {
    assert.equal(level("overcommit", withFile("/proc/sys/vm/overcommit_memory", "2")), "warn");
    const strict = { ...withFile("/proc/sys/vm/overcommit_memory", "2"), sizes: { "/dev/shm/r": GiB } };
    assert.equal(level("overcommit", strict, "/dev/shm/r"), "ok");
    const huge = withFile("/proc/meminfo", "MemTotal: 16777216 kB\nHugetlb: 8388608 kB\n");
    assert.match(verdict("huge pages", huge).text, /8 GiB of 16 GiB/);
  });
});

describe("limits and tools", () => {
  test("too few maps and too old a Node fail", () => {
    assert.equal(level("maps", withFile("/proc/sys/vm/max_map_count", "900")), "fail");
    assert.deepEqual(
      ["18.20.0", "20.18.9", "20.19.0", "26.0.0"].map((nodeVersion) => level("Node.js", { nodeVersion })),
      ["fail", "fail", "ok", "ok"],
    );
    const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
    assert.equal((JSON.parse(manifest) as { engines: { node: string } }).engines.node, `>=${oldestNode}`);
  });

  test("a missing client is named with its package", () => {
    const found = verdict("nbdfuse", { programs: ["nbdfuse"] });
    assert.match(found.text, /^fusermount3 not found/);
    assert.match(found.remedy ?? "", /apt-get install libnbd-bin fuse3/);
    const kernel = verdict("nbd-client", { programs: [], ...withFile("/lib/modules/6.12.0/modules.dep", "") });
    assert.match(kernel.text, /^nbd-client and the kernel's nbd module not found/);
  });
});

describe("perdure doctor", () => {
  test("examines this machine, in at most 80 columns and without colours", async (t) => {
    const region = join(memoryFolder(t), "r");
    await perdure(["format", region, "--size", "1M"]);
    const { stdout, stderr, code } = await perdure(["doctor", region], { env: { PATH: process.env.PATH } });
    assert.equal(stderr, "");
    assert.match(stdout, /^ok {4}room {2,}\/dev\/shm \(tmpfs\) has .* free\. The region/s);
    assert.deepEqual(
      stdout.split("\n").filter((line) => line.length > 80),
      [],
    );
    assert.ok(!stdout.includes("\u001B"));
    assert.equal(code, /^fail/m.test(stdout) ? 1 : 0);
  });

  test("ends with 1 when something fails, and says all of it as JSON, too", async () => {
    const failed = await perdure(["doctor", "/proc/self/r"]);
    assert.equal(failed.code, 1);
    assert.match(failed.stdout, /^fail {2}room/m);
    const verdicts = await perdureJson<Verdict[]>("doctor");
    assert.ok(verdicts.length >= 10);
    for (const one of verdicts) assert.deepEqual(Object.keys(one), ["check", "level", "text", "remedy"]);
  });
});
