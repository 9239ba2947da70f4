// Runs inside of the guest. The first life fills pages and leaves without closing; the second one counts what it finds.

import { formatMemory } from "../../src/format/index.ts";
import { isPerdureError, Region } from "../../src/index.ts";
import { Backing, MappedMemory } from "../../src/memory/index.ts";
import { nativeFormat } from "../../src/region/index.ts";
import { DAX_DEVICE, kexec, life, setUpDaxDevice } from "./machine.ts";

const PAGES = 4096;

await setUpDaxDevice();
const region = await openRegion();
console.log(`life ${life()}: start ${region.start.kind}, ${region.start.reason}`);
if (life() === 1) {
  writePages();
  kexec();
}
console.log(`life ${life()}: ${PAGES} pages, ${badWords()} bad words`);

/** A device is there before anything is in it, so a blank one is formatted first. */
async function openRegion(): Promise<Region> {
  try {
    return await Region.open(DAX_DEVICE);
  } catch (error) {
    if (!isPerdureError(error, "UNFORMATTED")) throw error;
  }
  const memory = new MappedMemory([Backing.open(DAX_DEVICE)]);
  formatMemory(memory, nativeFormat());
  memory.close();
  return Region.open(DAX_DEVICE);
}

function writePages(): void {
  const instance = region.instance("guest", "pages", { create: true });
  for (let index = 0; index < PAGES; index++) {
    const page = instance.ensure(index);
    words(page.bytes).forEach((_, k, all) => {
      all[k] = expected(index, k);
    });
    page[Symbol.dispose]();
  }
  console.log(`life ${life()}: wrote ${PAGES} pages`);
}

function badWords(): number {
  const instance = region.instance("guest", "pages");
  let bad = 0;
  for (let index = 0; index < PAGES; index++) {
    const page = instance.get(index);
    words(page.bytes).forEach((word, k) => {
      if (word !== expected(index, k)) bad++;
    });
    page[Symbol.dispose]();
  }
  return bad;
}

function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** A word that differs from that of every other place in the 16 MiB, and from zero. */
function expected(index: number, k: number): number {
  return Math.imul(index * 1024 + k + 1, 0x9e3779b1) >>> 0;
}
