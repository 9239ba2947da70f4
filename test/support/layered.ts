// Trees of layers beside a model that copies everything: random work on both, and comparisons of all that can be read.

import assert from "node:assert/strict";
import type { Instance, PageRegion } from "../../src/region/index.ts";
import { below, pick, type Random, Recording, RecordingMemory } from "../../src/testing/index.ts";
import { checkImage, textOf } from "../crash/checker.ts";
import { clone, discard, promote, rename, snapshot, undelete } from "../crash/layer-operations.ts";
import { create, ensure, free, handOver, type Operation, remove, resize, write } from "../crash/operations.ts";
import { World } from "../crash/world.ts";
import { openCopy, type Trial } from "./region.ts";

const SUBSYSTEM = "crash";
const NAMES = ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"];
/** Both sides of a torn index, of a page of masks (2048 indices with pages of 512 bytes), and of a chunk of tables. */
const INDICES = [0, 1, 2, 255, 256, 1023, 1024, 2047, 2048, 2049, 4095, 4096, 5999];
const SIZES = [1, 2, 256, 2048, 2049, 6000];

/** A memory that is only read: whatever is stored into it fails the test. */
export class ReaderMemory extends RecordingMemory {
  override readonly readOnly: boolean = true;

  constructor(image: Uint8Array) {
    const recording = new Recording(image.slice());
    recording.before = ({ kind }) => assert.fail(`a reader's ${kind}`);
    super(recording);
  }
}

/** Both words of a page as the checker writes them. */
function contentOf(instance: Instance, index: number): string {
  const words = new Uint32Array(instance.read(index).buffer);
  return `${words[0]}/${words[words.length / 2]}`;
}

/** All that a region shows through its interface, in the words of the checker. */
export function shownBy(region: PageRegion): string {
  return textOf(
    region.list(SUBSYSTEM).map(({ name, sizeBytes, readOnly }) => {
      const instance = region.instance(SUBSYSTEM, name);
      const indices = Array.from(instance.indices());
      const pages = new Map(indices.map((index) => [index, contentOf(instance, index)]));
      const shared = indices.filter((index) => instance.stateOf(index) === "shared").length;
      assert.equal(instance.countShared(), shared, `shared pages of ${name}`);
      for (const index of INDICES) {
        if (index * region.pageBytes >= sizeBytes) continue;
        assert.equal(instance.has(index), pages.has(index), `${name}[${index}]`);
        assert.equal(instance.stateOf(index) === "none", !pages.has(index), `state of ${name}[${index}]`);
        if (!pages.has(index)) assert.equal(contentOf(instance, index), "0/0", `hole at ${name}[${index}]`);
      }
      return { name, size: sizeBytes, attribute: instance.attributes[0], readOnly, pages };
    }),
  );
}

/** Compares what the region, its image and the model show. */
export function compare({ region, recording }: Trial, world: World, label: string): void {
  const expected = world.text();
  assert.equal(shownBy(region), expected, `${label}, through the region`);
  assert.equal(checkImage(recording.recorded).text, expected, `${label}, in the image`);
}

/** Random work on a region and its model. */
export class LayeredWork {
  readonly random: Random;
  trial: Trial;
  world: World = new World();
  #value = 0;

  constructor(random: Random, trial: Trial) {
    this.random = random;
    this.trial = trial;
  }

  /** Does one operation on both. @returns what it was */
  step(): string {
    const operation = this.#choose();
    if (operation === undefined) return "nothing";
    operation.run(this.trial.region);
    for (const change of operation.steps) change(this.world);
    return operation.name;
  }

  /** Goes on as the next owner of the image. */
  reopen(image: Uint8Array): void {
    this.trial = openCopy(image);
    this.world = this.world.reopened();
  }

  #choose(): Operation | undefined {
    const { random, world } = this;
    const live = Array.from(world.instances.values());
    const missing = NAMES.filter((name) => !world.instances.has(name));
    if (live.length === 0) return create(pick(random, missing), 6000);
    const { name, readOnly, sizeBytes } = pick(random, live);
    const dice = below(random, 100);
    if (dice < 35) return this.#chooseOnLayers(name, readOnly, missing);
    if (readOnly) return undefined;
    const fitting = INDICES.filter((index) => index * 512 < sizeBytes);
    const index = pick(random, fitting);
    if (dice < 65) return write(name, index, pick(random, [0, 1, "both"] as const), ++this.#value);
    if (dice < 80) return free(name, index);
    if (dice < 85) return ensure(name, index);
    if (dice < 92) return resize(name, pick(random, SIZES));
    const { pages } = world.get(name);
    const other = pick(random, live);
    const isSame = other.name === name;
    if (pages.size === 0 || other.readOnly || isSame) return undefined;
    const target = pick(
      random,
      INDICES.filter((at) => at * 512 < other.sizeBytes),
    );
    return handOver(name, pick(random, Array.from(pages.keys())), other.name, target);
  }

  #chooseOnLayers(name: string, readOnly: boolean, missing: readonly string[]): Operation | undefined {
    const { random, world } = this;
    const dice = below(random, 35);
    if (dice < 5) return discard(name);
    if (dice < 9) return remove(name);
    const other = pick(random, Array.from(world.instances.values()));
    if (dice < 13) return !other.readOnly && other.name !== name ? promote(name, other.name) : undefined;
    if (missing.length === 0) return undefined;
    const unused = pick(random, missing);
    if (dice < 27) return readOnly ? clone(name, unused) : snapshot(name, unused);
    if (dice < 30) return rename(name, unused);
    const deleted = world.deleted.at(-1);
    return deleted === undefined ? undefined : undelete(deleted.name, unused);
  }
}
