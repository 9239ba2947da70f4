import type { Host } from "./host.ts";
import { type Check, ok, warn } from "./verdict.ts";

/** Users up to this number belong to the system, and logind spares them. */
const MAX_SYSTEM_USER = 999;
/** Later folders are asked only where earlier ones have no file of that name. */
const CONFIG_FOLDERS = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];
const FALSE = ["no", "n", "false", "f", "off", "0"];

/** Who empties the place when a user logs out? logind.conf(5), RemoveIPC. */
export const logout: Check = (host, { path, mount }) => {
  const name = "logout";
  const lingers = host.exists(`/var/lib/systemd/linger/${host.userName}`);
  if (/^\/run\/user\/\d+$/.test(mount?.folder ?? "")) {
    if (lingers) return ok(name, `${host.userName} lingers: ${mount?.folder} stays when the last session ends.`);
    return warn(
      name,
      `${mount?.folder} is emptied when the last session of ${host.userName} ends.`,
      `let the user linger: loginctl enable-linger ${host.userName}`,
    );
  }
  if (mount?.folder !== "/dev/shm") return ok(name, `Nobody empties ${mount?.folder ?? path} when a user logs out.`);
  if (!host.exists("/run/systemd/system")) return ok(name, "systemd does not run: nobody empties /dev/shm at logout.");
  if (host.userId <= MAX_SYSTEM_USER) {
    return ok(name, `${host.userName} is a user of the system: logind leaves its files in /dev/shm alone.`);
  }
  const { removes, from } = removeIpc(host);
  if (!removes) return ok(name, `RemoveIPC is off (${from}): files in /dev/shm outlive a logout.`);
  if (lingers) return ok(name, `RemoveIPC is on (${from}), but ${host.userName} lingers: files in /dev/shm stay.`);
  const victims = `files of ${host.userName} in /dev/shm, those of running services too`;
  return warn(
    name,
    `RemoveIPC is on (${from}): it deletes the ${victims}, when the last session ends.`,
    `let the user linger (loginctl enable-linger ${host.userName}), set RemoveIPC=no, or use a tmpfs of your own`,
  );
};

/** The setting that counts: the last one in the order of systemd's files. */
function removeIpc(host: Host): { removes: boolean; from: string } {
  let found = { removes: true, from: "the default" };
  for (const path of configFiles(host)) {
    let section = "";
    for (const line of (host.read(path) ?? "").split("\n").map((one) => one.trim())) {
      section = /^\[(.*)\]$/.exec(line)?.[1] ?? section;
      const value = /^RemoveIPC\s*=\s*(\w*)$/.exec(line)?.[1];
      if (section === "Login" && value !== undefined)
        found = { removes: !FALSE.includes(value.toLowerCase()), from: path };
    }
  }
  return found;
}

/** One main file, then the drop-ins of all folders in the order of their names; of one name, the first folder's. */
function configFiles(host: Host): string[] {
  const main = CONFIG_FOLDERS.map((folder) => `${folder}/logind.conf`).filter((path) => host.exists(path));
  const dropIns = new Map<string, string>();
  for (const folder of CONFIG_FOLDERS) {
    for (const name of host.list(`${folder}/logind.conf.d`)) {
      if (name.endsWith(".conf") && !dropIns.has(name)) dropIns.set(name, `${folder}/logind.conf.d/${name}`);
    }
  }
  const sorted = [...dropIns].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
  return [...main.slice(0, 1), ...sorted];
}
