/**
 * One simulated life of a small cluster, decided by its seed: writes, faults of all kinds in any order, then everything
 * heals. After each step the nodes are compared with the model; at the end all of them hold what the store holds.
 */
import { FakeClock } from "../../src/base/clock.ts";
import { PLACEHOLDER } from "../../src/model/record.ts";
import { type Operation, prefixRange, type Revision } from "../../src/store/store.ts";
import { controlKeys } from "../../src/store/store-keys.ts";
import { makeRandom } from "../runtime/upstream-fixture.ts";
import { hashOf } from "../support/checker.ts";
import { type Backup, SimEtcd } from "./sim-etcd.ts";
import {
  BATCHES,
  batchOf,
  CONSUMERS,
  compare,
  openSimNode,
  PREFIX,
  routeText,
  ruleOf,
  type SavedNode,
  type SimNode,
  TOKENS,
  tokensOf,
} from "./sim-node.ts";

export interface SimOptions {
  readonly seed: number;
  readonly steps?: number;
  /** A bug on purpose, to see that it is found. */
  readonly sabotage?: "lost event";
}

export interface SimResult {
  readonly writes: number;
  readonly faults: number;
  readonly lists: number;
}

const KEYS = controlKeys(PREFIX);
const NODES = 2;
/** Everything is in step this long after everything healed; a deaf or lost watch is found by two looks at the beat. */
const HEAL_MS = 60_000;
const BEAT_MS = 10_000;
const RAISE_AGAIN_MS = 5_000;

/** @throws Error with the seed, the plan and the line that replays it */
export async function simulate(options: SimOptions): Promise<SimResult> {
  const world = new Simulation(options);
  try {
    return await world.run();
  } catch (thrown) {
    const why = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    throw new Error(
      `seed ${options.seed}: ${why}\nreplay: npm run sim -- --seed ${options.seed}\nplan:\n  ${world.plan.join("\n  ")}`,
    );
  } finally {
    await world.close();
  }
}

class Simulation {
  readonly plan: string[] = [];
  readonly #options: SimOptions;
  readonly #random: () => number;
  readonly #clock = new FakeClock();
  readonly #etcd: SimEtcd;
  readonly #nodes: SimNode[] = [];
  readonly #saved: (SavedNode | undefined)[] = [];
  #backup: Backup | undefined;
  /** Per node: what it held when the store became another one; it must go on holding it. */
  #guarded: (Map<string, Revision> | undefined)[] = [];
  #identity = { id: "sim", epoch: 1 };
  #foreign = false;
  #restored = false;
  #writes = 0;
  #faults = 0;
  #lists = 0;
  #beatAtMs = 0;

  constructor(options: SimOptions) {
    this.#options = options;
    this.#random = makeRandom(options.seed);
    this.#etcd = new SimEtcd(this.#clock);
  }

  async run(): Promise<SimResult> {
    this.#write([
      { op: "put", key: KEYS.identity, value: json(this.#identity) },
      { op: "put", key: `${PREFIX}/routes/`, value: Buffer.from(PLACEHOLDER) },
    ]);
    for (let i = 0; i < NODES; i++) await this.#start(i);
    for (let step = 0; step < (this.#options.steps ?? 40); step++) {
      await this.#step();
      await this.#settle();
      this.#check();
    }
    await this.#heal();
    return { writes: this.#writes, faults: this.#faults, lists: this.#lists };
  }

  async close(): Promise<void> {
    for (const node of this.#nodes) await this.#stop(node);
  }

  async #stop(node: SimNode): Promise<void> {
    let stopped = false;
    const stopping = node.stop().then(() => {
      stopped = true;
    });
    for (let turn = 0; turn < 60 && !stopped; turn++) {
      await this.#settle();
      if (!stopped) this.#clock.advance(250);
    }
    if (!stopped) throw new Error("a node does not stop within 15 s");
    await stopping;
  }

  async #start(i: number): Promise<void> {
    const saved = this.#saved[i];
    const node = await openSimNode({
      ...{ name: `node-${i}`, etcd: this.#etcd, clock: this.#clock, random: this.#random, saved },
    });
    if (this.#options.sabotage === "lost event" && i === 1) node.link.loses = (revision) => revision % 7n === 0n;
    this.#nodes[i] = node;
  }

  async #step(): Promise<void> {
    const roll = this.#random();
    if (roll < 0.38) this.#randomWrite();
    else if (roll < 0.45) this.#revoke();
    else if (roll < 0.6) await this.#pass(this.#pick([10, 100, 1_000, 3_000, 7_000, 15_000]));
    else await this.#fault();
  }

  #randomWrite(): void {
    const operations = new Map<string, Operation>();
    for (let n = 1 + this.#below(3); n > 0; n--) {
      const id = `r${this.#below(8)}`;
      const key = `${PREFIX}/routes/${id}`;
      const value = Buffer.from(routeText(id, `w${this.#writes}`, this.#random() < 0.15));
      operations.set(key, this.#random() < 0.2 ? { op: "delete", key } : { op: "put", key, value });
    }
    if (this.#random() < 0.1) operations.set("x", { op: "put", key: `${PREFIX}/unknown/x`, value: json(this.#writes) });
    this.#say(`write ${[...operations.values()].map((one) => `${one.op} ${"key" in one ? one.key : ""}`)}`);
    this.#write([...operations.values()]);
  }

  /** Ends tokens, merges batches as admins do, sets a rule or takes one back. */
  #revoke(): void {
    const batches = this.#etcd.list(prefixRange(BATCHES));
    const rule = ruleOf(this.#below(CONSUMERS));
    const name = `w${this.#writes}`;
    const kind = this.#pick(["batch", "batch", "merge", "rule", "take back"]);
    this.#say(`revoke: ${kind}`);
    if (kind === "rule") this.#write([{ op: "put", ...rule }]);
    else if (kind === "take back") this.#write([{ op: "delete", key: rule.key }]);
    else if (kind === "batch") {
      const tokens = Array.from({ length: 1 + this.#below(3) }, () => this.#below(TOKENS));
      this.#write([{ op: "put", ...batchOf(name, [...new Set(tokens)]) }]);
    } else if (batches.length > 1) {
      const all = new Set(batches.flatMap(({ value }) => tokensOf(value)));
      const gone = batches.map(({ key }): Operation => ({ op: "delete", key }));
      this.#write([{ op: "put", ...batchOf(name, [...all]) }, ...gone]);
    }
  }

  #write(then: readonly Operation[]): void {
    this.#writes++;
    this.#etcd.txn({ compare: [], then });
  }

  async #fault(): Promise<void> {
    this.#faults++;
    const i = this.#below(NODES);
    const node = this.#nodes[i] as SimNode; // there are NODES of them
    const { link } = node;
    const kind = this.#pick([
      ...["cut", "cut", "refuse", "silent", "flush", "back", "back", "back", "delay", "no delay", "compact", "compact"],
      ...["compact between pages", "fragments", "repeats", "no progress", "progress", "lease lost", "lag", "no lag"],
      ...["deaf", "restart", "restart from an older copy", "save", "backup", "wipe", "restore", "raise", "raise"],
    ]);
    this.#say(`node ${i}: ${kind}`);
    switch (kind) {
      case "cut":
        link.cut();
        break;
      case "refuse":
        link.mode = "refuse";
        link.cut();
        break;
      case "silent":
        link.mode = "silent";
        break;
      case "flush": // as when a paused process goes on
        link.mode = "up";
        link.flush();
        break;
      case "back":
        link.mode = "up";
        link.cut();
        break;
      case "delay":
        link.delayMs = this.#pick([1, 50, 400, 2_000]);
        link.cut();
        break;
      case "no delay":
        link.delayMs = 0;
        link.cut();
        break;
      case "compact":
        this.#etcd.compact(this.#etcd.head - BigInt(this.#below(3)));
        break;
      case "compact between pages":
        link.betweenPages = () => {
          if (this.#random() < 0.5) this.#randomWrite();
          this.#etcd.compact(this.#etcd.head);
        };
        break;
      case "fragments":
        link.fragments = !link.fragments;
        break;
      case "repeats":
        link.repeats = !link.repeats;
        break;
      case "no progress":
        link.answersProgress = false;
        break;
      case "progress":
        link.answersProgress = true;
        break;
      case "lease lost":
        this.#etcd.revoke();
        break;
      case "lag":
        link.lagAt = this.#etcd.head - BigInt(this.#below(4));
        if (this.#random() < 0.5) link.cut();
        break;
      case "no lag":
        link.lagAt = undefined;
        link.flush();
        break;
      case "deaf":
        link.deafen();
        break;
      case "save":
        this.#saved[i] = node.copy() ?? this.#saved[i];
        break;
      case "restart":
      case "restart from an older copy":
        if (kind === "restart") this.#saved[i] = node.copy() ?? this.#saved[i];
        await this.#restart(i);
        break;
      case "backup":
        if (!this.#foreign) this.#backup = this.#etcd.backup();
        break;
      case "wipe":
        this.#replace(undefined);
        break;
      case "restore":
        await this.#restore();
        break;
      case "raise":
        if (this.#foreign) this.#raise();
        break;
      default:
        throw new TypeError(`no such fault: ${kind}`);
    }
  }

  async #restart(i: number): Promise<void> {
    if (this.#restored) return;
    const node = this.#nodes[i] as SimNode;
    this.#count(node);
    await this.#stop(node);
    await this.#start(i);
    this.#guarded[i] = undefined; // without a copy it knows no store, so that any will do
    if (this.#foreign && this.#saved[i]) this.#guard(i);
  }

  /** Another store at the same address. What nodes hold must stay, until the operator's word. */
  #replace(backup: Backup | undefined): void {
    if (this.#foreign) return; // the guarded state is that of the first change
    this.#etcd.replace(backup);
    this.#foreign = true;
    this.#restored = backup !== undefined;
    for (const [i, node] of this.#nodes.entries()) {
      node.link.lagAt = undefined;
      node.link.cut();
      this.#guard(i);
    }
  }

  /**
   * An older store, without new revisions. A node that was cut off until it had grown past what the node holds cannot know;
   * so all nodes see it while it is older, and none is started again before the operator speaks.
   */
  async #restore(): Promise<void> {
    const backup = this.#backup;
    const isReached = ({ link }: SimNode): boolean => link.mode === "up" && link.delayMs === 0;
    const isOlder = ({ watcher }: SimNode): boolean => watcher.facts().appliedRevision > (backup?.revision ?? 0n) + 20n;
    if (this.#foreign || !backup || !this.#nodes.every((node) => isReached(node) && isOlder(node))) return;
    this.#replace(backup);
    await this.#pass(2_500);
  }

  #guard(i: number): void {
    const { table, watcher } = this.#nodes[i] as SimNode;
    // A node that holds nothing, or never saw whose store it is, can be told anything.
    const held = new Map([...table.entries()].map(([key, record]) => [key, record.modRevision]));
    const { loaded, appliedRevision, identity } = watcher.facts();
    const isOlder = appliedRevision > this.#etcd.head || this.#etcd.at(KEYS.identity) === undefined;
    this.#guarded[i] = loaded && held.size > 0 && identity !== undefined && isOlder ? held : undefined;
  }

  #raise(): void {
    this.#identity = { ...this.#identity, epoch: this.#identity.epoch + 1 };
    this.#guarded = [];
    this.#foreign = false;
    this.#restored = false;
    this.#write([{ op: "put", key: KEYS.identity, value: json(this.#identity) }]);
  }

  #check(): void {
    for (const [i, node] of this.#nodes.entries()) {
      node.wrong ??= node.check();
      if (node.wrong !== undefined) throw new Error(`node ${i}: ${node.wrong}`);
      const held = this.#guarded[i];
      // A store that grew past a node's revision without its identity record is still another one.
      if (held && !sameRevisions(held, node)) throw new Error(`node ${i} took records of another store`);
    }
  }

  async #heal(): Promise<void> {
    this.#say("heal");
    if (this.#foreign) this.#raise();
    for (const { link } of this.#nodes) {
      link.betweenPages = () => {};
      if (link.mode === "silent") link.lose();
      link.mode = "up";
      link.delayMs = 0;
      link.lagAt = undefined;
      link.answersProgress = true;
      link.flush();
    }
    this.#write([{ op: "put", key: `${PREFIX}/routes/r0`, value: Buffer.from(routeText("r0", "last", false)) }]);
    let head = this.#etcd.head;
    const inStep = ({ watcher }: SimNode): boolean => {
      const facts = watcher.facts();
      return facts.appliedRevision >= head && facts.fresh && facts.problem === undefined;
    };
    const isRegistered = (i: number): boolean => this.#etcd.at(`${KEYS.nodes}node-${i}`) !== undefined;
    // Who never saw whose store it is hears the operator's word when it is spoken a second time.
    const isDeafToRaise = ({ watcher }: SimNode): boolean =>
      watcher.facts().problem?.code === "store-changed" && watcher.facts().identity === undefined;
    for (let ms = 0; ms < HEAL_MS; ms += 200) {
      if (ms === RAISE_AGAIN_MS && this.#nodes.some(isDeafToRaise)) {
        this.#raise();
        head = this.#etcd.head;
      }
      await this.#pass(200);
      this.#check();
      if (this.#nodes.every((node, i) => inStep(node) && isRegistered(i))) break;
    }
    const want = hashOf(this.#etcd.list({ start: `${PREFIX}/`, end: `${PREFIX}0` }));
    for (const [i, node] of this.#nodes.entries()) {
      this.#count(node);
      const wrong =
        compare(node.table, this.#etcd, this.#etcd.head) ??
        (inStep(node) ? undefined : "not in step") ??
        (node.table.hash() === want ? undefined : `hash ${node.table.hash()}, not ${want}`) ??
        (isRegistered(i) ? undefined : "not registered") ??
        (node.watcher.facts().auditDifferences === 0 ? undefined : "an audit found a difference");
      if (wrong !== undefined)
        throw new Error(`node ${i} ${HEAL_MS} ms after everything healed: ${wrong} ${say(node)}`);
    }
  }

  #count({ watcher }: SimNode): void {
    for (const count of Object.values(watcher.facts().lists)) this.#lists += count;
  }

  /** Lets time go by in small steps, with a beat every 10 s as an admin writes it. */
  async #pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 100) {
      this.#clock.advance(Math.min(100, left));
      if (this.#clock.monotonicMs() - this.#beatAtMs >= BEAT_MS) {
        this.#beatAtMs = this.#clock.monotonicMs();
        this.#etcd.txn({
          compare: [],
          then: [{ op: "put", key: KEYS.beat, value: json({ at: this.#clock.nowMs() }) }],
        });
      }
      await this.#settle();
    }
  }

  /** Everything that waits for promises only has happened after it. */
  async #settle(): Promise<void> {
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  #say(what: string): void {
    this.plan.push(`${this.#clock.monotonicMs()} ms, revision ${this.#etcd.head}: ${what}`);
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#below(items.length)] as T; // there is at least one
  }
}

function sameRevisions(held: ReadonlyMap<string, Revision>, { table }: SimNode): boolean {
  if (table.size !== held.size) return false;
  for (const [key, revision] of held) if (table.get(key)?.modRevision !== revision) return false;
  return true;
}

function say({ watcher }: SimNode): string {
  return JSON.stringify(watcher.facts(), (_name, value) => (typeof value === "bigint" ? String(value) : value));
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value), "utf8");
}
