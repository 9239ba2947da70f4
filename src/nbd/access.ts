import { BlockList, isIP } from "node:net";
import { PerdureError } from "../base/index.ts";
import type { Peer } from "../os/index.ts";

/** Who may connect, or open an export: who is on no list is refused. */
export interface AllowList {
  /**
   * Users who may come over Unix sockets, by the numbers that the kernel knows them by. Without this list the modes of
   * socket and folders alone decide, which let in the user of the server.
   */
  readonly uids?: readonly number[];
  /** Addresses and networks that may come over TCP, like `192.0.2.7` and `2001:db8::/32`. Without any, none may. */
  readonly addresses?: readonly string[];
}

/** The largest uid; the one above means nobody. */
const maxUid = 2 ** 32 - 2;

/** An allow-list, made ready to be asked. Without a list everybody is allowed. */
export class Access {
  readonly #list: AllowList | undefined;
  readonly #uids: ReadonlySet<number> | undefined;
  readonly #addresses: BlockList = new BlockList();

  /** @throws EINVAL for what is no uid, address or network */
  constructor(list: AllowList | undefined) {
    this.#list = list;
    if (list?.uids !== undefined) this.#uids = new Set(list.uids.map(checkedUid));
    for (const text of list?.addresses ?? []) addNetwork(this.#addresses, text);
  }

  /** Who cannot be named is not allowed where anybody is not. */
  allows(peer: Peer | undefined): boolean {
    if (this.#list === undefined) return true;
    if (peer === undefined) return false;
    if ("uid" in peer) return this.#uids?.has(peer.uid) ?? true;
    return this.#addresses.check(peer.address, familyOf(peer.address));
  }
}

/** A peer as people call it. */
export function nameOfPeer(peer: Peer | undefined): string {
  if (peer === undefined) return "somebody who is gone";
  return "uid" in peer ? `user ${peer.uid}` : peer.address;
}

function checkedUid(uid: number): number {
  if (Number.isInteger(uid) && uid >= 0 && uid <= maxUid) return uid;
  throw new PerdureError("EINVAL", `${uid} is no uid`, {
    remedy: "give the number of a user, as `id -u NAME` prints it",
  });
}

function addNetwork(list: BlockList, text: string): void {
  const [, address = "", prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const bits = isIP(address) === 6 ? 128 : 32;
  const length = Number(prefix ?? bits);
  if (isIP(address) === 0 || address.includes("%") || length > bits) {
    throw new PerdureError("EINVAL", `"${text}" is no address and no network`, {
      remedy: "write them like 192.0.2.7, 10.0.0.0/8, ::1 or 2001:db8::/32",
    });
  }
  list.addSubnet(address, length, familyOf(address));
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return address.includes(":") ? "ipv6" : "ipv4";
}
