import type { Host } from "./host.ts";
import { type Check, ok, warn } from "./verdict.ts";

interface Tool {
  readonly programs: readonly string[];
  readonly what: string;
  /** Debian's packages. */
  readonly packages: string;
}

const tools: readonly Tool[] = [
  { programs: ["nbdinfo", "nbdcopy"], what: "to ask a server and to copy disks", packages: "libnbd-bin" },
  { programs: ["nbdfuse", "fusermount3"], what: "to mount a disk", packages: "libnbd-bin fuse3" },
  { programs: ["qemu-nbd", "qemu-img"], what: "to convert images", packages: "qemu-utils" },
];

/** One check for each kind of client. */
export const clientTools: readonly Check[] = tools.map(({ programs, what, packages }) => (host: Host) => {
  const name = programs[0];
  const missing = programs.filter((program) => !host.hasProgram(program));
  if (missing.length === 0) return ok(name, `${programs.join(" and ")} found, ${what}.`);
  return warn(name, `${missing.join(" and ")} not found, ${what}.`, `apt-get install ${packages}`);
});

/** The kernel's own client takes a program and a module. */
export const kernelClient: Check = (host) => {
  const name = "nbd-client";
  const hasProgram = host.hasProgram("nbd-client");
  const hasModule = host.exists("/sys/module/nbd") || host.exists("/dev/nbd0") || isLoadable(host);
  if (hasProgram && hasModule) return ok(name, "nbd-client and the kernel's nbd module found: /dev/nbdN.");
  const missing = [...(hasProgram ? [] : ["nbd-client"]), ...(hasModule ? [] : ["the kernel's nbd module"])];
  const remedies = [
    ...(hasProgram ? [] : ["apt-get install nbd-client"]),
    ...(hasModule ? [] : ["use a kernel with CONFIG_BLK_DEV_NBD, or nbdfuse instead"]),
  ];
  return warn(name, `${missing.join(" and ")} not found: no /dev/nbdN here.`, remedies.join("; "));
};

function isLoadable(host: Host): boolean {
  const release = host.read("/proc/sys/kernel/osrelease")?.trim() ?? "";
  return ["dep", "builtin"].some((list) =>
    /\/nbd\.ko/.test(host.read(`/lib/modules/${release}/modules.${list}`) ?? ""),
  );
}
