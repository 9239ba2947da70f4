/** The operations on trees of layers, as the crash tests run them. The model knows no layers: it copies everything. */
import { isPerdureError } from "../../src/base/index.ts";
import type { Instance, PageRegion } from "../../src/region/index.ts";
import { pick, type Random } from "../../src/testing/index.ts";
import { filled, instanceOf, type Operation, one } from "./operations.ts";
import type { ModelInstance, World } from "./world.ts";

const SUBSYSTEM = "crash";

export function snapshot(name: string, as: string): Operation {
  const run = (region: PageRegion): void => void instanceOf(region, name).snapshot(as);
  return one(`snapshot ${name} as ${as}`, run, (world) => {
    const { saved, readOnly, runs, volatile } = world.get(name);
    if (saved || readOnly || runs.size + volatile.size > 0) throw new Error(`${name} cannot be shared`);
    world.duplicate(name, as, { readOnly: true });
  });
}

export function clone(name: string, as: string): Operation {
  const run = (region: PageRegion): void => void instanceOf(region, name).clone(as);
  return one(`clone ${name} as ${as}`, run, (world) => {
    if (!world.get(name).readOnly) throw new Error(`${name} is no snapshot`);
    world.duplicate(name, as, { readOnly: false });
  });
}

export function promote(name: string, replaced: string): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).promote(instanceOf(region, replaced));
  return one(`promote ${name} to ${replaced}`, run, (world) => {
    const source = world.get(name);
    const target = world.get(replaced);
    if (target.id === source.id || source.saved || target.saved || target.readOnly)
      throw new Error(`${name} cannot take the name ${replaced}`);
    world.forget(replaced);
    if (source.readOnly) world.duplicate(name, target.name, { readOnly: false });
    else {
      world.instances.delete(source.name);
      world.instances.set(target.name, { ...source, name: target.name });
    }
  });
}

export function rename(name: string, to: string): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).rename(to);
  return one(`rename ${name} to ${to}`, run, (world) => {
    const instance = world.get(name);
    if (instance.saved || world.instances.has(to)) throw new Error(`${name} cannot be renamed`);
    world.instances.delete(instance.name);
    world.instances.set(to, { ...instance, name: to });
  });
}

export function discard(name: string): Operation {
  const run = (region: PageRegion): void => instanceOf(region, name).delete();
  return one(`delete ${name}, to be undeleted`, run, (world) => {
    if (world.get(name).saved) throw new Error(`${name} is being saved`);
    world.forget(name);
  });
}

export function undelete(name: string, as: string): Operation {
  // The region may have needed its pages: then there is nothing to bring back.
  let isGone = false;
  const run = (region: PageRegion): void => {
    isGone = false;
    try {
      region.undelete(SUBSYSTEM, name, { as });
    } catch (error) {
      if (!isPerdureError(error, "ENOENT")) throw error;
      isGone = true;
    }
  };
  return one(`undelete ${name} as ${as}`, run, (world) => {
    if (isGone) return;
    const at = world.deleted.findLastIndex((deleted) => deleted.name === name);
    if (at < 0 || world.instances.has(as)) throw new Error(`${name} cannot be undeleted`);
    const [found] = world.deleted.splice(at, 1);
    world.instances.set(as, { ...found, name: as });
  });
}

// As with any pending instance, only its handle leads to it.
const overHandles = new WeakMap<PageRegion, Instance>();
/** Tells a thread of the save that another one has begun. */
export const adoptOver = (region: PageRegion, save: Instance): void => void overHandles.set(region, save);
const overOf = (region: PageRegion): Instance => {
  const handle = overHandles.get(region);
  if (handle === undefined) throw new Error("no pending instance");
  return handle;
};

/** The key of a save that is a layer over the instance of its name. */
const overKey = (name: string): string => `${name}'`;

export function createOver(name: string): Operation {
  const run = (region: PageRegion): void => {
    const { sizeBytes } = instanceOf(region, name);
    overHandles.set(region, region.instance(SUBSYSTEM, name, { pending: true, over: true, sizeBytes }));
  };
  return one(`save over ${name}`, run, (world) => {
    const below = world.get(name);
    if (below.saved || below.readOnly || below.runs.size + below.volatile.size > 0)
      throw new Error(`${name} cannot be shared`);
    world.duplicate(name, overKey(name), { name, pending: true, source: undefined, attribute: 0, over: true });
    below.saved = true;
  });
}

export function changeOver(name: string, index: number, value: number | undefined): Operation {
  const run = (region: PageRegion): void => {
    const save = overOf(region);
    if (value === undefined) save.free(index);
    else save.write(index, filled(value));
  };
  return one(`change save over ${name}[${index}]`, run, (world) => {
    const { pages } = world.get(overKey(name));
    if (value === undefined) pages.delete(index);
    else pages.set(index, `${value}/${value}`);
  });
}

export function publishOver(name: string): Operation {
  const run = (region: PageRegion): void => {
    overOf(region).publish();
    overHandles.delete(region);
  };
  return one(`publish save over ${name}`, run, (world) => {
    const save = world.get(overKey(name));
    world.instances.delete(overKey(name));
    world.instances.set(name, { ...save, pending: false, over: false });
  });
}

export function dropOver(name: string): Operation {
  const run = (region: PageRegion): void => {
    overOf(region).delete();
    overHandles.delete(region);
  };
  return one(`drop save over ${name}`, run, (world) => {
    world.dropPending(overKey(name));
  });
}

const NAMES = ["ann", "bob", "cid", "dan"];

/** Chooses an operation on layers that the state of the world allows, or none. */
export function chooseLayers(random: Random, world: World, live: readonly ModelInstance[]): Operation | undefined {
  const missing = NAMES.filter((name) => !world.instances.has(name));
  const open = live.filter(({ saved }) => !saved);
  if (open.length === 0) return undefined;
  const subject = pick(random, open);
  const { name, readOnly, runs, volatile } = subject;
  const isShareable = !readOnly && runs.size + volatile.size === 0;
  const other = pick(random, open);
  const dice = random();
  if (dice < 0.12) return discard(name);
  if (dice < 0.2) return !other.readOnly && other.name !== name ? promote(name, other.name) : undefined;
  if (dice < 0.3) {
    const isPending = Array.from(world.instances.values()).some(({ pending }) => pending);
    return isShareable && !isPending ? createOver(name) : undefined;
  }
  if (missing.length === 0) return undefined;
  const free = pick(random, missing);
  if (dice < 0.65) return isShareable ? snapshot(name, free) : readOnly ? clone(name, free) : undefined;
  if (dice < 0.75) return rename(name, free);
  const deleted = world.deleted.at(-1);
  return deleted === undefined ? undefined : undelete(deleted.name, free);
}

/** Chooses the next step of a save that is a layer over another instance. */
export function chooseOver(random: Random, { name, sizeBytes }: ModelInstance, nextValue: () => number): Operation {
  const dice = random();
  if (dice < 0.2) return publishOver(name);
  if (dice < 0.3) return dropOver(name);
  const index = pick(
    random,
    [0, 1, 2, 255, 256].filter((at) => at * 512 < sizeBytes),
  );
  return changeOver(name, index, dice < 0.5 ? undefined : nextValue());
}
