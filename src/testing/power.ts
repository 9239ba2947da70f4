import { ImageKey } from "./image-key.ts";
import type { CrashImage } from "./kill.ts";
import { below, type Random } from "./random.ts";
import type { MemoryEvent } from "./recording-memory.ts";

const LINE_BYTES = 64;
/** Up to this many combinations at a fence are tried one and all; above, the extremes and a random sample. */
const MAX_EXHAUSTIVE = 256;
const SAMPLES = 32;

/** A store as one cache line sees it. */
interface Step {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * Stores of a line that are not durable yet. `retired` counts those before them and is never forgotten: a flush of
 * another thread may be older than what made the line clean.
 */
interface Line {
  readonly steps: Step[];
  retired: number;
}

/**
 * The power model: per cache line, any prefix of the stores since its last flush and fence may have reached the
 * memory, and lines are independent. A fence makes durable only what the same thread had flushed. What is not fenced
 * is carried on into the next operation.
 */
export class PowerModel {
  readonly #durable: Uint8Array;
  readonly #key = new ImageKey();
  readonly #lines = new Map<number, Line>();
  /** Per thread and line: up to which store of the line it flushed. */
  readonly #flushed = new Map<number, Map<number, number>>();

  constructor(start: Uint8Array) {
    this.#durable = start.slice();
  }

  add(event: MemoryEvent): void {
    if (event.kind === "store") this.#store(event.offset, event.bytes);
    else if (event.kind === "flush") this.#flush(event.thread, event.offset, event.lengthBytes);
    else this.#fence(event.thread);
  }

  /** Images that a power cut may leave now. */
  *images(random: Random): Generator<CrashImage> {
    const lines = [...this.#lines].filter(([, line]) => line.steps.length > 0);
    const combinations = lines.reduce((product, [, line]) => product * (line.steps.length + 1), 1);
    const stored = lines.map(([, line]) => line.steps.length);
    const choices = combinations <= MAX_EXHAUSTIVE ? everyChoice(stored, combinations) : sampledChoices(stored, random);
    for (const choice of choices) {
      const key = this.#key.copy();
      lines.forEach(([number, line], k) => {
        if (choice[k] > 0) key.replace(number, this.#durableLine(number), this.#lineAfter(number, line, choice[k]));
      });
      const label = `power cut with ${choice.join(" ")} stores of lines ${lines.map(([number]) => number).join(" ")}`;
      yield { key: key.value, label, bytes: () => this.#build(lines, choice) };
    }
  }

  #build(lines: readonly (readonly [number, Line])[], choice: readonly number[]): Uint8Array {
    const bytes = this.#durable.slice();
    lines.forEach(([number, line], k) => {
      bytes.set(this.#lineAfter(number, line, choice[k]), number * LINE_BYTES);
    });
    return bytes;
  }

  #durableLine(number: number): Uint8Array {
    return this.#durable.subarray(number * LINE_BYTES, (number + 1) * LINE_BYTES);
  }

  #lineAfter(number: number, line: Line, steps: number): Uint8Array {
    const content = this.#durableLine(number).slice();
    for (const step of line.steps.slice(0, steps)) content.set(step.bytes, step.offset - number * LINE_BYTES);
    return content;
  }

  #store(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = offset + done;
      const count = Math.min(LINE_BYTES - (at % LINE_BYTES), bytes.length - done);
      const number = Math.floor(at / LINE_BYTES);
      const line = this.#lines.get(number) ?? { steps: [], retired: 0 };
      line.steps.push({ offset: at, bytes: bytes.subarray(done, done + count) });
      this.#lines.set(number, line);
      done += count;
    }
  }

  #flush(thread: number, offset: number, lengthBytes: number): void {
    const own = this.#flushed.get(thread) ?? new Map<number, number>();
    this.#flushed.set(thread, own);
    const first = Math.floor(offset / LINE_BYTES);
    const last = Math.floor((offset + lengthBytes - 1) / LINE_BYTES);
    for (const [number, line] of this.#lines) {
      if (number >= first && number <= last) own.set(number, line.retired + line.steps.length);
    }
  }

  #fence(thread: number): void {
    for (const [number, upTo] of this.#flushed.get(thread) ?? []) {
      const line = this.#lines.get(number);
      if (line === undefined) continue;
      for (; line.retired < upTo && line.steps.length > 0; line.retired++) {
        const step = line.steps.shift() as Step;
        this.#key.store(this.#durable, step.offset, step.bytes);
      }
    }
    this.#flushed.delete(thread);
  }
}

function* everyChoice(stored: readonly number[], combinations: number): Generator<number[]> {
  for (let number = 0; number < combinations; number++) {
    let rest = number;
    yield stored.map((count) => {
      const choice = rest % (count + 1);
      rest = Math.floor(rest / (count + 1));
      return choice;
    });
  }
}

function* sampledChoices(stored: readonly number[], random: Random): Generator<number[]> {
  yield [...stored];
  yield stored.map(() => 0);
  for (let k = 0; k < Math.min(stored.length, SAMPLES); k++) {
    const chosen = stored.length <= SAMPLES ? k : below(random, stored.length);
    yield stored.map((count, at) => (at === chosen ? count : 0));
    yield stored.map((count, at) => (at === chosen ? 0 : count));
  }
  for (let k = 0; k < SAMPLES; k++) yield stored.map((count) => below(random, count + 1));
}
