import { HEAD, type Name, RUN, tailsOf } from "./layout.ts";
import { inside, type Result, type Target } from "./page-operations.ts";
import { claim, fillPage, nextRevision, takeRun, withdrawAll } from "./pages.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/**
 * Allocates the aligned run at an index or replaces it. Content and tails persist, then the head commits all of it.
 * A tail belongs to the head at the start of its aligned place, and to nothing else: it is never looked up.
 */
export function* writeRun(writer: Writer, target: Target, index: number, value: number): Task<Result> {
  return yield* inside(writer, target, index, function* (entry) {
    const { region } = writer;
    const { mutants } = region;
    const name: Name = { owner: entry.owner, kind: HEAD, index };
    if (entry.parent !== 0) return "EINVAL";
    writer.settle();
    yield* writer.lockNames([name]);
    yield;
    const old = region.pageOf(name);
    const head = yield* takeRun(writer);
    if (head < 0) {
      writer.unlockNames([name]);
      return "ENOSPC";
    }
    const revision = nextRevision(writer, head, old);
    if (mutants.has("run-head-before-tails")) yield* claim(writer, head, name, revision);
    for (const page of [head, ...tailsOf(head)]) fillPage(writer, page, [value, value]);
    for (const page of tailsOf(head)) yield* claim(writer, page, tailName(name, page - head), revision);
    writer.fence("run.tails");
    if (!mutants.has("run-head-before-tails")) yield* claim(writer, head, name, revision);
    writer.fence("run.head");
    yield;
    region.setPage(name, head);
    if (old !== undefined) yield* withdrawAll(writer, [old], "run.end");
    writer.unlockNames([name]);
    return "done";
  });
}

/** What the page `distance` behind a head claims. */
export function tailName(head: Name, distance: number): Name {
  return { owner: head.owner, kind: RUN, index: head.index + distance };
}
