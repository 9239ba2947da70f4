// Writer of the archives that the kernel unpacks as its first file system (cpio "newc" format:
// Documentation/driver-api/early-userspace/buffer-format.rst of the Linux sources).

import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;

/** One archive file. Folders are added with the first file in them; paths are absolute, as seen by the guest. */
export class CpioWriter {
  readonly #fd: number;
  readonly #known: Set<string> = new Set(["/"]);

  constructor(path: string) {
    this.#fd = openSync(path, "wx", 0o600);
  }

  addFolder(path: string): void {
    if (this.#known.has(path)) return;
    this.addFolder(dirname(path));
    this.#add(path, DIRECTORY, new Uint8Array(0));
  }

  /** Adds a file once; a path that is in the archive already stays as it is. */
  addFile(path: string, source: string | Uint8Array): void {
    if (this.#known.has(path)) return;
    this.addFolder(dirname(path));
    this.#add(path, PROGRAM, typeof source === "string" ? readFileSync(source) : source);
  }

  /** Writes the end mark and closes the file. */
  finish(): void {
    this.#add("/TRAILER!!!", 0, new Uint8Array(0));
    closeSync(this.#fd);
  }

  #add(path: string, mode: number, content: Uint8Array): void {
    const name = Buffer.from(`${path.slice(1)}\0`);
    const number = this.#known.add(path).size;
    // Inode, mode, uid, gid, links, time, size, device and its minor, special device and its minor, name, check.
    const fields = [number, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
    writePadded(this.#fd, Buffer.concat([Buffer.from(header), name]));
    writePadded(this.#fd, content);
  }
}

/** Everything in the format starts at a multiple of four bytes. */
function writePadded(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  writeSync(fd, new Uint8Array((4 - (bytes.length % 4)) % 4));
}
