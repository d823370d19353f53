/**
 * Translates the settings of a user into what the gateway's listeners are given.
 */
import { compileIpSet } from "../base/net/ip.ts";
import { type GatewaySettings, trustedWithUnix } from "../gateway/gateway-settings.ts";
import type { ServerCertificateOptions } from "../gateway/tls/server-certificate.ts";
import type { Settings } from "../settings/settings.ts";

export function gatewaySettings(settings: Settings, serverHeader: string): Partial<GatewaySettings> {
  const { limits, realIp, router, trustedAddresses } = settings;
  return {
    serverHeader,
    trustedAddresses: trustedAddresses === undefined ? undefined : compileIpSet(trustedAddresses),
    realIpTrusted: trustedWithUnix(realIp.trusted),
    realIpHeader: realIp.header.toLowerCase(),
    realIpRecursive: realIp.recursive,
    showUpstreamStatus: settings.gateway.showUpstreamStatus,
    paths: {
      strict: settings.compat === "strict",
      deleteTailSlash: router.deleteUriTailSlash,
      likeServlet: router.normalizeUriLikeServlet,
      matchEncodedSlash: router.matchUriEncodedSlash,
      keepSpelling: router.upstreamPath === "original",
    },
    fastLane: settings.fastLane,
    headBytes: limits.headBytes,
    targetBytes: limits.targetBytes,
    headerLines: limits.headerLines,
    bodyBytes: limits.bodyBytes ?? 0,
    headTimeoutMs: limits.headTimeoutMs,
    bodiesBytes: limits.bodiesBytes,
    bodyTimeoutMs: limits.bodyTimeoutMs,
    bodyTotalMs: limits.bodyTotalTimeoutMs,
    sendTimeoutMs: limits.sendTimeoutMs,
    idleTimeoutMs: limits.idleTimeoutMs,
    connections: limits.connections,
    connectionsPerAddress: limits.connectionsPerAddress ?? 0,
    upstreamConnections: limits.upstreamConnections,
  };
}

/** How certificates are made of the records below the prefix. */
export function tlsOptions({ gateway, prefix }: Settings): ServerCertificateOptions & { readonly prefix: string } {
  return { minVersion: gateway.tls.minVersion, http2: gateway.tls.http2, prefix };
}
