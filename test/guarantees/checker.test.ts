/**
 * The judges themselves: each rule finds what breaks it, so that a run without complaints means something.
 */
import { describe, expect, test } from "vitest";
import type { KeyValue } from "../../src/store/store.ts";
import { checkLedger, checkOrder, checkSamples, hashOf } from "../support/checker.ts";
import type { History, HistoryEvent } from "../support/history.ts";
import type { LedgerEntry } from "../support/ledger.ts";
import type { NodeConfig } from "../support/scrape.ts";

const KEY = "/apisix/routes/1";
const value = (nonce: string): string => JSON.stringify({ uri: "/", desc: nonce });
const event = (revision: bigint, nonce: string | undefined, key = KEY): HistoryEvent => ({
  revision,
  key,
  value: nonce === undefined ? undefined : value(nonce),
});
const historyOf = (events: readonly HistoryEvent[], gap?: string): History => ({
  events,
  gap,
  caughtUp: async () => 0n,
  stop: async () => {},
});
const kv = (nonce: string, modRevision = 2n, key = KEY): KeyValue => ({
  key,
  value: Buffer.from(value(nonce)),
  createRevision: 2n,
  modRevision,
  version: 1n,
  lease: 0n,
});
const asked = (nonce: string, outcome: LedgerEntry["outcome"], op: LedgerEntry["op"] = "put"): LedgerEntry => ({
  ...{ op, key: KEY, nonce, outcome, sentMs: 0, answeredMs: 1, status: 200, text: "" },
});

describe("the ledger against the history", () => {
  const rows: readonly {
    says: string;
    entries: readonly LedgerEntry[];
    events: readonly HistoryEvent[];
    final: readonly KeyValue[];
    gap?: string;
    wrong: RegExp | undefined;
  }[] = [
    {
      says: "done, superseded, final: nothing is wrong",
      entries: [asked("n1-a", "done"), asked("n2-a", "unknown"), asked("n3-a", "refused"), asked("n4-a", "done")],
      events: [event(2n, "n1-a"), event(3n, "n4-a")],
      final: [kv("n4-a", 3n)],
      wrong: undefined,
    },
    { says: "a lost write", entries: [asked("n1-a", "done")], events: [], final: [], wrong: /^lost/ },
    {
      says: "a phantom",
      entries: [asked("n1-a", "refused")],
      events: [event(2n, "n1-a")],
      final: [kv("n1-a")],
      wrong: /^phantom/,
    },
    {
      says: "a write done twice",
      entries: [asked("n1-a", "done")],
      events: [event(2n, "n1-a"), event(3n, "n1-a")],
      final: [kv("n1-a", 3n)],
      wrong: /once more/,
    },
    {
      says: "a write nobody asked for",
      entries: [asked("n1-a", "done")],
      events: [event(2n, "n1-a"), event(3n, "n9-z")],
      final: [kv("n9-z", 3n)],
      wrong: /nobody asked/,
    },
    {
      says: "a delete that did not happen",
      entries: [asked("n1-a", "done"), asked("n2-a", "done", "delete")],
      events: [event(2n, "n1-a")],
      final: [kv("n1-a")],
      wrong: /deleted 0 times/,
    },
    {
      says: "a delete that nobody asked for",
      entries: [asked("n1-a", "done")],
      events: [event(2n, "n1-a"), event(3n, undefined)],
      final: [],
      wrong: /deleted 1 times/,
    },
    {
      says: "a delete of unknown outcome may have happened",
      entries: [asked("n1-a", "done"), asked("n2-a", "unknown", "delete")],
      events: [event(2n, "n1-a"), event(3n, undefined)],
      final: [],
      wrong: undefined,
    },
    {
      says: "a final list that differs from the history",
      entries: [asked("n1-a", "done"), asked("n2-a", "done")],
      events: [event(2n, "n1-a"), event(3n, "n2-a")],
      final: [kv("n1-a")],
      wrong: /in its history/,
    },
    { says: "a gap in the history", entries: [], events: [], final: [], gap: "compacted", wrong: /gap/ },
  ];
  test.each(rows)("$says", ({ entries, events, final, gap, wrong }) => {
    const found = checkLedger(entries, historyOf(events, gap), final);
    if (wrong === undefined) expect(found).toEqual([]);
    else expect(found.join("\n")).toMatch(wrong);
  });

  test("of one writer's writes a later one has the higher revision", () => {
    const entries = [asked("n1-a", "done"), asked("n2-a", "done")];
    expect(checkOrder(entries, historyOf([event(2n, "n1-a"), event(3n, "n2-a")]))).toEqual([]);
    expect(checkOrder(entries, historyOf([event(3n, "n1-a"), event(2n, "n2-a")]))).not.toEqual([]);
  });
});

test("revisions that go back are found, and so is a node that is no longer loaded", () => {
  const sample = (revision: number, loaded = true): NodeConfig => ({ revision, loaded }) as NodeConfig; // all that is looked at
  expect(checkSamples([sample(1), sample(1), sample(2)])).toEqual([]);
  expect(checkSamples([sample(2), sample(1)])).toHaveLength(1);
  expect(checkSamples([sample(1), sample(2, false)])).toHaveLength(1);
});

test("the expected hash depends on each record and its revision, and on nothing that is no record", () => {
  const one = hashOf([kv("n1-a")]);
  expect(hashOf([kv("n1-a", 3n)])).not.toBe(one);
  expect(hashOf([kv("n1-a"), kv("n2-a", 2n, "/apisix/routes/2")])).not.toBe(one);
  const placeholder = { ...kv("", 1n, "/apisix/routes/"), value: Buffer.from("init_dir") };
  expect(hashOf([placeholder, kv("n1-a"), kv("n1-a", 9n, "/apisix/unknown/1")])).toBe(one);
});
