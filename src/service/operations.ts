import { PerdureError } from "../base/index.ts";
import type { Disk, DiskInfo, Instance, InstanceUsage, Region, RegionInfo } from "../index.ts";
import { Fields } from "./fields.ts";

/** Who serves the disks of a region, and hears of every change of them. */
export interface Exports {
  /** There is a disk that was not there before. */
  add(disk: Disk): void;
  /** Lets go of a disk, then has it removed; when that fails it is served as before. */
  remove(disk: Disk, act: () => void): Promise<void>;
  /** A disk has another name than before. */
  rename(from: string, disk: Disk): void;
}

/** A region, and who serves its disks. */
export interface Served {
  readonly region: Region;
  readonly exports: Exports;
}

/** Memory of an instance: what it takes, is guaranteed, and may take; 0 for nothing and no limit. */
export interface QuotaBytes {
  readonly allocatedBytes: number;
  readonly minBytes: number;
  readonly maxBytes: number;
}

type None = Record<string, never>;

/** What may be changed, by the path that it has on the control socket: what goes in, what comes out. */
export interface Changes {
  "disk/create": [input: { name: string; sizeBytes: number }, output: { sizeBytes: number }];
  "disk/grow": [input: { name: string; sizeBytes: number }, output: { beforeBytes: number; sizeBytes: number }];
  "disk/rename": [input: { name: string; to: string }, output: None];
  /** `kept`: it can be undeleted. */
  "disk/remove": [input: { name: string }, output: { kept: boolean }];
  /** `heldBytes`: what it held itself; more than was freed where other disks share it. */
  "disk/purge": [input: { name: string }, output: { freedBytes: number; heldBytes: number }];
  "disk/undelete": [input: { name: string; as?: string | undefined }, output: { name: string }];
  "disk/snapshot": [input: { name: string; snapshot: string }, output: None];
  "disk/clone": [input: { snapshot: string; name: string }, output: None];
  "disk/promote": [input: { promoted: string; name: string }, output: None];
  /** In bytes, rounded up to pages; what is left out stays as it is. */
  "quota/set": [
    input: { subsystem: string; name: string; minBytes?: number | undefined; maxBytes?: number | undefined },
    output: QuotaBytes,
  ];
}

/** What may be asked besides. */
interface Questions {
  "disk/list": [input: None, output: DiskInfo[]];
  "quota/get": [input: { subsystem: string; name: string }, output: QuotaBytes];
  "region/info": [input: None, output: RegionInfo];
  "region/usage": [input: None, output: InstanceUsage[]];
  /** Makes everything durable, as a FLUSH does. */
  "region/sync": [input: None, output: None];
}

interface Operation<Input, Output> {
  /** @throws EINVAL for fields that are missing or wrong */
  read(fields: Fields): Input;
  /** @throws what the region throws */
  run(served: Served, input: Input): Output | Promise<Output>;
}

type Table<Signatures extends { [Name in keyof Signatures]: [unknown, unknown] }> = {
  readonly [Name in keyof Signatures]: Operation<Signatures[Name][0], Signatures[Name][1]>;
};

/** How each change is made, and what it means for those who are served. */
export const changes: Table<Changes> = {
  "disk/create": {
    read: (fields) => ({ name: fields.text("name"), sizeBytes: fields.bytes("sizeBytes") }),
    run({ region, exports }, { name, sizeBytes }) {
      if (region.disks.has(name)) throw new PerdureError("EEXIST", `${region.source} has a disk "${name}" already`);
      const disk = region.disks.open(name, { create: true, size: sizeBytes });
      exports.add(disk);
      return { sizeBytes: disk.sizeBytes };
    },
  },
  "disk/grow": {
    read: (fields) => ({ name: fields.text("name"), sizeBytes: fields.bytes("sizeBytes") }),
    run({ region }, { name, sizeBytes }) {
      const disk = region.disks.open(name);
      const beforeBytes = disk.sizeBytes;
      disk.grow(sizeBytes);
      return { beforeBytes, sizeBytes: disk.sizeBytes };
    },
  },
  "disk/rename": {
    read: (fields) => ({ name: fields.text("name"), to: fields.text("to") }),
    run({ region, exports }, { name, to }) {
      const disk = region.disks.open(name);
      disk.rename(to);
      exports.rename(name, disk);
      return {};
    },
  },
  "disk/remove": {
    read: (fields) => ({ name: fields.text("name") }),
    async run({ region, exports }, { name }) {
      await exports.remove(region.disks.open(name), () => region.disks.remove(name));
      // A region of format version 0 keeps nothing.
      return { kept: region.deleted("disk").some((one) => one.name === name) };
    },
  },
  "disk/purge": {
    read: (fields) => ({ name: fields.text("name") }),
    async run({ region, exports }, { name }) {
      let freedPages = 0;
      const heldPages = pagesOf(region, name);
      const purge = (): void => {
        const before = region.info().freePages;
        region.disks.purge(name);
        // Those who are served take pages meanwhile.
        freedPages = Math.max(0, region.info().freePages - before);
      };
      if (region.disks.has(name)) await exports.remove(region.disks.open(name), purge);
      else purge();
      return { freedBytes: freedPages * region.pageBytes, heldBytes: heldPages * region.pageBytes };
    },
  },
  "disk/undelete": {
    read: (fields) => ({ name: fields.text("name"), as: fields.optionalText("as") }),
    run({ region, exports }, { name, as = name }) {
      const disk = region.disks.undelete(name, { as });
      exports.add(disk);
      return { name: disk.name };
    },
  },
  "disk/snapshot": {
    read: (fields) => ({ name: fields.text("name"), snapshot: fields.text("snapshot") }),
    run({ region, exports }, { name, snapshot }) {
      exports.add(region.disks.open(name).snapshot(snapshot));
      return {};
    },
  },
  "disk/clone": {
    read: (fields) => ({ snapshot: fields.text("snapshot"), name: fields.text("name") }),
    run({ region, exports }, { snapshot, name }) {
      exports.add(region.disks.open(snapshot).clone(name));
      return {};
    },
  },
  "disk/promote": {
    read: (fields) => ({ promoted: fields.text("promoted"), name: fields.text("name") }),
    run: ({ region, exports }, { promoted, name }) => promote({ region, exports }, promoted, name),
  },
  "quota/set": {
    read: (fields) => ({
      subsystem: fields.text("subsystem"),
      name: fields.text("name"),
      minBytes: fields.optionalBytes("minBytes"),
      maxBytes: fields.optionalBytes("maxBytes"),
    }),
    run({ region }, { subsystem, name, minBytes, maxBytes }) {
      const instance = region.instance(subsystem, name);
      const pages = (bytes: number): number => Math.ceil(bytes / region.pageBytes);
      instance.setQuota({
        ...(minBytes === undefined ? {} : { minPages: pages(minBytes) }),
        ...(maxBytes === undefined ? {} : { maxPages: pages(maxBytes) }),
      });
      return quotaOf(region, instance);
    },
  },
};

const nothing = { read: () => ({}) };

const questions: Table<Questions> = {
  "disk/list": { ...nothing, run: ({ region }) => region.disks.list() },
  "quota/get": {
    read: (fields) => ({ subsystem: fields.text("subsystem"), name: fields.text("name") }),
    run: ({ region }, { subsystem, name }) => quotaOf(region, region.instance(subsystem, name)),
  },
  "region/info": { ...nothing, run: ({ region }) => region.info() },
  "region/usage": { ...nothing, run: ({ region }) => region.usage() },
  "region/sync": {
    ...nothing,
    run({ region }) {
      region.sync();
      return {};
    },
  },
};

/**
 * Finds an operation, and reads what was sent to it.
 *
 * @returns what does it; undefined when there is no such operation
 * @throws EINVAL
 */
export function prepare(name: string, value: unknown): ((served: Served) => Promise<unknown>) | undefined {
  const all: Readonly<Record<string, unknown>> = { ...changes, ...questions };
  if (!Object.hasOwn(all, name)) return undefined;
  const operation = all[name] as Operation<unknown, unknown>;
  const fields = new Fields(value);
  const input = operation.read(fields);
  fields.refuseOthers();
  return async (served) => operation.run(served, input);
}

/** What an instance takes, is guaranteed, and may take. */
export function quotaOf({ pageBytes }: Region, { pageCount, quota }: Instance): QuotaBytes {
  const { minPages, maxPages } = quota;
  return { allocatedBytes: pageCount * pageBytes, minBytes: minPages * pageBytes, maxBytes: maxPages * pageBytes };
}

async function promote({ region, exports }: Served, promoted: string, name: string): Promise<None> {
  const source = region.disks.open(promoted);
  const replaced = region.disks.open(name);
  const act = (): void => source.promote(replaced);
  // This is refused for certain: no client is to lose its connection over it.
  if (promoted === name || replaced.readOnly) act();
  await exports.remove(replaced, act);
  // A snapshot stays, and a clone of it has the name; a clone has lost its own.
  if (source.readOnly) exports.add(region.disks.open(name));
  else exports.rename(promoted, source);
  return {};
}

/** What a purge of that name is going to delete holds itself. */
function pagesOf(region: Region, name: string): number {
  const isNamed = (one: { name: string }): boolean => one.name === name;
  return (region.list("disk").find(isNamed) ?? region.deleted("disk").findLast(isNamed))?.pages ?? 0;
}
