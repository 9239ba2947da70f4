import { assert } from "../base/index.ts";
import type { MemoryEvent } from "./recording-memory.ts";

const MAX_EVENTS = 16_384;
const MAX_STORED_BYTES: number = 4 * 2 ** 20;
/** Words of an event: thread, kind, offset, length, where its bytes start. */
const WORDS = 5;
const kinds = ["store", "atomic store", "flush", "fence"] as const;
/** Beside the events: how many there are, and how many bytes they have stored. */
const HEAD = 2;
const BYTES_START: number = 4 * (HEAD + MAX_EVENTS * WORDS);

/** A list of memory events in memory that threads share. One thread adds at a time. */
export class EventLog {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(BYTES_START + MAX_STORED_BYTES)) {
    this.buffer = buffer;
    this.#words = new Uint32Array(buffer, 0, HEAD + MAX_EVENTS * WORDS);
    this.#bytes = new Uint8Array(buffer, BYTES_START);
  }

  get count(): number {
    return this.#words[0];
  }

  clear(): void {
    this.#words.fill(0, 0, HEAD);
  }

  add(event: MemoryEvent): void {
    const [count, used] = this.#words;
    const stored = event.kind === "store" ? event.bytes : undefined;
    const lengthBytes = event.kind === "flush" ? event.lengthBytes : (stored?.length ?? 0);
    assert(count < MAX_EVENTS && used + (stored?.length ?? 0) <= MAX_STORED_BYTES, "the log of events has room");
    const kind = event.kind === "store" && event.atomic ? "atomic store" : event.kind;
    const offset = event.kind === "fence" ? 0 : event.offset;
    this.#words.set([event.thread, kinds.indexOf(kind), offset, lengthBytes, used], HEAD + count * WORDS);
    if (stored !== undefined) this.#bytes.set(stored, used);
    this.#words[0] = count + 1;
    this.#words[1] = used + (stored?.length ?? 0);
  }

  /** The events, with bytes of their own. */
  read(): MemoryEvent[] {
    return Array.from({ length: this.count }, (_, k) => this.#eventAt(HEAD + k * WORDS));
  }

  #eventAt(at: number): MemoryEvent {
    const [thread, kind, offset, lengthBytes, start] = this.#words.subarray(at, at + WORDS);
    if (kinds[kind] === "fence") return { kind: "fence", thread };
    if (kinds[kind] === "flush") return { kind: "flush", thread, offset, lengthBytes };
    const bytes = this.#bytes.slice(start, start + lengthBytes);
    return { kind: "store", thread, offset, bytes, atomic: kinds[kind] === "atomic store" };
  }
}
