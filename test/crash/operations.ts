/** Every operation of the API, as the crash tests run it: on the region, and on the model. */
import { Disk } from "../../src/disk/index.ts";
import type { PageRegion } from "../../src/region/index.ts";
import { below, pick, type Random } from "../../src/testing/index.ts";
import { chooseLayers, chooseOver } from "./layer-operations.ts";
import { emptyPage, inside, type ModelInstance, overwritten, present, type World } from "./world.ts";

export const pageBytes = 512;
const HALF = pageBytes / 2;
const SUBSYSTEM = "crash";

/**
 * One operation with its arguments. `steps` change the world, one after the other; a crash may leave what any
 * number of them did: most operations have one, a write of several blocks has one a block.
 */
export interface Operation {
  readonly name: string;
  /** @returns what a read has found, in words */
  run(region: PageRegion): string | undefined;
  /** They throw where the region refuses, and where a read finds something else than `answer`. */
  readonly steps: readonly ((world: World, answer?: string) => void)[];
  /** Every step is an operation of its own, which finds instances by their names anew. */
  readonly isSequence?: true;
}

export function one(name: string, act: (region: PageRegion) => void, change: (world: World) => void): Operation {
  return { name, run: silent(act), steps: [change] };
}

const silent = (act: (region: PageRegion) => void) => (region: PageRegion) => {
  act(region);
  return undefined;
};

/** One operation after the other, each of one step. */
export function inOrder(...operations: readonly Operation[]): Operation {
  const run = (region: PageRegion): string | undefined => operations.map((operation) => operation.run(region)).at(-1);
  const steps = operations.flatMap((operation) => operation.steps);
  return { name: operations.map(({ name }) => name).join(", then "), run, steps, isSequence: true };
}

/** A page's worth of one word, or half of it. */
export function filled(value: number, lengthBytes = pageBytes): Uint8Array {
  return new Uint8Array(new Uint32Array(lengthBytes / 4).fill(value).buffer);
}

export const instanceOf = (region: PageRegion, name: string) => region.instance(SUBSYSTEM, name);

export function create(name: string, pages: number): Operation {
  const sizeBytes = pages * pageBytes;
  const run = (region: PageRegion): void => void region.instance(SUBSYSTEM, name, { create: true, sizeBytes });
  return one(`create ${name}`, run, (world) => {
    // Opening with `create` opens what is there.
    if (!world.instances.has(name)) world.add(name, sizeBytes);
  });
}

export function createPending(name: string, pages: number, source?: string): Operation {
  const sizeBytes = pages * pageBytes;
  const from = source === undefined ? {} : { source: { subsystem: SUBSYSTEM, name: source } };
  const handles = pendingHandles;
  return one(
    `create ${name} pending, source ${source ?? "none"}`,
    (region) => {
      handles.set(region, region.instance(SUBSYSTEM, name, { pending: true, sizeBytes, ...from }));
    },
    (world) => void world.add(name, sizeBytes, true, source),
  );
}
// A pending instance is reached by its handle only: it has no name yet.
const pendingHandles = new WeakMap<PageRegion, ReturnType<typeof instanceOf>>();
/** Tells a thread of the pending instance that another one has made. */
export const adoptPending = (region: PageRegion, instance: ReturnType<typeof instanceOf>): void =>
  void pendingHandles.set(region, instance);
const pendingOf = (region: PageRegion): ReturnType<typeof instanceOf> => {
  const handle = pendingHandles.get(region);
  if (handle === undefined) throw new Error("no pending instance");
  return handle;
};

export function writePending(name: string, index: number, value: number): Operation {
  const run = (region: PageRegion): void => pendingOf(region).write(index, filled(value));
  return one(
    `write ${name}[${index}] (pending)`,
    run,
    (world) => void world.get(name).pages.set(index, `${value}/${value}`),
  );
}

export function savePage(from: string, name: string, index: number): Operation {
  const run = (region: PageRegion): void => instanceOf(region, from).handOver(index, pendingOf(region), index);
  return one(`hand ${from}[${index}] to pending ${name}`, run, (world) => {
    world.get(name).pages.set(index, present(world.get(from).pages.get(index)));
    world.get(from).pages.delete(index);
  });
}

export function publish(name: string): Operation {
  const run = (region: PageRegion): void => pendingOf(region).publish();
  return one(`publish ${name}`, run, (world) => {
    world.get(name).pending = false;
    world.endSave(name);
  });
}

export function removePending(name: string): Operation {
  const run = (region: PageRegion): void => pendingOf(region).delete();
  return one(`delete pending ${name}`, run, (world) => world.dropPending(name));
}

export function write(name: string, index: number, half: 0 | 1 | "both", value: number): Operation {
  const bytes = filled(value, half === "both" ? pageBytes : HALF);
  const run = (region: PageRegion): void => instanceOf(region, name).write(index, bytes, half === 1 ? HALF : 0);
  return one(`write ${name}[${index}] ${half}`, run, (world) => {
    const { pages, maxPages } = inside(world.get(name), index);
    if (maxPages > 0 && pages.size >= maxPages && !pages.has(index)) throw new Error(`${name} has its quota`);
    pages.set(index, overwritten(pages.get(index), half, value));
  });
}

export function setLimit(name: string, maxPages: number): Operation {
  return one(
    `quota of ${name}: ${maxPages}`,
    (region) => instanceOf(region, name).setQuota({ maxPages }),
    (world) => {
      const instance = world.get(name);
      if (instance.saved) throw new Error(`${name} is being saved`);
      instance.maxPages = maxPages;
    },
  );
}

/** The content of a page in words, as the checker tells it. */
export function contentText(page: Uint8Array): string {
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
  const half = words.length / 2;
  const wordOf = (part: Uint32Array): string => (part.every((word) => word === part[0]) ? String(part[0]) : "torn");
  return `${wordOf(words.subarray(0, half))}/${wordOf(words.subarray(half))}`;
}

export function read(name: string, index: number): Operation {
  const run = (region: PageRegion): string => contentText(instanceOf(region, name).read(index));
  const check = (world: World, answer?: string): void => {
    const content = world.get(name).pages.get(index) ?? emptyPage;
    if (content !== answer) throw new Error(`the model has ${content}, not ${answer}`);
  };
  return { name: `read ${name}[${index}]`, run, steps: [check] };
}

export function ensure(name: string, index: number): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).ensure(index)[Symbol.dispose]();
  return one(`ensure ${name}[${index}]`, run, (world) => {
    const { pages } = world.get(name);
    if (!pages.has(index)) pages.set(index, emptyPage);
  });
}

export function free(name: string, index: number): Operation {
  const run = (region: PageRegion): void => void instanceOf(region, name).free(index);
  return one(`free ${name}[${index}]`, run, (world) => void world.get(name).pages.delete(index));
}

export function handOver(from: string, index: number, to: string, target: number): Operation {
  const run = (region: PageRegion): void => {
    const source = instanceOf(region, from);
    // A page that is shared cannot be given away: it is copied first, which changes nothing that can be seen.
    if (source.stateOf(index) === "shared") source.ensure(index)[Symbol.dispose]();
    source.handOver(index, instanceOf(region, to), target);
  };
  return one(`hand ${from}[${index}] over to ${to}[${target}]`, run, (world) => {
    const content = present(inside(world.get(from), index).pages.get(index));
    inside(world.get(to), target);
    world.get(from).pages.delete(index);
    world.get(to).pages.set(target, content);
  });
}

export function ensureRun(name: string, index: number, order: number): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).ensureRun(index, order)[Symbol.dispose]();
  return one(`run of 2^${order} at ${name}[${index}]`, run, (world) => {
    // A run that is there is opened.
    if (world.get(name).runs.get(index) === 2 ** order) return;
    const { pages, runs } = inside(world.get(name), index);
    for (let k = 0; k < 2 ** order; k++) if (pages.has(index + k)) throw new Error("a page stands in the way");
    for (let k = 0; k < 2 ** order; k++) pages.set(index + k, emptyPage);
    runs.set(index, 2 ** order);
  });
}

export function freeRun(name: string, index: number): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).freeRun(index);
  return one(`free the run at ${name}[${index}]`, run, (world) => {
    const { pages, runs } = world.get(name);
    for (let k = 0; k < (runs.get(index) ?? 0); k++) pages.delete(index + k);
    runs.delete(index);
  });
}

export function resize(name: string, pages: number): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).resize(pages * pageBytes);
  return one(`resize ${name} to ${pages}`, run, (world) => {
    const instance = world.get(name);
    instance.sizeBytes = pages * pageBytes;
    for (const map of [instance.pages, instance.volatile, instance.runs]) {
      for (const index of map.keys()) if (index >= pages) map.delete(index);
    }
  });
}

export function remove(name: string): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).purge();
  return one(`delete ${name}`, run, (world) => world.remove(name));
}

export function setAttribute(name: string, value: number): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).setAttributes(Uint8Array.of(value));
  return one(`attributes of ${name}`, run, (world) => {
    world.get(name).attribute = value;
  });
}

export function ensureVolatile(name: string, index: number, value: number): Operation {
  const run = (region: PageRegion): void => {
    const page = instanceOf(region, name).ensureVolatile(index);
    page.bytes.set(filled(value));
    page[Symbol.dispose]();
  };
  return one(
    `volatile ${name}[${index}]`,
    run,
    (world) => void world.get(name).volatile.set(index, `${value}/${value}`),
  );
}

export function keep(name: string, index: number): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).keep(index);
  return one(`keep ${name}[${index}]`, run, (world) => {
    const { pages, volatile } = world.get(name);
    pages.set(index, present(volatile.get(index)));
    volatile.delete(index);
  });
}

/** A write of several blocks through the disk: from the second half of one to the first half of another. */
export function diskWrite(name: string, index: number, blocks: number, value: number): Operation {
  const run = (region: PageRegion): void => {
    const disk = new Disk(region, instanceOf(region, name));
    disk.write(index * pageBytes + HALF, filled(value, (blocks - 1) * pageBytes));
  };
  return {
    name: `disk write ${name}[${index}..${index + blocks - 1}]`,
    run: silent(run),
    steps: Array.from({ length: blocks }, (_, k) => (world: World) => {
      const { pages } = world.get(name);
      const half = k === 0 ? 1 : k === blocks - 1 ? 0 : "both";
      pages.set(index + k, overwritten(pages.get(index + k), half, value));
    }),
  };
}

/** A trim through the disk: halves at both ends are zeroed where there is a page, whole blocks are given back. */
export function diskTrim(name: string, index: number, blocks: number): Operation {
  const run = (region: PageRegion): void => {
    new Disk(region, instanceOf(region, name)).trim(index * pageBytes + HALF, (blocks - 1) * pageBytes);
  };
  return {
    name: `disk trim ${name}[${index}..${index + blocks - 1}]`,
    run: silent(run),
    steps: Array.from({ length: blocks }, (_, k) => (world: World) => {
      const { pages } = world.get(name);
      const content = pages.get(index + k);
      if (content !== undefined && k > 0 && k < blocks - 1) pages.delete(index + k);
      else if (content !== undefined) pages.set(index + k, overwritten(content, k === 0 ? 1 : 0, 0));
    }),
  };
}

/** Indices on both sides of 255/256, so that a torn index shows. */
const INDICES = [0, 1, 2, 254, 255, 256, 257];
const SIZES = [1, 2, 256, 300];

/** Chooses an operation that the state of the world allows, or none. */
export function choose(random: Random, world: World, nextValue: () => number): Operation | undefined {
  const names = ["ann", "bob", "cid"];
  const pending = Array.from(world.instances.values()).find((instance) => instance.pending);
  const live = Array.from(world.instances.values()).filter(
    (instance) => !instance.pending && instance.name !== "ballast",
  );
  if (pending?.over === true && random() < 0.5) return chooseOver(random, pending, nextValue);
  if (pending !== undefined && !pending.over && random() < 0.5) return choosePending(random, world, pending, nextValue);
  if (random() < 0.15) return chooseLayers(random, world, live);
  const missing = names.filter((name) => !world.instances.has(name));
  if (live.length === 0 || (missing.length > 0 && random() < 0.08)) return create(pick(random, missing), 300);
  if (missing.length > 0 && pending === undefined && random() < 0.06) {
    // What is shared does not go into a save, so a source is none that ever was.
    const sources = live.filter(({ readOnly, layered }) => !readOnly && !layered);
    const source = random() < 0.7 && sources.length > 0 ? pick(random, sources).name : undefined;
    return createPending(pick(random, missing), 300, source);
  }
  // A source is closed until its save is committed.
  const open = live.filter(({ saved, readOnly }) => !saved && !readOnly);
  return open.length > 0 ? chooseOn(random, pick(random, open), open, nextValue) : undefined;
}

function choosePending(random: Random, world: World, pending: ModelInstance, nextValue: () => number): Operation {
  if (random() < 0.3) return publish(pending.name);
  if (random() < 0.2) return removePending(pending.name);
  if (pending.source === undefined) return writePending(pending.name, pick(random, INDICES), nextValue());
  const source = world.instances.get(pending.source);
  const own = source === undefined ? [] : singles(source);
  return own.length > 0 ? savePage(pending.source, pending.name, pick(random, own)) : publish(pending.name);
}

/** Indices of pages that are in no run. */
function singles(instance: ModelInstance): number[] {
  const inRun = (index: number): boolean =>
    Array.from(instance.runs).some(([first, length]) => index >= first && index < first + length);
  return Array.from(instance.pages.keys()).filter((index) => !inRun(index));
}

function chooseOn(
  random: Random,
  instance: ModelInstance,
  live: readonly ModelInstance[],
  nextValue: () => number,
): Operation | undefined {
  const { name } = instance;
  const limit = instance.sizeBytes / pageBytes;
  const own = singles(instance);
  const isSingle = (index: number): boolean => !instance.pages.has(index) || own.includes(index);
  const index = pick(random, INDICES);
  const fits = index < limit && isSingle(index);
  const dice = below(random, 100);
  if (dice < 22)
    return fits ? write(name, index, pick(random, [0, 1, "both", "both"] as const), nextValue()) : undefined;
  if (dice < 30) return own.length > 0 ? free(name, pick(random, own)) : undefined;
  if (dice < 34) return fits ? ensure(name, index) : undefined;
  if (dice < 50) return chooseHandOver(random, instance, own, live);
  if (dice < 56) return isRoom(instance, 4) && !instance.layered ? ensureRun(name, 4, pick(random, [1, 2])) : undefined;
  if (dice < 60)
    return instance.runs.size > 0 ? freeRun(name, pick(random, Array.from(instance.runs.keys()))) : undefined;
  if (dice < 66) {
    const pages = pick(random, SIZES);
    const cutsRun = Array.from(instance.runs).some(([first, length]) => pages > first && pages < first + length);
    return cutsRun ? undefined : resize(name, pages);
  }
  if (dice < 70) return remove(name);
  if (dice < 74) return setAttribute(name, below(random, 256));
  if (dice < 82) return fits ? ensureVolatile(name, index, nextValue()) : undefined;
  if (dice < 87) {
    const candidates = Array.from(instance.volatile.keys()).filter((at) => isSingle(at));
    return candidates.length > 0 ? keep(name, pick(random, candidates)) : undefined;
  }
  const spans = [0, 1, 254, 255, 256].filter(
    (first) => first + 3 <= limit && [0, 1, 2].every((k) => isSingle(first + k)),
  );
  if (spans.length === 0) return undefined;
  return dice < 95 ? diskWrite(name, pick(random, spans), 3, nextValue()) : diskTrim(name, pick(random, spans), 3);
}

function isRoom(instance: ModelInstance, first: number): boolean {
  if (instance.sizeBytes / pageBytes < first + 4) return false;
  return [0, 1, 2, 3].every((k) => !instance.pages.has(first + k));
}

function chooseHandOver(
  random: Random,
  from: ModelInstance,
  own: readonly number[],
  live: readonly ModelInstance[],
): Operation | undefined {
  const to = pick(random, live);
  if (own.length === 0) return undefined;
  const occupied = singles(to);
  const empty = INDICES.filter((index) => index < to.sizeBytes / pageBytes && !to.pages.has(index));
  const targets = occupied.length > 0 && random() < 0.5 ? occupied : empty;
  const index = pick(random, own);
  const target = targets.length > 0 ? pick(random, targets) : index;
  if (target === index && to === from) return undefined;
  return targets.length > 0 ? handOver(from.name, index, to.name, target) : undefined;
}
