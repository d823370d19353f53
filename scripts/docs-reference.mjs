/**
 * `npm run docs:reference`: writes docs/reference/*.md (or into a folder that is named) from what the code says of itself: a page for
 * each kind of resource, the members of each plugin, every metric, every path of the status and Control listeners. Runs under tsx.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeSchema } from "../src/model/descriptions.ts";
import { KINDS, secretSchema } from "../src/model/kinds.ts";
import { PLUGINS } from "../src/plugins/index.ts";
import { ROOT } from "./project.mjs";

const folder = process.argv[2] ?? join(ROOT, "docs/reference");
mkdirSync(folder, { recursive: true });
const NOTE = "<!-- Written by `npm run docs:reference`; changes made here are lost. -->";
const write = (name, title, ...parts) =>
  writeFileSync(join(folder, name), `${[`# ${title}`, NOTE, ...parts].join("\n\n")}\n`);
const cell = (text) => String(text).replaceAll("|", "\\|").replaceAll("\n", " ");
const table = (head, rows) =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.map(cell).join(" | ")} |`).join("\n");
const code = (value) => `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
const short = (value) => (JSON.stringify(value).length > 120 ? "see the schema" : code(value));

/** What a member may be, in a few words. */
function kindOf(schema) {
  if (schema.enum) return schema.enum.map((one) => code(one)).join(", ");
  if (schema.const !== undefined) return code(schema.const);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices && schema.type === undefined) {
    const kinds = [...new Set(choices.map(kindOf).filter((text) => text !== "anything"))];
    return kinds.length > 0 && kinds.length < 5 ? kinds.join(" or ") : "anything";
  }
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type;
  if (type === "array") return schema.items ? `list of ${kindOf(schema.items)}` : "list";
  const bounds = [];
  if (schema.minimum !== undefined) bounds.push(`≥ ${schema.minimum}`);
  if (schema.exclusiveMinimum !== undefined) bounds.push(`> ${schema.exclusiveMinimum}`);
  if (schema.maximum !== undefined) bounds.push(`≤ ${schema.maximum}`);
  if (schema.maxLength !== undefined) bounds.push(`≤ ${schema.maxLength} characters`);
  return [type ?? "anything", ...bounds].join(", ");
}

/** Rows of all members, those of inner objects behind them. @param prefix "checks." for members of `checks` */
function rowsOf(schema, meaning, prefix = "") {
  const rows = [];
  const sides = [schema, ...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])];
  const seen = new Set();
  for (const side of sides) {
    for (const [name, member] of Object.entries(side.properties ?? {})) {
      if (seen.has(name)) continue;
      seen.add(name);
      const path = prefix + name;
      const isRequired = (schema.required ?? []).includes(name);
      const normal = isRequired ? "required" : member.default === undefined ? "" : short(member.default);
      rows.push([code(path), kindOf(member), normal, meaning(path, member) ?? ""]);
      if (name === "upstream") continue; // the resource has a page
      rows.push(...rowsOf(member, meaning, `${path}.`));
      const items = member.items ?? (member.anyOf ?? []).find(({ items: inner }) => inner)?.items;
      if (items) rows.push(...rowsOf(items, meaning, `${path}[].`));
    }
  }
  return rows;
}

/** Where the page of a plugin says it in prose. */
const IN_PROSE = {
  "api-breaker": {
    "break_response_headers[].key": "Name of a header",
    "break_response_headers[].value": "Its value; may hold variables",
    "healthy.http_statuses": "Statuses that count as good",
    "healthy.successes": "Good ones in a row that close the breaker",
    "unhealthy.failures": "Bad ones in a row that open the breaker",
    "unhealthy.http_statuses": "Statuses that count as bad",
  },
  "consumer-restriction": {
    "allowed_by_methods[].methods": "Methods that this user may use",
    "allowed_by_methods[].user": "Name of the consumer",
  },
  "fault-injection": {
    "abort.body": "Body of the answer; may hold variables",
    "abort.headers": "Headers of the answer; may hold variables",
    "abort.http_status": "Status of the answer",
    "abort.percentage": "Share of the requests that are answered so; default: all",
    "abort.vars": "Expressions, any of which must hold",
    "delay.duration": "Seconds to wait",
    "delay.percentage": "Share of the requests that wait; default: all",
    "delay.vars": "Expressions, any of which must hold",
  },
  "limit-count": {
    limit_header: "Name of the header with the limit",
    remaining_header: "Name of the header with what is left",
    reset_header: "Name of the header with the seconds until it is full again",
  },
  "openid-connect": {
    claim_validator: "Rules on claims",
    "claim_validator.issuer": "Rules on `iss`",
    "claim_validator.issuer.valid_issuers": "Accepted `iss`; default: the issuer of the metadata",
    "claim_validator.audience": "Rules on the audience",
    "claim_validator.audience.claim": "Claim that holds the audience",
    "claim_validator.audience.required": "Whether it must be there",
    "claim_validator.audience.match_with_client_id": "Whether `client_id` must be in it",
  },
  opentelemetry: {
    "sampler.name": "How it is decided which traces are sent",
    "sampler.options": "What the sampler needs",
    "sampler.options.fraction": "Share of the traces, for `trace_id_ratio`",
    "sampler.options.root": "For `parent_base`: the sampler of traces that begin here",
    "sampler.options.root.name": "How it decides",
    "sampler.options.root.options": "What it needs",
    "sampler.options.root.options.fraction": "Share of the traces, for `trace_id_ratio`",
    collector: "Who gets the spans",
    batch_span_processor: "How spans are put together",
  },
  prometheus: {
    disabled_labels: "Labels that are left empty, by metric",
    "disabled_labels.bandwidth": "Labels of `bandwidth`",
    "disabled_labels.http_latency": "Labels of `http_latency`",
    "disabled_labels.http_status": "Labels of `http_status`",
  },
  "proxy-rewrite": {
    "headers.add": "Headers that are added",
    "headers.remove": "Headers that are taken away",
    "headers.set": "Headers that are set",
  },
  "request-id": { "range_id.char_set": "Characters of the id", "range_id.length": "Length of the id" },
  "response-rewrite": {
    "filters[].options": "Flags of the expression",
    "filters[].regex": "What is searched in the body",
    "filters[].replace": "What takes its place",
    "filters[].scope": "The first place, or all",
    "headers.add": "Headers that are added, as `name: value`",
    "headers.remove": "Headers that are taken away",
    "headers.set": "Headers that are set",
  },
  "traffic-split": {
    "rules[].match[].vars": "Expression that must hold",
    "rules[].weighted_upstreams[].upstream": "Where this share goes, as in `upstreams`",
    "rules[].weighted_upstreams[].upstream_id": "The `upstreams` record where this share goes",
  },
};

const HEAD = ["Member", "Type", "Default", "Meaning"];
const described = (_path, member) => member.description;

function resources() {
  for (const kind of Object.values(KINDS)) {
    const denied = kind.denied.length > 0 ? ` Not answered: ${kind.denied.join(", ")}.` : "";
    const dir = kind.name === "credential" ? "consumers/{username}/credentials" : kind.dir;
    const lead = `\`/apisix/admin/${dir}\`, in etcd under \`/apisix/${dir}/\`.${denied}`;
    const tables =
      kind.name === "secret"
        ? ["vault", "aws", "gcp"].flatMap((name) => [
            `## ${name}`,
            table(HEAD, rowsOf(describeSchema("secret", secretSchema(name)), described)),
          ])
        : [
            kind.name === "plugin_metadata"
              ? "An object, as the plugin wants it: see its page."
              : table(HEAD, rowsOf(describeSchema(kind.name, kind.schema), described)),
          ];
    write(`${kind.dir}.md`, kind.dir, lead, ...tables);
  }
}

/** What the page of a plugin says of its members, by member: the last cell of a row that begins with it. */
function meanings(page) {
  const found = new Map();
  for (const line of page.split("\n")) {
    const cells = line.split(/(?<!\\)\|/).map((text) => text.trim().replaceAll("\\|", "|"));
    if (cells.length < 4) continue;
    for (const [, name] of (cells[1] ?? "").matchAll(/`([\w.[\]-]+)`/g))
      if (!found.has(name)) found.set(name, cells.at(-2));
  }
  return found;
}

/** Meanings that stand in no schema, by plugin and path: src/plugins/member-texts.ts, which the OpenAPI description shows. */
const texts = {};

function pluginPages() {
  const parts = [];
  for (const plugin of PLUGINS.map((entry) => entry.load()).sort((one, other) => (one.name < other.name ? -1 : 1))) {
    const page = join(ROOT, `docs/plugins/${plugin.name}.md`);
    const known = meanings(readFileSync(page, "utf8"));
    const prose = IN_PROSE[plugin.name] ?? {};
    const own = {};
    const meaning = (path, member) => {
      if (member.description !== undefined) return member.description;
      const text = prose[path] ?? known.get(path) ?? known.get(path.split(/[.[\]]+/).at(-1));
      if (text !== undefined) own[path] = text.replace(/\[([^\]]+)\]\([^)]+\)/g, "$1"); // links lead nowhere elsewhere
      return text;
    };
    parts.push(`## ${plugin.name}`, `Priority ${plugin.priority}. [How it works](../plugins/${plugin.name}.md).`);
    for (const [title, schema] of [
      ["On routes, services and the like", plugin.schema],
      ["On consumers and credentials", plugin.consumerSchema],
      ["In plugin_metadata", plugin.metadataSchema],
    ]) {
      const rows = schema ? rowsOf(schema, meaning) : [];
      if (rows.length > 0) parts.push(`${title}:`, table(HEAD, rows));
    }
    if (Object.keys(own).length > 0) texts[plugin.name] = own;
  }
  write("plugins.md", "Plugins", ...parts);
  writeTexts();
}

const TEXTS = `/**
 * What members of plugins mean where their schemas do not say it, from the tables of docs/plugins: APISIX's clients compare the
 * schemas that \`/schema\` serves, so the texts stand apart. Written by \`npm run docs:reference\`; changes made here are lost.
 */`;

/** Beside the pages, where they are written into a folder that is named. */
function writeTexts() {
  const place =
    process.argv[2] === undefined ? join(ROOT, "src/plugins/member-texts.ts") : join(folder, "member-texts.ts");
  const type = "Readonly<Record<string, Readonly<Record<string, string>>>>";
  writeFileSync(place, `${TEXTS}\nexport const MEMBER_TEXTS: ${type} = ${JSON.stringify(texts, undefined, 2)};\n`);
}

const METRIC =
  /\b(counter|gauge|histogram|counterOf|gaugeOf)\(\s*"((?:jotgate|apisix)_\w+)",\s*(?:"([^"]*)"|'([^']*)')(?:,\s*(?:(?:\w+,\s*)?\[([^\]]*)\]))?/gs;

function metrics() {
  const rows = new Map();
  for (const file of readdirSync(join(ROOT, "src"), { recursive: true })
    .filter((name) => name.endsWith(".ts"))
    .sort()) {
    const text = readFileSync(join(ROOT, "src", file), "utf8");
    for (const [, how, name, help, quoted, labels = ""] of text.matchAll(METRIC)) {
      const names = [...labels.matchAll(/"(\w+)"/g)].map(([, label]) => code(label));
      if (name.startsWith("apisix_") && labels.includes("...")) continue; // the plugin's, whose page has the labels
      rows.set(name, [code(name), how.replace("Of", ""), names.join(", "), help ?? quoted]);
    }
  }
  write(
    "metrics.md",
    "Metrics",
    "On `/metrics` of the status listener. The plugin `prometheus` adds APISIX's own ([prometheus](../plugins/prometheus.md)), prom-client those of the process (`process_*`, `nodejs_*`).",
    table(
      ["Metric", "Type", "Labels", "Meaning"],
      [...rows.values()].sort(([one], [other]) => (one < other ? -1 : 1)),
    ),
  );
}

function paths() {
  const rows = [];
  for (const [listener, file] of [
    ["status", "status-server.ts"],
    ["Control", "control-server.ts"],
  ]) {
    const text = readFileSync(join(ROOT, "src/status", file), "utf8");
    for (const [, method, path] of text.matchAll(/server\.(get|post|put|delete)\("([^"]+)"/g))
      rows.push([listener, method.toUpperCase(), code(path)]);
  }
  write(
    "paths.md",
    "Paths of the status and Control listeners",
    "What they answer: [cluster](../cluster.md), [configuration](../config-lifecycle.md), [explain](../explain.md). The Admin API describes itself: `GET /apisix/admin/openapi.json`.",
    table(["Listener", "Method", "Path"], rows),
  );
}

function index() {
  const list = Object.values(KINDS).map(({ dir }) => `- [${dir}](${dir}.md)`);
  write(
    "README.md",
    "Reference",
    "Made from the schemas and registries of the code, so that they say what it does.",
    ["Resources:", "", ...list].join("\n"),
    "[Plugins](plugins.md), [metrics](metrics.md), [paths](paths.md), [settings](../settings.md), [errors and reasons](../errors.md), [how a request finds its route](../routing.md).",
  );
}

resources();
pluginPages();
metrics();
paths();
index();
