import koffi from "koffi";

const libc = koffi.load("libc.so.6");

const getpeername = libc.func("int getpeername(int fd, _Out_ uint8 *address, _Inout_ uint32 *length)");
const getsockopt = libc.func(
  "int getsockopt(int fd, int level, int option, _Out_ uint8 *value, _Inout_ uint32 *length)",
);
const inetNtop = libc.func("const char *inet_ntop(int family, void *bytes, void *text, uint32 length)");

/** `<sys/socket.h>` */
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** `struct sockaddr_storage`; where the addresses of IPv4 and IPv6 stand in theirs. */
const ADDRESS_BYTES = 128;
const IPV4 = { at: 4, bytes: 4 } as const;
const IPV6 = { at: 8, bytes: 16, networkBytes: 8 } as const;
/** `struct ucred`: process, user and group. */
const CREDENTIALS = { user: 4, bytes: 12 } as const;
/** `<netinet/in.h>`: the longest text of an address. */
const INET6_ADDRSTRLEN = 46;
/** Before the four bytes of an IPv4 address that is written as one of IPv6. */
const MAPPED = Buffer.from("00000000000000000000ffff", "hex");

/** Who is at the other end of a connection. */
export type Peer =
  /** The user that connected over a Unix socket, as the kernel knows it: its effective uid at that moment. */
  | { readonly uid: number }
  /** An address of IPv4 or IPv6, and what one owner has at least: for IPv6 a network of 64 bits. */
  | { readonly address: string; readonly network: string };

/** Asks the kernel who is at the other end. @returns undefined when nobody is there any more */
export function peerOf(fd: number): Peer | undefined {
  const address = Buffer.alloc(ADDRESS_BYTES);
  if ((getpeername(fd, address, [address.length]) as number) === -1) return undefined;
  switch (address.readUInt16LE(0)) {
    case AF_UNIX:
      return userOf(fd);
    case AF_INET:
      return ipv4(address.subarray(IPV4.at, IPV4.at + IPV4.bytes));
    case AF_INET6:
      return ipv6(address.subarray(IPV6.at, IPV6.at + IPV6.bytes));
    default:
      return undefined;
  }
}

function userOf(fd: number): Peer | undefined {
  const credentials = Buffer.alloc(CREDENTIALS.bytes);
  const result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, [credentials.length]) as number;
  return result === -1 ? undefined : { uid: credentials.readUInt32LE(CREDENTIALS.user) };
}

function ipv4(bytes: Buffer): Peer {
  const address = textOf(AF_INET, bytes);
  return { address, network: address };
}

function ipv6(bytes: Buffer): Peer {
  if (bytes.subarray(0, MAPPED.length).equals(MAPPED)) return ipv4(bytes.subarray(MAPPED.length));
  const network = Buffer.from(bytes).fill(0, IPV6.networkBytes);
  return { address: textOf(AF_INET6, bytes), network: `${textOf(AF_INET6, network)}/${8 * IPV6.networkBytes}` };
}

function textOf(family: number, bytes: Buffer): string {
  return inetNtop(family, bytes, Buffer.alloc(INET6_ADDRSTRLEN), INET6_ADDRSTRLEN) as string;
}
