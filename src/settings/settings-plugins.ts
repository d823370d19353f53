/**
 * Settings of single plugins: what APISIX has under `plugin_attr`.
 */

import { group, optional, setting } from "./setting.ts";
import { choice, countedMetrics, duration, integer, listOf, text } from "./setting-kinds.ts";
import { cacheZones } from "./zone-setting.ts";

export const prometheus = group(
  "What the `prometheus` plugin counts, and under which names; APISIX's `plugin_attr.prometheus`.",
  {
    export_uri: setting(
      text("a path such as /metrics", /^\/[A-Za-z0-9/._~-]{1,255}$/),
      "/apisix/prometheus/metrics",
      "Where the status listener, beside `/metrics`, and `public-api` serve the metrics.",
    ),
    metric_prefix: setting(
      text("letters, digits and _", /^[a-zA-Z_][a-zA-Z0-9_]{0,63}$/),
      "apisix_",
      "What names of APISIX's metrics begin with; Jotgate's own begin with `jotgate_`.",
    ),
    default_buckets: setting(
      listOf(integer(1, 86_400_000)),
      "1,2,5,10,20,50,100,200,500,1000,2000,5000,10000,30000,60000",
      "Upper bounds of the buckets of `http_latency`, in milliseconds.",
    ),
    max_series: setting(
      integer(1_000, 10_000_000),
      "100000",
      "Lines that one metric may have in one process; series beyond it are counted together, with all labels `other`.",
    ),
    metrics: setting(
      countedMetrics,
      "{}",
      "Labels from request variables, and when a series that stands still is forgotten.",
    ),
  },
);

export const proxyCache = group("The `proxy-cache` plugin; APISIX's `apisix.proxy_cache`.", {
  cache_ttl: setting(
    duration,
    "10s",
    "How long a zone on disk keeps a response that does not say so itself; a zone in memory: `cache_ttl` of the plugin.",
  ),
  zones: setting(
    cacheZones,
    '[{"name":"disk_cache_one","disk_size":"1GiB"},{"name":"memory_cache","memory_size":"50MiB"}]',
    "Where responses are kept: `memory_size` of each process, or `disk_size` with `disk_path` (default: `cache/<name>` in `data_dir`), which all processes of a machine share.",
  ),
});

export const redirect = group("The `redirect` plugin; APISIX's `plugin_attr.redirect`.", {
  https_port: optional(
    integer(1, 65_535),
    "the port of `gateway.tls.listen`, else 443",
    "Where `http_to_https` sends callers, such as 443 when a load balancer in front ends TLS.",
  ),
});

export const jwtAuth = group("The `jwt-auth` plugin.", {
  sign_endpoint: setting(
    choice("open", "authenticated", "off"),
    "open",
    "Whom `/apisix/plugin/jwt/sign` behind `public-api` gives tokens to: whoever knows a key, as APISIX does; only callers that an authentication plugin of the route has let in; or nobody. In `strict`, `open` means `authenticated`.",
  ),
});
