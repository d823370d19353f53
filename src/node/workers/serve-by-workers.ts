/**
 * A node's traffic in several processes. The primary, which is this one, keeps what there is once per node: the
 * registry, acknowledgements, the last-known-good file, counters of limits, health checks. Workers do the rest.
 * Promise: what the node says it has applied, every worker that may answer has applied.
 */
import cluster from "node:cluster";
import { fileURLToPath } from "node:url";
import { CodedError } from "../../base/errors.ts";
import { checkTarget } from "../../base/line-sink.ts";
import { workerArguments } from "../../base/v8-tuning.ts";
import { makeProbe } from "../../gateway/health-probe.ts";
import { REFUSALS_MAX, type RecentRefusal } from "../../gateway/log/refusals.ts";
import { openLocalCounters } from "../../plugins/limits/local-counters.ts";
import { openStates } from "../../runtime/shared-states.ts";
import { countProbes } from "../../runtime/upstream/upstreams.ts";
import type { Settings } from "../../settings/settings.ts";
import { serveStore } from "../../store/ipc/ipc-serve.ts";
import type { Revision } from "../../store/store.ts";
import { Waiters } from "../../sync/waiters.ts";
import { fetchedIssuer, keyFacts, keyProblems, openNodeKeys } from "../node-keys.ts";
import { verdictChecksOf } from "../node-parts.ts";
import type { Serving, ServingOptions } from "../serving.ts";
import { type Follower, followStore } from "../store-follower.ts";
import { MergedMetrics, mergeHealth } from "./merged-metrics.ts";
import { BEGIN, MAY_LISTEN, USED } from "./protocol.ts";
import { openRecordJudge } from "./record-judge.ts";
import { SharedCounters } from "./shared-counters.ts";
import { serveKeys, tellKeys, WorkersIssuers } from "./shared-keys.ts";
import { COUNT, PROBE, RELEASE } from "./shared-messages.ts";
import { SharedProber } from "./shared-probe.ts";
import { Supervisor, WorkerAdmission } from "./supervisor.ts";
import { type Following, serveTable } from "./table-handover.ts";
import { WorkerProcess } from "./worker-process.ts";
import { SiblingRelay } from "./worker-siblings.ts";
import { WorkersView } from "./workers-view.ts";

const SETTLE_MS = 600_000;
const NO_WORKER = "explain: no worker of this node serves at the moment: ask again";

export async function serveByWorkers(options: ServingOptions, count: number): Promise<Serving> {
  const { settings, source, registry, folder, version, metrics, clock, log } = options;
  /** Of workers that begin; a reload changes them. */
  let current = settings;
  const begunWith = new WeakMap<WorkerProcess, Settings>();
  const view = new WorkersView(clock);
  const waiters = new Waiters(clock);
  const merged = new MergedMetrics<WorkerProcess>(metrics, () => view.serving, settings.prometheus.maxSeries);
  const onNews = (): void => waiters.reached(view.applied());

  const states = openStates(clock);
  const counters = new SharedCounters({ counters: openLocalCounters(states, clock), workers: count, clock });
  const prober = new SharedProber({ probe: makeProbe(clock), probes: countProbes(metrics), clock });

  const keepers = await openNodeKeys(options, options.membership.id);
  keepers.onHeld((id) => {
    for (const { channel } of supervisor.workers) tellKeys(channel, id, keepers.held(id));
  });

  const unnamed = new WorkersIssuers(keepers, clock);

  let follower: Follower | undefined;
  const following = (): Following | undefined => {
    // All begin with the same file; who comes later begins with what the node holds by then.
    if (supervisor.isStarting || follower?.watcher.isLoaded !== true) return undefined;
    const { table, watcher } = follower;
    const stalenessMs = (): number => watcher.facts().stalenessSeconds * 1_000;
    return { table, position: () => watcher.position(), stalenessMs };
  };
  const siblings = new SiblingRelay();

  const answer = (worker: WorkerProcess): void => {
    void worker.gone.then(siblings.add(worker.channel));
    view.add(worker);
    if (source.kind !== "etcd") {
      const unserve = serveStore(worker.channel, source);
      void worker.gone.then(unserve);
    }
    worker.channel.onCall(COUNT, (ops) => counters.count(worker, ops));
    worker.channel.onTell(RELEASE, ({ scope }) => counters.release(worker, scope));
    worker.channel.onCall(PROBE, ({ target, conf }) => prober.ask(worker, target, conf));
    worker.channel.onTell(USED, (uses) => follower?.noteUses(uses));
    serveKeys(worker.channel, keepers);
    unnamed.serve(worker.channel);
    void worker.gone.then(() => unnamed.leave(worker.channel));
    worker.channel.onCall(BEGIN, async (hello) => {
      if (hello.version !== version) {
        const message = `the program on disk is ${hello.version} and this node runs ${version}: restart it instead`;
        throw new CodedError("WORKER_UNAVAILABLE", { message });
      }
      await worker.begun;
      begunWith.set(worker, current);
      return { settings: current, folder, store: source.kind };
    });
    void worker.gone.then(serveTable(worker.channel, following, clock));
    const admission = new WorkerAdmission(clock);
    worker.channel.onCall(MAY_LISTEN, ({ loaded, connected, applied: text }) => {
      const [applied, wanted] = [BigInt(text), view.applied()];
      if (!admission.admits({ loaded, connected, applied }, wanted) && !supervisor.isStarting)
        return { wait: String(wanted) };
      worker.admit(applied);
      return null;
    });
  };

  // Workers accept from one shared socket: nothing is lost when one ends, unlike where the primary hands connections
  // out and one is on its way (docs/workers.md has the measurement).
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  const execArgv = workerArguments(count);
  cluster.setupPrimary({ exec: workerFile(), args: [options.membership.id], execArgv, serialization: "advanced" });
  const supervisor = new Supervisor({
    ...{ count, clock, log, drainMs: settings.drainTimeMs },
    fork() {
      const worker = new WorkerProcess({
        ...{ clock, log, onNews },
        onLastMetrics: (ended, last) => merged.retire(ended, last),
      });
      answer(worker);
      return worker;
    },
    onGone(worker) {
      view.remove(worker);
      counters.forget(worker);
      merged.retire(worker, undefined);
      onNews();
    },
  });

  const settled = async (revision: Revision): Promise<void> => {
    if (view.applied() < revision) await waiters.wait(revision, SETTLE_MS);
    for (const refusals of await Promise.allSettled(view.serving.map((worker) => worker.certificateRefusals())))
      if (refusals.status === "fulfilled") judge.note(refusals.value);
  };
  const starting = supervisor.start();
  starting.catch(() => undefined); // awaited below
  // Workers judge alike, each for itself; on the embedded store this judge only names what they refuse.
  const env = verdictChecksOf(settings, registry);
  const sslError = settings.gateway.tls.listen ? env.sslError : undefined;
  const judge = openRecordJudge(settings.prefix, { ...env, sslError }, (id, value) =>
    keepers.follow(id, fetchedIssuer(value)),
  );
  const followed = await followStore({
    ...{ settings, source, folder, clock, log },
    consumer: judge,
    refusals: () => judge.refusals(),
    series: merged,
    membership: { ...options.membership, settled },
  });
  follower = followed;
  const close = async (drainMs: number): Promise<void> => {
    await followed.leave();
    await supervisor.stop(drainMs);
    waiters.giveUp();
    await followed.stop();
    await keepers.close();
    await states.close();
  };
  try {
    const { plain, tls } = await starting;
    return {
      ...{ plain, tls, close, join: followed.join },
      config() {
        const config = view.config();
        const problems = [...config.problems, ...keyProblems(keepers, settings.prefix)];
        return { ...config, problems, copy: followed.copy() };
      },
      workers: () => supervisor.workers.map((worker) => worker.shown()),
      waitApplied: async (revision, waitMs) => view.applied() >= revision || (await waiters.wait(revision, waitMs)),
      health: async () => mergeHealth(await Promise.allSettled(view.serving.map((worker) => worker.health()))),
      refusals: async (query) => newest(await Promise.allSettled(view.serving.map((worker) => worker.refusals(query)))),
      explain: async (query) => (await view.serving[0]?.explain(query)) ?? NO_WORKER,
      entries: () => followed.table.served(),
      modifyIndexes: () => followed.modifyIndexes(),
      issuers: () => keyFacts(keepers),
      metrics: merged.chunks,
      beginDrain: () => supervisor.beginDrain(),
      async reload(next) {
        const former = current;
        if (next.accessLog.format !== "off") checkTarget(next.accessLog.target);
        current = next;
        try {
          await supervisor.reload();
        } catch (error) {
          current = former;
          // Of those that serve by the new ones nobody knows whether they do well: back with them, too.
          if (supervisor.workers.some((worker) => worker.state === "serving" && begunWith.get(worker) === next))
            await supervisor.reload();
          throw error;
        }
      },
    };
  } catch (error) {
    await close(0);
    throw error;
  }
}

/** The program of a worker, in the build as in the sources. */
function workerFile(): string {
  const name = import.meta.url.endsWith(".ts") ? "./worker-main.ts" : "./worker-main.js";
  return fileURLToPath(new URL(name, import.meta.url));
}

/** @param answers of the workers; one that did not answer says nothing */
function newest(answers: readonly PromiseSettledResult<readonly RecentRefusal[]>[]): readonly RecentRefusal[] {
  const all = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
  return all.sort((a, b) => b.time - a.time).slice(0, REFUSALS_MAX);
}
