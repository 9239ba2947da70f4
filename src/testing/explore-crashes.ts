import type { CrashModel } from "./crash-image.ts";
import { CrashJudge, type CrashSubject, type Found, type Tally, type Thoroughness } from "./crash-judge.ts";
import { KillModel } from "./kill.ts";
import { PowerModel } from "./power.ts";
import { type Random, seeded } from "./random.ts";
import { Recording, RecordingMemory } from "./recording-memory.ts";

/** A crash test of one operation of a format. */
export interface CrashTest<Opened, F extends Found = Found> extends CrashSubject<Opened, F> {
  /** The image before the operation, as the last owner left it. */
  readonly start: Uint8Array;
  /** The operation, which has returned when this returns. */
  operate(opened: Opened): void;
  /** Texts of states that a crash may leave beside those before and after, in an operation of several steps. */
  readonly between?: readonly string[];
  /** Where the random choices start; 1 by default. */
  readonly seed?: number;
  readonly thoroughness?: Partial<Thoroughness>;
}

/** A single operation is short: what takes long may be done often. */
const thorough: Thoroughness = { nestedEvery: 10, examinedEvery: 10 };

/**
 * Tries every state that a kill or a power cut may leave of an operation, each opened and checked: while it runs the
 * state before or after (or one between) must be found, and when it has returned only that after. Some are crashed
 * again while they recover.
 *
 * @throws Violation that says which state broke the promise, and how it can be made again
 */
export function exploreCrashes<Opened, F extends Found>(test: CrashTest<Opened, F>): Tally {
  const random = seeded(test.seed ?? 1);
  const judge = new CrashJudge(test, random, { ...thorough, ...test.thoroughness });
  for (const model of [KillModel, PowerModel]) explore(test, judge, model, random);
  return judge.tally;
}

function explore<Opened, F extends Found>(
  test: CrashTest<Opened, F>,
  judge: CrashJudge<Opened, F>,
  Model: new (start: Uint8Array, random: Random) => CrashModel,
  random: Random,
): void {
  const recording = new Recording(test.start.slice());
  const opened = test.open(new RecordingMemory(recording));
  const before = textOf(test, recording.recorded);
  const model = new Model(recording.recorded, random);
  recording.events = [];
  test.operate(opened);
  judge.tally.operations++;
  const after = textOf(test, recording.recorded);
  const allowed = [before, ...(test.between ?? []), after];
  const context = `seed ${test.seed ?? 1}`;
  for (const event of recording.events) {
    for (const crash of model.during(event)) judge.judge(crash, allowed, context);
    model.add(event);
  }
  for (const crash of model.now()) judge.judge(crash, [after], `${context}, after the operation`);
}

/** What the next owner finds when this one dies now. */
function textOf<Opened, F extends Found>(test: CrashTest<Opened, F>, image: Uint8Array): string {
  const recording = new Recording(image.slice());
  test.open(new RecordingMemory(recording));
  return test.check(recording.recorded).text;
}
