// Certificates and keys for tests of TLS: made by `openssl` when they are wanted, never kept.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Folders in the form that nbdkit, qemu and libnbd share. */
export interface Certificates {
  readonly server: string;
  readonly client: string;
  /** A client that trusts the server, and whose own certificate is from another CA. */
  readonly foreigner: string;
  /** A client that trusts the server and has no certificate. */
  readonly nobody: string;
  /** A client that trusts another CA than that of the server. */
  readonly stranger: string;
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];

/** Makes a CA, a certificate for a server at localhost, one for a client, and one for a client of a foreign CA. */
export function makeCertificates(folder: string): Certificates {
  const config = join(folder, "openssl.cnf");
  writeFileSync(config, "[req]\ndistinguished_name = dn\n[dn]\n");
  const make = (name: string, ...args: readonly string[]): void => {
    const files = ["-keyout", join(folder, `${name}-key.pem`), "-out", join(folder, `${name}-cert.pem`)];
    const subject = ["-subj", `/CN=${name}`];
    execFileSync("openssl", ["req", "-x509", "-config", config, ...newKey, ...subject, ...files, ...args], {
      stdio: ["ignore", "ignore", "pipe"],
    });
  };
  const signedBy = (ca: string): string[] => {
    const [cert, key] = [join(folder, `${ca}-cert.pem`), join(folder, `${ca}-key.pem`)];
    return ["-CA", cert, "-CAkey", key, "-addext", "basicConstraints=critical,CA:FALSE"];
  };
  const authority = [
    "-addext",
    "basicConstraints=critical,CA:TRUE",
    "-addext",
    "keyUsage=critical,keyCertSign,cRLSign",
  ];
  make("ca", ...authority);
  make("other-ca", ...authority);
  make("server", ...signedBy("ca"), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1");
  make("client", ...signedBy("ca"));
  make("foreigner", ...signedBy("other-ca"));
  const gather = (name: string, files: Readonly<Record<string, string>>): string => {
    const target = join(folder, name);
    mkdirSync(target);
    for (const [to, from] of Object.entries({ "ca-cert": "ca-cert", ...files })) {
      copyFileSync(join(folder, `${from}.pem`), join(target, `${to}.pem`));
    }
    return target;
  };
  return {
    server: gather("server", { "server-cert": "server-cert", "server-key": "server-key" }),
    client: gather("client", { "client-cert": "client-cert", "client-key": "client-key" }),
    foreigner: gather("foreigner", { "client-cert": "foreigner-cert", "client-key": "foreigner-key" }),
    nobody: gather("nobody", {}),
    stranger: gather("stranger", { "ca-cert": "other-ca-cert" }),
  };
}

/** Has the CA take back a certificate, and puts the list into the folder of the server. */
export function revoke(folder: string, name: string): void {
  const config = join(folder, "ca.cnf");
  const settings = ["default_md = sha256", "default_crl_days = 2", `database = ${join(folder, "index.txt")}`];
  writeFileSync(config, `[ca]\ndefault_ca = all\n[all]\n${settings.join("\n")}\n`);
  writeFileSync(join(folder, "index.txt"), "");
  const [cert, key] = [join(folder, "ca-cert.pem"), join(folder, "ca-key.pem")];
  const authority = ["ca", "-config", config, "-cert", cert, "-keyfile", key];
  const run = (...args: readonly string[]): void => {
    execFileSync("openssl", [...authority, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  };
  run("-revoke", join(folder, `${name}-cert.pem`));
  run("-gencrl", "-out", join(folder, "server", "ca-crl.pem"));
}
