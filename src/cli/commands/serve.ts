import { resolve } from "node:path";
import { PerdureError } from "../../base/index.ts";
import type { WantedDisk } from "../../disk/index.ts";
import type { TlsMode, TlsOptions } from "../../nbd/index.ts";
import type { CliContext } from "../context.ts";
import { defaultQuarantineAfter } from "../parameters.ts";
import { diskLimits, type LimitFlags, serverLimits } from "../serve-limits.ts";
import { serveDisks } from "../serving.ts";

interface ServeFlags extends LimitFlags {
  readonly create?: boolean;
  readonly size?: number;
  readonly pageSize?: number;
  readonly thin?: boolean;
  readonly disk?: readonly WantedDisk[];
  readonly disks?: readonly WantedDisk[];
  readonly unix?: string;
  readonly tcp?: string;
  readonly threads?: number;
  readonly tls?: TlsMode;
  readonly tlsCertificates?: string;
  readonly tlsVerifyPeer?: boolean;
  readonly tlsPsk?: string;
  readonly readOnly?: boolean;
  readonly quarantineAfter?: number;
  readonly healthyAfter?: number;
  readonly json?: boolean;
}

/** `perdure serve`: serves the disks of a region over NBD. */
export async function serve(context: CliContext, flags: ServeFlags, source: string): Promise<void> {
  const { create = false, size, pageSize, thin, readOnly = false, unix, json = false } = flags;
  if (create && readOnly) throw new PerdureError("EINVAL", "--create and --read-only exclude each other");
  const wanted = [...(flags.disk ?? []), ...(flags.disks ?? [])];
  const isTwice = wanted.find(({ name }, k) => wanted.findIndex((other) => other.name === name) !== k);
  if (isTwice !== undefined) throw new PerdureError("EINVAL", `the disk "${isTwice.name}" is named twice`);
  const healthyAfterMs = flags.healthyAfter === undefined ? undefined : 1000 * flags.healthyAfter;
  const quarantineAfter = flags.quarantineAfter ?? defaultQuarantineAfter;
  const options = { create, readOnly, size, pageSize, thin, quarantineAfter, healthyAfterMs };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  await serveDisks(context, {
    source,
    open: Object.fromEntries(given),
    wanted,
    others: wanted.length === 0,
    ...(unix === undefined ? {} : { unix: resolve(unix) }),
    ...(flags.tcp === undefined ? {} : { tcp: parseAddress(flags.tcp) }),
    server: {
      ...tlsOptions(flags),
      ...serverLimits(flags),
      ...(flags.threads === undefined ? {} : { threads: flags.threads }),
    },
    exports: diskLimits(flags),
    json,
  });
}

/** TLS is wanted as soon as anything is said about it. */
function tlsOptions({ tls, tlsCertificates, tlsVerifyPeer, tlsPsk }: ServeFlags): { tls?: TlsOptions } {
  const said = { mode: tls, certificates: tlsCertificates, verifyPeer: tlsVerifyPeer, pskFile: tlsPsk };
  const given = Object.entries(said).filter(([, value]) => value !== undefined);
  return given.length === 0 ? {} : { tls: Object.fromEntries(given) };
}

/** Reads `HOST:PORT`, where the host may be an IPv6 address in brackets. */
function parseAddress(text: string): { host: string; port: number } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host !== undefined && Number(port) < 2 ** 16) return { host, port: Number(port) };
  throw new PerdureError("EINVAL", `"${text}" is no address: write HOST:PORT, like 127.0.0.1:10809 or [::1]:10809`);
}
