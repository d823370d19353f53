/**
 * `npm run docs:grafana`: writes deploy/grafana/*.json (or into a folder that is named) from the tables below. Each board has the data source, the job and the node as
 * variables; a panel is its title, its unit, and expressions with their legends. `$by` is the variables' part of a selector.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./project.mjs";

const rate = (metric, by = "", where = "") =>
  `sum${by ? ` by (${by})` : ""} (rate(${metric}{$by${where ? `,${where}` : ""}}[$__rate_interval]))`;
const quantile = (q, metric, by = "") =>
  `histogram_quantile(${q}, sum by (le${by ? `, ${by}` : ""}) (rate(${metric}_bucket{$by}[$__rate_interval])))`;
const is = (metric, by, how = "max") => `${how}${by ? ` by (${by})` : ""} (${metric}{$by})`;

/** Rows of panels: [title, unit, [expression, legend]...]. */
const BOARDS = {
  cluster: {
    title: "Jotgate: cluster",
    rows: {
      Traffic: [
        ["Requests", "reqps", [rate("jotgate_http_requests_total", "instance"), "{{instance}}"]],
        ["Answers by status", "reqps", [rate("jotgate_http_requests_total", "status"), "{{status}}"]],
        [
          "Latency",
          "s",
          [quantile(0.5, "jotgate_http_request_duration_seconds"), "p50"],
          [quantile(0.99, "jotgate_http_request_duration_seconds"), "p99"],
        ],
        [
          "Refused, by plugin and reason",
          "reqps",
          [rate("jotgate_refusals_total", "plugin, reason"), "{{plugin}} {{reason}}"],
        ],
        ["The gateway's own errors", "reqps", [rate("jotgate_gateway_errors_total", "reason"), "{{reason}}"]],
        [
          "Under way",
          "short",
          [is("jotgate_http_requests_in_flight", "instance", "sum"), "requests {{instance}}"],
          [is("jotgate_client_connections", "instance", "sum"), "connections {{instance}}"],
        ],
      ],
      Configuration: [
        ["Revision applied", "none", [is("jotgate_config_applied_revision", "instance"), "{{instance}}"]],
        ["Age of the configuration", "s", [is("jotgate_config_staleness_seconds", "instance"), "{{instance}}"]],
        ["Records with a problem", "none", [is("jotgate_config_problems", "instance, kind"), "{{instance}} {{kind}}"]],
      ],
    },
  },
  routes: {
    title: "Jotgate: routes",
    rows: {
      Routes: [
        ["Requests", "reqps", [`topk(10, ${rate("jotgate_http_requests_total", "route")})`, "{{route}}"]],
        [
          "Share of 5xx",
          "percentunit",
          [
            `topk(10, ${rate("jotgate_http_requests_total", "route", 'status=~"5.."')} / ${rate("jotgate_http_requests_total", "route")}) or on() vector(0)`,
            "{{route}}",
          ],
        ],
        ["p99", "s", [`topk(10, ${quantile(0.99, "jotgate_http_request_duration_seconds", "route")})`, "{{route}}"]],
        ["p50", "s", [`topk(10, ${quantile(0.5, "jotgate_http_request_duration_seconds", "route")})`, "{{route}}"]],
        [
          "p99 of the upstream",
          "s",
          [`topk(10, ${quantile(0.99, "jotgate_upstream_duration_seconds", "route")})`, "{{route}}"],
        ],
        [
          "Bytes (plugin prometheus)",
          "Bps",
          [`topk(10, ${rate("apisix_bandwidth", "route, type")})`, "{{route}} {{type}}"],
        ],
      ],
    },
  },
  tokens: {
    title: "Jotgate: consumers and tokens",
    rows: {
      Tokens: [
        ["jwt-auth", "reqps", [rate("jotgate_jwt_total", "outcome"), "{{outcome}}"]],
        ["access-token", "reqps", [rate("jotgate_access_token_total", "outcome"), "{{outcome}}"]],
        [
          "Verifications (tokens not known)",
          "s",
          [quantile(0.99, "jotgate_token_verify_seconds", "algorithm"), "{{algorithm}} p99"],
        ],
        [
          "Remembered tokens found",
          "percentunit",
          [`${rate("jotgate_token_cache_total", "", 'result="hit"')} / ${rate("jotgate_token_cache_total")}`, "found"],
        ],
        [
          "Consumers (plugin prometheus)",
          "reqps",
          [`topk(10, ${rate("apisix_http_status", "consumer")})`, "{{consumer}}"],
        ],
        ["Revoked", "none", [is("jotgate_revoked_tokens"), "tokens"], [is("jotgate_revocation_rules"), "rules"]],
        [
          "From a revocation's writing to its effect",
          "s",
          [is("jotgate_revocation_lag_seconds", "instance"), "{{instance}}"],
        ],
      ],
      Issuers: [
        ["Age of key sets", "s", [is("jotgate_jwks_age_seconds", "issuer"), "{{issuer}}"]],
        ["Fetches", "reqps", [rate("jotgate_jwks_fetches_total", "issuer, result"), "{{issuer}} {{result}}"]],
        ["Token endpoint", "reqps", [rate("jotgate_token_endpoint_total", "grant, outcome"), "{{grant}} {{outcome}}"]],
        [
          "Clients",
          "reqps",
          [rate("jotgate_client_authentication_total", "method, outcome"), "{{method}} {{outcome}}"],
        ],
      ],
    },
  },
  upstreams: {
    title: "Jotgate: upstreams",
    rows: {
      Upstreams: [
        [
          "Healthy targets (1 is healthy)",
          "none",
          [is("jotgate_upstream_healthy", "upstream, target", "min"), "{{upstream}} {{target}}"],
        ],
        [
          "Latency of upstreams",
          "s",
          [quantile(0.99, "jotgate_upstream_duration_seconds"), "p99"],
          [quantile(0.5, "jotgate_upstream_duration_seconds"), "p50"],
        ],
        ["Retries", "reqps", [rate("jotgate_upstream_retries_total", "instance"), "{{instance}}"]],
        ["Active checks", "reqps", [rate("jotgate_upstream_probes_total", "outcome"), "{{outcome}}"]],
        ["Connections", "none", [is("jotgate_upstream_connections", "instance", "sum"), "{{instance}}"]],
        ["DNS", "reqps", [rate("jotgate_dns_lookups_total", "outcome"), "{{outcome}}"]],
      ],
    },
  },
  nodes: {
    title: "Jotgate: nodes and sync",
    rows: {
      Sync: [
        [
          "Behind the store, in revisions",
          "none",
          [
            `${is("jotgate_config_store_head_revision", "instance")} - ${is("jotgate_config_applied_revision", "instance")}`,
            "{{instance}}",
          ],
        ],
        ["From a write to its arrival", "s", [is("jotgate_config_propagation_seconds", "instance"), "{{instance}}"]],
        ["Store reachable", "none", [is("jotgate_etcd_reachable", "instance", "min"), "{{instance}}"]],
        ["Watches that ended", "reqps", [rate("jotgate_config_watch_epochs_total", "end"), "{{end}}"]],
        ["Complete lists", "reqps", [rate("jotgate_config_lists_total", "why"), "{{why}}"]],
        ["Records", "none", [is("jotgate_config_records", "instance"), "{{instance}}"]],
      ],
      Processes: [
        ["CPU", "percentunit", [rate("process_cpu_seconds_total", "instance"), "{{instance}}"]],
        ["Resident memory", "bytes", [is("process_resident_memory_bytes", "instance", "sum"), "{{instance}}"]],
        ["Delay of the event loop, p99", "s", [is("nodejs_eventloop_lag_p99_seconds", "instance"), "{{instance}}"]],
        ["Collections", "s", [rate("nodejs_gc_duration_seconds_sum", "kind"), "{{kind}}"]],
        ["Open descriptors", "none", [is("process_open_fds", "instance", "sum"), "{{instance}}"]],
        ["Log lines", "reqps", [rate("jotgate_log_lines_total", "result"), "{{result}}"]],
        [
          "Certificates end in",
          "s",
          [`${is("jotgate_tls_certificate_expiry_seconds", "sni", "min")} - time()`, "{{sni}}"],
        ],
      ],
    },
  },
};

const SELECTOR = 'job=~"$job",instance=~"$instance"';
const DATASOURCE = { type: "prometheus", uid: "${datasource}" };

function panel([title, unit, ...targets], at) {
  return {
    type: "timeseries",
    title,
    datasource: DATASOURCE,
    gridPos: { h: 8, w: 8, x: (at.column % 3) * 8, y: at.y + Math.floor(at.column / 3) * 8 },
    fieldConfig: { defaults: { unit, custom: { fillOpacity: 8, showPoints: "never" } }, overrides: [] },
    options: { legend: { displayMode: "list", placement: "bottom" }, tooltip: { mode: "multi", sort: "desc" } },
    targets: targets.map(([expr, legendFormat], i) => ({
      refId: String.fromCharCode(65 + i),
      datasource: DATASOURCE,
      expr: expr.replaceAll("$by", SELECTOR),
      legendFormat,
    })),
  };
}

function variable(name, query) {
  const all = { includeAll: true, multi: true, allValue: ".+", current: { text: "All", value: "$__all" } };
  return { name, type: "query", datasource: DATASOURCE, query: { query, refId: name }, refresh: 2, sort: 1, ...all };
}

function board(id, { title, rows }) {
  const panels = [];
  let y = 0;
  for (const [name, list] of Object.entries(rows)) {
    panels.push({ type: "row", title: name, collapsed: false, panels: [], gridPos: { h: 1, w: 24, x: 0, y } });
    for (const [column, one] of list.entries()) panels.push(panel(one, { column, y: y + 1 }));
    y += 1 + Math.ceil(list.length / 3) * 8;
  }
  return {
    uid: `jotgate-${id}`,
    title,
    tags: ["jotgate"],
    schemaVersion: 39,
    refresh: "10s",
    time: { from: "now-1h", to: "now" },
    templating: {
      list: [
        { name: "datasource", type: "datasource", query: "prometheus", label: "Data source" },
        variable("job", "label_values(jotgate_node_info, job)"),
        variable("instance", 'label_values(jotgate_node_info{job=~"$job"}, instance)'),
      ],
    },
    panels: panels.map((one, i) => ({ id: i + 1, ...one })),
  };
}

const folder = process.argv[2] ?? join(ROOT, "deploy/grafana");
mkdirSync(folder, { recursive: true });
for (const [id, one] of Object.entries(BOARDS)) {
  writeFileSync(join(folder, `${id}.json`), `${JSON.stringify(board(id, one), null, 2)}\n`);
}
