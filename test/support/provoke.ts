/** Tests that provoke errors of the table, one code after the other. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ERRORS, type ErrorCode } from "../../src/index.ts";

const provoked = new Set<string>();

/** A test that provokes a code of the table. */
export function provoke(code: ErrorCode, what: string, run: (t: TestContext) => void | Promise<void>): void {
  provoked.add(code);
  test(`${code}: ${what}`, run);
}

/** A test that none of the codes that are chosen was forgotten. */
export function provokeAll(name: string, isChosen: (code: string) => boolean): void {
  test(name, () => {
    assert.deepEqual([...provoked].toSorted(), Object.keys(ERRORS).filter(isChosen).toSorted());
  });
}
