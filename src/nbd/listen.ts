import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { type AddressInfo, connect, type Server } from "node:net";
import { isMainThread } from "node:worker_threads";
import { type ErrorCode, isPerdureError, PerdureError } from "../base/index.ts";
import { maxSocketPathBytes } from "./limits.ts";

/** Only the owner may connect: whoever connects may read and write the disks. */
const socketMode = 0o600;
/** The umask under which a socket is made with that mode. */
const socketUmask = 0o177;

/**
 * Makes `server` listen on a Unix socket that only its owner may use. A socket file that a dead server left behind is
 * replaced; that of a live one is not touched.
 *
 * @throws EINVAL for a path that is too long, EEXIST when it is something else than a socket, EBUSY when somebody
 * listens there; EACCES, ENOENT
 */
export async function listenOnUnixSocket(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > maxSocketPathBytes || path === "" || path.includes("\0")) {
    throw new PerdureError("EINVAL", `"${path}" is no path for a Unix socket`, {
      remedy: `use a path of 1 to ${maxSocketPathBytes} bytes without NUL`,
    });
  }
  try {
    await removeStaleSocket(path);
  } catch (error) {
    throw isPerdureError(error) ? error : listenError(error as NodeJS.ErrnoException, path);
  }
  await listening(server, path, () => withPrivateMode(path, () => server.listen(path)));
}

/** Makes `server` listen on TCP; port 0 lets the system choose. @returns the port */
export async function listenOnTcp(server: Server, host: string, port: number): Promise<number> {
  await listening(server, `${host}:${port}`, () => server.listen({ host, port }));
  return (server.address() as AddressInfo).port;
}

/** Makes `server` listen on a socket that this process was given. */
export async function listenOnFd(server: Server, fd: number): Promise<void> {
  await listening(server, `fd:${fd}`, () => server.listen({ fd }));
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new PerdureError("EEXIST", `${path} exists and is not a socket`, { remedy: "choose another path" });
  }
  if (await accepts(path)) {
    throw new PerdureError("EBUSY", `another server listens on ${path}`, {
      remedy: "stop that server, or choose another path",
    });
  }
  unlinkSync(path);
}

/** True when a connection succeeds or fails for another reason than that nobody listens. */
function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.on("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED"));
  });
}

function listening(server: Server, name: string, begin: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => reject(listenError(error, name));
    server.once("error", fail);
    server.once("listening", () => {
      server.off("error", fail);
      resolve();
    });
    begin();
  });
}

/** `listen` makes the socket file at once; it must not stand open to others, not even for a moment. */
function withPrivateMode(path: string, make: () => void): void {
  if (!isMainThread) {
    // A worker cannot change the umask, which belongs to the whole process: it sets the mode as soon as it can.
    make();
    chmodSync(path, socketMode);
    return;
  }
  const before = process.umask(socketUmask);
  try {
    make();
  } finally {
    process.umask(before);
  }
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  EADDRINUSE: "EBUSY",
  EACCES: "EACCES",
  ENOENT: "ENOENT",
  ENOTDIR: "ENOENT",
};

function listenError(cause: NodeJS.ErrnoException, name: string): PerdureError {
  return new PerdureError(CODES[cause.code ?? ""] ?? "EINVAL", `cannot listen on ${name}: ${cause.message}`, {
    remedy: "choose an address that exists, is free and that this user may listen on",
    cause,
  });
}
