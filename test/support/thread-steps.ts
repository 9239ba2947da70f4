// A counter that two stepped threads increment, with and without a lock.

import { type RecordingMemory, type Steps, serveSteps } from "../../src/testing/index.ts";

/** How both threads increment it. */
export interface CounterTask {
  /** `crossed`: each holds one lock and wants the other's. `read`: B only reads. */
  readonly mode: "bare" | "locked" | "crossed" | "read" | "broken";
  /** Two lock words. */
  readonly locks: SharedArrayBuffer;
}

interface Counter {
  readonly memory: RecordingMemory;
  readonly steps: Steps;
  readonly locks: Int32Array;
}

function locked({ steps, locks }: Counter, at: number, act: () => void): void {
  steps.pass();
  while (Atomics.compareExchange(locks, at, 0, 1) !== 0) steps.wait(locks, at, 1);
  try {
    act();
  } finally {
    Atomics.store(locks, at, 0);
  }
}

serveSteps<CounterTask, Counter>({
  attach: (memory, steps, { locks }) => ({ memory, steps, locks: new Int32Array(locks) }),
  operate(counter, name, { mode }) {
    const { memory } = counter;
    const increment = (): void => memory.commit32(0, memory.load32(0) + 1);
    const [own, other] = name === "A" ? [0, 1] : [1, 0];
    if (mode === "broken") throw new Error("a fault of the program");
    if (mode === "read" && name === "B") return `${memory.load32(0)} ${memory.load32(0)}`;
    if (mode === "bare" || mode === "read") increment();
    else if (mode === "locked") locked(counter, 0, increment);
    else locked(counter, own, () => locked(counter, other, increment));
    return "done";
  },
  view: ({ memory }) => String(memory.load32(0)),
  stepsAtLoads: (name, { mode }) => mode === "read" && name === "B",
});
