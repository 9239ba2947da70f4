/** Hazard: an error without a way out: each has a code of the table and says what to do next. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as assertHolds, ERRORS, type ErrorCode, isPerdureError, PerdureError } from "../src/base/index.ts";

test("every code says what it means and what to do, as one phrase each", () => {
  for (const [code, { text, remedy }] of Object.entries(ERRORS)) {
    assert.match(code, /^[A-Z_]+$/);
    assert.match(text, /^[a-z].*[^.]$/, code);
    assert.match(remedy, /^[a-z].*[^.]$/, code);
  }
});

test("an error carries code, message, remedy and cause", () => {
  const cause = new Error("below");
  const error = new PerdureError("ENOSPC", "full", { cause });
  assert.equal(error.remedy, ERRORS.ENOSPC.remedy);
  assert.equal(error.cause, cause);
  assert.equal(new PerdureError("EIO", "lost", { remedy: "look there" }).remedy, "look there");
  assert.ok(!("cause" in new PerdureError("EIO", "lost")));
});

test("our errors are told from others, and by code", () => {
  const error: unknown = new PerdureError("LOCKED", "held");
  assert.ok(isPerdureError(error) && isPerdureError(error, "LOCKED") && !isPerdureError(error, "EIO"));
  const others: unknown[] = [new Error("x"), { code: "LOCKED" satisfies ErrorCode }, undefined, null];
  for (const other of others) assert.ok(!isPerdureError(other));
});

test("an assertion that does not hold throws what it states", () => {
  assertHolds(true, "fine");
  assert.throws(() => assertHolds(false, "pages are counted"), /pages are counted/);
});
