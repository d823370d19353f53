/**
 * The members of an upstream record that the data plane reads, as they stand in the store: defaults may be missing.
 * Source: spec resources.md, section Upstream.
 */
export interface NodeRecord {
  readonly host: string;
  readonly port?: number | undefined;
  readonly weight: number;
  readonly priority?: number | undefined;
}

export interface UpstreamRecord {
  readonly type?: string | undefined;
  /** "host:port" → weight, or a list. */
  readonly nodes?: Readonly<Record<string, number>> | readonly NodeRecord[] | undefined;
  readonly scheme?: string | undefined;
  readonly hash_on?: string | undefined;
  readonly key?: string | undefined;
  readonly retries?: number | undefined;
  /** Seconds. */
  readonly retry_timeout?: number | undefined;
  /** Seconds. */
  readonly timeout?: { readonly connect: number; readonly send: number; readonly read: number } | undefined;
  readonly pass_host?: string | undefined;
  readonly upstream_host?: string | undefined;
  readonly keepalive_pool?: KeepaliveRecord | undefined;
  readonly tls?: TlsRecord | undefined;
  readonly checks?: ChecksRecord | undefined;
}

export interface KeepaliveRecord {
  readonly size?: number | undefined;
  /** Seconds. */
  readonly idle_timeout?: number | undefined;
  readonly requests?: number | undefined;
}

export interface TlsRecord {
  /** PEM. */
  readonly client_cert?: string | undefined;
  /** PEM, already decrypted. */
  readonly client_key?: string | undefined;
  readonly client_cert_id?: string | number | undefined;
  readonly verify?: boolean | undefined;
}

export interface ChecksRecord {
  readonly active?: ActiveRecord | undefined;
  readonly passive?: PassiveRecord | undefined;
}

export interface ActiveRecord {
  readonly type?: string | undefined;
  /** Seconds. */
  readonly timeout?: number | undefined;
  readonly concurrency?: number | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly http_path?: string | undefined;
  readonly http_method?: string | undefined;
  readonly http_req_body?: string | undefined;
  readonly https_verify_certificate?: boolean | undefined;
  readonly req_headers?: readonly string[] | undefined;
  readonly healthy?: (HealthyRecord & IntervalRecord) | undefined;
  readonly unhealthy?: (UnhealthyRecord & IntervalRecord) | undefined;
}

export interface PassiveRecord {
  readonly healthy?: HealthyRecord | undefined;
  readonly unhealthy?: UnhealthyRecord | undefined;
}

interface IntervalRecord {
  /** Seconds. */
  readonly interval?: number | undefined;
}

export interface HealthyRecord {
  readonly http_statuses?: readonly number[] | undefined;
  readonly successes?: number | undefined;
}

export interface UnhealthyRecord {
  readonly http_statuses?: readonly number[] | undefined;
  readonly http_failures?: number | undefined;
  readonly tcp_failures?: number | undefined;
  readonly timeouts?: number | undefined;
}
