/**
 * The faults that must be shown to be survived, by number. A test belongs to a fault by the numbers that begin its name,
 * after the guarantees: `G1 G3: 3 leader killed`. The table of `npm run faults` has every one of them.
 */
export const CATALOGUE = [
  ["1", "etcd killed, back after 1 s"],
  ["2", "etcd away for long"],
  ["3", "leader killed"],
  ["4", "the member that is watched killed"],
  ["5", "quorum lost"],
  ["6", "member paused 5, 30, 120 s"],
  ["7", "rolling restart of all members"],
  ["8", "member replaced by an empty one"],
  ["9", "compaction while connected"],
  ["10", "compaction while cut off"],
  ["11", "compaction between pages of a list"],
  ["12", "store full"],
  ["13", "store wiped, same flags"],
  ["14", "store wiped and rewritten past our revision"],
  ["15", "restored from an old backup"],
  ["16", "wrong or empty prefix"],
  ["17", "slow disk"],
  ["18", "user loses its permission or password"],
  ["19", "token expired, then connection cut"],
  ["20", "connection reset again and again"],
  ["21", "cut after N bytes of catching up"],
  ["22", "silent drop 5, 30, 120 s"],
  ["23", "accepts, never answers"],
  ["24", "answers lost one way"],
  ["25", "200 ms latency, 1 Mbit/s"],
  ["26", "reconnect storm"],
  ["26b", "perfect calm"],
  ["27", "TLS: expired, foreign, wrong name, rotated"],
  ["28", "admin killed between two steps of a write"],
  ["29", "two admins, one record, racing PATCHes"],
  ["30", "two admins, one key, two consumers"],
  ["31", "oversized, too deep, hostile write"],
  ["32", "10,000 records in one burst"],
  ["33", "node starts with etcd away"],
  ["34", "killed while writing the disk file"],
  ["35", "disk full or read-only for the disk file"],
  ["36", "worker crash under load"],
  ["37", "event loop blocked"],
  ["38", "SIGTERM under load"],
  ["39", "clock jumps and drifts"],
  ["40", "garbage records in etcd"],
  ["41", "out of descriptors"],
  ["42", "memory limit"],
  ["43", "upstream target killed and restarted"],
  ["44", "upstream never answers or stalls in a body"],
  ["45", "keep-alive race"],
  ["46", "answer with bad framing"],
  ["47", "DNS changes, fails, is empty"],
  ["48", "all targets down, then up"],
];

/** Files beside test/faults and test/guarantees that hold tests of the catalogue. */
export const ELSEWHERE = [
  "test/e2e/workers.test.ts",
  "test/e2e/domain-names.test.ts",
  "test/gateway/responses.test.ts",
  "test/admin/transport.test.ts",
];

/** @returns the numbers of faults at the beginning of a name, such as `G3 G5: 4 7 every member ...`; often none */
export function numbersOf(name) {
  const found = /^(?:(?:G\d+ ?)+: )?((?:\d+b? )+)/.exec(name);
  const known = new Set(CATALOGUE.map(([number]) => number));
  return found
    ? found[1]
        .trim()
        .split(" ")
        .filter((number) => known.has(number))
    : [];
}
