import type { Socket } from "node:net";
import { createServer, type TlsOptions as NodeTlsOptions, type Server, type TLSSocket } from "node:tls";
import type { Log } from "./log.ts";
import { readTlsOptions, type TlsMode, type TlsOptions } from "./tls-options.ts";

/** Makes TLS of connections that are there already. */
export class TlsServer {
  readonly mode: TlsMode;
  readonly #options: NodeTlsOptions;
  readonly #log: Log;
  /**
   * Servers that do not listen and have nothing to do. A TLSSocket of our own would let in clients with a certificate
   * of whatever CA: only a server refuses them.
   */
  readonly #idle: Server[] = [];

  /** @throws EINVAL, ENOENT or EACCES when certificates or keys are not good */
  constructor(options: TlsOptions, log: Log) {
    this.mode = options.mode ?? "require";
    this.#options = readTlsOptions(options);
    this.#log = log;
  }

  /**
   * Goes through the handshake on a connection that nobody reads. A client that fails it is hung up on; the caller, who
   * owns the connection, limits the time.
   *
   * @returns to be called by who ends the connection himself: then there is nothing to complain of
   */
  accept(connection: Socket, then: (secured: TLSSocket) => void): () => void {
    let isWanted = true;
    const peer = connection.remoteAddress;
    // A server does not tell which connection it has secured, so it has one at a time. Making one costs milliseconds,
    // so it is used again.
    const server = this.#idle.pop() ?? createServer(this.#options);
    const release = (): void => {
      server.removeAllListeners("secureConnection").removeAllListeners("tlsClientError");
      this.#idle.push(server);
    };
    server.once("secureConnection", (secured) => {
      release();
      then(secured);
    });
    server.once("tlsClientError", (error: HandshakeError, socket: TLSSocket) => {
      release();
      if (isWanted) this.#complain(peer, error, socket);
      connection.destroy();
    });
    server.emit("connection", connection);
    return () => {
      isWanted = false;
    };
  }

  #complain(peer: string | undefined, error: HandshakeError, { authorizationError: refusal }: TLSSocket): void {
    // Node tells of a certificate that was refused only there; the error is no more than that nobody is there.
    const isRefused = refusal !== undefined && refusal !== null;
    const code = isRefused ? "UNACCEPTED_CERTIFICATE" : error.code;
    const why = String(isRefused ? refusal : (error.reason ?? error.message));
    const advice = ADVICE[code ?? ""] ?? "see what the client says, and try it with nbdinfo";
    this.#log.warn({ peer, code }, `a client failed the TLS handshake: ${why}; ${advice}`);
  }
}

/** What Node adds to errors of OpenSSL. */
type HandshakeError = NodeJS.ErrnoException & { readonly reason?: string };

const notTrusted =
  "give the client the ca-cert.pem that signed server-cert.pem, and check that certificate's name and dates";
const noCertificate = "give the client a certificate that the CA in ca-cert.pem has signed, or do not verify peers";
const noKey = "give the client a user and the key from the file of this server";
const noTls = "that was no TLS: the client is broken, or no NBD client";

/** What to do about a failure, by the codes of OpenSSL and ours. */
const ADVICE: Readonly<Record<string, string>> = {
  UNACCEPTED_CERTIFICATE: noCertificate,
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: noCertificate,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: notTrusted,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: notTrusted,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: notTrusted,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: notTrusted,
  ERR_SSL_BINDER_DOES_NOT_VERIFY: noKey,
  ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: noKey,
  ERR_SSL_PSK_IDENTITY_NOT_FOUND: noKey,
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM: noKey,
  ERR_SSL_NO_SHARED_CIPHER: "server and client have no cipher in common: use both with certificates, or both with keys",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "the client must speak TLS 1.2 or newer",
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_HTTP_REQUEST: noTls,
  ECONNRESET: "the client hung up: see what it says, it may not trust this server",
};
