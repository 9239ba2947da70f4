/**
 * One of the two threads of the search over steps: it joins the region that is shared, and runs the operation of its
 * scenario whenever it is told to.
 */
import { isPerdureError } from "../../src/base/index.ts";
import { Instance } from "../../src/region/index.ts";
import { waiting } from "../../src/region/locks.ts";
import { serveSteps, type ThreadName } from "../../src/testing/index.ts";
import { textOf } from "./checker.ts";
import { isEpoch } from "./epoch-blind.ts";
import { type JoinedRegion, joinRecorded, type SharedHandle } from "./joined-region.ts";
import { adoptOver } from "./layer-operations.ts";
import { adoptPending, contentText, type Operation } from "./operations.ts";
import { REFUSED, steppedScenarios } from "./stepped-scenarios.ts";

/** What both threads are told. */
export interface StepTask {
  readonly scenario: string;
  readonly handle: SharedHandle;
  /** Every load is a step, also of a thread that stores. */
  readonly loads: boolean;
  /** The clock of all threads stands still: two images that differ in a time only would be two states. */
  readonly now: number;
}

/** Everything that a thread shows by its API, as the checker tells it, and how many pages it counts free. */
function viewOf({ region, handle }: JoinedRegion): string {
  // The ballast, which nobody changes, is left to the checker.
  const shown = region.list().filter(({ name }) => name !== "ballast");
  const instances = shown.map(({ subsystem, name, sizeBytes }) => {
    const instance = region.instance(subsystem, name);
    const pages = new Map(Array.from(instance.indices(), (index) => [index, contentText(instance.read(index))]));
    return { name, size: sizeBytes, attribute: instance.attributes[0], readOnly: instance.isReadOnly, pages };
  });
  return `${textOf(instances)}\n${handle.core.freeCount} free`;
}

function operationOf(name: ThreadName, scenario: string): Operation {
  const { a, b } = steppedScenarios[scenario];
  return name === "A" ? a : b;
}

serveSteps<StepTask, JoinedRegion>({
  attach(memory, steps, { handle: shared, now }) {
    Date.now = () => now;
    waiting.wait = (words, at, value) => steps.wait(words, at, value);
    waiting.pass = () => steps.pass();
    const joined = joinRecorded(memory, shared);
    const { region, handle } = joined;
    for (const state of handle.core.instances.values()) {
      if (state.isPending) (state.parent === undefined ? adoptPending : adoptOver)(region, new Instance(handle, state));
    }
    return joined;
  },
  operate({ region }, name, { scenario }) {
    try {
      return operationOf(name, scenario).run(region) ?? "";
    } catch (error) {
      if (!isPerdureError(error)) throw error;
      return `${REFUSED}${error.code}`;
    }
  },
  view: viewOf,
  stepsAtLoads: (name, { scenario, loads }) => loads || operationOf(name, scenario).name.startsWith("read"),
  isStep: (event) => event.kind !== "flush" && !isEpoch(event),
});
