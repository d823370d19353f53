/**
 * What is suspicious about a change that nothing forbids: routes no request can reach, routes without authentication in
 * front of protected ones, open signing endpoints, upstreams that lead nowhere.
 */
import { own, ownMembers } from "../../base/json/members.ts";
import { keyOf } from "../../model/keys.ts";
import { identityIssuer } from "../../model/references.ts";
import { prefixRange } from "../../store/store.ts";
import type { ReadSide, RecordChange, RuleSide, StoreSide } from "../admin-context.ts";
import { uniqueKey } from "../store-paths.ts";
import { type ConfigView, openConfigView } from "./config-view.ts";
import { type PreviewRoute, readRoutes } from "./preview-route.ts";
import { hiddenBy, takesFrom } from "./route-order.ts";
import { lateConsumerPlugins } from "./warn-consumer.ts";
import { type RecordFault, recordFaults } from "./warn-record.ts";
import { collisionsOf, danglingOf, missingOf } from "./warn-references.ts";
import { isProtected, type RouteSurroundings, routeFaults, upstreamFault } from "./warn-route.ts";

export interface Warning {
  readonly code:
    | "route_unreachable"
    | "unprotected_route_first"
    | "sign_endpoint_open"
    | "nobody_can_pass"
    | "audience_unchecked"
    | "token_endpoint_open_to_guessing"
    | "id_tokens_accepted"
    | "issuer_without_consumers"
    | "upstream_without_nodes"
    | "cors_without_options"
    | "dangling_reference"
    | "key_collision"
    | "consumer_plugin_too_late"
    | "secret_unreadable"
    | "weak_secret"
    | RecordFault["code"];
  /** Of the record that is suspicious, which need not be the one that is written. */
  readonly key: string;
  readonly message: string;
}

const WARNINGS_MAX = 100;
/** Routes that one service, plugin config or global rule may drag along; more are not looked at. */
const TOUCHED_MAX = 50;

/** @param before the configuration as it is @param after as it will be */
export async function warningsOf(
  admin: ReadSide,
  changes: readonly RecordChange[],
  before: ConfigView,
  after: ConfigView,
): Promise<readonly Warning[]> {
  const warnings: Warning[] = [];
  for (const change of changes) {
    warnings.push(...ownWarnings(admin, change));
    warnings.push(...(await danglingOf(admin, change, after)), ...(await collisionsOf(admin, change, after)));
    warnings.push(...(await lateConsumerPlugins(change, after)));
  }
  if (changes.some((change) => TOUCHES_ROUTES.has(change.kind.name))) {
    warnings.push(...(await warningsOfRoutes(admin, changes, before, after)));
  }
  return warnings.slice(0, WARNINGS_MAX);
}

/** What shows without a look at other records. */
function ownWarnings(admin: ReadSide, change: RecordChange): readonly Warning[] {
  const { kind, key, candidate, doubts = [] } = change;
  const faults = recordFaults(admin, change).map((one): Warning => ({ ...one, key }));
  for (const message of doubts) faults.push({ code: "weak_secret", key, message });
  const fault = kind.name === "upstream" && candidate ? upstreamFault(candidate) : undefined;
  return fault === undefined ? faults : [...faults, { code: "upstream_without_nodes", key, message: fault }];
}

/**
 * What the answer of a write says too, not only a dry run: what nodes will refuse or not enforce. Other records are read
 * one by one and few; all of them only where a record serves an API of a plugin.
 */
export async function warningsOfAnswer(admin: ReadSide, change: RecordChange): Promise<readonly Warning[]> {
  const warnings = [...ownWarnings(admin, change), ...(await missingOf(admin, change))];
  if (own(ownMembers(change.candidate, "plugins"), "public-api") === undefined) return warnings;
  const before = openConfigView(admin, []);
  const found = await warningsOf(admin, [change], before, openConfigView(admin, [change], before));
  return [...warnings, ...found.filter(({ code }) => code === "sign_endpoint_open")];
}

const TOUCHES_ROUTES: ReadonlySet<string> = new Set(["route", "service", "plugin_config", "global_rule"]);

interface World extends RouteSurroundings {
  readonly routes: ReadonlyMap<string, PreviewRoute>;
}

/** @param looksAtIdentities reads all consumers and credentials */
async function worldOf(admin: ReadSide, view: ConfigView, looksAtIdentities: boolean): Promise<World> {
  const everywhere = new Set<string>();
  for (const { value } of (await view.all("global_rule")).values()) {
    for (const name of Object.keys(ownMembers(value, "plugins"))) everywhere.add(name);
  }
  const credentials = new Set<string>();
  for (const name of admin.catalog.credentialNames) {
    if (await hasCredential(admin, view, name)) credentials.add(name);
  }
  const issuers = await view.all("token_issuer");
  const identified = looksAtIdentities && issuers.size > 0 ? await issuersOfIdentities(view) : undefined;
  return { routes: await readRoutes(view, admin.routerMode), everywhere, credentials, issuers, identified };
}

async function issuersOfIdentities(view: ConfigView): Promise<ReadonlySet<string>> {
  const records = [...(await view.all("consumer")).values(), ...(await view.all("credential")).values()];
  return new Set(records.flatMap(({ value }) => identityIssuer(value) ?? []));
}

/** The index of identifying values answers at once; only where it is empty are consumers read one by one. */
async function hasCredential(admin: StoreSide, view: ConfigView, plugin: string): Promise<boolean> {
  const range = prefixRange(uniqueKey(admin.prefix, plugin, ""));
  for await (const page of admin.store.list(range, { keysOnly: true, pageSize: 1 })) {
    if (page.kvs.length > 0) return true;
    break;
  }
  for (const kind of ["consumer", "credential"] as const) {
    for (const { value } of (await view.all(kind)).values()) {
      if (Object.hasOwn(ownMembers(value, "plugins"), plugin)) return true;
    }
  }
  return false;
}

async function warningsOfRoutes(
  admin: ReadSide,
  changes: readonly RecordChange[],
  before: ConfigView,
  after: ConfigView,
): Promise<Warning[]> {
  // Only where a route that is written asks for them: consumers may be a million.
  const asks = changes.some(({ candidate }) => own(ownMembers(candidate, "plugins"), "access-token") !== undefined);
  const [then, now] = [await worldOf(admin, before, false), await worldOf(admin, after, asks)];
  const written = new Set(
    changes.flatMap(({ kind, id, candidate }) => (kind.name === "route" && candidate ? [id] : [])),
  );
  const warnings = [...written].flatMap((id) => faultsOf(admin, now, id));
  // Of routes that are only touched, what is new.
  const textOf = ({ code, key, message }: Warning): string => [code, key, message].join(" ");
  for (const id of touchedBy(admin, changes, written, now)) {
    const old = new Set(faultsOf(admin, then, id).map(textOf));
    warnings.push(...faultsOf(admin, now, id).filter((one) => !old.has(textOf(one))));
  }
  return warnings;
}

/** Routes that mean something else now: by what they are made of, or because one that is written comes first. */
function touchedBy(
  admin: RuleSide,
  changes: readonly RecordChange[],
  written: ReadonlySet<string>,
  { routes }: World,
): readonly string[] {
  const all = changes.some(({ kind }) => kind.name === "global_rule");
  const changed = new Set(changes.map(({ kind, id }) => `${kind.name}/${id}`));
  const firsts = [...written].flatMap((id) => routes.get(id) ?? []);
  const touched: string[] = [];
  for (const route of routes.values()) {
    if (touched.length >= TOUCHED_MAX) break;
    if (written.has(route.id)) continue;
    const isTouched =
      all ||
      route.layers.some((layer) => changed.has(layer)) ||
      firsts.some((first) => takesFrom(admin.routerMode, first, route) === "all");
    if (isTouched) touched.push(route.id);
  }
  return touched;
}

function faultsOf(admin: ReadSide, world: World, id: string): Warning[] {
  const route = world.routes.get(id);
  if (!route?.isEnabled) return [];
  const key = keyOf(admin.prefix, "route", id);
  const mode = admin.routerMode;
  const warnings: Warning[] = routeFaults(admin, route, world).map((fault) => ({ ...fault, key }));
  const hidden = hiddenBy(mode, route, world.routes.values());
  if (hidden) {
    const message = `no request reaches it: ${listed(hidden)} of the same or broader conditions comes first`;
    return [...warnings, { code: "route_unreachable", key, message }];
  }
  const guarded = isProtected(admin, route, world.everywhere);
  for (const other of world.routes.values()) {
    if (other.id === id || isProtected(admin, other, world.everywhere) === guarded) continue;
    const [open, closed] = guarded ? [other, route] : [route, other];
    const share = takesFrom(mode, open, closed);
    if (share === undefined) continue;
    warnings.push({
      code: "unprotected_route_first",
      key: keyOf(admin.prefix, "route", open.id),
      message: `has no authentication and takes ${share} requests of route ${closed.id}, which has`,
    });
  }
  return warnings;
}

function listed(ids: ReadonlySet<string>): string {
  return [...ids].map((id) => `route ${id}`).join(" and ");
}
