import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, type TlsOptions as NodeTlsOptions } from "node:tls";
import { type ErrorCode, PerdureError } from "../base/index.ts";

/** Whether clients may encrypt (`on`), must (`require`), or cannot (`off`). */
export type TlsMode = "off" | "on" | "require";

/** Encryption by certificates or by keys that server and client share, but not by both. */
export interface TlsOptions {
  /** `require` by default. With `on`, somebody on the way can make a client believe that there is no TLS. */
  readonly mode?: TlsMode;
  /**
   * A folder with `server-cert.pem`, `server-key.pem` and, when clients are to be verified, `ca-cert.pem` and perhaps
   * `ca-crl.pem`: the names that nbdkit, qemu and libvirt use.
   */
  readonly certificates?: string;
  /** Let in clients only whose certificate is from the CA of `ca-cert.pem`. */
  readonly verifyPeer?: boolean;
  /** A file of lines `USER:HEXKEY`, as psktool makes it. */
  readonly pskFile?: string;
}

/** TLS 1.3 takes shared keys with SHA-256 only; for 1.2 there are the suites with forward secrecy. */
const pskCiphers = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-PSK-CHACHA20-POLY1305",
  "ECDHE-PSK-AES128-CBC-SHA256",
].join(":");

/** A user, and a key of 16 to 256 bytes: shorter ones can be guessed. */
const pskLine = /^([^:#][^:]*):((?:[0-9a-f]{2}){16,256})$/i;

/**
 * Reads certificates and keys.
 *
 * @throws EINVAL when the options contradict each other or a file holds something else; ENOENT, EACCES
 */
export function readTlsOptions({ mode, certificates, verifyPeer = false, pskFile }: TlsOptions): NodeTlsOptions {
  if (mode !== undefined && mode !== "on" && mode !== "require") {
    throw new PerdureError("EINVAL", `"${mode}" is no mode of TLS`, { remedy: "write off, on or require" });
  }
  if ((certificates === undefined) === (pskFile === undefined)) {
    throw new PerdureError("EINVAL", "TLS needs either certificates or shared keys", {
      remedy: "name a folder of certificates (--tls-certificates DIR) or a file of keys (--tls-psk FILE), and not both",
    });
  }
  if (pskFile !== undefined) {
    if (!verifyPeer) return pskOptions(pskFile);
    throw new PerdureError("EINVAL", "with shared keys there are no certificates to verify", {
      remedy: "leave verification of peers out: who has no key is not let in anyway",
    });
  }
  return certificateOptions(certificates ?? "", verifyPeer);
}

function certificateOptions(folder: string, verifyPeer: boolean): NodeTlsOptions {
  const pem = (name: string): Buffer => readSecret(join(folder, name));
  const authority = verifyPeer ? { ca: pem("ca-cert.pem"), ...optionalCrl(folder) } : undefined;
  const options: NodeTlsOptions = {
    cert: pem("server-cert.pem"),
    key: pem("server-key.pem"),
    ...authority,
    minVersion: "TLSv1.2",
    requestCert: verifyPeer,
    rejectUnauthorized: verifyPeer,
  };
  try {
    createSecureContext(options);
    // A CA that is none goes unnoticed otherwise, and every client would be turned away.
    if (authority !== undefined) parseCertificate(authority.ca);
  } catch (cause) {
    throw new PerdureError("EINVAL", `the certificates in ${folder} are of no use: ${(cause as Error).message}`, {
      remedy: "make all of them PEM files, server-key.pem the key of server-cert.pem and without a passphrase",
      cause,
    });
  }
  return options;
}

function parseCertificate(pem: Buffer): X509Certificate {
  return new X509Certificate(pem);
}

/** Certificates that were taken back. */
function optionalCrl(folder: string): { crl?: Buffer } {
  try {
    return { crl: readFileSync(join(folder, "ca-crl.pem")) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw unreadable(error as NodeJS.ErrnoException);
  }
}

function pskOptions(file: string): NodeTlsOptions {
  const keys = new Map<string, Buffer>();
  for (const [k, line] of readSecret(file).toString().split(/\r?\n/).entries()) {
    if (line === "") continue;
    const [, user, key] = pskLine.exec(line) ?? [];
    if (user === undefined || keys.has(user)) {
      const what = user === undefined ? "is not of the form USER:HEXKEY" : `names "${user}" once more`;
      throw new PerdureError("EINVAL", `line ${k + 1} of ${file} ${what}`, {
        remedy: "make keys of 16 to 256 bytes with psktool -u USER -p FILE, one line for each user",
      });
    }
    keys.set(user, Buffer.from(key, "hex"));
  }
  if (keys.size === 0) {
    throw new PerdureError("EINVAL", `${file} holds no keys`, { remedy: "make one with psktool -u USER -p FILE" });
  }
  return { pskCallback: (_socket, user) => keys.get(user) ?? null, ciphers: pskCiphers, minVersion: "TLSv1.2" };
}

function readSecret(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw unreadable(error as NodeJS.ErrnoException);
  }
}

const CODES: Readonly<Record<string, ErrorCode>> = { ENOENT: "ENOENT", ENOTDIR: "ENOENT", EACCES: "EACCES" };

function unreadable(cause: NodeJS.ErrnoException): PerdureError {
  return new PerdureError(
    CODES[cause.code ?? ""] ?? "EINVAL",
    `TLS needs a file that cannot be read: ${cause.message}`,
    {
      remedy: "make the certificates or keys where they are looked for, readable by this user",
      cause,
    },
  );
}
