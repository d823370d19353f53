/**
 * `jotgate explain`: asks an admin why a call is or would be refused, and prints it as a short text.
 * The key comes from JOTGATE_ADMIN_KEY and a token from JOTGATE_TOKEN, so that neither stands in a list of processes.
 */
import { type AdminReply, askAdmin, DEFAULT_ADMIN } from "./admin-call.ts";
import { type CommandIo, EXIT_DONE, EXIT_FAILED, EXIT_USAGE } from "./command-io.ts";

const EXPLAIN_USAGE = `jotgate explain [--admin URL] [--method GET] [--header 'Name: value'] … URL
jotgate explain [--admin URL] --route ID
  Environment: JOTGATE_ADMIN_KEY; JOTGATE_TOKEN is a token to judge in place of what the request carries.
  --admin is http://127.0.0.1:9180 by default; --at SECONDS judges as at that time; --node ID asks one node; --json prints all.`;

const VALUED = ["--admin", "--method", "--header", "--route", "--at", "--node"];

interface Asked {
  readonly admin: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly json: boolean;
}

export async function explainCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const key = io.env["JOTGATE_ADMIN_KEY"];
  const asked = readArguments(args, io.env["JOTGATE_TOKEN"]);
  if (typeof asked === "string" || !key) {
    io.complain(`${typeof asked === "string" ? asked : "JOTGATE_ADMIN_KEY is not set"}\n${EXPLAIN_USAGE}`);
    return EXIT_USAGE;
  }
  const answer = await askAdmin({ admin: asked.admin, key, path: "explain", body: asked.body }, io);
  if (answer === undefined) return EXIT_FAILED;
  io.print(asked.json ? JSON.stringify(answer, undefined, 2) : explanationText(answer));
  return EXIT_DONE;
}

function readArguments(args: readonly string[], token: string | undefined): Asked | string {
  const found = new Map<string, string[]>();
  const targets: string[] = [];
  let json = false;
  for (let at = 0; at < args.length; at++) {
    const [name = "", joined] = splitOnce(args[at] ?? "", "=");
    if (name === "--json") json = true;
    else if (VALUED.includes(name)) found.set(name, [...(found.get(name) ?? []), joined ?? args[++at] ?? ""]);
    else if (name.startsWith("-")) return `there is no option ${name}`;
    else targets.push(args[at] ?? "");
  }
  const one = (name: string): string | undefined => found.get(name)?.at(-1);
  const admin = one("--admin") ?? DEFAULT_ADMIN;
  if (!URL.canParse(admin)) return `--admin must be a URL such as http://127.0.0.1:9180, not ${admin}`;
  const at = one("--at");
  const common = {
    ...(token ? { token } : {}),
    ...(at !== undefined && { at: Number(at) }),
    ...(one("--node") !== undefined && { node: one("--node") }),
  };
  const route = one("--route");
  const [target, ...more] = targets;
  if ((route === undefined) === (target === undefined) || more.length > 0) return "explain needs one URL, or --route";
  if (route !== undefined) return { admin, json, body: { ...common, route } };
  const url = target !== undefined && URL.canParse(target) ? new URL(target) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) return `not a URL: ${target}; it is what the caller asks for`;
  const headers = readHeaders(found.get("--header") ?? []);
  if (typeof headers === "string") return headers;
  const request = {
    ...{ method: one("--method") ?? "GET", scheme: url.protocol.slice(0, -1), host: url.host },
    ...{ uri: `${url.pathname}${url.search}`, headers },
  };
  return { admin, json, body: { ...common, request } };
}

function readHeaders(lines: readonly string[]): Readonly<Record<string, string[]>> | string {
  const headers: Record<string, string[]> = {};
  for (const line of lines) {
    const [name, value] = splitOnce(line, ":");
    if (value === undefined) return `--header needs 'Name: value', not ${name}`;
    headers[name] = [...(headers[name] ?? []), value.trim()];
  }
  return headers;
}

function splitOnce(text: string, by: string): readonly [string, string | undefined] {
  const at = text.indexOf(by);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

export function explanationText(answer: AdminReply): string {
  const lines = [headline(answer)];
  for (const name of ["route", "service", "consumer", "consumer_group", "credential"])
    if (answer[name] !== undefined) lines.push(`  ${name.padEnd(16)}${String(answer[name])}`);
  const upstream = answer["upstream"] as AdminReply | undefined;
  if (upstream)
    lines.push(
      `  upstream        ${upstream["method"]} ${upstream["scheme"]}://${upstream["node"]}${upstream["uri"]} (Host ${upstream["host"]})`,
    );
  for (const one of listOf(answer["plugins"])) {
    const why = one["why"] ?? one["reason"];
    lines.push(
      `  plugin          ${one["plugin"]} (${one["phase"]}, ${one["from"]}) ${one["did"]}${why ? `: ${why}` : ""}`,
    );
  }
  for (const { step, ok, ...facts } of listOf(answer["steps"]))
    lines.push(`  step            ${ok ? "ok  " : "FAIL"} ${step}${factsOf(facts)}`);
  for (const one of listOf(answer["near"]))
    lines.push(`  not route       ${one["route"]} (${one["uri"]}): ${one["why"]}`);
  for (const hint of (answer["hints"] as readonly string[] | undefined) ?? []) lines.push(`  hint            ${hint}`);
  const behind = (answer["nodes_behind"] as readonly string[] | undefined) ?? [];
  if (behind.length > 0) lines.push(`  behind          ${behind.join(", ")}`);
  lines.push(`  judged by       ${answer["node"]} at revision ${answer["revision"]}`);
  return lines.join("\n");
}

function headline({ verdict, status, reason, plugin, from, detail }: AdminReply): string {
  if (verdict === "forwarded") return "forwarded to an upstream";
  if (verdict === "unknown") return `unknown: ${detail}`;
  const by = plugin === undefined ? "the gateway itself" : `${plugin} of ${from}`;
  return `${verdict} with ${status}: ${reason}, by ${by}`;
}

function factsOf(facts: AdminReply): string {
  const texts = Object.entries(facts).map(
    ([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return texts.length === 0 ? "" : `  (${texts.join(", ")})`;
}

function listOf(value: unknown): readonly AdminReply[] {
  return Array.isArray(value) ? (value as readonly AdminReply[]) : [];
}
