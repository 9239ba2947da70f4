/** The first of two threads is A, the second B. */
export type ThreadName = "A" | "B";

/**
 * In which order two threads take turns: one begins, and goes on until it ends, waits for the other, or comes to a step
 * before which it is preempted. Steps are counted over both threads.
 */
export interface Schedule {
  readonly first: ThreadName;
  /** Steps before which the thread that runs gives way to the other, in order. */
  readonly preemptions: readonly number[];
}

/** One step of a run: what a thread did between two points at which it could be preempted. */
export interface Step {
  readonly thread: ThreadName;
  /** The other thread could have gone on instead. */
  readonly isChoice: boolean;
  /** How many events there were before it. */
  readonly events: number;
}

/** One line of text, from which a schedule is made again: `A`, or `B@3,17`. */
export function scheduleText({ first, preemptions }: Schedule): string {
  return preemptions.length === 0 ? first : `${first}@${preemptions.join(",")}`;
}

/** The schedule that a text stands for. @throws Error when it is none */
export function parseSchedule(text: string): Schedule {
  const [, first, steps] = /^([AB])(?:@(\d+(?:,\d+)*))?$/.exec(text) ?? [];
  if (first === undefined) throw new Error(`"${text}" is no schedule: it looks like A, or B@3,17`);
  return { first: first as ThreadName, preemptions: steps?.split(",").map(Number) ?? [] };
}

/**
 * All schedules of two threads with at most `bound` preemptions, those with fewer first; waits and ends change turns
 * for nothing. `run` runs a schedule and says what steps it had: the next ones follow from that.
 */
export function* schedulesWithin<Run extends { readonly steps: readonly Step[] }>(
  bound: number,
  run: (schedule: Schedule) => Run,
): Generator<Run, void, undefined> {
  let level: Schedule[] = [
    { first: "A", preemptions: [] },
    { first: "B", preemptions: [] },
  ];
  for (let count = 0; count <= bound; count++) {
    const next: Schedule[] = [];
    for (const schedule of level) {
      const done = run(schedule);
      yield done;
      if (count < bound) next.push(...childrenOf(schedule, done.steps));
    }
    level = next;
  }
}

/** The schedules that are preempted once more, later than before. */
function childrenOf({ first, preemptions }: Schedule, steps: readonly Step[]): Schedule[] {
  // Also before the first step: what a thread does until then the other one does not see, but it may look at much.
  const from = (preemptions.at(-1) ?? -1) + 1;
  const children: Schedule[] = [];
  for (let step = from; step < steps.length; step++) {
    if (steps[step].isChoice) children.push({ first, preemptions: [...preemptions, step] });
  }
  return children;
}
