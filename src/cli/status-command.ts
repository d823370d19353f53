/**
 * `jotgate status`: the cluster on one screen, out of what an admin's overview says, and an exit code for whoever watches it.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type EndingKey, endingKeys, type SigningKey } from "../model/signing-key.ts";
import { type AdminReply, askAdmin, DEFAULT_ADMIN } from "./admin-call.ts";
import { type CommandIo, EXIT_DONE, EXIT_USAGE } from "./command-io.ts";

const USAGE = `jotgate status [--admin URL] [--watch] [--json]
  Environment: JOTGATE_ADMIN_KEY, or JOTGATE_VIEWER_KEY. --admin is http://127.0.0.1:9180 by default.
  Exit code 0: all is well; 1: something needs a look; 2: something is wrong, or the admin does not answer.`;

const WATCH_MS = 5_000;
/** The first rates of a cluster that nobody has looked at come after the admin's next look. */
const FIRST_RATES_MS = 5_500;
/** Older than this a node's configuration is not only a beat late. */
const STALE_SECONDS = 15;
const SOON_SECONDS = 7 * 86_400;
const SHOWN_MAX = 20;

interface NodeRow {
  readonly id: string;
  readonly version: string;
  readonly started: number;
  readonly workers?: number;
  readonly applied: number;
  readonly lag: number;
  readonly staleness_seconds: number;
  readonly problems: number;
  readonly hash: string;
}

interface Overview {
  readonly points: readonly {
    readonly requests: number;
    readonly failed: number;
    readonly refused: number;
    readonly p99: number | null;
  }[];
  readonly nodes: Readonly<Record<string, number>>;
  readonly unhealthy: readonly {
    readonly record: string;
    readonly target: string;
    readonly status: string;
    readonly nodes: readonly string[];
  }[];
  readonly expiring: readonly { readonly key: string; readonly names: readonly string[]; readonly ends: number }[];
  readonly silent: readonly string[];
}

interface Problem {
  readonly key: string;
  readonly reason: string;
  readonly blocks: boolean;
  readonly nodes: readonly string[];
}

export interface ClusterState {
  readonly revision: number;
  readonly nodes: readonly NodeRow[];
  readonly overview: Overview;
  readonly problems: readonly Problem[];
  readonly keys: readonly EndingKey[];
}

interface Finding {
  readonly level: "wrong" | "look";
  readonly text: string;
}

export async function statusCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const asked = readArguments(args);
  const key = io.env["JOTGATE_ADMIN_KEY"] || io.env["JOTGATE_VIEWER_KEY"];
  if (typeof asked === "string" || !key) {
    io.complain(
      `${typeof asked === "string" ? asked : "neither JOTGATE_ADMIN_KEY nor JOTGATE_VIEWER_KEY is set"}\n${USAGE}`,
    );
    return EXIT_USAGE;
  }
  for (;;) {
    const state = await readState(asked.admin, key, io);
    const now = Date.now() / 1_000;
    if (state) {
      const findings = judgeCluster(state, now);
      const text = asked.json
        ? JSON.stringify({ ...state, findings }, undefined, asked.watch ? undefined : 2)
        : clusterText(asked.admin, state, findings, now);
      io.print(asked.watch && !asked.json ? (io.isTerminal ? `\u001b[H\u001b[2J${text}` : `${text}\n`) : text);
      if (!asked.watch) return exitOf(findings);
    } else if (!asked.watch) return EXIT_WRONG;
    await pause(WATCH_MS, undefined, io.unread && { signal: io.unread }).catch(() => undefined);
    if (io.unread?.aborted) return EXIT_DONE;
  }
}

const EXIT_LOOK = 1;
const EXIT_WRONG = 2;

function exitOf(findings: readonly Finding[]): number {
  if (findings.length === 0) return EXIT_DONE;
  return findings.some(({ level }) => level === "wrong") ? EXIT_WRONG : EXIT_LOOK;
}

interface StatusArguments {
  readonly admin: string;
  readonly watch: boolean;
  readonly json: boolean;
}

function readArguments(args: readonly string[]): StatusArguments | string {
  let admin = DEFAULT_ADMIN;
  const switches = new Set<string>();
  for (let at = 0; at < args.length; at++) {
    const [name = "", joined] = (args[at] ?? "").split(/=(.*)/s);
    if (name === "--watch" || name === "--json") switches.add(name);
    else if (name === "--admin") admin = joined ?? args[++at] ?? "";
    else return name.startsWith("-") ? `there is no option ${name}` : `status takes no argument ${name}`;
  }
  if (!/^https?:\/\//.test(admin) || !URL.canParse(admin))
    return `--admin must be a URL such as ${DEFAULT_ADMIN}, not ${admin || "empty"}`;
  return { admin, watch: switches.has("--watch"), json: switches.has("--json") };
}

/** @returns undefined: it cannot be had, which was said */
async function readState(admin: string, key: string, io: CommandIo): Promise<ClusterState | undefined> {
  const ask = (path: string): Promise<AdminReply | undefined> => askAdmin({ admin, key, path }, io);
  const [listed, first, problems, signing] = await Promise.all(
    ["nodes", "overview", "problems", "signing_keys"].map(ask),
  );
  let seen = first as unknown as Overview | undefined;
  if (!listed || !seen || !problems || !signing) return undefined;
  if (seen.points.length === 0 && (listed["total"] as number) > 0) {
    await pause(FIRST_RATES_MS);
    seen = ((await ask("overview")) as unknown as Overview | undefined) ?? seen;
  }
  // True: the answers are those of the Admin API's own description, docs/admin-api.md.
  const records = signing["list"] as readonly { readonly value: SigningKey }[];
  return {
    revision: listed["revision"] as number,
    nodes: listed["list"] as readonly NodeRow[],
    overview: seen,
    problems: problems["list"] as readonly Problem[],
    keys: endingKeys(
      records.map(({ value }) => value),
      Date.now() / 1_000,
      SOON_SECONDS,
    ),
  };
}

/** What somebody should know, the worst first. */
export function judgeCluster({ nodes, overview, problems, keys }: ClusterState, now: number): readonly Finding[] {
  const wrong: string[] = [];
  const look: string[] = [];
  if (nodes.length === 0)
    wrong.push("no gateway node is registered: start one (jotgate gateway), or look at those that should run");
  for (const id of overview.silent)
    wrong.push(`${id} does not answer its admin: status.advertise, the network, or the node itself`);
  for (const { id, lag, staleness_seconds: stale } of nodes) {
    if (stale > STALE_SECONDS)
      wrong.push(`${id} has heard nothing of the store for ${Math.round(stale)} s: it serves an old configuration`);
    else if (lag > 0) look.push(`${id} is ${lag} revisions behind`);
  }
  const current = nodes.filter(({ lag, hash }) => lag === 0 && hash !== "");
  if (
    new Set(current.map(({ applied, hash }) => `${applied} ${hash}`)).size >
    new Set(current.map(({ applied }) => applied)).size
  )
    wrong.push(
      "nodes hold different configurations at the same revision: compare their hash in GET /apisix/admin/nodes",
    );
  const versions = new Set(nodes.map(({ version }) => version));
  if (versions.size > 1) look.push(`nodes run different versions: ${[...versions].sort().join(", ")}`);
  for (const { key, blocks } of problems)
    (blocks ? wrong : look).push(`${key} ${blocks ? "makes nodes refuse calls" : "cannot be used"}`);
  for (const { target, record } of overview.unhealthy) look.push(`target ${target} of ${record} is unhealthy`);
  for (const { key, ends } of overview.expiring)
    (ends <= now ? wrong : look).push(`the certificate of ${key} ${endText(ends, now)}`);
  for (const { server, algorithm, ends } of keys)
    (ends <= now ? wrong : look).push(
      `the ${algorithm} signing key of ${server} ${endText(ends, now)}, and none follows`,
    );
  return [
    ...wrong.map((text) => ({ level: "wrong" as const, text })),
    ...look.map((text) => ({ level: "look" as const, text })),
  ];
}

function clusterText(admin: string, state: ClusterState, findings: readonly Finding[], now: number): string {
  const { nodes, overview, problems, revision } = state;
  const point = overview.points.at(-1);
  const traffic = point
    ? `${rate(point.requests)} requests/s (${rate(point.failed)} failed, ${rate(point.refused)} refused${point.p99 === null ? "" : `, p99 ${(point.p99 * 1_000).toFixed(1)} ms`})`
    : "traffic not counted yet";
  const parts = [
    `${admin}   revision ${revision}   ${nodes.length} node${nodes.length === 1 ? "" : "s"}   ${traffic}`,
    table([
      ["NODE", "VERSION", "UP", "WORKERS", "APPLIED", "LAG", "STALE", "PROBLEMS", "REQUESTS/S"],
      ...nodes.map((node) => [
        ...[node.id, node.version, duration(now - node.started), String(node.workers ?? 1), String(node.applied)],
        ...[String(node.lag), `${Math.round(node.staleness_seconds)} s`, String(node.problems)],
        overview.nodes[node.id] === undefined ? "-" : rate(overview.nodes[node.id] ?? 0),
      ]),
    ]),
    section(
      "problems",
      problems,
      ({ key, reason, blocks, nodes: on }) => `${key}${blocks ? "   blocks" : ""}   ${reason}   (${on.length} nodes)`,
    ),
    section(
      "unhealthy targets",
      overview.unhealthy,
      ({ target, record, status, nodes: on }) => `${target}   ${status}   ${record}   (seen by ${on.join(", ")})`,
    ),
    section(
      "certificates about to end",
      overview.expiring,
      ({ key, names, ends }) => `${key}   ${names.join(", ")}   ${endText(ends, now)}`,
    ),
    section(
      "signing keys about to end",
      state.keys,
      ({ server, algorithm, ends }) => `${server}   ${algorithm}   ${endText(ends, now)}`,
    ),
    findings.length === 0
      ? "all is well"
      : section("to do", findings, ({ level, text }) => `${level === "wrong" ? "WRONG" : "look "}  ${text}`),
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

function section<T>(title: string, list: readonly T[], line: (one: T) => string): string {
  if (list.length === 0) return "";
  const more = list.length > SHOWN_MAX ? [`  and ${list.length - SHOWN_MAX} more: --json has all`] : [];
  return [
    `${title} (${list.length})`,
    ...list.slice(0, SHOWN_MAX).map((one) => `  ${printable(line(one))}`),
    ...more,
  ].join("\n");
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length))) ?? [];
  return rows
    .map((row) =>
      printable(
        row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd(),
      ),
    )
    .join("\n");
}

/** Names and reasons come from records: none of them moves the cursor. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e\u00a0-\uffff]/g, "?");
}

const rate = (perSecond: number): string => perSecond.toFixed(perSecond < 10 ? 1 : 0);

function endText(ends: number, now: number): string {
  return ends <= now ? `ended ${duration(now - ends)} ago` : `ends in ${duration(ends - now)}`;
}

function duration(seconds: number): string {
  const [size, unit] =
    seconds >= 86_400 ? [86_400, "d"] : seconds >= 3_600 ? [3_600, "h"] : seconds >= 60 ? [60, "min"] : [1, "s"];
  return `${Math.max(0, Math.floor(seconds / (size as number)))} ${unit}`;
}
