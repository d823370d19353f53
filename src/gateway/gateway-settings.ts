/**
 * What the gateway's listeners need to know, with defaults; the composition root fills it from the settings.
 */
import { compileIpSet, type IpSet } from "../base/net/ip.ts";
import type { PathOptions } from "../base/net/path.ts";

export interface GatewaySettings {
  /** Of every response, flat [name, value, …]: `Server`, and the node's name where it is to be shown. */
  readonly ownHeaders: readonly string[];
  /** Peers whose X-Forwarded-* are believed; undefined when not set, which is not the same as nobody. */
  readonly trustedAddresses: IpSet | undefined;
  /** Peers whose real-ip header is believed ("unix:" for unix sockets). */
  readonly realIpTrusted: IpSet;
  /** Lower-case name of the header that carries the client's address. */
  /** Nobody has said whom to trust. */
  readonly realIpAssumed: boolean;
  readonly realIpHeader: string;
  readonly realIpRecursive: boolean;
  /** X-APISIX-Upstream-Status on every proxied response, not only on 5xx. */
  readonly showUpstreamStatus: boolean;
  readonly paths: PathOptions;
  readonly fastLane: boolean;
  readonly headBytes: number;
  readonly targetBytes: number;
  readonly headerLines: number;
  /** Largest request body; 0 for no limit. */
  readonly bodyBytes: number;
  /** Bodies up to this size are read before connecting, so that they can be sent again. */
  readonly bufferedBodyBytes: number;
  readonly headTimeoutMs: number;
  /** What all request bodies may hold in memory together. */
  readonly bodiesBytes: number;
  /** Longest pause inside a request body. */
  readonly bodyTimeoutMs: number;
  /** Longest time for a whole body; each 16 KiB that came adds a second. */
  readonly bodyTotalMs: number;
  /** Longest pause of a client that reads a response. */
  readonly sendTimeoutMs: number;
  /** How long an unused client connection stays open. */
  readonly idleTimeoutMs: number;
  /** Most client connections of one listener. */
  readonly connections: number;
  /** Most client connections from one address; 0 for no limit. Trusted addresses are not counted. */
  readonly connectionsPerAddress: number;
  readonly upstreamConnections: number;
  /** From accepting a TLS connection to the end of its handshake. */
  readonly handshakeTimeoutMs: number;
  /** Most TLS handshakes under way; connections beyond are closed. */
  readonly handshakes: number;
  readonly responseHeadBytes: number;
  readonly responseHeaderLines: number;
}

export const DEFAULT_GATEWAY_SETTINGS: GatewaySettings = Object.freeze({
  ownHeaders: Object.freeze(["Server", "jotgate"]),
  trustedAddresses: undefined,
  realIpTrusted: trustedWithUnix(["127.0.0.1", "::1", "unix:"]),
  realIpAssumed: true,
  realIpHeader: "x-real-ip",
  realIpRecursive: false,
  showUpstreamStatus: false,
  paths: Object.freeze({}),
  fastLane: true,
  headBytes: 16_384,
  targetBytes: 16_384,
  headerLines: 100,
  bodyBytes: 0,
  bufferedBodyBytes: 65_536,
  headTimeoutMs: 10_000,
  bodiesBytes: 268_435_456,
  bodyTimeoutMs: 60_000,
  bodyTotalMs: 300_000,
  sendTimeoutMs: 60_000,
  idleTimeoutMs: 75_000,
  connections: 16_384,
  connectionsPerAddress: 0,
  upstreamConnections: 16_384,
  handshakeTimeoutMs: 10_000,
  handshakes: 1_024,
  responseHeadBytes: 65_536,
  responseHeaderLines: 500,
});

/** A set of addresses in which "unix:" may stand. Throws CodedError CONFIG_INVALID for other texts. */
export function trustedWithUnix(list: readonly string[]): IpSet {
  const addresses = compileIpSet(list.filter((entry) => entry !== "unix:"));
  return list.includes("unix:") ? (address) => address === "unix:" || addresses(address) : addresses;
}
