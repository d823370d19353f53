/**
 * One etcd3 client for one member, with everything that hides failures turned off:
 * no retries, no circuit breaker, no shared sockets, no call without a deadline, no stream from a member without a leader. Watches
 * give their messages as bytes (watch-response.ts).
 */

import { rootCertificates } from "node:tls";
import { type CallOptions, InterceptingCall, type Interceptor } from "@grpc/grpc-js";
import { noop } from "cockatiel";
import { Etcd3, type IOptions } from "etcd3";

export interface EtcdTls {
  /** PEM; without it the system's certificate authorities count. */
  readonly ca?: Buffer;
  /** PEM, together with `key`. */
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

export interface EtcdAccess extends EtcdTls {
  readonly user?: string;
  readonly password?: string;
  /** The largest message that is read; default 64 MiB. */
  readonly messageBytes?: number;
}

const MESSAGE_BYTES = 64 * 1024 * 1024;

/** Asks the member to end the stream when it has no leader; without it a cut-off member keeps us quietly stale. */
const needLeader: Interceptor = (options, nextCall) =>
  new InterceptingCall(nextCall(options), {
    start(metadata, listener, next) {
      metadata.set("hasleader", "true");
      next(metadata, listener);
    },
  });

/** Messages stay bytes: how long a turn it takes to read them is for their reader to decide. */
const unread: Interceptor = (options, nextCall) => {
  // Made for this call alone.
  if (options.method_definition) Object.assign(options.method_definition, { responseDeserialize: asItCame });
  return new InterceptingCall(nextCall(options));
};

function asItCame(bytes: Buffer): Buffer {
  return bytes;
}

/** gRPC compares deadlines with the machine's clock, so this one cannot be injected. */
export function deadlineIn(ms: number): number {
  return Date.now() + ms;
}

/**
 * @param host   `http://` or `https://` address of one member
 * @param rpcMs  deadline of each unary call, counted anew for each
 */
export function openEtcd(host: string, access: EtcdAccess, rpcMs: number): Etcd3 {
  return new Etcd3({
    hosts: host,
    ...authOf(access),
    ...credentialsOf(access),
    faultHandling: { host: () => noop, global: noop },
    defaultCallOptions: (context): CallOptions =>
      context.isStream
        ? { interceptors: context.service === "Watch" ? [needLeader, unread] : [needLeader] }
        : { deadline: deadlineIn(rpcMs) },
    grpcOptions: {
      "grpc.use_local_subchannel_pool": 1, // closing this client really forgets its sockets
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 5_000,
      "grpc.keepalive_permit_without_calls": 0, // an open watch counts as a call; idle pingers are thrown out
      "grpc.max_receive_message_length": access.messageBytes ?? MESSAGE_BYTES,
      "grpc.initial_reconnect_backoff_ms": 200,
      "grpc.max_reconnect_backoff_ms": 1_000,
    },
  });
}

function authOf(access: EtcdAccess): Pick<IOptions, "auth"> {
  if (access.user === undefined) return {};
  return { auth: { username: access.user, password: access.password ?? "" } };
}

function credentialsOf(access: EtcdAccess): Pick<IOptions, "credentials"> {
  const { ca, cert, key } = access;
  if (ca === undefined && cert === undefined) return {}; // etcd3 itself uses TLS with the system's authorities for https
  const rootCertificate = ca ?? Buffer.from(rootCertificates.join("\n"), "utf8");
  return {
    credentials: {
      rootCertificate,
      ...(key === undefined ? {} : { privateKey: key }),
      ...(cert === undefined ? {} : { certChain: cert }),
    },
  };
}
