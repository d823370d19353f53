import type { PackedRecord, PackedRecords } from "../base/packed/packed-map.ts";
import type { RecordKey } from "../model/keys.ts";
import type { KindName } from "../model/kinds.ts";
import type { StoredValue } from "../model/record.ts";
import type { NodeEnv } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import type { Change, Revision, Store } from "../store/store.ts";
import type { SslListener } from "./certificates.ts";
import type { IssuerSink } from "./live-kinds.ts";
import type { EnvironmentParts } from "./plugins/plugin-environment.ts";
import type { PluginRegistry } from "./plugins/plugin-registry.ts";
import type { SecretSource } from "./plugins/secret-source.ts";
import type { Problem } from "./problems.ts";
import type { LiveRevocations } from "./revocation/live-revocations.ts";
import type { Tried } from "./routes/path-table.ts";
import type { RouteMatch } from "./routes/route-entry.ts";
import type { Pipeline, Route, UpstreamChoice } from "./routes/route-unit.ts";
import type { RouterMode } from "./routes/router.ts";
import type { ServerSink } from "./signing-records.ts";
import type { CertificatePair } from "./upstream/upstream-settings.ts";
import type { Upstreams } from "./upstream/upstreams.ts";
import type { UsedLog } from "./used-log.ts";

export interface LiveOptions extends EnvironmentParts {
  /** Without a trailing slash; default `/apisix`. */
  readonly prefix?: string;
  /** Default `radixtree_host_uri`. */
  readonly mode?: RouterMode;
  readonly registry: PluginRegistry;
  readonly secrets: SecretSource;
  readonly upstreams: Upstreams;
  /** Takes records of issuers of tokens; default: they mean nothing here. */
  readonly issuers?: IssuerSink | undefined;
  /** Takes records of authorization servers and their keys; default: they mean nothing here. */
  readonly servers?: ServerSink | undefined;
  /** How long a revoked token is remembered after its end; default 10 minutes. */
  readonly keepRevokedMs?: number;
  /** Whether uses of credentials and keys are noted; default: no. */
  readonly notesUses?: boolean;
  /** Where clients' revocations are written, and how many tokens may be revoked; default: they are not. */
  readonly revoking?: { readonly store: () => Store; readonly most: number } | undefined;
  /** Plugins that are left out where they are not loaded; any other then refuses requests. Default: none. */
  readonly mayBeMissing?: ReadonlySet<string>;
  /** Opens the encrypted members of a record; throws what is then the record's problem. */
  readonly decrypt?: (key: RecordKey, value: StoredValue) => StoredValue;
}

/** Changes that belong together. */
interface LiveBatch {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

export interface LiveConfiguration {
  /** Of the batch applied last. */
  readonly revision: Revision;
  readonly env: NodeEnv;
  readonly revocations: Pick<LiveRevocations, "ruleCount" | "tokenCount">;
  /** What was used; whoever hands it in takes it. */
  readonly uses: UsedLog;
  /** Whether `loadBodyVariables` must run before `match`. */
  readonly needsBody: boolean;
  /** How many records of each kind are served. */
  readonly counts: Readonly<Partial<Record<KindName, number>>>;
  readonly problemCount: number;
  /**
   * Takes a batch in one turn: no request sees a part of it.
   * @param table of every key the newest value that was not refused: without what this batch deletes, and with what it
   *   puts once `apply` has returned
   * @returns store keys whose new value was not taken; undefined when all were
   */
  apply(batch: LiveBatch, table: PackedRecords): readonly string[] | undefined;
  /** The bytes of a deleted record go. @param taken what was taken of it, if anything was */
  forget(storeKey: string, taken: PackedRecord | undefined): void;
  /**
   * The route for a request; sets `view.uriParams`, not `view.route`.
   * @param path other than `view.path` only under match_uri_encoded_slash
   */
  match(view: RequestView, path?: string): RouteMatch | undefined;
  /** What `match` looks at, in its order, and why each is not it; for explanations. */
  tried(view: RequestView, path?: string): IterableIterator<Tried>;
  /** All global rules as one. @param route the unit that matched, if one did */
  globalPipeline(route: Route | undefined): Pipeline;
  route(id: string): Route | undefined;
  upstream(id: string): UpstreamChoice;
  problems(): readonly Problem[];
  /** The newest problems by which a record was not taken, or refuses requests. */
  refusals(): readonly Problem[];
  /** What upstreams show under this id, or why there is nothing. */
  clientCertificate(id: string): CertificatePair | string;
  /** Resolves when no value that a client certificate refers to is under way. */
  clientCertificatesSettled(): Promise<unknown>;
  /** Those of `refusals` that are of ssl records. */
  clientCertificateRefusals(): readonly Problem[];
  ssls(): IterableIterator<[string, StoredValue]>;
  onSslChange(listener: SslListener): () => void;
  /** Gives back everything counted; for the end of the process. */
  close(): void;
}
