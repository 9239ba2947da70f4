import type { ExpectedInstance } from "./expected.ts";
import { answers, at, type Operation, refusalOf } from "./operations.ts";
import { clone, createOver, promote, purge, snapshot, undelete } from "./trees.ts";

/** Layers hold neither runs nor VOLATILE pages. */
function isLayer({ runs, volatile }: ExpectedInstance): boolean {
  return runs.size === 0 && volatile.size === 0;
}

export function snapping(disk: number, name: number): Operation {
  return {
    title: `snapshot ${disk} as ${name}`,
    start: (writer) => snapshot(writer, disk, name),
    apply: (expected, result) => {
      if (result === "ENOSPC") return true;
      const refused = refusalOf(expected, at(disk));
      if (refused !== undefined) return answers(result, refused);
      if (!isLayer(expected.live.get(disk) as ExpectedInstance)) return answers(result, "EINVAL");
      if (expected.live.has(name)) return answers(result, "EEXIST");
      expected.copyTo(disk, name, { readOnly: true });
      return answers(result, "done");
    },
  };
}

export function cloning(from: number, to: number): Operation {
  return {
    title: `clone ${from} as ${to}`,
    start: (writer) => clone(writer, from, to),
    apply: (expected, result) => {
      if (result === "ENOSPC") return true;
      const source = expected.live.get(from);
      if (source === undefined) return answers(result, "ENOENT");
      if (!source.readOnly) return answers(result, "EINVAL");
      if (expected.live.has(to)) return answers(result, "EEXIST");
      expected.copyTo(from, to, { readOnly: false });
      return answers(result, "done");
    },
  };
}

export function promoting(from: number, to: number): Operation {
  return {
    title: `promote ${from} to ${to}`,
    start: (writer) => promote(writer, from, to),
    apply: (expected, result) => {
      if (result === "ENOSPC") return true;
      const source = expected.live.get(from);
      if (source === undefined) return answers(result, "ENOENT");
      if (from === to) return answers(result, "EINVAL");
      if (expected.isShared(from) || expected.isShared(to)) return answers(result, "EBUSY");
      if (source.readOnly) expected.copyTo(from, to, { readOnly: false });
      else expected.rename(from, to);
      return answers(result, "done");
    },
  };
}

export function creatingOver(name: number, size: number): Operation {
  return {
    title: `create ${name} over itself`,
    start: (writer) => createOver(writer, name, size),
    apply: (expected, result) => {
      if (result === "ENOSPC") return true;
      if (expected.pending.has(name)) return answers(result, "EEXIST");
      const refused = refusalOf(expected, at(name));
      if (refused !== undefined) return answers(result, refused);
      if (!isLayer(expected.live.get(name) as ExpectedInstance)) return answers(result, "EINVAL");
      expected.createOver(name, size);
      return answers(result, "done");
    },
  };
}

export function undeleting(name: number): Operation {
  return {
    title: `undelete ${name}`,
    start: (writer) => undelete(writer, name),
    apply: (expected, result) => {
      if (!expected.deleted.some((instance) => instance.name === name)) return answers(result, "ENOENT");
      if (expected.live.has(name)) return answers(result, "EEXIST");
      expected.undelete(name);
      return answers(result, "done");
    },
  };
}

export function purging(): Operation {
  return {
    title: "purge",
    start: (writer) => purge(writer),
    apply: (expected, result) => {
      if (expected.deleted.shift() === undefined) return answers(result, "ENOENT");
      return answers(result, "done");
    },
  };
}
