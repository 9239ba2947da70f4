/**
 * Hazard: a later program that does not find what an earlier one wrote. Version 1 of the format is a promise: images
 * made by its first code are kept in test/golden and opened for ever, and so is one of version 0. Nothing in the tables
 * of the layout moves.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { superblockHead } from "../src/format/index.ts";
import { kind, makeClaim } from "../src/region/claim.ts";
import { Shape } from "../src/region/geometry.ts";
import { PageRegion } from "../src/region/index.ts";
import * as layout from "../src/region/layout.ts";
import { maskOf } from "../src/region/masks.ts";
import { checkImage } from "./crash/checker.ts";
import { goldenImage, told, toldKilled, toldV0, toldV1 } from "./support/golden.ts";
import { ReaderMemory } from "./support/layered.ts";
import { everyLife, openCopy, refusal, type Trial } from "./support/region.ts";

interface Golden {
  readonly name: string;
  readonly shown: readonly string[];
  readonly version: number;
  readonly start: string;
}

const images: readonly Golden[] = [
  { name: "v0", shown: toldV0, version: 0, start: "warm" },
  { name: "v1-closed", shown: toldV1, version: 1, start: "warm" },
  { name: "v1-checksums", shown: toldV1, version: 1, start: "warm" },
  { name: "v1-killed", shown: toldKilled, version: 1, start: "recovered" },
];

/** Content by name, whosever pages it is on. */
function contents(lines: readonly string[]): Map<string, string> {
  return new Map(
    lines.map((line) => {
      const [, name, pages] = /^(\S+) .*?: (.*)$/.exec(line) ?? [];
      return [name, pages.replaceAll("'", "")];
    }),
  );
}

/** Works on what was found: writes, and where there are layers snapshots, clones, an undelete and merges. */
function work({ region }: Trial): void {
  const disk = region.instance("disk", "pram0");
  disk.write(9, Buffer.from("more"));
  if (region.info().version === 0) return;
  disk.snapshot("now").clone("later").free(9);
  region.undelete("test", "gone");
  region.instance("disk", "twin").purge();
  region.instance("disk", "monday").purge();
}

/** What is there after that work. */
function workedOn({ shown, version }: Golden): Map<string, string> {
  const expected = contents(shown);
  const before = expected.get("disk/pram0") ?? "";
  const after = before.replace(/ (64|127)=/, ' 9="more" $1=');
  expected.set("disk/pram0", after);
  if (version === 0) return expected;
  expected.set("disk/now", after);
  expected.set("disk/later", before);
  expected.set("test/gone", "0=7");
  expected.delete("disk/twin");
  expected.delete("disk/monday");
  return expected;
}

describe("a golden image", () => {
  for (const golden of images) {
    const { name, shown, version, start } = golden;
    test(`${name} opens, and shows every byte and every name`, () => {
      const trial = openCopy(goldenImage(name));
      const { region } = trial;
      assert.equal(region.start.kind, start);
      assert.deepEqual([region.info().version, region.info().lives.length], [version, 2]);
      assert.deepEqual(told(region), shown);
      assert.deepEqual(
        region.deleted().map((one) => [one.name, one.pages]),
        version === 0 ? [] : [["gone", 1]],
      );
      checkImage(trial.recording.recorded);
    });

    test(`${name} shows the same to a reader, who stores nothing`, () => {
      const region = PageRegion.attach(new ReaderMemory(goldenImage(name)));
      assert.deepEqual(told(region), shown);
    });

    test(`${name} can be worked on, and is found again`, () => {
      const trial = openCopy(goldenImage(name));
      work(trial);
      const expected = workedOn(golden);
      for (const next of everyLife(trial)) {
        assert.deepEqual(contents(told(next.region)), expected);
        checkImage(next.recording.recorded);
      }
    });
  }

  test("with checksums has one for every page of content", async () => {
    const { region } = openCopy(goldenImage("v1-checksums"));
    const { damagedPages, unsealedPages, intactPages } = await region.scrub();
    assert.deepEqual([damagedPages, unsealedPages], [0, 0]);
    assert.ok(intactPages > 15);
  });

  test("was closed with checksums that are verified: an older self of one block is found", () => {
    for (const name of ["v0", "v1-closed", "v1-checksums"]) {
      const image = goldenImage(name);
      image[4096 + 8 * 20] ^= 1;
      assert.throws(() => openCopy(image), refusal("CORRUPT"), name);
    }
  });
});

describe("what is frozen", () => {
  const frozen: Record<string, string> = {
    "superblock head 12": "magicLow 0+4, magicHigh 4+4, type 8+4",
    "geometry 128":
      "magicLow 0+4, magicHigh 4+4, type 8+4, version 12+4, compatible 16+4, readOnlyCompatible 20+4, " +
      "incompatible 24+4, pageBytes 28+4, uuid 32+16, createdMs 48+8, pages 56+4, chunkPages 60+4, crc 64+4",
    "region state 512":
      "sequence 0+8, generation 8+4, state 12+4, failedStarts 16+4, ranges 20+4, pages 24+4, ownerPid 28+4, " +
      "ownerStartTicks 32+8, bootId 40+16, marks 56+64, checksumsCrc 120+4, recordsCrc 124+4, " +
      "masksCrc 128+4, crc 508+4",
    "life 64": "generation 0+4, pid 4+4, openedMs 8+8, closedMs 16+8, start 24+4, reason 28+4, bootId 32+16, crc 60+4",
    "instance record 512":
      "sequence 0+8, state 8+4, owner 12+4, parent 16+4, schema 24+4, flags 28+4, sizeBytes 32+8, " +
      "quotaMinPages 40+8, quotaMaxPages 48+8, createdMs 56+8, changedMs 64+8, source 72+4, subsystem 76+32, " +
      "name 108+256, attributes 364+96, successor 460+4, reach 464+8, deletedMs 472+8, crc 508+4",
  };

  test("every field of version 1 stands where it stood; later ones may stand where nothing was", () => {
    const { geometryLayout, stateLayout, lifeLayout, recordLayout } = layout;
    for (const { name, sizeBytes, fields } of [superblockHead, geometryLayout, stateLayout, lifeLayout, recordLayout]) {
      const now = Object.entries(fields).map(([field, { offset, sizeBytes: size }]) => `${field} ${offset}+${size}`);
      for (const field of frozen[`${name} ${sizeBytes}`].split(", "))
        assert.ok(now.includes(field), `${name}: ${field}`);
    }
  });

  test("so do the parts of a region, of both kinds", () => {
    const partsOf = (readOnlyCompatible: number): number[] => {
      const shape = new Shape({ pageBytes: 512, pages: 1000, chunkPages: 64, readOnlyCompatible });
      const { tableOffset, checksumsOffset, sealsOffset, firstPage, lastPage, geometryCopyOffset, masksPerPage } =
        shape;
      return [tableOffset, checksumsOffset, sealsOffset, firstPage, lastPage, geometryCopyOffset, masksPerPage];
    };
    assert.deepEqual(partsOf(0), [4096, 12096, 12104, 24, 999, 511_488, 2048]);
    assert.deepEqual(partsOf(1), [4096, 12096, 12104, 32, 999, 511_488, 2048]);
    assert.deepEqual(layout.superblockOffsets, { geometry: 0, recordA: 512, recordB: 1024, lives: 2048, epochs: 3072 });
  });

  test("and the numbers that have a meaning", () => {
    const { free, meta, directory, data, table, run, volatile, bad } = kind;
    assert.deepEqual([free, meta, directory, data, table, run, volatile, bad], [1, 2, 3, 4, 5, 6, 8, 9]);
    assert.deepEqual(layout.recordState, { free: 0, pending: 1, live: 2, deleting: 3, deleted: 4 });
    assert.deepEqual(layout.regionState, { open: 1, closed: 2, repairing: 3 });
    assert.deepEqual(layout.recordFlags, { readOnly: 1 });
    assert.deepEqual(layout.readOnlyFeatures, { seals: 1 });
    assert.deepEqual([layout.formatType, layout.regionOwner, layout.firstOwner, layout.maxOwner], [1, 1, 2, 524_287]);
    assert.equal(makeClaim(300, 7, kind.data, 1, 2), 0x47600002);
    assert.deepEqual(maskOf(2047, 2048), { offset: 508, bits: 0xc0000000 });
    assert.deepEqual(maskOf(17, 2048), { offset: 4, bits: 0b1100 });
  });
});
