// Hazard: long work that keeps everybody else waiting, that cannot be stopped, or that holds on to things when it was.

import assert from "node:assert/strict";
import { test } from "node:test";
import { atOnce, inTurns, type Progress, type Steps } from "../src/base/index.ts";
import { refusal } from "./support/region.ts";

const total = 200;

/** Work of `total` steps, each long enough to be noticed, and what it held on to at its end. */
function work(holds = { open: false, steps: 0 }): { steps: Steps<string>; holds: typeof holds } {
  function* steps(): Steps<string> {
    holds.open = true;
    try {
      for (holds.steps = 1; holds.steps <= total; holds.steps++) {
        for (const end = performance.now() + 0.5; performance.now() < end; );
        yield { what: "wiping", doneBytes: holds.steps, totalBytes: total };
      }
      return "done";
    } finally {
      holds.open = false;
    }
  }
  return { steps: steps(), holds };
}

test("all at once or in turns, the work and its result are the same", async () => {
  assert.equal(atOnce(work().steps), "done");
  const seen: Progress[] = [];
  assert.equal(await inTurns(work().steps, { onProgress: (progress) => seen.push(progress) }), "done");
  assert.deepEqual(
    seen.map(({ doneBytes }) => doneBytes),
    Array.from({ length: total }, (_, k) => k + 1),
  );
});

test("the event loop has its turn while the work goes on", async () => {
  let turns = 0;
  const others = setInterval(() => turns++, 1);
  await inTurns(work().steps);
  clearInterval(others);
  assert.ok(turns > 3, `${turns} turns`);
});

test("a signal stops it between two steps, and what it held is let go", async () => {
  const { steps, holds } = work();
  const controller = new AbortController();
  const onProgress = ({ doneBytes }: Progress): void => {
    if (doneBytes === 3) controller.abort(new Error("enough"));
  };
  await assert.rejects(inTurns(steps, { signal: controller.signal, onProgress }), refusal("ABORTED"));
  assert.deepEqual(holds, { open: false, steps: 3 });
});

test("a signal that came before begins nothing", async () => {
  const { steps, holds } = work();
  await assert.rejects(inTurns(steps, { signal: AbortSignal.abort() }), refusal("ABORTED"));
  assert.deepEqual(holds, { open: false, steps: 0 });
});

test("a listener that throws ends the work as an error of the work does", async () => {
  const { steps, holds } = work();
  const onProgress = (): void => {
    throw new RangeError("listener");
  };
  await assert.rejects(inTurns(steps, { onProgress }), { name: "RangeError" });
  assert.equal(holds.open, false);
});
