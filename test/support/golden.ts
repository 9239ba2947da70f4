// The golden images, and what each of them holds.

import { readFileSync } from "node:fs";
import type { PageRegion } from "../../src/region/index.ts";
import { imageOf } from "./golden-text.ts";

/** Reads a golden image; they stand in the repository, beside no code. */
export function goldenImage(name: string): Uint8Array {
  return imageOf(readFileSync(new URL(`../../../test/golden/${name}.txt`, import.meta.url), "utf8"));
}

/** A page in short: the word that all of it repeats, or what it begins with when the rest is zeroes. */
function pageText(bytes: Uint8Array): string {
  const [first, ...rest] = new Uint32Array(bytes.buffer);
  if (rest.every((word) => word === first)) return String(first);
  const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
  return `"${Buffer.from(bytes.subarray(0, end)).toString("latin1")}"`;
}

/** All that a region tells of its instances, a line each, and every byte of their content. */
export function told(region: PageRegion): string[] {
  return region.list().map((info) => {
    const instance = region.instance(info.subsystem, info.name);
    const pages = Array.from(instance.indices()).map(
      (index) => `${index}${instance.stateOf(index) === "shared" ? "'" : ""}=${pageText(instance.read(index))}`,
    );
    const { minPages, maxPages } = info.quota;
    const facts = [
      info.sizeBytes === 2 ** 32 * 512 ? "unbounded" : info.sizeBytes / 512,
      info.readOnly ? "read-only" : "",
      info.parent === undefined ? "" : `over ${info.parent}`,
      info.schema === 0 ? "" : `schema ${info.schema}`,
      minPages + maxPages === 0 ? "" : `quota ${minPages}..${maxPages}`,
      instance.attributes.some((byte) => byte !== 0) ? `attributes ${instance.attributes.subarray(0, 3).join()}` : "",
    ];
    return `${info.subsystem}/${info.name} ${facts.filter((fact) => fact !== "").join(", ")}: ${pages.join(" ")}`;
  });
}

const others = [
  'app/Grüße unbounded, schema 42, attributes 1,2,3: 5="text"',
  "heap/runs unbounded: 4=0 5=3000 6=0 7=0",
];

/** Version 0: pages that are shared say so with a dash. */
export const toldV0: readonly string[] = [others[0], "disk/pram0 128: 0=1000 1=2001 64=1064 127=1127", others[1]];

const disksV1 = [
  "disk/base 16: 0'=5000 1'=5001",
  "disk/copy 128, over monday: 1'=1001 2'=1002 3=4003 64'=1064",
  "disk/monday 128, read-only: 0=1000 1=1001 2=1002 64=1064 127=1127",
];
const twin = "disk/twin 16: 0'=5000 1=6001";

/** Version 1, closed. */
export const toldV1: readonly string[] = [
  others[0],
  ...disksV1,
  "disk/pram0 128, over monday, quota 4..100: 0'=1000 1=2001 64'=1064 127'=1127",
  twin,
  others[1],
];

/** Version 1, killed in the middle of a snapshot, behind its commit; a block was trimmed before. */
export const toldKilled: readonly string[] = [
  others[0],
  ...disksV1,
  "disk/pram0 128, over tuesday, quota 4..100: 0'=1000 1'=2001 127'=1127",
  "disk/tuesday 128, read-only, over monday: 0'=1000 1=2001 127'=1127",
  twin,
  others[1],
];
