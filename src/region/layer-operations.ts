import { PerdureError } from "../base/index.ts";
import { kind } from "./claim.ts";
import { missingWhenNamed } from "./core.ts";
import type { Directory, NewInstance } from "./directory.ts";
import type { FrameWriter } from "./frame-writer.ts";
import type { InstanceOperations } from "./instance-operations.ts";
import type { InstanceState } from "./instance-state.ts";
import { LayerView } from "./layer-view.ts";
import { recordFlags, recordState } from "./layout.ts";
import { Merge } from "./merge.ts";
import { refuseFresh } from "./page-operations.ts";
import { nameKey } from "./records.ts";

/**
 * The operations on trees of layers: snapshot, clone, promote, publish, delete, undelete, purge. All hold the one lock
 * of the trees, and operations on the pages of whom they change drain first.
 */
export class LayerOperations {
  readonly directory: Directory;
  readonly #instances: InstanceOperations;
  readonly #merge: Merge;
  readonly #writer: FrameWriter;
  readonly #view: LayerView;

  constructor(writer: FrameWriter, directory: Directory, instances: InstanceOperations) {
    this.#writer = writer;
    this.directory = directory;
    this.#instances = instances;
    this.#merge = new Merge(writer, directory, instances);
    this.#view = new LayerView(writer.memory, writer.core);
  }

  /**
   * Makes an instance; `over` makes a pending one a layer over the holder of its name.
   *
   * @throws EEXIST, ENAMETOOLONG, EINVAL, ENOSPC, EBUSY (the holder is being saved already), READ_ONLY (a snapshot)
   */
  create(wanted: NewInstance, { over }: { over: boolean }): InstanceState {
    return this.#treeLocked(() => {
      const { core } = this.#writer;
      if ((wanted.quotaMinPages ?? 0) + (wanted.quotaMaxPages ?? 0) > 0) core.refuseOldFormat("quotas");
      this.#refusePromise(wanted.quotaMinPages ?? 0);
      const below = over ? core.byName.get(nameKey(wanted.subsystem, wanted.name)) : undefined;
      if (below === undefined) return this.directory.create(wanted);
      if (!wanted.pending) throw new PerdureError("EINVAL", "a layer over an instance is made pending, and published");
      return this.#writer.alone(below, () => {
        below.refuseReadOnly();
        this.#refuseUnshareable(below);
        return this.directory.create({ ...wanted, parent: below, replaces: below });
      });
    });
  }

  /**
   * Keeps an instance as it is now under another name. What has its name from then on is a layer over it, which shares
   * all its pages: handles of the instance go on with that.
   *
   * A new top record that is pending, then the old record with the new name, flag and successor: that is the commit.
   * Killed after it, the next open makes the top live; killed before it, the next open drops the top.
   *
   * @throws EEXIST, ENAMETOOLONG, ENOSPC, EBUSY (pages held, or being saved), EINVAL (pending, or it has aligned runs),
   * READ_ONLY (it is a snapshot)
   */
  snapshot(instance: InstanceState, name: string): void {
    this.#alone(instance, () => {
      instance.refuseReadOnly();
      this.#refuseUnshareable(instance);
      const { record } = instance;
      this.#refusePromise(Math.min(record.quotaMinPages, instance.pages));
      this.directory.refuseName({ subsystem: record.subsystem, name });
      const top = this.directory.create({ ...layerOver(instance, record.name), pending: true, replaces: instance });
      this.directory.keep(instance, {
        name,
        flags: recordFlags.readOnly,
        successor: top.owner,
        quotaMinPages: 0,
        quotaMaxPages: 0,
        createdMs: Date.now(),
      });
      // All threads find what is pending over a layer that names it; from here on it is `instance`.
      this.directory.succeed(instance, top);
      this.directory.update(instance, { state: recordState.live });
    });
  }

  /** Gives an instance another name. @throws EEXIST, EBUSY (it is being saved), EINVAL (it is pending) */
  rename(instance: InstanceState, name: string): void {
    this.#treeLocked(() => this.#instances.rename(instance, name));
  }

  /** Makes a new instance that shares all pages of a snapshot. @throws EEXIST, ENAMETOOLONG, ENOSPC, EINVAL */
  clone(snapshot: InstanceState, name: string): InstanceState {
    return this.#alone(snapshot, () => {
      refuseWritable(snapshot);
      this.#writer.core.refuseOldFormat("a clone");
      return this.directory.create({ ...layerOver(snapshot, name), createdMs: Date.now() });
    });
  }

  /**
   * Gives a name to another instance by one record; who had it is deleted. A snapshot stays what it is, and a layer
   * over it takes the name.
   *
   * @throws EBUSY (pages held, or being saved), EINVAL (pending, other subsystem), READ_ONLY (a snapshot has the name)
   */
  promote(source: InstanceState, replaced: InstanceState): void {
    if (source === replaced) throw new PerdureError("EINVAL", `"${source.record.name}" has its name already`);
    this.#alone(source, () => {
      this.#writer.alone(replaced, () => {
        this.#writer.core.refuseOldFormat("promotion");
        replaced.refuseReadOnly();
        if (source.isPending || source.record.subsystem !== replaced.record.subsystem) {
          throw new PerdureError("EINVAL", `"${source.record.name}" cannot take the name "${replaced.record.name}"`);
        }
        this.#refuseHeld(replaced);
        const { name } = replaced.record;
        if (source.isReadOnly) this.directory.create({ ...layerOver(source, name), replaces: replaced });
        else this.directory.name(source, { name }, replaced);
        // Killed here there are two of the name: the next open deletes the older one, as is done now.
        this.#forget(replaced);
      });
    });
  }

  /**
   * Makes a pending instance live under its name, whole. One that is a layer over the holder of the name replaces it.
   *
   * @throws EEXIST, EINVAL (it is not pending)
   */
  publish(instance: InstanceState): void {
    this.#treeLocked(() => {
      const replaced = instance.parent;
      if (replaced === undefined) {
        this.#name(instance);
        return;
      }
      // Nothing is written to what is replaced once it is.
      this.#writer.drained(replaced, () => {
        this.#name(instance, replaced);
        // Killed here there are two of the name: the next open merges the older one, as is done now.
        this.directory.unname(replaced, recordState.deleting);
      });
      this.#merge.reap(replaced);
    });
  }

  #name(instance: InstanceState, replaced?: InstanceState): void {
    this.#writer.alone(instance, () => {
      if (!instance.isPending) throw new PerdureError("EINVAL", `"${instance.record.name}" is not pending`);
      this.directory.name(instance, {}, replaced);
    });
  }

  /** Deletes an instance; it can be undeleted until its pages are needed. A pending one is dropped. @throws EBUSY */
  delete(instance: InstanceState): void {
    this.#alone(instance, () => {
      this.#refuseHeld(instance);
      if (instance.isPending || !this.#writer.core.hasLayers) this.#end(instance);
      else this.#forget(instance);
    });
  }

  /** Deletes an instance for good. @throws EBUSY when one of its pages is held */
  purge(instance: InstanceState): void {
    this.#treeLocked(() => {
      this.#writer.drained(instance, () => {
        // Another thread may have purged it, or it waits for the layers above it already.
        if (instance.isEnded || instance.record.state === recordState.deleting) return;
        if (!instance.deleted) {
          instance.refuseSaved();
          this.#refuseHeld(instance);
        }
        this.#end(instance);
      });
    });
  }

  /** Makes a deleted instance live again, under a name that is free. @throws EEXIST, EINVAL (it is not deleted) */
  undelete(instance: InstanceState, name: string): void {
    this.#treeLocked(() => {
      if (instance.record.state !== recordState.deleted) {
        throw new PerdureError("EINVAL", `"${instance.record.name}" is not deleted`);
      }
      this.#writer.refusePromise(missingWhenNamed(instance, instance.pages));
      this.directory.name(instance, { name });
    });
  }

  /** Purges the instance that was deleted longest ago. @returns false when there is none */
  purgeOldest(): boolean {
    let oldest: InstanceState | undefined;
    for (const instance of this.#writer.core.instances.values()) {
      if (instance.record.state !== recordState.deleted) continue;
      if (oldest === undefined || wasDeletedBefore(instance, oldest)) oldest = instance;
    }
    if (oldest === undefined) return false;
    this.purge(oldest);
    return true;
  }

  /** Goes on with what a killed owner was deleting: layers that are hidden and have one above them left. */
  finishDeleting(): void {
    for (const instance of Array.from(this.#writer.core.instances.values())) {
      if (instance.record.state === recordState.deleting && !this.#isGone(instance)) this.#merge.reap(instance);
    }
  }

  // The record of what is promised pages may itself take some.
  #refusePromise(pages: number): void {
    if (pages > 0) this.#writer.refusePromise(pages, this.directory.pagesForNext);
  }

  #isGone(instance: InstanceState): boolean {
    return this.#writer.core.instances.get(instance.owner) !== instance;
  }

  #end(instance: InstanceState): void {
    const source = instance.isPending ? this.#writer.core.instances.get(instance.record.source) : undefined;
    if (source !== undefined) {
      this.#instances.giveBack(instance, source);
      return;
    }
    // First the record says so: a kill from here on ends in the delete being finished by the next open.
    this.directory.unname(instance, recordState.deleting);
    this.#merge.reap(instance);
  }

  // Its pages stay; those that do not outlive the generation go.
  #forget(instance: InstanceState): void {
    this.directory.unname(instance, recordState.deleted);
    const pages = instance.table(kind.volatile).takeOut(0, instance.limit);
    this.#instances.withdrawAll(pages);
    this.#writer.core.addPages(instance, -pages.length);
  }

  #refuseHeld(instance: InstanceState): void {
    const { core } = this.#writer;
    if (!core.pins.any) return;
    for (const page of this.#instances.pagesOf(instance)) core.refusePinned(page);
    if (!instance.isReadOnly) return;
    // Through a snapshot pages of the layers below are held, too; they stay as long as it shows them.
    for (let index = this.#view.next(instance, 0, instance.limit); index < instance.limit; ) {
      core.refusePinned(this.#view.find(instance, index));
      index = this.#view.next(instance, index + 1, instance.limit);
    }
  }

  // A handle of a page stores into it, and a run is kept as a whole: neither is shared.
  #refuseUnshareable(instance: InstanceState): void {
    const { record } = instance;
    this.#writer.core.refuseOldFormat("a snapshot");
    refuseFresh(instance);
    this.#refuseHeld(instance);
    if (instance.isPending) throw new PerdureError("EINVAL", `"${record.name}" is pending: publish it first`);
    if (instance.tails > 0) throw new PerdureError("EINVAL", `"${record.name}" has aligned runs, which are not shared`);
    if (instance.table(kind.volatile).next(0, instance.limit) < instance.limit)
      throw new PerdureError("EINVAL", `"${record.name}" has volatile pages: free them first`);
  }

  /** Holds the lock of the trees, and drains an instance. The trees first: only then is known who stands on whom. */
  #alone<T>(instance: InstanceState, act: () => T): T {
    return this.#treeLocked(() => this.#writer.alone(instance, act));
  }

  #treeLocked<T>(act: () => T): T {
    const { core } = this.#writer;
    this.#writer.refuseUnwritable();
    return this.#writer.locked(core.treeLock, 0, () => {
      core.catchUp();
      return act();
    });
  }
}

function wasDeletedBefore({ record: a }: InstanceState, { record: b }: InstanceState): boolean {
  return a.deletedMs === b.deletedMs ? a.sequence < b.sequence : a.deletedMs < b.deletedMs;
}

function layerOver(instance: InstanceState, name: string): NewInstance {
  const { subsystem, sizeBytes, schema, attributes, quotaMinPages, quotaMaxPages, createdMs } = instance.record;
  const same = { subsystem, sizeBytes, schema, attributes, quotaMinPages, quotaMaxPages, createdMs };
  return { ...same, name, pending: false, source: 0, parent: instance };
}

function refuseWritable(instance: InstanceState): void {
  if (instance.isReadOnly) return;
  throw new PerdureError(
    "EINVAL",
    `"${instance.record.name}" is no snapshot, and what a layer stands on must not change`,
    {
      remedy: "make a snapshot of it first, and a clone of that",
    },
  );
}
