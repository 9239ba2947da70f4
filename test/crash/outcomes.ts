/**
 * What two operations that run at once may leave, by the model alone: whatever one after the other leaves, block by
 * block where an operation has several, in an order that explains what both have answered.
 */
import { textOf } from "./checker.ts";
import type { Operation } from "./operations.ts";
import { REFUSED } from "./stepped-scenarios.ts";
import type { World } from "./world.ts";

/** How far an operation is when it is asked what may be there. */
export type Progress = "not begun" | "running" | "returned";

/** One of the two operations, with what it answered. */
export interface Answered {
  readonly operation: Operation;
  readonly answer: string;
}

/** How far an operation is, and whom it has found by name when it began. */
interface Position {
  readonly found: ReadonlyMap<string, number> | undefined;
  readonly steps: number;
  readonly hasReturned: boolean;
}

const unbegun: Position = { found: undefined, steps: 0, hasReturned: false };

/** A state on the way, with how much of both was done. */
interface State {
  readonly text: string;
  readonly view: string;
  readonly done: readonly [Progress, Progress];
}

/** The states that two operations may leave. */
export class Outcomes {
  readonly #states: State[] = [];
  readonly #pair: readonly [Answered, Answered];
  /** The number of the one that had returned before the other began. */
  readonly #first: number | undefined;
  readonly #texts = new Map<string, readonly string[]>();

  constructor(world: World, pair: readonly [Answered, Answered], first: number | undefined) {
    this.#pair = pair;
    this.#first = first;
    this.#explore(world, [unbegun, unbegun]);
  }

  /** True when some order of the two explains what they answered. */
  get isExplained(): boolean {
    return this.#states.some(({ done }) => done.every((is) => is === "returned"));
  }

  /** Texts of what may be found after a crash when the two are so far. */
  texts(a: Progress, b: Progress): readonly string[] {
    const key = `${a}, ${b}`;
    let texts = this.#texts.get(key);
    if (texts === undefined) {
      const states = this.#states.filter(({ done }) => isPossible(a, done[0]) && isPossible(b, done[1]));
      texts = Array.from(new Set(states.map(({ text }) => text)));
      this.#texts.set(key, texts);
    }
    return texts;
  }

  /** What may be found after a crash when both have returned and a thread then sees `view`. */
  ends(view: string): readonly string[] {
    const states = this.#states.filter((state) => state.view === view && state.done.every((is) => is === "returned"));
    return Array.from(new Set(states.map(({ text }) => text)));
  }

  /** Adds what there is, and goes on with either operation. */
  #explore(world: World, at: readonly [Position, Position]): void {
    const doneOf = ({ steps, hasReturned }: Position): Progress =>
      hasReturned ? "returned" : steps > 0 ? "running" : "not begun";
    this.#states.push({ text: world.text(), view: viewOf(world), done: [doneOf(at[0]), doneOf(at[1])] });
    for (const k of [0, 1] as const) {
      if (at[k].hasReturned || (this.#first === 1 - k && !at[1 - k].hasReturned)) continue;
      const next = world.copy();
      const position = at[k].found === undefined ? { ...at[k], found: world.ids() } : this.#step(next, k, at[k]);
      if (position !== undefined) this.#explore(next, k === 0 ? [position, at[1]] : [at[0], position]);
    }
  }

  /** Takes a step of an operation. @returns where it is then; undefined when it has answered otherwise */
  #step(world: World, k: 0 | 1, { steps, found }: Position): Position | undefined {
    const { operation, answer } = this.#pair[k];
    const isRefused = answer.startsWith(REFUSED);
    const isLast = steps + 1 === operation.steps.length;
    try {
      world.found = found;
      operation.steps[steps](world, answer);
      const next = operation.isSequence === true && !isLast ? undefined : found;
      return isRefused && isLast ? undefined : { found: next, steps: steps + 1, hasReturned: isLast };
    } catch {
      return isRefused ? { found, steps, hasReturned: true } : undefined;
    } finally {
      world.found = undefined;
    }
  }
}

/** An operation that runs may have done all or nothing. */
function isPossible(now: Progress, done: Progress): boolean {
  return now === "running" || now === done;
}

/** What a thread sees by the API: what is pending has no name, and what it has taken is not where it was. */
function viewOf(world: World): string {
  const all = Array.from(world.instances.values());
  const named = all.filter(({ name, pending }) => !pending && name !== "ballast");
  return textOf(
    named.map(({ name, sizeBytes, attribute, readOnly, pages }) => {
      return { name, size: sizeBytes, attribute, readOnly, pages };
    }),
  );
}
