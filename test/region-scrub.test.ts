/**
 * Hazard: damage that nobody reads is never found; or a scrub beside a writer at work calls sound pages damaged, or
 * keeps the program from doing anything else.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { type Instance, PageRegion, type ScrubProgress } from "../src/region/index.ts";
import { type Recording, RecordingMemory } from "../src/testing/index.ts";
import { shapeOf } from "./support/images.ts";
import { freshRegion, refusal, type Trial } from "./support/region.ts";

const pageBytes = 512;
const page = (value: number): Uint8Array => Uint8Array.from({ length: pageBytes }, (_, k) => value * 31 + k * 7);

/** A region with checksums and two instances of four pages. */
function sealedRegion(pages = 160): Trial & { readonly a: Instance; readonly b: Instance } {
  const trial = freshRegion(pages, { checksums: true });
  const a = trial.region.instance("disk", "a", { create: true });
  const b = trial.region.instance("disk", "b", { create: true });
  for (let index = 0; index < 4; index++) {
    a.write(index, page(index));
    b.write(2 * index, page(10 + index));
  }
  return { ...trial, a, b };
}

function numberOf(instance: Instance, index: number): number {
  using held = instance.get(index);
  return held.number;
}

describe("a scrub", () => {
  test("counts, and tells the place of what is damaged", async () => {
    const { recording, region, a, b } = sealedRegion();
    assert.deepEqual(await region.scrub(), {
      source: "recorded memory",
      pageBytes,
      intactPages: 8,
      unsealedPages: 0,
      damagedPages: 0,
      damaged: [],
    });
    const number = numberOf(b, 6);
    using held = a.get(1);
    recording.image[number * pageBytes + 17] ^= 64;
    const report = await region.scrub();
    assert.deepEqual([report.intactPages, report.unsealedPages, report.damagedPages], [6, 1, 1]);
    const place = { subsystem: "disk", name: "b", owner: 3, index: 6, page: number, offsetBytes: 6 * pageBytes };
    assert.deepEqual(report.damaged, [place]);
    assert.equal(held.index, 1);
  });

  test("finds every single bit that flips in a page and in its seal, and changes nothing", async () => {
    const { recording, region, a } = sealedRegion();
    const { image } = recording;
    const number = numberOf(a, 2);
    const offsets = [...Array(pageBytes).keys()].map((k) => number * pageBytes + k);
    for (let k = 0; k < 4; k++) offsets.push(shapeOf(image).sealOffset(number) + k);
    const events = recording.events.length;
    for (const offset of offsets) {
      for (let bit = 0; bit < 8; bit++) {
        image[offset] ^= 1 << bit;
        const { damagedPages, damaged } = await region.scrub();
        assert.deepEqual([damagedPages, damaged[0]?.page], [1, number], `bit ${bit} of byte ${offset}`);
        image[offset] ^= 1 << bit;
      }
    }
    assert.equal(recording.events.length, events, "nothing was stored");
  });

  test("looks at the instances that are named, and knows none that is not there", async () => {
    const { recording, region, a } = sealedRegion();
    recording.image[numberOf(a, 0) * pageBytes] ^= 1;
    const of = (...names: string[]) => ({ instances: names.map((name) => ({ subsystem: "disk", name })) });
    assert.equal((await region.scrub(of("b"))).damagedPages, 0);
    assert.equal((await region.scrub(of("a"))).intactPages, 3);
    assert.equal((await region.scrub(of("a", "b"))).intactPages, 7);
    await assert.rejects(region.scrub(of("a", "c")), refusal("ENOENT"));
  });

  test("needs a region with checksums", async () => {
    await assert.rejects(freshRegion().region.scrub(), refusal("EINVAL"));
  });

  test("leaves out pages of nobody, whatever their seals say", async () => {
    const { recording, region, a } = sealedRegion();
    const number = numberOf(a, 0);
    a.free(0);
    recording.image[number * pageBytes] ^= 1;
    assert.equal((await region.scrub()).damagedPages, 0);
  });
});

describe("a long scrub", () => {
  /** Pages for several turns of the event loop. */
  const longRegion = (): ReturnType<typeof sealedRegion> => {
    const trial = sealedRegion(8192);
    for (let index = 0; index < 7000; index++) trial.a.write(index, page(index));
    return trial;
  };

  test("tells how far it is, and lets other work go on", async () => {
    const { region } = longRegion();
    const told: ScrubProgress[] = [];
    let turns = 0;
    const work = (): void => {
      turns++;
      other = setImmediate(work);
    };
    let other = setImmediate(work);
    const { intactPages } = await region.scrub({ onProgress: (progress) => told.push(progress) });
    clearImmediate(other);
    assert.equal(intactPages, 7004);
    assert.ok(told.length > 2 && turns >= told.length, `${told.length} steps, ${turns} turns`);
    assert.ok(told.every(({ donePages }, k) => k === 0 || donePages > told[k - 1].donePages));
    assert.equal(told.at(-1)?.donePages, told.at(-1)?.pages);
  });

  test("ends when it is aborted, or the region is closed", async () => {
    const { region } = longRegion();
    const abort = new AbortController();
    const reason = new Error("enough");
    const onProgress = (): void => abort.abort(reason);
    await assert.rejects(region.scrub({ signal: abort.signal, onProgress }), reason);
    await assert.rejects(region.scrub({ signal: abort.signal }), reason);
    await assert.rejects(region.scrub({ onProgress: () => region[Symbol.dispose]() }), refusal("CLOSED"));
    await assert.rejects(region.scrub(), refusal("CLOSED"));
  });

  test("meets changes of the same program between its turns", async () => {
    const { region, a, b } = longRegion();
    const report = await region.scrub({
      onProgress: ({ donePages }) => {
        for (let k = 0; k < 50; k++) a.write((donePages * 7 + k) % 7000, page(donePages + k));
        for (const index of b.indices()) b.free(index);
      },
    });
    assert.equal(report.damagedPages, 0);
  });
});

describe("a reader beside a writer", () => {
  /** A reader's memory; before its n-th read, or every one, the writer is let in. */
  class Beside extends RecordingMemory {
    override readonly readOnly = true;
    readonly #at: number | "every";
    readonly #write: () => void;
    reads = -1;

    constructor(recording: Recording, at: number | "every", write: () => void) {
      super(recording);
      this.#at = at;
      this.#write = write;
    }

    override readInto(offset: number, target: Uint8Array): void {
      if (this.reads >= 0 && (this.reads++ === this.#at || this.#at === "every")) this.#write();
      super.readInto(offset, target);
    }
  }

  /** Everything that makes a page other than it was, each twice over so that freed pages are used again. */
  const writers: Record<string, (a: Instance, image: Uint8Array) => void> = {
    "replaces pages": (a) => {
      for (let round = 0; round < 3; round++) for (let index = 0; index < 4; index++) a.write(index, page(50 + round));
    },
    "frees pages and makes others": (a) => {
      for (let index = 0; index < 4; index++) a.free(index);
      for (let index = 4; index < 40; index++) a.write(index, page(index));
    },
    "holds a page and changes it": (a) => {
      using held = a.get(1);
      held.bytes.fill(77);
    },
    "dies while it fills a freed page anew": (a, image) => {
      const number = numberOf(a, 1);
      a.free(1);
      image.fill(9, number * pageBytes, number * pageBytes + 200);
    },
  };

  for (const [what, write] of Object.entries(writers)) {
    test(`that ${what} finds no damage, at whatever read it happens`, async () => {
      let [at, more] = [0, true];
      for (; more; at++) {
        const { recording, a } = sealedRegion();
        const memory = new Beside(recording, at, () => write(a, recording.image));
        const reader = PageRegion.attach(memory);
        memory.reads = 0;
        const { damagedPages } = await reader.scrub();
        assert.equal(damagedPages, 0, `read ${at}`);
        more = memory.reads > at;
      }
      assert.ok(at > 16, `${at} reads`);
    });

    test(`that ${what} is served a whole page or EBUSY, never half of one`, () => {
      let [at, more] = [0, true];
      for (; more; at++) {
        const { recording, a } = sealedRegion();
        const memory = new Beside(recording, at, () => write(a, recording.image));
        const instance = PageRegion.attach(memory).instance("disk", "a");
        memory.reads = 0;
        try {
          const content = instance.read(1);
          const held = instance.get(2);
          assert.equal(held.bytes.length, pageBytes);
          const whole = [page(1), page(52), new Uint8Array(pageBytes).fill(77)];
          assert.ok(
            whole.some((one) => Buffer.compare(one, content) === 0),
            "half of a page",
          );
        } catch (error) {
          assert.ok(isPerdureError(error, "EBUSY"), `read ${at}: ${String(error)}`);
        }
        more = memory.reads > at;
      }
    });
  }

  test("reads a page again that was changed in place meanwhile, and gives up where that never ends", async () => {
    const { recording, a } = sealedRegion();
    let value = 0;
    const change = (): void => {
      using held = a.get(1);
      held.bytes.fill(++value);
    };
    for (let at = 0; at < 3; at++) {
      const memory = new Beside(recording, at, change);
      const instance = PageRegion.attach(memory).instance("disk", "a");
      memory.reads = 0;
      assert.equal(new Set(instance.read(1)).size, 1, `read ${at}`);
    }
    const memory = new Beside(recording, "every", change);
    const reader = PageRegion.attach(memory);
    memory.reads = 0;
    assert.throws(() => reader.instance("disk", "a").read(1), refusal("EBUSY"));
    const { damagedPages, unsealedPages } = await reader.scrub();
    assert.deepEqual([damagedPages, unsealedPages], [0, 1]);
  });

  test("is told of damage like the writer", async () => {
    const { recording, a } = sealedRegion();
    recording.image[numberOf(a, 1) * pageBytes + 5] ^= 2;
    const memory = new Beside(recording, -2, () => {});
    const reader = PageRegion.attach(memory);
    const instance = reader.instance("disk", "a");
    assert.throws(() => instance.read(1), refusal("DATA_CORRUPT"));
    assert.throws(() => instance.readInto(1, 9, new Uint8Array(2)), refusal("DATA_CORRUPT"));
    assert.throws(() => instance.get(1).bytes, refusal("DATA_CORRUPT"));
    assert.deepEqual(instance.get(2).bytes, page(2));
    assert.equal((await reader.scrub()).damagedPages, 1);
  });
});
