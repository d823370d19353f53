/**
 * The parts of the limits' schemas that say where the counters are kept.
 * Source: APISIX 3.18 redis-schema, limit-count.
 */
const NODE = {
  type: "object",
  properties: { host: { type: "string", minLength: 2 }, port: { type: "integer", minimum: 1, maximum: 65_535 } },
  required: ["host", "port"],
  additionalProperties: false,
};

const timeout = (normal: number) => ({ type: "integer", minimum: 1, default: normal });

const POOL = {
  redis_keepalive_timeout: { type: "integer", minimum: 1000, default: 10_000 },
  redis_keepalive_pool: { type: "integer", minimum: 1, default: 100 },
};

const REDIS = {
  properties: {
    redis_host: { type: "string", minLength: 2 },
    redis_port: { type: "integer", minimum: 1, default: 6379 },
    redis_username: { type: "string", minLength: 1 },
    redis_password: { type: "string", minLength: 0 },
    redis_database: { type: "integer", minimum: 0, default: 0 },
    redis_timeout: timeout(1000),
    redis_ssl: { type: "boolean", default: false },
    redis_ssl_verify: { type: "boolean", default: false },
    ...POOL,
  },
  required: ["redis_host"],
};

const CLUSTER = {
  properties: {
    redis_cluster_nodes: { type: "array", minItems: 1, items: { type: "string", minLength: 2, maxLength: 100 } },
    redis_password: { type: "string", minLength: 0 },
    redis_timeout: timeout(1000),
    redis_cluster_name: { type: "string" },
    redis_cluster_ssl: { type: "boolean", default: false },
    redis_cluster_ssl_verify: { type: "boolean", default: false },
    ...POOL,
  },
  required: ["redis_cluster_nodes", "redis_cluster_name"],
};

const SENTINEL = {
  properties: {
    redis_sentinels: { type: "array", minItems: 1, items: NODE },
    redis_master_name: { type: "string", minLength: 1 },
    redis_role: { type: "string", enum: ["master", "slave"], default: "master" },
    redis_connect_timeout: timeout(1000),
    redis_read_timeout: timeout(1000),
    redis_keepalive_timeout: timeout(60_000),
    redis_database: { type: "integer", minimum: 0, default: 0 },
    redis_username: { type: "string", minLength: 1 },
    redis_password: { type: "string", minLength: 0 },
    sentinel_username: { type: "string", minLength: 1 },
    sentinel_password: { type: "string", minLength: 0 },
  },
  required: ["redis_sentinels", "redis_master_name"],
};

/** Makes the members of the chosen policy required and gives them their defaults. */
export function backendRules(extra: Readonly<Record<string, unknown>> = {}, sentinel = false) {
  const more = <P extends { readonly properties: object }>(part: P) => ({
    ...part,
    properties: { ...part.properties, ...extra },
  });
  const last = sentinel ? branch("redis-sentinel", more(SENTINEL), {}) : {};
  return branch("redis", more(REDIS), branch("redis-cluster", more(CLUSTER), last));
}

function branch(policy: string, yes: object, no: object) {
  const isPolicy = { properties: { policy: { enum: [policy] } }, required: ["policy"] };
  return { if: isPolicy, then: yes, else: no };
}

export const POLICIES = ["local", "redis", "redis-cluster"] as const;
