/**
 * The model that crash tests compare with: full copies in ordinary maps. `World` knows nothing of pages, claims or
 * records; it says what a user of the API may expect.
 */
import { textOf } from "./checker.ts";

/** An instance as the model keeps it. Contents are `first half/second half` of a page, one number each. */
export interface ModelInstance {
  /** It stays with the instance when that gets another name. */
  readonly id: number;
  readonly name: string;
  sizeBytes: number;
  attribute: number;
  /** How many pages it may have; 0 for no limit. */
  maxPages: number;
  readonly pages: Map<number, string>;
  readonly volatile: Map<number, string>;
  /** Runs by first index: how many pages. */
  readonly runs: Map<number, number>;
  /** Not published yet: a crash drops it. */
  pending: boolean;
  /** Name of the instance to which a pending one gives its pages back. */
  source: string | undefined;
  /** A pending instance names it as its source, or is a layer over it: nothing else may change in it. */
  saved: boolean;
  /** A snapshot. */
  readOnly: boolean;
  /** It shared pages once, so it takes no aligned run. */
  layered: boolean;
  /** Pending, and a layer over the instance of its name. */
  over: boolean;
}

let lastId = 0;

/** A number that no instance of this process has yet. */
export function freshId(): number {
  return ++lastId;
}

/** All instances of a region, by name. */
export class World {
  /** Whom an operation has found by their names when it began: what was renamed since is still the same. */
  found: ReadonlyMap<string, number> | undefined;
  readonly instances: Map<string, ModelInstance> = new Map();
  /** Deleted ones, the latest last; the region may have needed their pages since. */
  readonly deleted: ModelInstance[] = [];

  add(name: string, sizeBytes: number, pending = false, source?: string): ModelInstance {
    const instance: ModelInstance = {
      id: freshId(),
      name,
      sizeBytes,
      attribute: 0,
      maxPages: 0,
      pages: new Map(),
      volatile: new Map(),
      runs: new Map(),
      pending,
      source,
      saved: false,
      readOnly: false,
      layered: false,
      over: false,
    };
    if (source !== undefined) this.get(source).saved = true;
    this.instances.set(name, instance);
    return instance;
  }

  /** Who has which name now. */
  ids(): Map<string, number> {
    return new Map(Array.from(this.instances, ([name, { id }]) => [name, id]));
  }

  get(name: string): ModelInstance {
    const id = this.found?.get(name);
    const all = Array.from(this.instances.values());
    const found = this.found === undefined ? this.instances.get(name) : all.find((one) => one.id === id);
    if (found === undefined) throw new Error(`the model has no ${name}`);
    return found;
  }

  copy(): World {
    const copy = new World();
    for (const [name, one] of this.instances) copy.instances.set(name, copyOf(one));
    copy.deleted.push(...this.deleted.map(copyOf));
    return copy;
  }

  /** A full copy of an instance under another name. */
  duplicate(name: string, copyName: string, change: Partial<ModelInstance>): void {
    const original = this.get(name);
    if (this.instances.has(copyName)) throw new Error(`the model has a ${copyName}`);
    original.layered = true;
    const copy = { ...copyOf(original), id: freshId(), name: copyName, layered: true };
    this.instances.set(copyName, { ...copy, ...change });
  }

  /** Takes an instance out of the names; it can be undeleted. */
  forget(name: string): void {
    const one = this.get(name);
    one.volatile.clear();
    this.deleted.push(one);
    this.instances.delete(one.name);
  }

  /** Ends an instance for good, also one that was deleted since it was found. */
  remove(name: string): void {
    const id = this.found?.get(name) ?? this.instances.get(name)?.id;
    if (id === undefined) throw new Error(`the model has no ${name}`);
    for (const [key, one] of this.instances) if (one.id === id) this.instances.delete(key);
  }

  /** What the next open makes of it: pending ones give their pages back or lose them, volatile pages vanish. */
  reopened(): World {
    const next = this.copy();
    for (const [key, one] of next.instances) {
      one.volatile.clear();
      if (one.pending) next.dropPending(key);
    }
    return next;
  }

  /** Ends an instance that was never published: what it had taken from its source goes back there. */
  dropPending(name: string): void {
    const { pages, source: sourceName, over, name: below } = this.get(name);
    this.endSave(name);
    if (over) this.get(below).saved = false;
    this.instances.delete(name);
    const source = sourceName === undefined ? undefined : this.instances.get(sourceName);
    for (const [index, content] of source === undefined ? [] : pages) source?.pages.set(index, content);
  }

  /** The source of a save is open for changes again. */
  endSave(name: string): void {
    const { source } = this.get(name);
    const found = source === undefined ? undefined : this.instances.get(source);
    if (found !== undefined) found.saved = false;
  }

  /** The text that the checker gives for the state after the next open. */
  text(): string {
    const live = Array.from(this.reopened().instances.values());
    return textOf(
      live.map(({ name, sizeBytes, attribute, readOnly, pages }) => ({
        name,
        size: sizeBytes,
        attribute,
        readOnly,
        pages,
      })),
    );
  }
}

function copyOf(one: ModelInstance): ModelInstance {
  return { ...one, pages: new Map(one.pages), volatile: new Map(one.volatile), runs: new Map(one.runs) };
}

/** @throws when the index lies beyond the size or in an aligned run, or is being saved: the region refuses, too */
export function inside(instance: ModelInstance, index: number): ModelInstance {
  if (instance.readOnly) throw new Error(`${instance.name} is a snapshot`);
  if (instance.saved) throw new Error(`${instance.name} is being saved`);
  if (index * 512 >= instance.sizeBytes) throw new Error(`the model has no index ${index} in ${instance.name}`);
  for (const [first, length] of instance.runs) {
    if (index >= first && index < first + length) throw new Error(`index ${index} of ${instance.name} is in a run`);
  }
  return instance;
}

/** The content that an operation needs to be there. */
export function present(content: string | undefined): string {
  if (content === undefined) throw new Error("the model has no page there");
  return content;
}

export const emptyPage = "0/0";

/** Overwrites one half of a page's content, or both. */
export function overwritten(content: string | undefined, half: 0 | 1 | "both", value: number): string {
  if (half === "both") return `${value}/${value}`;
  const halves = (content ?? emptyPage).split("/");
  halves[half] = String(value);
  return halves.join("/");
}
