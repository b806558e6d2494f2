import type { Duplex } from 'node:stream';
import { TLSSocket, type PeerCertificate } from 'node:tls';
import { Socket } from 'node:net';

/** Who is at the other end of a connection. */
export class DrpcPeer {
  /** Numbers the connections of a server, from 1. */
  readonly connectionId: number;
  /** The client's IP address; `undefined` on unix sockets and in memory. */
  readonly address: string | undefined;
  /** The client's port; `undefined` where there is no address. */
  readonly port: number | undefined;
  readonly #duplex: Duplex;

  constructor(connectionId: number, duplex: Duplex) {
    this.connectionId = connectionId;
    this.#duplex = duplex;
    if (duplex instanceof Socket) {
      // A socket forgets them when it is closed.
      this.address = duplex.remoteAddress;
      this.port = duplex.remotePort;
    }
  }

  /** Whether the connection is encrypted by TLS. */
  get isEncrypted(): boolean {
    return this.#duplex instanceof TLSSocket;
  }

  /** Whether the client showed a certificate that the server's authorities signed. */
  get isAuthorized(): boolean {
    return this.#duplex instanceof TLSSocket && this.#duplex.authorized;
  }

  /** The client's certificate, if it showed one; whether to trust it says {@link isAuthorized}. */
  get certificate(): PeerCertificate | undefined {
    if (!(this.#duplex instanceof TLSSocket)) return undefined;
    const certificate = this.#duplex.getPeerCertificate() as PeerCertificate | null;
    return certificate && Object.keys(certificate).length > 0 ? certificate : undefined;
  }

  /** For log lines: address and port, or what there is. */
  toString(): string {
    return this.address === undefined
      ? `connection ${this.connectionId}`
      : `connection ${this.connectionId} from ${this.address}:${this.port}`;
  }
}
