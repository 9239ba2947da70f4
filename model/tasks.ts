/**
 * An operation as a generator. Every `yield` is a point where another thread may run; yielding a condition means that
 * the operation goes on only once that holds.
 */
export type Task<Result> = Generator<Condition | undefined, Result, void>;
export type Condition = () => boolean;

/** Runs an operation to its end when there is no other thread that could make a condition true. */
export function run<Result>(task: Task<Result>): Result {
  for (;;) {
    const step = task.next();
    if (step.done) return step.value;
    if (step.value !== undefined && !step.value()) throw new Error("a single thread waits for itself");
  }
}
