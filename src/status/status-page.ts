/**
 * The status page for people: the facts of `/status` as one small HTML page that refreshes itself.
 * Promise: everything that comes from configuration is escaped, and the page runs no script.
 */
import { formatAddress } from "../settings/setting-kinds.ts";
import { type NodeSource, notReady } from "./status-facts.ts";

export const CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

const PROBLEMS_MAX = 100;

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a2233}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #dde;vertical-align:top}th{font-weight:600;width:14rem}
.ok{color:#0a7a3d}.bad{color:#b00020}code{font-size:.9em;overflow-wrap:anywhere}`;

export function statusPage(facts: NodeSource, nowMs: number): string {
  const config = facts.config();
  const reason = notReady(facts);
  const node: readonly Row[] = [
    ["Ready", mark(reason === undefined, reason ?? "yes")],
    ["Role", escapeHtml(facts.role === "all" ? "everything in one" : facts.role)],
    ["Version", escapeHtml(facts.version)],
    ["Node", code(facts.id)],
    ["Running for", escapeHtml(ago(nowMs - facts.startedAtMs))],
    ["Listeners", facts.listeners().map(listener).join("<br>")],
  ];
  const configuration: readonly Row[] = [
    [
      "Store",
      `${escapeHtml(facts.store)}, ${mark(config.reachable, config.reachable ? "reachable" : "not reachable")}`,
    ],
    ["Loaded", mark(config.loaded, config.loaded ? "yes" : "no")],
    ["Fresh", mark(config.fresh, config.fresh ? "yes" : "no")],
    ["Last sign of life", escapeHtml(`${ago(config.stalenessSeconds * 1_000)} ago`)],
    ["Applied revision", escapeHtml(`${config.appliedRevision} (the store is at ${config.storeHeadRevision})`)],
    [
      "Last change",
      escapeHtml(config.changedAtMs === undefined ? "none yet" : `${ago(nowMs - config.changedAtMs)} ago`),
    ],
    ["Records", escapeHtml(String(config.records))],
    ["Hash", code(config.hash)],
    ...(config.copy?.problem ? [["Last-known-good file", mark(false, config.copy.problem)] as const] : []),
    ...(config.problem ? [["Store problem", mark(false, config.problem.text)] as const] : []),
  ];
  const problems = config.problems
    .slice(0, PROBLEMS_MAX)
    .map((problem) => [problem.key, `revision ${problem.revision}: ${escapeHtml(problem.reason)}`] as const);
  const workers = facts
    .workers()
    .map(
      (worker) =>
        [
          `Worker ${worker.id}`,
          escapeHtml(`process ${worker.pid}, ${worker.state}, revision ${worker.appliedRevision}`),
        ] as const,
    );
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<title>Jotgate ${escapeHtml(facts.id)}</title><style>${STYLE}</style></head><body><h1>Jotgate</h1>${table(node)}
<h2>Configuration</h2>${table(configuration)}
${workers.length > 0 ? `<h2>Workers</h2>${table(workers)}` : ""}
<h2>Problems (${config.problems.length})</h2>${problems.length > 0 ? table(problems) : '<p class="ok">None.</p>'}
</body></html>
`;
}

/** A heading (plain text) and its cell (HTML). */
type Row = readonly [string, string];

function table(rows: readonly Row[]): string {
  return `<table>${rows.map(([name, cell]) => `<tr><th>${escapeHtml(name)}</th><td>${cell}</td></tr>`).join("")}</table>`;
}

function mark(good: boolean, text: string): string {
  return `<span class="${good ? "ok" : "bad"}">${escapeHtml(text)}</span>`;
}

function code(text: string): string {
  return `<code>${escapeHtml(text)}</code>`;
}

function listener(one: ReturnType<NodeSource["listeners"]>[number]): string {
  return escapeHtml(`${one.name} ${formatAddress(one.address)}${one.tls ? " (TLS)" : ""}`);
}

function ago(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)} h` : `${Math.floor(seconds / 86_400)} days`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
}
