import type { Expected } from "./expected.ts";
import { handOver, type Place, writeVolatile } from "./hand-over.ts";
import { create, publish, remove, resize, save, store } from "./instances.ts";
import { DATA, HEAD, LIVE, PENDING, type State, VOLATILE } from "./layout.ts";
import { type Extent, free, type Reading, type Result, read, type Target, write } from "./page-operations.ts";
import type { Content } from "./pages.ts";
import { writeRun } from "./runs.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** An operation together with what it means. */
export interface Operation {
  readonly title: string;
  start(writer: Writer): Task<Result | Reading>;
  /**
   * Applies the meaning to what is expected. Returns false when the result is impossible here; `undefined` stands for
   * an operation that a crash cut off, which may have had its effect.
   */
  apply(expected: Expected, result: Result | Reading | undefined): boolean;
}

/** The instance of a name, by state. */
export function at(name: number, state: State = LIVE): Target {
  return { name, state };
}

/** Why what an instance holds may not change, in words that the operations use. */
export function refusalOf(expected: Expected, { name, state }: Target): Result | undefined {
  const instance = expected.instance(name, state);
  if (instance === undefined) return "ENOENT";
  if (instance.readOnly) return "EROFS";
  return expected.isShared(name, state) ? "EBUSY" : undefined;
}

/** Whether a result is what it must be; one that never came may have been anything. */
export function answers(result: Result | Reading | undefined, wanted: Result): boolean {
  return result === undefined || result === wanted;
}

/** The meaning of an operation on one index of an instance: refused with the right code, or applied. */
function onIndex(
  target: Target,
  index: number,
  effect: (instance: ReturnType<Expected["create"]>) => void,
): Operation["apply"] {
  return (expected, result) => {
    if (result === "ENOSPC") return true;
    const refused = refusalOf(expected, target);
    if (refused !== undefined) return answers(result, refused);
    const instance = expected.instance(target.name, target.state) as ReturnType<Expected["create"]>;
    if (index >= instance.size) return answers(result, "ERANGE");
    effect(instance);
    return answers(result, "done");
  };
}

/** Layers hold neither runs nor VOLATILE pages, and full copies do not tell which instance is one. */
function notInLayers(apply: Operation["apply"]): Operation["apply"] {
  return (expected, result) => result === "EINVAL" || apply(expected, result);
}

export function writing(target: Target, index: number, value: number, extent: Extent = "page"): Operation {
  return {
    title: `write ${target.name}:${index} ${extent}`,
    start: (writer) => write(writer, target, index, value, extent),
    apply: onIndex(target, index, ({ pages }) => {
      const [first, second] = pages.get(index) ?? [0, 0];
      pages.set(index, [extent === "second" ? first : value, extent === "first" ? second : value]);
    }),
  };
}

export function freeing(target: Target, index: number): Operation {
  return {
    title: `free ${target.name}:${index}`,
    start: (writer) => free(writer, target, index),
    apply: onIndex(target, index, ({ pages }) => pages.delete(index)),
  };
}

export function reading(target: Target, index: number): Operation {
  return {
    title: `read ${target.name}:${index}`,
    start: (writer) => read(writer, target, index),
    apply: (expected, result) => {
      if (result === undefined || result === "busy") return true;
      const instance = expected.instance(target.name, target.state);
      if (instance === undefined) return result === "ENOENT";
      if (index >= instance.size) return result === "ERANGE";
      const [first, second] = instance.pages.get(index) ?? [0, 0];
      return typeof result !== "string" && result[0] === first && result[1] === second;
    },
  };
}

export function writingRun(target: Target, index: number, value: number): Operation {
  return {
    title: `write run ${target.name}:${index}`,
    start: (writer) => writeRun(writer, target, index, value),
    apply: notInLayers(onIndex(target, index, ({ runs }) => runs.set(index, value))),
  };
}

export function freeingRun(target: Target, index: number): Operation {
  return {
    title: `free run ${target.name}:${index}`,
    start: (writer) => free(writer, target, index, HEAD),
    apply: onIndex(target, index, ({ runs }) => runs.delete(index)),
  };
}

export function writingVolatile(target: Target, index: number, value: number): Operation {
  return {
    title: `write volatile ${target.name}:${index}`,
    start: (writer) => writeVolatile(writer, target, index, value),
    apply: notInLayers(onIndex(target, index, (instance) => instance.volatile.set(index, [value, value]))),
  };
}

export function freeingVolatile(target: Target, index: number): Operation {
  return {
    title: `free volatile ${target.name}:${index}`,
    start: (writer) => free(writer, target, index, VOLATILE),
    apply: onIndex(target, index, (instance) => instance.volatile.delete(index)),
  };
}

export function handingOver(from: Place, to: Place): Operation {
  const places = (expected: Expected, place: Place): Map<number, Content> | undefined => {
    const instance = expected.instance(place.target.name, place.target.state);
    return place.kind === VOLATILE ? instance?.volatile : instance?.pages;
  };
  const uncommitted = to.target.state === PENDING || to.kind === VOLATILE;
  const loses = from.target.state === LIVE && from.kind === DATA && uncommitted;
  return {
    title: `hand over ${from.target.name}:${from.index} to ${to.target.name}:${to.index}`,
    start: (writer) => handOver(writer, from, to),
    apply: (expected, result) => {
      if (loses) return result !== "done";
      if (result !== undefined && result !== "done") return true;
      const refused = refusalOf(expected, from.target) ?? refusalOf(expected, to.target);
      if (refused !== undefined) return result === undefined;
      const source = places(expected, from);
      const content = source?.get(from.index);
      const destination = places(expected, to);
      if (content === undefined || destination === undefined) return result === undefined;
      source?.delete(from.index);
      destination.set(to.index, content);
      return true;
    },
  };
}

/** Makes a VOLATILE page persistent at the same index. */
export function keeping(target: Target, index: number): Operation {
  return handingOver({ target, kind: VOLATILE, index }, { target, kind: DATA, index });
}

export function handingPage(from: number, to: number, index: number): Operation {
  return handingOver({ target: at(from), kind: DATA, index }, { target: at(to), kind: DATA, index });
}

export function creating(name: number, size: number): Operation {
  return {
    title: `create ${name}`,
    start: (writer) => create(writer, name, size),
    apply: (expected, result) => {
      if (result === "ENOSPC") return true;
      if (expected.pending.has(name)) return result === undefined || result === "EEXIST";
      expected.create(name, size, PENDING);
      return result === undefined || result === "done";
    },
  };
}

export function publishing(name: number): Operation {
  return {
    title: `publish ${name}`,
    start: (writer) => publish(writer, name),
    apply: (expected, result) => {
      if (!expected.pending.has(name)) return result === undefined || result === "ENOENT";
      expected.publish(name);
      return result === undefined || result === "done";
    },
  };
}

export function deleting(name: number): Operation {
  return {
    title: `delete ${name}`,
    start: (writer) => remove(writer, name),
    apply: (expected, result) => {
      const refused = refusalOf(expected, at(name));
      if (refused !== undefined && refused !== "EROFS") return answers(result, refused);
      expected.delete(name);
      return answers(result, "done");
    },
  };
}

export function resizing(name: number, size: number): Operation {
  return {
    title: `resize ${name} to ${size}`,
    start: (writer) => resize(writer, name, size),
    apply: (expected, result) => {
      const refused = refusalOf(expected, at(name));
      if (refused !== undefined) return answers(result, refused);
      expected.resize(name, size);
      return answers(result, "done");
    },
  };
}

export function storing(name: number, size: number, values: ReadonlyMap<number, number>): Operation {
  return {
    title: `store ${name}`,
    start: (writer) => store(writer, name, size, values),
    apply: (expected, result) => {
      if (result === "ENOSPC") return true;
      if (expected.pending.has(name)) return result === undefined || result === "EEXIST";
      const instance = expected.create(name, size);
      for (const [index, value] of values) instance.pages.set(index, [value, value]);
      return result === undefined || result === "done";
    },
  };
}

export function saving(from: number, to: number): Operation {
  return {
    title: `save ${from} as ${to}`,
    start: (writer) => save(writer, from, to),
    apply: (expected, result) => {
      if (result === "ENOSPC" || result === "EEXIST" || result === "EINVAL") return true;
      const refused = refusalOf(expected, at(from));
      if (refused !== undefined) return answers(result, refused);
      if (from === to || expected.pending.has(to)) return result === undefined;
      expected.save(from, to);
      return result === undefined || result === "done";
    },
  };
}
