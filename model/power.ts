import { lineOf } from "./layout.ts";
import type { MediaEvent, StoreEvent } from "./media.ts";
import type { Random } from "./random.ts";

/** Words and values of one store that fall into one line. */
type Step = readonly number[];

/** Kept for ever, even without steps: another thread's flush may still count its steps. */
interface Line {
  readonly steps: Step[];
  /** Steps that have become durable since the line was first stored to. */
  retired: number;
}

/**
 * The power model: a line reaches the media whenever it likes, with all stores made to it so far. So a cut leaves, for
 * every line on its own, a prefix of its stores since it was last made durable. A fence makes durable only what the
 * same thread flushed, up to the stores the line held at that flush.
 */
export class PowerCut {
  durable: Uint32Array;
  readonly #lines: Map<number, Line> = new Map();
  readonly #flushed: Map<number, Map<number, number>> = new Map();

  constructor(image: Uint32Array) {
    this.durable = image.slice();
  }

  feed(event: MediaEvent): void {
    if (event.kind === "store") this.#store(event);
    else if (event.kind === "flush") this.#flush(event.thread, event.line);
    else if (event.kind === "flush-all") for (const line of this.#lines.keys()) this.#flush(event.thread, line);
    else this.#fence(event.thread);
  }

  /** Every image a cut may leave now, when there are at most `limit`; else the extremes and a sample. */
  images(limit: number, random: Random, visit: (image: Uint32Array) => void): void {
    const lines = [...this.#lines.values()].filter(({ steps }) => steps.length > 0);
    const total = lines.reduce((product, line) => product * (line.steps.length + 1), 1);
    const image = new Uint32Array(this.durable.length);
    const make = (counts: readonly number[]): void => {
      image.set(this.durable);
      for (const [k, count] of counts.entries()) applySteps(image, lines[k].steps, count);
      visit(image);
    };
    if (total <= limit) {
      for (let number = 0; number < total; number++) {
        let rest = number;
        make(
          lines.map(({ steps }) => {
            const count = rest % (steps.length + 1);
            rest = Math.floor(rest / (steps.length + 1));
            return count;
          }),
        );
      }
      return;
    }
    const full = lines.map(({ steps }) => steps.length);
    const none = lines.map(() => 0);
    make(full);
    make(none);
    for (const [k] of lines.entries()) {
      make(none.with(k, full[k]));
      make(full.with(k, 0));
    }
    for (let sample = 0; sample < limit / 4; sample++) make(full.map((count) => random.below(count + 1)));
  }

  /** One image that a cut may leave. */
  sample(random: Random): Uint32Array {
    const image = this.durable.slice();
    for (const { steps } of this.#lines.values()) applySteps(image, steps, random.below(steps.length + 1));
    return image;
  }

  #store(event: StoreEvent): void {
    const parts = new Map<number, number[]>();
    for (const [k, value] of event.values.entries()) {
      const line = lineOf(event.word + k);
      let part = parts.get(line);
      if (part === undefined) parts.set(line, (part = []));
      part.push(event.word + k, value);
    }
    for (const [number, part] of parts) {
      let line = this.#lines.get(number);
      if (line === undefined) this.#lines.set(number, (line = { steps: [], retired: 0 }));
      line.steps.push(part);
    }
  }

  #flush(thread: number, number: number): void {
    const line = this.#lines.get(number);
    if (line === undefined) return;
    let flushed = this.#flushed.get(thread);
    if (flushed === undefined) this.#flushed.set(thread, (flushed = new Map<number, number>()));
    flushed.set(number, line.retired + line.steps.length);
  }

  #fence(thread: number): void {
    for (const [number, upTo] of this.#flushed.get(thread) ?? []) {
      const line = this.#lines.get(number);
      if (line === undefined) continue;
      const count = Math.min(Math.max(upTo - line.retired, 0), line.steps.length);
      applySteps(this.durable, line.steps.splice(0, count), count);
      line.retired += count;
    }
    this.#flushed.delete(thread);
  }
}

function applySteps(image: Uint32Array, steps: readonly Step[], count: number): void {
  for (let k = 0; k < count; k++) {
    const step = steps[k];
    for (let at = 0; at < step.length; at += 2) image[step[at]] = step[at + 1];
  }
}
