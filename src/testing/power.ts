import { CrashImage, type CrashModel } from "./crash-image.ts";
import { ImageKey, lineBytes, lineKey } from "./image-key.ts";
import { below, type Random } from "./random.ts";
import type { MemoryEvent } from "./recording-memory.ts";
import { type Patch, TrialImage } from "./trial-image.ts";

/** Up to this many combinations at a fence are tried one and all; above, the extremes and a random sample. */
const DEFAULT_EXHAUSTIVE = 4096;
const SAMPLES = 32;

const LINE_WORDS: number = lineBytes / 4;

/** A line after some of its stores. */
interface Content extends Patch {
  readonly key: ImageKey;
}

/**
 * What a line holds after each of its stores that are not durable yet; the first content is the durable one. `retired`
 * counts the stores before that and is never forgotten: a flush of another thread may be older than what made the line
 * clean.
 */
interface Line {
  readonly contents: Content[];
  retired: number;
}

/**
 * The power model: per cache line, any prefix of the stores since its last flush and fence may have reached the
 * memory, and lines are independent. A fence makes durable only what the same thread had flushed. What is not fenced
 * is carried on into the next operation.
 */
export class PowerModel implements CrashModel {
  readonly #durable: TrialImage;
  readonly #random: Random;
  readonly #exhaustive: number;
  readonly #lines = new Map<number, Line>();
  /** Per thread and line: up to which store of the line it flushed. */
  readonly #flushed = new Map<number, Map<number, number>>();

  constructor(start: Uint8Array | TrialImage, random: Random, exhaustive: number = DEFAULT_EXHAUSTIVE) {
    this.#durable = new TrialImage(start);
    this.#random = random;
    this.#exhaustive = exhaustive;
  }

  get key(): number {
    const key = this.#durable.key.copy();
    for (const { contents } of this.#lines.values()) if (contents.length > 1) key.toggle(sequenceKey(contents));
    for (const [thread, flushed] of this.#flushed) {
      for (const [number, upTo] of flushed) key.toggle(flushKey(thread, number, upTo - this.#retired(number)));
    }
    return key.value;
  }

  #retired(number: number): number {
    return this.#lines.get(number)?.retired ?? 0;
  }

  add(event: MemoryEvent): void {
    if (event.kind === "store") this.#store(event.offset, event.bytes);
    else if (event.kind === "flush") this.#flush(event.thread, event.offset, event.lengthBytes);
    else this.#fence(event.thread);
  }

  /** Between two fences more and more is possible, so looking before each fence is enough. */
  *during(event: MemoryEvent): Generator<CrashImage> {
    if (event.kind === "fence") yield* this.now();
  }

  *now(): Generator<CrashImage> {
    const lines = Array.from(this.#lines.values(), ({ contents }) => contents).filter(({ length }) => length > 1);
    const combinations = lines.reduce((product, { length }) => product * length, 1);
    const stored = lines.map(({ length }) => length - 1);
    const choices =
      combinations <= this.#exhaustive ? everyChoice(stored, combinations) : sampledChoices(stored, this.#random);
    for (const choice of choices) yield this.#imageOf(lines, choice);
  }

  fork(): PowerModel {
    const fork = new PowerModel(this.#durable, this.#random, this.#exhaustive);
    for (const [number, { contents, retired }] of this.#lines) {
      fork.#lines.set(number, { contents: contents.slice(), retired });
    }
    for (const [thread, flushed] of this.#flushed) fork.#flushed.set(thread, new Map(flushed));
    return fork;
  }

  latest(): Uint8Array {
    const image = this.#durable.bytes.slice();
    for (const { contents } of this.#lines.values()) {
      const { offset, bytes } = contents[contents.length - 1];
      image.set(bytes, offset);
    }
    return image;
  }

  #imageOf(lines: readonly (readonly Content[])[], choice: readonly number[]): CrashImage {
    const key = this.#durable.key.copy();
    const patches: Patch[] = [];
    for (let k = 0; k < lines.length; k++) {
      if (choice[k] === 0) continue;
      const content = lines[k][choice[k]];
      key.toggle(lines[k][0].key);
      key.toggle(content.key);
      patches.push(content);
    }
    const numbers = (): string => lines.map(([{ offset }]) => offset / lineBytes).join(" ");
    const label = (): string => `power cut with ${choice.join(" ")} stores of lines ${numbers()}`;
    return new CrashImage(this.#durable, patches, key.value, label);
  }

  #store(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = offset + done;
      const within = at % lineBytes;
      const count = Math.min(lineBytes - within, bytes.length - done);
      const number = (at - within) / lineBytes;
      const line = this.#line(number);
      const next = line.contents[line.contents.length - 1].bytes.slice();
      next.set(bytes.subarray(done, done + count), within);
      line.contents.push(contentOf(number, next));
      done += count;
    }
  }

  #line(number: number): Line {
    const known = this.#lines.get(number);
    if (known !== undefined) return known;
    const line: Line = { contents: [contentOf(number, this.#durable.line(number))], retired: 0 };
    this.#lines.set(number, line);
    return line;
  }

  #flush(thread: number, offset: number, lengthBytes: number): void {
    const own = this.#flushed.get(thread) ?? new Map<number, number>();
    this.#flushed.set(thread, own);
    const first = Math.floor(offset / lineBytes);
    const last = Math.floor((offset + lengthBytes - 1) / lineBytes);
    const note = (number: number, { contents, retired }: Line): void => {
      if (contents.length > 1) own.set(number, retired + contents.length - 1);
    };
    if (last - first < this.#lines.size) {
      for (let number = first; number <= last; number++) {
        const line = this.#lines.get(number);
        if (line !== undefined) note(number, line);
      }
    } else {
      for (const [number, line] of this.#lines) if (number >= first && number <= last) note(number, line);
    }
  }

  #fence(thread: number): void {
    for (const [number, upTo] of this.#flushed.get(thread) ?? []) {
      const line = this.#lines.get(number);
      if (line === undefined) continue;
      const retiring = Math.min(upTo - line.retired, line.contents.length - 1);
      if (retiring <= 0) continue;
      line.contents.splice(0, retiring);
      line.retired += retiring;
      this.#durable.store(number * lineBytes, line.contents[0].bytes);
    }
    this.#flushed.delete(thread);
  }
}

/** `bytes` has a buffer of its own. */
function contentOf(number: number, bytes: Uint8Array): Content {
  return { offset: number * lineBytes, bytes, key: lineKey(number, new Uint32Array(bytes.buffer), 0) };
}

/** The hash of all that a line may hold, in its order. */
function sequenceKey(contents: readonly Content[]): ImageKey {
  const key = new ImageKey();
  for (const { key: content } of contents) {
    key.a = Math.imul(key.a ^ content.a, 0x85ebca6b);
    key.b = Math.imul((key.b ^ (key.b >>> 15)) + content.b, 0xc2b2ae35);
  }
  return key;
}

/** The hash of a flush that waits for its fence: of how many stores that are not durable yet. */
function flushKey(thread: number, number: number, stores: number): ImageKey {
  // What was flushed and has become durable by another thread's fence changes nothing any longer.
  return stores <= 0 ? new ImageKey() : lineKey(number, new Uint32Array(LINE_WORDS).fill(thread * 65_599 + stores), 0);
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
