import { lookup } from "node:dns/promises";
import { chmodSync, lstatSync, rmSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { isMainThread } from "node:worker_threads";
import { type ErrorCode, isPerdureError, PerdureError } from "../base/index.ts";
import { adoptListener, closeSocket, listenAtPath, listenAtPort, portOf } from "../os/index.ts";
import { maxSocketPathBytes } from "./limits.ts";

/** Only the owner may connect: whoever connects may read and write the disks. */
const privateMode = 0o600;
/** Everybody may knock, because the server asks the kernel who it is and refuses most. */
const publicMode = 0o666;

/** A listening socket. */
export interface Listener {
  readonly fd: number;
  /** The file that leads to a Unix socket, for its removal. */
  readonly file?: { readonly path: string; readonly inode: number };
  /** Of TCP. */
  readonly port?: number;
}

/**
 * Listens on a Unix socket that only its owner may use, or everybody with `isPublic`. A socket file that a dead server
 * left behind is replaced; that of a live one is not touched.
 *
 * @throws EINVAL for a path that is too long, EEXIST when it is something else than a socket, EBUSY when somebody
 * listens there; EACCES, ENOENT
 */
export async function listenOnUnixSocket(path: string, isPublic = false): Promise<Listener> {
  if (Buffer.byteLength(path) > maxSocketPathBytes || path === "" || path.includes("\0")) {
    throw new PerdureError("EINVAL", `"${path}" is no path for a Unix socket`, {
      remedy: `use a path of 1 to ${maxSocketPathBytes} bytes without NUL`,
    });
  }
  try {
    await removeStaleSocket(path);
    const fd = withMode(isPublic ? publicMode : privateMode, path, () => listenAtPath(path));
    return { fd, file: { path, inode: lstatSync(path).ino } };
  } catch (error) {
    throw listenError(error, path);
  }
}

/** Listens on TCP; port 0 lets the system choose. @throws EINVAL, EBUSY, EACCES */
export async function listenOnTcp(host: string, port: number): Promise<Listener> {
  try {
    const { address } = await lookup(host);
    const fd = listenAtPort(address, port);
    return { fd, port: portOf(fd) };
  } catch (error) {
    throw listenError(error, `${host}:${port}`);
  }
}

/** Takes over a socket on which this process was told to listen. @throws EINVAL when it is none */
export function listenOnFd(fd: number): Listener {
  try {
    adoptListener(fd);
    return { fd };
  } catch (error) {
    throw listenError(error, `fd:${fd}`);
  }
}

/** Stops listening, and removes the file of the socket unless it is another one's by now. */
export function stopListening({ fd, file }: Listener): void {
  closeSocket(fd);
  if (file !== undefined) removeSocketFile(file);
}

/** Removes the file of a socket unless another one has the path by now. */
export function removeSocketFile({ path, inode }: { path: string; inode: number }): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.ino === inode) rmSync(path, { force: true });
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

/** `listen` makes the socket file at once; it must not stand open to others, not even for a moment. */
function withMode(mode: number, path: string, make: () => number): number {
  if (!isMainThread) {
    // A worker cannot change the umask, which belongs to the whole process: it sets the mode as soon as it can.
    const fd = make();
    chmodSync(path, mode);
    return fd;
  }
  const before = process.umask(0o777 & ~mode);
  try {
    return make();
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

function listenError(cause: unknown, name: string): PerdureError {
  if (isPerdureError(cause)) return cause;
  const { code = "", message } = cause as NodeJS.ErrnoException;
  return new PerdureError(CODES[code] ?? "EINVAL", `cannot listen on ${name}: ${message}`, {
    remedy: "choose an address that exists, is free and that this user may listen on",
    cause,
  });
}
