// Hazard: a code in a log that tells nobody anything.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Explanation, explanations } from "../src/cli/commands/explain.ts";
import { exitCode } from "../src/cli/exit-code.ts";
import { ERRORS } from "../src/index.ts";
import { startReasons } from "../src/region/index.ts";
import { perdure, perdureJson } from "./support/cli.ts";

describe("explain", () => {
  test("knows every error, every reason of a start and every exit code", async () => {
    const starts = ["warm", "recovered", "cold", "in-use", "quarantine", "refused", "read-only"];
    const reasons = Object.keys(startReasons);
    const codes = [...Object.keys(ERRORS), ...starts, ...reasons, ...Object.values(exitCode).map(String)];
    assert.deepEqual(
      explanations().map(({ code }) => code),
      codes,
    );
    for (const code of ["owner-died", "3", "ENOSPC", "warm", "recovered", "cold", "quarantine", "refused"]) {
      const [found, ...others] = await perdureJson<Explanation[]>("explain", code);
      assert.deepEqual([found.code, others], [code, []]);
      assert.deepEqual(Object.keys(found), ["code", "kind", "text", "remedy"]);
    }
  });

  test("prints text and remedy of everything that has the name, whatever its letters", async () => {
    const { code, stdout, stderr } = await perdure(["explain", "Closed"]);
    assert.deepEqual([code, stderr], [0, ""]);
    const { text, remedy } = ERRORS.CLOSED;
    const reason = `closed (start reason): the start was warm, since ${startReasons.closed.text}`;
    assert.equal(stdout.replaceAll(/\s+/g, " ").trim(), `CLOSED (error): ${text} ${remedy} ${reason}`);
    assert.deepEqual(
      stdout.split("\n").filter((line) => line.length > 80),
      [],
    );
  });

  test("an unknown code is wrong usage, and what it may have been is told", async () => {
    const near = await perdure(["explain", "ENOSPCE"]);
    assert.deepEqual([near.code, near.stdout], [2, ""]);
    assert.equal(near.stderr, 'perdure: EINVAL: there is no code "ENOSPCE"\n  did you mean ENOSPC?\n');
    const far = await perdure(["explain", "sandwich"]);
    assert.equal(far.code, 2);
    assert.match(far.stderr, /docs\/errors\.md/);
  });
});
