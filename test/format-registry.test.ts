/**
 * Hazard: a memory given to the wrong format, half formatted and taken for whole, or let go while it is in use. The
 * rules are those of the proposal "device-dax: kmem persistence" (RFC 2022, 2/4), and what its review asked for.
 */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { PerdureError } from "../src/base/index.ts";
import {
  attachMemory,
  type Format,
  formatMemory,
  formatTypeOf,
  isBlank,
  listFormats,
  registerFormat,
  unregisterFormat,
} from "../src/format/index.ts";
import { FailingMemory, RecordingMemory } from "../src/testing/index.ts";
import { refusal } from "./support/region.ts";

const TYPE = 0x2a;
const SIZE = 65_536;

interface Handle {
  readonly text: string;
}

function sample(change: Partial<Format<Handle>> = {}): Format<Handle> {
  return {
    type: TYPE,
    name: "sample",
    format: (memory) => memory.fill(4096, Uint8Array.of(104, 105)),
    probe: (memory) => ({ text: Buffer.from(memory.read(4096, 2)).toString() }),
    cleanup: () => undefined,
    ...change,
  };
}

/** A memory of the sample format, which is registered with the changes given. */
function formatted(change: Partial<Format<Handle>> = {}): RecordingMemory {
  const memory = RecordingMemory.blank(SIZE);
  registerFormat(sample(change));
  formatMemory(memory, TYPE);
  return memory;
}

afterEach(() => {
  for (const { type, name } of listFormats()) if (name === "sample") unregisterFormat(type);
});

test("a memory is formatted and opened by the format that its superblock names", () => {
  const memory = formatted();
  assert.equal(formatTypeOf(memory.read(0, 12)), TYPE);
  const attached = attachMemory<Handle>(memory);
  assert.deepEqual([attached.format.name, attached.handle.text], ["sample", "hi"]);
  attached.detach();
});

test("the first twelve bytes are those of the proposal", () => {
  const memory = formatted();
  assert.equal(Buffer.from(memory.read(0, 12)).toString("hex"), "535245504d454d4b2a000000");
});

test("types are u32 of odd parity, each given once", () => {
  for (const type of [0, 3, 5, -1, 1.5, 2 ** 32 + 1, Number.NaN]) {
    assert.throws(() => registerFormat(sample({ type })), refusal("EINVAL"), String(type));
  }
  registerFormat(sample());
  assert.throws(() => registerFormat(sample({ name: "second" })), refusal("EEXIST"));
  assert.ok(listFormats().some(({ type, name }) => type === TYPE && name === "sample"));
  registerFormat(sample({ type: 0x80000000 }));
});

test("a format in use cannot be forgotten, and every use is counted", () => {
  const memory = formatted();
  const [first, second] = [attachMemory(memory), attachMemory(memory)];
  assert.throws(() => unregisterFormat(TYPE), refusal("EBUSY"));
  first.detach();
  first.detach();
  assert.throws(() => unregisterFormat(TYPE), refusal("EBUSY"), "detaching twice counts once");
  second.detach();
  unregisterFormat(TYPE);
  assert.throws(() => unregisterFormat(TYPE), refusal("ENOENT"));
});

test("a memory of a format that nobody registered is refused, and comes back with it", () => {
  const memory = formatted();
  unregisterFormat(TYPE);
  assert.throws(() => attachMemory(memory), refusal("UNKNOWN_FORMAT"));
  assert.throws(() => formatMemory(RecordingMemory.blank(SIZE), TYPE), refusal("UNKNOWN_FORMAT"));
  registerFormat(sample());
  attachMemory(memory).detach();
});

test("what holds a format already is formatted again only by force", () => {
  const memory = formatted();
  const before = memory.recording.image.slice();
  assert.throws(() => formatMemory(memory, TYPE), refusal("EEXIST"));
  assert.deepEqual(memory.recording.image, before);
  formatMemory(memory, TYPE, { force: true });
});

test("a format that refuses the memory has stored nothing, also by force", () => {
  const memory = formatted();
  const before = memory.recording.image.slice();
  const refusing = sample({
    validate: () => {
      throw new PerdureError("EINVAL", "too small");
    },
  });
  assert.throws(() => formatMemory(memory, refusing, { force: true }), refusal("EINVAL"));
  assert.deepEqual(memory.recording.image, before);
});

test("a failed probe leaves nothing held", () => {
  const memory = formatted({
    probe: () => {
      throw new PerdureError("CORRUPT", "no");
    },
  });
  assert.throws(() => attachMemory(memory), refusal("CORRUPT"));
  unregisterFormat(TYPE);
});

test("a cleanup that throws leaves the memory attached", () => {
  let refuses = true;
  const memory = formatted({
    cleanup: () => {
      if (refuses) throw new PerdureError("EBUSY", "pages are held");
    },
  });
  const attached = attachMemory(memory);
  assert.throws(() => attached.detach(), refusal("EBUSY"));
  assert.throws(() => unregisterFormat(TYPE), refusal("EBUSY"));
  refuses = false;
  attached.detach();
  unregisterFormat(TYPE);
});

test("a format that fails half-way leaves no superblock, not even the old one", () => {
  const memory = formatted();
  const failing = sample({
    format: () => {
      throw new PerdureError("EIO", "the device failed");
    },
  });
  assert.throws(() => formatMemory(memory, failing, { force: true }), refusal("EIO"));
  assert.throws(() => attachMemory(memory), refusal("UNFORMATTED"));
});

test("what a format has left that was cut off is formatted by the next one without force", () => {
  const memory = RecordingMemory.blank(SIZE);
  const failing = sample({
    format: () => {
      memory.fill(4096, Uint8Array.of(7));
      throw new PerdureError("EIO", "the device failed");
    },
  });
  registerFormat(sample());
  assert.throws(() => formatMemory(memory, failing), refusal("EIO"));
  assert.ok(isBlank(memory));
  formatMemory(memory, TYPE);
  attachMemory(memory).detach();
});

test("every failure of the memory while formatting is reported, and none leaves a whole superblock", () => {
  for (const call of ["commit", "fence"] as const) {
    registerFormat(sample());
    let failures = 0;
    for (let nth = 1; ; nth++) {
      const memory = RecordingMemory.blank(SIZE);
      const failing = new FailingMemory(memory, call, nth);
      try {
        formatMemory(failing, TYPE);
      } catch (error) {
        assert.equal((error as PerdureError).code, "EIO");
      }
      if (!failing.failed) break;
      failures++;
      // After the last fence the magic may be there: it was stored, and only not confirmed.
      const isLast = call === "fence" && formatTypeOf(memory.read(0, 12)) === TYPE;
      if (!isLast) assert.throws(() => attachMemory(memory), { name: "PerdureError" });
    }
    assert.ok(failures >= 2, call);
    unregisterFormat(TYPE);
  }
});

test("a memory that forgets the magic is an error, not a format", () => {
  class Forgetful extends RecordingMemory {
    override commit64(): void {
      // A write-protected device answers, and stores nothing.
    }
  }
  registerFormat(sample());
  const memory = new Forgetful(RecordingMemory.blank(SIZE).recording);
  assert.throws(() => formatMemory(memory, TYPE), refusal("EIO"));
});

test("memory that is read-only is not formatted", () => {
  class ReadOnly extends RecordingMemory {
    override readonly readOnly = true;
  }
  registerFormat(sample());
  const memory = new ReadOnly(RecordingMemory.blank(SIZE).recording);
  assert.throws(() => formatMemory(memory, TYPE), refusal("READ_ONLY"));
  assert.ok(isBlank(memory));
});
