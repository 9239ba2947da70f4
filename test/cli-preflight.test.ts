// Hazard: a deployment script that goes on because the exit code said that everything would be found again.

import assert from "node:assert/strict";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { PreflightReport } from "../src/index.ts";
import { memoryFolder, perdure, RunningCli } from "./support/cli.ts";

const create = ["--create", "--size", "8M", "--disk", "pram0=2M"];

describe("preflight", () => {
  test("ends with 0 when a start finds everything, beside a writer with the error of a start", async (t) => {
    const region = join(memoryFolder(t), "r");
    const server = await RunningCli.serve(t, ["serve", region, ...create]);
    const busy = await perdure(["preflight", region]);
    assert.equal(busy.code, 1);
    assert.match(busy.stdout, /^next start +in-use \(LOCKED\)$/m);
    assert.match(busy.stderr, new RegExp(`^perdure: LOCKED: .*process ${server.pid}\n`));
    await server.stop("SIGKILL");
    const recovered = await perdure(["preflight", region]);
    assert.equal(recovered.code, 0);
    assert.equal(recovered.stderr, "");
    assert.match(recovered.stdout, /^next start +recovered \(owner-died\)$/m);
    assert.match(recovered.stdout, /^failed starts +1 in a row; quarantine after 3$/m);
    assert.match(recovered.stdout, /^at stake +0 B in 1 instance, of 8 MiB$/m);
    assert.match(recovered.stdout, /^disk +pram0 +0 B$/m);
    const limited = await perdure(["preflight", region, "--quarantine-after", "1"]);
    assert.equal(limited.code, 1);
    assert.match(limited.stderr, /^perdure: QUARANTINED: /);
  });

  test("says that nothing is there, or somebody else's data, or corruption, with the code of that", async (t) => {
    const folder = memoryFolder(t);
    const region = join(folder, "r");
    const missing = await perdure(["preflight", region]);
    assert.deepEqual([missing.code, missing.stderr.split(":")[1]], [1, " ENOENT"]);
    assert.match(missing.stdout, /cold \(ENOENT\)\nbecause +nothing is there; --create makes it\n/);
    writeFileSync(region, "What a person wrote.\n".repeat(1000), { mode: 0o600 });
    const foreign = await perdure(["preflight", region]);
    assert.deepEqual([foreign.code, foreign.stderr.split(":")[1]], [1, " FOREIGN_DATA"]);
    truncateSync(region, 0);
    const tiny = await perdure(["preflight", region]);
    assert.deepEqual([tiny.code, tiny.stderr.split(":")[1]], [1, " ENODEV"]);
    const corrupt = join(folder, "c");
    await perdure(["format", corrupt, "--size", "1M"]);
    const image = readFileSync(corrupt);
    writeFileSync(corrupt, image.fill(0xff, 4096, 4104));
    const damaged = await perdure(["preflight", corrupt]);
    assert.deepEqual([damaged.code, damaged.stderr.split(":")[1]], [3, " CORRUPT"]);
  });

  test("with --json prints one object with every field, and fits 80 columns without", async (t) => {
    const region = join(memoryFolder(t), "r");
    await perdure(["format", region, "--size", "1M"]);
    const { code, stdout } = await perdure(["preflight", region, "--json"]);
    assert.equal(code, 0);
    const report = JSON.parse(stdout) as PreflightReport;
    assert.deepEqual(Object.keys(report), ["source", "outcome", "reason", "text", "remedy", "failedStarts", "region"]);
    assert.deepEqual([report.outcome, report.reason, report.remedy], ["cold", "formatted", null]);
    const plain = await perdure(["preflight", region]);
    assert.deepEqual(
      plain.stdout.split("\n").filter((line) => line.length > 80),
      [],
    );
    assert.ok(!plain.stdout.includes("\u001B"));
  });
});
