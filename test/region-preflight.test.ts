/**
 * Hazard: a preflight that promises what the start does not keep, or that changes what it looks at.
 */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { isPerdureError, type PreflightReport, preflightRegion, Region } from "../src/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { forgeState, markFormatting, resealedGeometry } from "./support/images.ts";
import { contentOf, pageBytes, savedRegion } from "./support/saved-region.ts";

/** A preflight that changed nothing in the folder. */
async function preflightOf(path: string, folder: string, quarantineAfter = 3): Promise<PreflightReport> {
  const before = contentOf(folder);
  const report = await preflightRegion(path, { quarantineAfter });
  assert.deepEqual(contentOf(folder), before);
  return report;
}

const brief = ({ outcome, reason }: PreflightReport): string => `${outcome} ${reason}`;

/** What a start without `create` comes to, in the words of a preflight. */
async function startOf(path: string, quarantineAfter: number): Promise<string> {
  try {
    using region = await Region.open(path, { quarantineAfter });
    return region.start.reason;
  } catch (error) {
    assert.ok(isPerdureError(error), String(error));
    return error.code;
  }
}

function changed(path: string, change: (image: Buffer) => void): void {
  const image = readFileSync(path);
  change(image);
  writeFileSync(path, image, { mode: 0o600 });
}

/** What is done to a closed region, and what the next start then comes to. */
const cases: Record<string, { prepare: (path: string) => void | Promise<void>; expected: string }> = {
  "a closed region": { prepare: () => {}, expected: "warm closed" },
  "a region whose owner died": {
    prepare: (path) => changed(path, (image) => forgeState(image, { state: 1, failedStarts: 1 })),
    expected: "recovered owner-died",
  },
  "a region that was open when the machine restarted": {
    prepare: (path) => changed(path, (image) => forgeState(image, { state: 1, bootId: new Uint8Array(16) })),
    expected: "recovered machine-restarted",
  },
  "a region whose starts failed": {
    prepare: (path) => changed(path, (image) => forgeState(image, { state: 1, failedStarts: 3 })),
    expected: "quarantine QUARANTINED",
  },
  "a corrupt region": { prepare: (path) => changed(path, (image) => (image[4097] ^= 1)), expected: "refused CORRUPT" },
  "a corrupt region whose starts failed": {
    prepare: (path) =>
      changed(path, (image) => {
        forgeState(image, { state: 1, failedStarts: 3 });
        image[4097] ^= 1;
      }),
    expected: "quarantine QUARANTINED",
  },
  "a region with features for readers only": {
    prepare: (path) =>
      changed(path, (image) =>
        resealedGeometry(image, (bytes) => new DataView(bytes.buffer).setUint32(20, 0x80, true)),
      ),
    expected: "refused UNSUPPORTED_VERSION",
  },
  "a region of a later version": {
    prepare: (path) => changed(path, (image) => resealedGeometry(image, (bytes) => bytes.fill(99, 12, 13))),
    expected: "refused UNSUPPORTED_VERSION",
  },
  "a memory of an unknown format": {
    prepare: (path) => changed(path, (image) => image.fill(2, 8, 9)),
    expected: "refused UNKNOWN_FORMAT",
  },
  "somebody else's data": {
    prepare: (path) => changed(path, (image) => image.fill("What a person wrote. ")),
    expected: "refused FOREIGN_DATA",
  },
  "data in the middle of zeroes": {
    prepare: (path) => writeFileSync(path, Buffer.alloc(4 * 2 ** 20).fill(1, 2 ** 21, 2 ** 21 + 1)),
    expected: "refused UNFORMATTED",
  },
  "a memory whose format was cut off": {
    prepare: (path) => changed(path, markFormatting),
    expected: "cold UNFORMATTED",
  },
  "a blank file": { prepare: (path) => changed(path, (image) => image.fill(0)), expected: "cold UNFORMATTED" },
  "a file that others may write": { prepare: (path) => chmodSync(path, 0o620), expected: "refused EACCES" },
};

describe("a preflight says what the start then comes to, and changes nothing", () => {
  for (const [name, { prepare, expected }] of Object.entries(cases)) {
    test(`${name}: ${expected}`, async (t) => {
      const { folder, path } = await savedRegion(t);
      await prepare(path);
      const report = await preflightOf(path, folder);
      assert.equal(brief(report), expected);
      assert.equal(await startOf(path, 3), report.reason);
    });
  }

  test("a region that was never opened: cold formatted", async (t) => {
    const { folder, path } = await savedRegion(t);
    changed(path, (image) => {
      forgeState(image, { generation: 0 });
      image.fill(0, 2048, 3072);
    });
    assert.equal(brief(await preflightOf(path, folder)), "cold formatted");
  });

  test("nothing there: cold, or refused where nothing can be made", async (t) => {
    const folder = memoryFolder(t);
    mkdirSync(join(folder, "sub"));
    assert.equal(brief(await preflightOf(join(folder, "none"), folder)), "cold ENOENT");
    assert.equal(brief(await preflightOf(join(folder, "no", "none"), folder)), "refused ENOENT");
    assert.equal(brief(await preflightOf("fd:987654", folder)), "refused ENOENT");
    assert.equal(brief(await preflightOf(join(folder, "sub"), folder)), "refused ENODEV");
  });

  test("a file that this user may not write is refused", async (t) => {
    if (process.geteuid?.() === 0) return t.skip("root may write everything");
    const { folder, path } = await savedRegion(t);
    chmodSync(path, 0o400);
    assert.equal(brief(await preflightOf(path, folder)), "refused EACCES");
  });
});

describe("a preflight tells what is at stake", () => {
  test("the bytes of every instance, and the work of recovery", async (t) => {
    const { path } = await savedRegion(t);
    await addWork(t, path);
    const { region, failedStarts } = await preflightRegion(path);
    assert.equal(failedStarts, 0);
    assert.deepEqual(region?.instances, [
      { subsystem: "disk", name: "a", allocatedBytes: 2 * pageBytes },
      { subsystem: "test", name: "kept", allocatedBytes: pageBytes },
    ]);
    assert.equal(region.allocatedBytes, 3 * pageBytes);
    assert.deepEqual([region.sizeBytes, region.pageBytes, region.generation], [256 * 1024, pageBytes, 2]);
    assert.equal(region.previousPid, process.pid);
  });

  test("nothing where it cannot be read", async (t) => {
    const { path } = await savedRegion(t);
    changed(path, (image) => (image[4097] ^= 1));
    assert.equal((await preflightRegion(path)).region, undefined);
  });

  test("beside a writer: in use, with what there is and the starts that failed before it", async (t) => {
    const { folder, path } = await savedRegion(t);
    changed(path, (image) => forgeState(image, { state: 1, failedStarts: 2 }));
    using writer = await Region.open(path);
    const report = await preflightOf(path, folder);
    assert.equal(brief(report), "in-use LOCKED");
    assert.match(report.text, new RegExp(`process ${process.pid}`));
    assert.equal(report.failedStarts, 2);
    assert.equal(report.region?.allocatedBytes, pageBytes);
    writer.healthy();
    assert.equal((await preflightRegion(path)).failedStarts, 0);
  });
});

async function addWork(t: TestContext, path: string): Promise<void> {
  const region = await Region.open(path);
  t.after(() => region.close());
  region.disks.open("a", { create: true, size: "64K" }).write(0, Buffer.alloc(2 * pageBytes, 1));
  await region.close();
}
