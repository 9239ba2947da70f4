// A format of one's own: a counter that never loses a step, whatever ends the program. docs/formats.md explains it.

import { isSealed, Layout, PerdureError, persist, seal, u32, u64 } from "perdure/format";

/** Two slots of one record. The registry owns bytes 0-11 of the memory, the rest is ours. */
const slots = [512, 1024];

/** Number and time change together, so no single store can change them: hence a sequence, a checksum and two slots. */
const layout = new Layout("counter", 64, {
  sequence: u64(0, "which version of the record this is"),
  count: u64(8, "the number"),
  changedMs: u64(16, "time of the last change, ms since 1970"),
  crc: u32(60, "CRC-32 of bytes 0 to 59"),
});

/** The counter of a memory. */
export class Counter {
  #memory;
  #record;

  constructor(memory) {
    // A slot counts when its checksum is right; the later one is the value. A crash tears at most the other one.
    const found = slots
      .map((offset) => memory.read(offset, layout.sizeBytes))
      .filter((bytes) => isSealed(bytes, layout.fields.crc))
      .map((bytes) => layout.decode(bytes))
      .filter(({ sequence }) => sequence > 0);
    if (found.length === 0) throw new PerdureError("CORRUPT", `${memory.ranges[0].source} has no counter that counts`);
    this.#memory = memory;
    this.#record = found.reduce((a, b) => (a.sequence > b.sequence ? a : b));
  }

  get count() {
    return this.#record.count;
  }

  get changed() {
    return new Date(this.#record.changedMs);
  }

  /** Counts on. When it returns, a crash does not take it back. */
  add(step) {
    if (this.#memory.readOnly) throw new PerdureError("READ_ONLY", "this counter was opened read-only");
    const { sequence, count } = this.#record;
    const next = { sequence: sequence + 1, count: count + step, changedMs: Date.now() };
    write(this.#memory, next);
    this.#record = next;
  }
}

/** Fills the slot that does not count, then makes it durable. The one that counts stays as it is. */
function write(memory, record) {
  const offset = slots[record.sequence % slots.length];
  memory.fill(offset, seal(layout.encode(record), layout.fields.crc));
  persist(memory, offset, layout.sizeBytes);
}

/** @type {import("perdure/format").Format<Counter>} */
export const format = {
  type: 0x434e5452,
  name: "counter",
  format(memory) {
    // What an older counter left must not come back: both slots are new.
    for (const sequence of [1, 2]) write(memory, { sequence, count: 0, changedMs: Date.now() });
  },
  probe: (memory) => new Counter(memory),
  cleanup() {
    // A counter holds nothing. What was opened or locked by `probe` would be let go here.
  },
  describe: ({ count, changed }) => ({ count, changed: changed.toISOString() }),
};
