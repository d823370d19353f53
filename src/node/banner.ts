/**
 * What a starting node tells the person in front of it.
 */
import { resolve } from "node:path";
import type { Settings } from "../settings/settings.ts";
import type { AdminKeys } from "./admin-keys.ts";

interface BannerInput {
  readonly version: string;
  readonly settings: Settings;
  readonly store: "etcd" | "embedded" | "file";
  readonly keys: AdminKeys | undefined;
  readonly gateway: { readonly host: string; readonly port: number } | undefined;
  /** Named where there is no plain one. */
  readonly gatewayTls?: { readonly host: string; readonly port: number } | undefined;
  readonly admin: { readonly host: string; readonly port: number } | undefined;
  /** Of the one-time link to the console. */
  readonly consoleToken?: string | undefined;
  readonly status: { readonly host: string; readonly port: number } | undefined;
}

/** Lines for the terminal; the admin key is among them only when it was made just now. */
export function bannerText(facts: BannerInput): string {
  const { settings, keys } = facts;
  const lines = [`jotgate ${facts.version} is running`];
  const add = (name: string, text: string): void => void lines.push(`  ${name.padEnd(10)} ${text}`);
  if (facts.gateway) add("gateway", url(facts.gateway));
  else if (facts.gatewayTls) add("gateway", url(facts.gatewayTls).replace("http:", "https:"));
  const scheme = settings.admin.tls.cert === undefined ? "http:" : "https:";
  if (facts.admin) add("admin", `${url(facts.admin)}/apisix/admin`);
  if (facts.admin && settings.admin.console) {
    const page = `${url(facts.admin).replace("http:", scheme)}/ui/`;
    const once = facts.consoleToken === undefined ? "" : `#once=${facts.consoleToken}   (signs in once, for a minute)`;
    add("console", `${page}${once}`);
  }
  if (facts.status) add("status", `${url(facts.status)}/status (metrics at /metrics)`);
  if (facts.store === "file") add("file", `${resolve(settings.file ?? "")} (followed; no Admin API)`);
  else if (facts.store === "embedded") add("data", resolve(settings.dataDir));
  else add("etcd", (settings.etcd.hosts ?? []).join(", "));
  if (!facts.admin) return lines.join("\n");
  if (keys?.generated !== undefined)
    add("admin key", `${keys.generated}   (made now, shown once, kept in ${keys.file ?? ""})`);
  else if (keys?.file !== undefined) add("admin key", `as made at the first start, see ${keys.file}`);
  else add("admin key", "as given by the settings");
  const shown = keys?.generated ?? "$ADMIN_API_KEY";
  lines.push(
    "",
    "Try:",
    `  curl ${url(facts.admin)}/apisix/admin/routes -H "X-API-KEY: ${shown}"`,
    "",
    "Ctrl-C stops.",
  );
  return lines.join("\n");
}

function url({ host, port }: { readonly host: string; readonly port: number }): string {
  const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}`;
}
