// The two archives of a guest. The initramfs is small (busybox, modules, init), because every kernel that starts
// unpacks it and kexec checksums it twice. Everything large is the payload, which init reads from a disk.

import { spawnSync } from "node:child_process";
import { readdirSync, realpathSync } from "node:fs";
import { join, relative } from "node:path";
import { which } from "../support/tools.ts";
import { CpioWriter } from "./cpio.ts";
import type { GuestKernel } from "./kernel.ts";

/** In the order in which they must be loaded: the disk of the payload, then reserved memory as a device. */
const MODULES = [
  ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"],
  ["libnvdimm", "nd_btt", "nd_pmem", "nd_e820", "device_dax", "dax_pmem"],
].flat();

/** Packages that the library loads while it runs. */
const PACKAGES = ["koffi", "@koromix/koffi-linux-x64"];

/** Writes the first file system of the guest: all that is needed to reach the payload. */
export function writeInitramfs(
  path: string,
  repository: string,
  kernel: GuestKernel,
  moreModules: readonly string[],
): void {
  const modules = [...MODULES, ...moreModules];
  const archive = new CpioWriter(path);
  const busybox = which("busybox");
  if (busybox === undefined) throw new Error("busybox is not installed");
  addProgram(archive, "/bin/busybox", realpathSync(busybox));
  archive.addFile("/init", join(repository, "test/guest/init"));
  archive.addFile("/modules/order", Buffer.from(modules.join("\n")));
  for (const name of modules) {
    const module = kernel.modules.get(name);
    if (module === undefined) throw new Error(`the kernel ${kernel.image} has no module ${name}`);
    archive.addFile(`/modules/${name}.ko`, module);
  }
  archive.finish();
}

/** Writes Node, the compiled repository, what it depends on, and kernel and initramfs for kexec. */
export function writePayload(
  path: string,
  repository: string,
  options: { kernel: GuestKernel; initramfs: string; program: string; tools: readonly string[] },
): void {
  const archive = new CpioWriter(path);
  addProgram(archive, "/bin/node", realpathSync(process.execPath));
  for (const name of options.tools) addProgram(archive, `/usr/sbin/${name}`, realpathSync(which(name) ?? name));
  archive.addFile("/guest/package.json", join(repository, "package.json"));
  for (const folder of ["dist/src", "dist/test/guest", ...PACKAGES.map((name) => `node_modules/${name}`)]) {
    addCode(archive, repository, folder);
  }
  archive.addFile("/guest/program", Buffer.from(`/guest/${relative(repository, options.program)}`));
  archive.addFile("/guest/vmlinuz", options.kernel.image);
  archive.addFile("/guest/initramfs", options.initramfs);
  archive.finish();
}

/** A binary and the shared libraries that it loads, where it looks for them. */
function addProgram(archive: CpioWriter, path: string, source: string): void {
  archive.addFile(path, source);
  // Each line reads `name => /path (address)` or `/path (address)`; of a static binary ldd says so, and fails.
  for (const [, library] of spawnSync("ldd", [source], { encoding: "utf8" }).stdout.matchAll(/(\/\S+) \(0x/g)) {
    archive.addFile(library, library);
  }
}

/** What Node can load of a folder, not its maps, types and sources. */
function addCode(archive: CpioWriter, repository: string, folder: string): void {
  for (const file of readdirSync(join(repository, folder), { recursive: true, encoding: "utf8" })) {
    if (/\.(js|cjs|json|node)$/.test(file)) archive.addFile(`/guest/${folder}/${file}`, join(repository, folder, file));
  }
}
