// Hazard: a command line that answers a slip of the user with a stack trace, or an exit code that no script can use.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { memoryFolder, perdure, perdureBin } from "./support/cli.ts";

const commands = [
  [],
  ["start"],
  ["serve"],
  ["attach"],
  ["detach"],
  ["mount"],
  ["umount"],
  ["format"],
  ["info"],
  ["ls"],
  ["check"],
  ["scrub"],
  ["disk"],
  ["disk", "create"],
  ["disk", "ls"],
  ["disk", "grow"],
  ["disk", "rm"],
  ["preflight"],
  ["doctor"],
  ["explain"],
];

describe("every command explains itself", () => {
  for (const command of commands) {
    test(`perdure ${[...command, "--help"].join(" ")}`, async () => {
      const { code, stdout, stderr } = await perdure([...command, "--help"]);
      assert.equal(code, 0);
      assert.equal(stderr, "");
      assert.match(stdout, new RegExp(`^Usage\n  perdure ${command.join(" ")}`));
      const wide = stdout.split("\n").filter((line) => line.length > 80);
      assert.deepEqual(wide, [], "help fits a terminal of 80 columns");
    });
  }

  test("without a command it prints the same as --help", async () => {
    const [plain, help] = await Promise.all([perdure([]), perdure(["--help"])]);
    assert.deepEqual(plain, help);
  });

  test("--version prints the version of the package", async () => {
    const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
    const { version } = JSON.parse(manifest) as { version: string };
    assert.equal((await perdure(["--version"])).stdout, `${version}\n`);
  });

  test("help loads no native code, a command on a region does", async (t) => {
    const folder = memoryFolder(t);
    const spy = join(folder, "spy.cjs");
    const seen = join(folder, "maps");
    const copy = `fs.writeFileSync(${JSON.stringify(seen)}, fs.readFileSync("/proc/self/maps"))`;
    writeFileSync(spy, `const fs = require("node:fs"); process.on("exit", () => ${copy});`);
    const env = { NODE_OPTIONS: `--require=${spy}` };
    await perdure(["serve", "--help"], { env });
    assert.doesNotMatch(readFileSync(seen, "utf8"), /koffi/);
    await perdure(["info", "/dev/null"], { env });
    assert.match(readFileSync(seen, "utf8"), /koffi/);
  });
});

describe("wrong usage is exit code 2 and names the way out", () => {
  const slips: [string[], RegExp][] = [
    [["formt", "x"], /did you mean `format`/],
    [["disk", "creat", "x", "y"], /did you mean `create`/],
    [["format", "x", "--sise", "1M"], /did you mean --size/],
    [["format"], /REGION/],
    [["scrub"], /REGION/],
    [["info", "a", "b"], /too many arguments/i],
    [["disk", "create", "x"], /NAME/],
    [["disk", "create", "x", "y"], /--size/],
    [["format", "x", "--size", "12Q"], /"12Q" is not a size/],
    [["format", "x", "--size", "0"], /the size is 0/],
    [["format", "x", "--size=-5M"], /"-5M" is not a size/],
    [["format", "x", "--size", "9000T", "--size", "1M"], /size/],
    [["serve", "x", "--disk", "noequals"], /NAME=SIZE/],
    [["serve", "x", "--disks", "1G,,2G"], /is not a size/],
    [["serve", "x", "--disk", "a=1M", "--disk", "a=2M"], /named twice/],
    [["serve", "x", "--tcp", "nonsense"], /HOST:PORT/],
    [["serve", "x", "--tcp", "h:70000"], /HOST:PORT/],
    [["serve", "x", "--create", "--read-only"], /exclude each other/],
    [["serve", "x", "--quarantine-after", "-1"], /no number of starts/],
    [["serve", "x", "--healthy-after", "soon"], /no time in seconds/],
  ];
  for (const [args, expected] of slips) {
    test(`perdure ${args.join(" ")}`, async () => {
      const { code, stdout, stderr } = await perdure(args);
      assert.equal(code, 2);
      assert.equal(stdout, "");
      assert.match(stderr, /^perdure: EINVAL: .+\n {2}.+\n/);
      assert.match(stderr, expected);
      assert.doesNotMatch(stderr, /^ +at /m);
    });
  }

  test("with --json the error is an object, also for a flag that nobody knows", async () => {
    const { code, stderr } = await perdure(["info", "x", "--json", "--nope"]);
    assert.equal(code, 2);
    const { error } = JSON.parse(stderr) as { error: Record<string, string> };
    assert.deepEqual(Object.keys(error), ["code", "message", "remedy"]);
    assert.equal(error.code, "EINVAL");
  });
});

describe("where the output goes is no reason to crash", () => {
  test("a reader that goes away ends nothing and is no failure", async (t) => {
    const folder = memoryFolder(t);
    const region = join(folder, "r");
    await perdure(["format", region, "--size", "1M"]);
    const shell = `set -o pipefail; "$0" "$1" info "$2" | head -c 0`;
    const { status, stderr } = spawnSync("bash", ["-c", shell, process.execPath, perdureBin, region], {
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    assert.equal(status, 0);
  });

  test("a full disk behind the output is a failure that is told", async (t) => {
    const region = join(memoryFolder(t), "r");
    await perdure(["format", region, "--size", "1M"]);
    const full = openSync("/dev/full", "w");
    const { code, stderr } = await perdure(["info", region], { stdio: ["ignore", full, "pipe"] });
    assert.equal(code, 1);
    assert.match(stderr, /^perdure: EIO: standard output could not be written/);
  });
});
