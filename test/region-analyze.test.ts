/**
 * Hazard: what no crash leaves behind is taken for normal, or what a crash does leave is called corruption. Each state
 * is made by hand, with right checks, in a region of two instances; owner 2 is "a", owner 3 is "b".
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { kind, makeClaim } from "../src/region/claim.ts";
import { analyze, describeFinding, type Finding } from "../src/region/index.ts";
import { Recording, RecordingMemory } from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import { filled } from "./crash/operations.ts";
import { shapeOf } from "./support/images.ts";
import { freshRegion, openCopy, refusal } from "./support/region.ts";

const DATA_A = 0;
/** Pages below the mark that nobody has. */
const FREE_FROM = 200;

function makeImage(): { image: Uint8Array; pageOf: (name: string, index: number) => number } {
  const { region, recording } = freshRegion(1024, { chunkPages: 256 });
  const instances = new Map(
    ["a", "b"].map((name) => [name, region.instance("crash", name, { create: true, sizeBytes: 100 * 512 })]),
  );
  for (const [k, instance] of Array.from(instances.values()).entries()) {
    for (const index of [0, 1, 2]) instance.write(index, filled(10 * k + index));
    instance.ensureRun(8, 2)[Symbol.dispose]();
  }
  const pageOf = (name: string, index: number): number => {
    const page = instances.get(name)?.get(index);
    page?.[Symbol.dispose]();
    return page?.number ?? 0;
  };
  return { image: recording.image, pageOf };
}

/** A claim that is written by hand. */
interface Forged {
  readonly page: number;
  readonly kind: number;
  readonly owner: number;
  readonly index: number;
  readonly revision?: number;
}

function claim(image: Uint8Array, { page, kind: kindNumber, owner, index, revision = 0 }: Forged): void {
  const words = Uint32Array.of(index, makeClaim(page, index, kindNumber, revision, owner));
  image.set(new Uint8Array(words.buffer), shapeOf(image).entryOffset(page));
}

function analyzed(image: Uint8Array): ReturnType<typeof analyze> {
  return analyze(new RecordingMemory(new Recording(image.slice())));
}

const data = (page: number, index: number, revision = 0, owner = 2): Forged => {
  return { page, kind: kind.data, owner, index, revision };
};
const run = (page: number, index: number, owner = 2): Forged => ({ page, kind: kind.run, owner, index });

describe("what a crash leaves is recovered", () => {
  const recoveries: Readonly<
    Record<string, { forged: Forged[]; count: Partial<ReturnType<typeof analyze>["recovered"]> }>
  > = {
    "two claims of adjacent revisions": { forged: [data(FREE_FROM, DATA_A, 1)], count: { losers: 1 } },
    "an older claim beside the one that counts": { forged: [data(FREE_FROM, DATA_A, 3)], count: { losers: 1 } },
    "a page beyond the size": { forged: [data(FREE_FROM, 100)], count: { beyondSize: 1 } },
    "tails without a head": { forged: [run(201, 21), run(202, 22), run(203, 23)], count: { orphans: 3 } },
    "a tail behind a page of another index": { forged: [data(200, 30), run(201, 40)], count: { orphans: 1 } },
    "a tail behind a page of another owner": { forged: [data(200, 30), run(201, 31, 3)], count: { orphans: 1 } },
    "a volatile page": { forged: [{ ...data(FREE_FROM, 5), kind: kind.volatile }], count: { volatile: 1 } },
  };
  for (const [name, { forged, count }] of Object.entries(recoveries)) {
    test(name, () => {
      const { image } = makeImage();
      for (const one of forged) claim(image, one);
      const { findings, recovered } = analyzed(image);
      assert.deepEqual(findings, []);
      const none = { losers: 0, orphans: 0, beyondSize: 0, volatile: 0, unfinished: 0 };
      assert.deepEqual(recovered, { ...none, ...count });
      checkImage(openCopy(image).recording.image);
    });
  }

  test("of two claims the newer counts, also when revisions wrap around", () => {
    for (const [older, newer] of [
      [0, 1],
      [1, 2],
      [3, 0],
    ]) {
      for (const swapped of [false, true]) {
        const { image } = makeImage();
        const [first, second] = swapped ? [newer, older] : [older, newer];
        claim(image, data(FREE_FROM, 50, first));
        claim(image, data(FREE_FROM + 1, 50, second));
        const newerPage = swapped ? FREE_FROM : FREE_FROM + 1;
        const instance = openCopy(image).region.instance("crash", "a");
        using page = instance.get(50);
        assert.equal(page.number, newerPage, `revisions ${older} and ${newer}`);
      }
    }
  });

  test("a bad page is left alone", () => {
    const { image } = makeImage();
    const { freePages } = openCopy(image).region.info();
    claim(image, { page: FREE_FROM, kind: kind.bad, owner: 1, index: 0 });
    assert.deepEqual(analyzed(image).findings, []);
    assert.equal(openCopy(image).region.info().freePages, freePages - 1);
  });

  test("torn entries above the mark are no matter", () => {
    const { image } = makeImage();
    const torn = shapeOf(image).entryOffset(300);
    image.fill(0x5a, torn + 4, torn + 7);
    claim(image, { page: 301, kind: kind.free, owner: 0, index: 0 });
    assert.deepEqual(analyzed(image).findings, []);
  });
});

describe("what no crash leaves is corruption, named by page and owner", () => {
  const corruptions: Readonly<Record<string, { forged: Forged[]; expected: RegExp; page?: number }>> = {
    "two claims of one revision": { forged: [data(FREE_FROM, DATA_A)], expected: /adjacent revisions/ },
    "two claims of distant revisions": { forged: [data(FREE_FROM, DATA_A, 2)], expected: /adjacent revisions/ },
    "three claims of one name": {
      forged: [data(FREE_FROM, DATA_A, 1), data(FREE_FROM + 1, DATA_A, 2)],
      expected: /one claim of a name/,
    },
    "a second claim of a part of a run": { forged: [data(FREE_FROM, 9, 1)], expected: /one claim of a name/ },
    "an owner that does not exist": { forged: [data(FREE_FROM, 0, 0, 77)], expected: /an owner that exists/ },
    "an instance that claims metadata": {
      forged: [{ ...data(FREE_FROM, 0), kind: kind.directory }],
      expected: /directory page of owner 1|a kind/,
    },
    "a page of the region that is none": { forged: [data(FREE_FROM, 0, 0, 1)], expected: /the region itself owns/ },
    "metadata without their claim": { forged: [data(3, 60)], expected: /META/, page: 3 },
    "a claim above the high-water mark": {
      forged: [data(900, 60)],
      expected: /no claim above the high-water mark/,
      page: 900,
    },
    "a run that is not aligned": { forged: [data(201, 60), run(202, 61)], expected: /a multiple of 2\^n/, page: 201 },
    "a run of three pages": {
      forged: [data(204, 60), run(205, 61), run(206, 62)],
      expected: /a multiple of 2\^n/,
      page: 204,
    },
    "a run that ends beyond its instance": {
      forged: [data(200, 99), run(201, 100)],
      expected: /inside of its instance/,
    },
    "a run over a page that is there": { forged: [data(238, 1, 1), run(239, 2)], expected: /no other page/ },
    "a directory page of a huge index": {
      forged: [{ page: FREE_FROM, kind: kind.directory, owner: 1, index: 5000 }],
      expected: /a directory page/,
    },
    "a free page with an owner": {
      forged: [{ page: FREE_FROM, kind: kind.free, owner: 2, index: 0 }],
      expected: /a kind that instances have/,
    },
    "two directory pages of one index": {
      forged: [{ page: FREE_FROM, kind: kind.directory, owner: 1, index: 0 }],
      expected: /one claim of a directory page/,
    },
  };
  for (const [name, { forged, expected, page = forged.at(-1)?.page }] of Object.entries(corruptions)) {
    test(name, () => {
      const { image } = makeImage();
      for (const one of forged) claim(image, one);
      const { findings } = analyzed(image);
      const found = findings.find((finding: Finding) => expected.test(finding.expected));
      assert.ok(found !== undefined, findings.map(describeFinding).join("\n"));
      assert.equal(found.page, page);
      assert.equal(found.where, "frame");
      assert.throws(() => openCopy(image), { ...refusal("CORRUPT"), message: /^recorded memory is corrupt: / });
    });
  }

  test("an entry at the place of another", () => {
    const { image, pageOf } = makeImage();
    const shape = shapeOf(image);
    const [from, to] = [shape.entryOffset(pageOf("a", 0)), shape.entryOffset(FREE_FROM)];
    image.copyWithin(to, from, from + 8);
    assert.match(analyzed(image).findings.map(describeFinding).join(), /frame of page 200 .*a right check/);
  });

  test("a stretch of zeroes in the table", () => {
    const { image } = makeImage();
    const shape = shapeOf(image);
    image.fill(0, shape.entryOffset(100), shape.entryOffset(164));
    assert.equal(analyzed(image).findings.length, 64);
  });
});

test("a hostile table makes a list of findings that ends, and a count that does not lie", () => {
  const { image } = freshRegion(8192).recording;
  const shape = shapeOf(image);
  image.fill(0, shape.entryOffset(1000), shape.entryOffset(5000));
  const { findings, findingCount } = analyzed(image);
  assert.equal(findings.length, 1000);
  assert.equal(findingCount, 4000);
  assert.throws(() => openCopy(image), { ...refusal("CORRUPT"), message: /and \d+ more/ });
});

describe("after a clean close an older directory is told from the true one", () => {
  const directoryPage = (image: Uint8Array): number => {
    const { directoryPages } = analyzed(image);
    return shapeOf(image).pageOffset(directoryPages[0]);
  };

  /** A closed region with one instance, and the same region before the instance changed. */
  function closedTwice(): { older: Uint8Array; image: Uint8Array } {
    const { region, recording } = freshRegion();
    const instance = region.instance("crash", "a", { create: true, sizeBytes: 512 });
    const older = recording.image.slice();
    instance.setAttributes(Uint8Array.of(7));
    region[Symbol.dispose]();
    return { older, image: recording.image };
  }

  test("a page of zeroes", () => {
    const { image } = closedTwice();
    const at = directoryPage(image);
    image.fill(0, at, at + 512);
    image.fill(0, shapeOf(image).pageOffset(analyzed(image).directoryPages[1]), at + 1024);
    assert.match(analyzed(image).findings.map(describeFinding).join(), /directory.*CRC \d+ of its records/);
  });

  test("an older self of its pages", () => {
    const { older, image } = closedTwice();
    for (const page of analyzed(image).directoryPages) {
      const at = shapeOf(image).pageOffset(page);
      image.set(older.subarray(at, at + 512), at);
    }
    assert.match(analyzed(image).findings.map(describeFinding).join(), /directory.*CRC \d+ of its records/);
  });

  test("a flipped bit in one slot is healed, and no corruption", () => {
    const { image } = closedTwice();
    image[directoryPage(image) + 40] ^= 4;
    const { findings, plan } = analyzed(image);
    assert.deepEqual([findings.length, plan.heal.length], [0, 1]);
  });
});
