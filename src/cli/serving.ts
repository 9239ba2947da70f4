import { formatSize, PerdureError } from "../base/index.ts";
import type { WantedDisk } from "../disk/index.ts";
import type { Disk, Region, RegionOptions } from "../index.ts";
import { type ExportOptions, type Log, NbdServer, type NbdServerOptions, takeActivationFds } from "../nbd/index.ts";
import { ControlServer, ServedDisks } from "../service/index.ts";
import type { CliContext } from "./context.ts";
import { openForWriting, runningOwner } from "./open-region.ts";
import { jsonLine, print, printable, tell } from "./output.ts";
import { describeStart } from "./start-text.ts";
import { stopSignal } from "./stop-signal.ts";

/** What is to be served, and where. */
export interface ServePlan {
  readonly source: string;
  readonly open: RegionOptions;
  /** Disks that must be there, made where they are not. */
  readonly wanted: readonly WantedDisk[];
  /** Serve every other disk of the region, too, and those that are made while it is served. */
  readonly others: boolean;
  /** Where to listen beside what a service manager handed over; without either, next to the region. */
  readonly unix?: string;
  readonly tcp?: { readonly host: string; readonly port: number };
  /** How the server serves: encryption, threads, who may connect. */
  readonly server?: Omit<NbdServerOptions, "log">;
  /** How disks are served, by name. */
  readonly exports?: ReadonlyMap<string, ExportOptions>;
  /** Print events as JSON. */
  readonly json: boolean;
  /** Called when clients can connect. */
  readonly onReady?: (uris: ReadonlyMap<string, string>) => void;
}

/** Serves the disks of a region until a signal asks for the end; then the next start is warm. */
export async function serveDisks(context: CliContext, plan: ServePlan): Promise<void> {
  const { stdout, stderr } = context.process;
  const stopped = stopSignal();
  // Certificates that are not good are told of before anything is opened.
  const idleServer = new NbdServer({ ...plan.server, log: logTo(stderr) });
  const region = await openRegion(plan);
  try {
    if (plan.json) print(stdout, jsonLine({ event: "start", source: plan.source, ...region.start }));
    else print(stderr, ...describeStart(stderr, region, plan.open.quarantineAfter ?? 0));
    await serveUntil(stopped, idleServer, region, context, plan);
    // What failed was told to clients as it happened; whoever started the server hears of it here.
    if (!region.readOnly) region.sync();
  } finally {
    await region.close();
  }
  if (plan.json) print(stdout, jsonLine({ event: "closed" }));
  else if (!region.readOnly) print(stderr, "closed: the next start is warm");
}

/** When it returns, what clients had asked for is answered and they are told. */
async function serveUntil(
  stopped: Promise<NodeJS.Signals>,
  idleServer: NbdServer,
  region: Region,
  { process: { stdout, stderr, env } }: CliContext,
  plan: ServePlan,
): Promise<void> {
  await using server = idleServer;
  const disks = openDisks(region, plan, stderr);
  // Clients that come back to a server know by the region whether the disk is the one that they left.
  const served = new ServedDisks(server, disks, { ...plan, description: `disk of region ${region.info().uuid}` });
  const hasAddress = await listen(server, plan);
  await using control = new ControlServer({ region, exports: served }, logTo(stderr));
  // A reader has nothing that could be changed.
  if (!region.readOnly) await control.listen(plan.source, env);
  const uris = new Map(disks.map(({ name }) => [name, hasAddress ? server.uri(name) : name]));
  // One write: who reads the first line can rely on the others.
  print(stdout, ...disks.map((disk) => describeReady(disk, uris.get(disk.name) ?? disk.name, plan)));
  plan.onReady?.(uris);
  const signal = await stopped;
  if (!plan.json) print(stderr, `${signal}: finishing what clients have asked; once more ends at once`);
}

async function openRegion({ source, open }: ServePlan): Promise<Region> {
  const writer = open.readOnly === true ? await runningOwner(source) : undefined;
  if (writer === undefined) return openForWriting(source, open);
  // Pages that the writer frees and uses again would change under those who read them here.
  throw new PerdureError("LOCKED", `${source} is open for writing in process ${writer}`, {
    remedy: "a region is served read-only when nobody writes to it; stop that process first",
  });
}

function openDisks(region: Region, { wanted, others, source, exports }: ServePlan, stderr: NodeJS.WriteStream): Disk[] {
  const names = new Set(wanted.map(({ name }) => name));
  for (const { name, sizeBytes } of wanted) {
    const disk = region.disks.open(name, { create: !region.readOnly, size: sizeBytes });
    if (disk.sizeBytes === sizeBytes) continue;
    tell(stderr, `the disk "${name}" is there and keeps its size, ${formatSize(disk.sizeBytes)}`);
  }
  if (others) for (const { name } of region.disks.list()) names.add(name);
  const disks = [...names].map((name) => region.disks.open(name));
  if (disks.length === 0) {
    throw new PerdureError("ENOENT", `${source} has no disks to serve`, {
      remedy: "name one with its size and it is made, for example --disk pram0=512M",
    });
  }
  for (const name of exports?.keys() ?? []) {
    if (names.has(name)) continue;
    throw new PerdureError("ENOENT", `a flag is about the disk "${name}", which is not served`, {
      remedy: `name a disk that is: ${[...names].join(", ")}`,
    });
  }
  warnOfOvercommitment(region, disks, stderr);
  return disks;
}

function warnOfOvercommitment(region: Region, disks: readonly Disk[], stderr: NodeJS.WriteStream): void {
  const { freePages, deletedPages, reservePages, pageBytes } = region.info();
  const writable = disks.filter((disk) => !disk.readOnly);
  const unwritten = writable.reduce((sum, disk) => sum + disk.sizeBytes - disk.allocatedBytes, 0);
  const room = Math.max(0, freePages + deletedPages - reservePages) * pageBytes;
  if (unwritten <= room || region.readOnly) return;
  const [wanted, left] = [formatSize(unwritten), formatSize(room)];
  print(stderr, `the disks could take ${wanted} more, the region has ${left}: writes may answer ENOSPC`);
}

/** @returns whether there is an address of which clients can be told */
async function listen(server: NbdServer, { source, unix, tcp }: ServePlan): Promise<boolean> {
  const handedOver = takeActivationFds();
  for (const fd of handedOver) await server.listenFd(fd);
  if (unix !== undefined) await server.listenUnix(unix);
  if (tcp !== undefined) await server.listenTcp(tcp.host, tcp.port);
  if (unix !== undefined || tcp !== undefined) return true;
  if (handedOver.length > 0) return false;
  await server.listenUnix(defaultSocket(source));
  return true;
}

/** The socket next to a region. */
function defaultSocket(source: string): string {
  if (!source.startsWith("fd:") && !source.startsWith("/dev/dax")) return `${source}.sock`;
  throw new PerdureError("EINVAL", `${source} has no folder for a socket`, {
    remedy: "pass --unix PATH or --tcp HOST:PORT",
  });
}

function describeReady(disk: Disk, uri: string, { json, exports }: ServePlan): string {
  const { name, sizeBytes, allocatedBytes } = disk;
  const readOnly = disk.readOnly || exports?.get(name)?.readOnly === true;
  return json
    ? jsonLine({ event: "ready", disk: name, uri, sizeBytes, allocatedBytes, readOnly })
    : printable(`ready ${uri}`);
}

/** Trouble with clients is worth a line; their coming and going is not. */
export function logTo(stderr: NodeJS.WriteStream): Log {
  const log = (fields: object, message: string): void => {
    const { err } = fields as { err?: Error };
    tell(stderr, `perdure: ${message}${err === undefined ? "" : `: ${err.message}`}`);
  };
  return { debug() {}, info() {}, warn: log, error: log };
}
