/**
 * Facts of one client connection, made once and shared by all its requests, with what can be remembered between them.
 */

import type { Socket } from "node:net";
import { type HostAndPort, parseHost } from "../base/net/host.ts";
import type { ClientCertificate } from "../plugin/client-certificate.ts";
import type { Connection } from "../plugin/request-view.ts";
import type { OwnAnswer } from "./gateway-pages.ts";
import type { GatewaySettings } from "./gateway-settings.ts";
import type { TlsConnection } from "./tls/tls-connection.ts";

/** Says which hosts may not be asked for over a connection. */
export interface HostGuard {
  /**
   * @param host of the request, in lower case without port
   * @param path normalised
   * @param otherPaths what looser readers could take it for
   */
  refusal(host: string, path: string, otherPaths?: readonly string[]): OwnAnswer | undefined;
}

export class ClientConnection implements Connection {
  readonly peerAddress: string;
  readonly peerPort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly scheme: "http" | "https";
  readonly sni: string | undefined;
  /** What the handshake has shown; undefined for plain connections. */
  readonly tls: TlsConnection | undefined;
  readonly guard: HostGuard | undefined;
  /** X-Forwarded-* of this peer are believed: "unset" when no trusted addresses are configured. */
  readonly forwardedTrust: "yes" | "no" | "unset";
  /** The real-ip header of this peer is believed. */
  readonly realIpTrusted: boolean;
  /** Lower-case name of that header; the caller's Connection line cannot take it away. */
  readonly realIpHeader: string;
  #hostHeader = "";
  #host: HostAndPort | undefined;
  /** Lines this gateway adds upstream, for the last client address and Host header. */
  #tail = "";
  #tailAddress = "";
  #tailHost: string | undefined;

  constructor(
    socket: Socket,
    scheme: "http" | "https",
    settings: GatewaySettings,
    sni: string | undefined,
    tls?: TlsConnection,
    plainGuard?: HostGuard,
  ) {
    this.peerAddress = plainAddress(socket.remoteAddress);
    this.peerPort = socket.remotePort ?? 0;
    this.localAddress = plainAddress(socket.localAddress);
    this.localPort = socket.localPort ?? 0;
    this.scheme = scheme;
    this.sni = sni;
    this.tls = tls;
    this.guard = tls ?? plainGuard;
    this.realIpTrusted = settings.realIpTrusted(this.peerAddress);
    this.realIpHeader = settings.realIpHeader;
    if (!settings.trustedAddresses) this.forwardedTrust = "unset";
    else this.forwardedTrust = settings.trustedAddresses(this.peerAddress) ? "yes" : "no";
  }

  /** No request came on it yet that named a host. */
  get isUnused(): boolean {
    return this.#hostHeader === "";
  }

  get isTrusted(): boolean {
    return this.forwardedTrust === "yes";
  }

  get clientCertificate(): ClientCertificate | undefined {
    return this.tls?.clientCertificate;
  }

  /** Reads a Host header; the last one of this connection is remembered. @returns undefined when it is no host */
  readHost(header: string): HostAndPort | undefined {
    if (header !== this.#hostHeader) {
      this.#host = parseHost(header);
      this.#hostHeader = header;
    }
    return this.#host;
  }

  /**
   * X-Real-IP, X-Forwarded-For, -Proto, -Host and -Port for a request that brought none of them, as head lines.
   * @param hostHeader as received; its port, if any, is the forwarded one
   */
  forwardedTail(clientAddress: string, hostHeader: string): string {
    if (clientAddress !== this.#tailAddress || hostHeader !== this.#tailHost) {
      this.#tailAddress = clientAddress;
      this.#tailHost = hostHeader;
      this.#tail =
        `X-Real-IP: ${clientAddress}\r\nX-Forwarded-For: ${clientAddress}\r\n` +
        `X-Forwarded-Proto: ${this.scheme}\r\n${forwardedHost(hostHeader)}` +
        `X-Forwarded-Port: ${this.forwardedPort(hostHeader)}\r\n`;
    }
    return this.#tail;
  }

  /** The port callers used: that of the Host header, else the listener's. */
  forwardedPort(hostHeader: string): number {
    return this.readHost(hostHeader)?.port ?? this.localPort;
  }
}

/** HTTP/1.0 requests may have no Host: then there is no line, rather than an empty one. */
export function forwardedHost(hostHeader: string): string {
  return hostHeader === "" ? "" : `X-Forwarded-Host: ${hostHeader}\r\n`;
}

/** IPv4 is never in mapped form; a unix socket has no address. */
function plainAddress(address: string | undefined): string {
  if (address === undefined || address === "") return "unix:";
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}
