/**
 * What the parts of the Admin API share, and the life of one write as data: what is asked, what was there, what will
 * be there.
 *
 *   read → build candidate → check → plan → commit → answer
 */
import type { Clock } from "../base/clock.ts";
import type { Members } from "../base/json/members.ts";
import type { Log } from "../base/log.ts";
import type { Asking, Barrier } from "../cluster/barrier.ts";
import type { NodeKeyring } from "../cluster/node-key.ts";
import type { Kind, WriteMethod } from "../model/kinds.ts";
import type { RouterMode } from "../runtime/routes/router.ts";
import type { AskSecrets } from "../secret/secret-probe.ts";
import type { Store } from "../store/store.ts";
import type { History } from "./history/history.ts";
import type { NodeList } from "./node-list.ts";
import type { ClusterPulse } from "./overview/cluster-pulse.ts";
import type { EndingSoon } from "./overview/expiring.ts";
import type { PluginCatalog } from "./plugin-catalog.ts";
import type { RecordLists } from "./read/record-lists.ts";
import type { StoredMembers } from "./read/stored-record.ts";
import type { Arguments } from "./request-target.ts";
import type { AdminRevocations } from "./revocations/revocation-writer.ts";
import type { FieldCodec } from "./sealing/keyring-codec.ts";
import type { KeyQueue } from "./write/key-queue.ts";
import type { ReferenceGuard } from "./write/reference-guard.ts";
import type { UniqueIndex } from "./write/unique-index.ts";
import type { Body } from "./write/write.ts";
import type { WriteOptions } from "./write/write-options.ts";

export interface Actor {
  /** Name of the key, for logs and the history; never the key itself. */
  readonly name: string;
  readonly role: "admin" | "viewer";
}

export interface AdminRequest {
  readonly method: string;
  /** Path as sent, without query. */
  readonly path: string;
  /** What the path names, decoded; `*` is what follows a record's id. */
  readonly params: Readonly<Record<string, string | undefined>>;
  readonly args: Arguments;
  /** Header value by lower-case name. */
  header(name: string): string | undefined;
  /** Address of the socket. */
  readonly address: string;
  readonly actor: Actor;
  /** As it came; empty where the route reads none. */
  readonly bytes: Buffer;
  /** Parsed; undefined when there was none or the route reads no JSON. */
  readonly body: Body;
  /** Of writes; reads have none. */
  readonly options: WriteOptions;
  /** What a write that is waited for puts beside its record, so that nodes answer to it. */
  readonly ask?: Asking["ask"] | undefined;
}

/** What becomes of one record. Values here are plain text: opened after reading, sealed before storing. */
export interface RecordChange {
  readonly kind: Kind;
  /** As keys have it. */
  readonly id: string;
  readonly key: string;
  readonly previous: StoredMembers | undefined;
  readonly previousValue: Members | undefined;
  /** What will be stored; undefined when the record goes. */
  readonly candidate: Members | undefined;
  /** What is weak about what was written and does not show in what will be stored. */
  readonly doubts?: readonly string[];
}

/** One write under way. */
export interface Write extends RecordChange {
  readonly candidate: Members;
  readonly request: AdminRequest;
  readonly method: WriteMethod;
  /** Lifetime from `?ttl=`. */
  readonly ttlSeconds: number | undefined;
  /** What was made for it, to be shown once. */
  readonly generated?: Readonly<Record<string, string>>;
}

/** Where records are. */
export interface StoreSide {
  readonly store: Store;
  /** Without a trailing slash. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** What records mean. Without the store. */
export interface RuleSide {
  readonly catalog: PluginCatalog;
  /** How gateway nodes match routes, for warnings about routes that no request can reach. */
  readonly routerMode: RouterMode;
  readonly codec: FieldCodec;
  /** Whether this process has the environment variable; where nobody knows, all are taken to be set. */
  readonly isVariableSet: (name: string) => boolean;
  /** Whether nodes never call this address for tokens. */
  readonly isAddressDenied: (address: string) => boolean;
  /** Asks secret managers, for dry runs; undefined where this process asks none. */
  readonly askSecrets: AskSecrets | undefined;
}

/** What reads, previews and the history need. */
export type ReadSide = StoreSide & RuleSide;

/** What a write needs beside: what holds between records, and the history. */
export interface WriteSide extends ReadSide {
  readonly unique: UniqueIndex;
  readonly references: ReferenceGuard;
  readonly queue: KeyQueue;
  readonly history: History;
}

/** What endpoints are handed; each passes on the side that is needed. */
export interface AdminContext extends WriteSide {
  /** Undefined where no gateway node is followed; then nobody can wait for them. */
  readonly barrier: Barrier | undefined;
  readonly nodes: NodeList;
  /** What admins show to nodes. */
  readonly nodeKey: NodeKeyring;
  readonly revocations: AdminRevocations;
  readonly pulse: ClusterPulse;
  /** Lists that are kept for who pages through them. */
  readonly lists: RecordLists;
  /** Certificates and keys that end soon. */
  readonly expiring: () => Promise<EndingSoon>;
}
