/**
 * What revoked tokens cost one process: memory, time to load, longest turn, and a look-up after a change.
 * Run: node --expose-gc --import tsx bench/revocations.ts [tokens]
 */
import { createHash } from "node:crypto";
import { systemClock } from "../src/base/clock.ts";
import { fingerprintOfText, readFingerprint } from "../src/base/jose/token.ts";
import { openMetrics } from "../src/base/metrics.ts";
import { encodeBatch, hourDir, hourOf } from "../src/model/revocation.ts";
import { openRevocations } from "../src/runtime/revocation/live-revocations.ts";

const TOKENS = Number(process.argv[2] ?? 1_000_000);
const BATCH = 3_000;
const MIB = 2 ** 20;
const until = Math.floor(Date.now() / 1_000) + 7_200;

function batchFrom(first: number): Buffer {
  const tokens = Array.from({ length: Math.min(BATCH, TOKENS - first) }, (_, i) => ({
    fingerprint: readFingerprint(
      createHash("sha256")
        .update(`token ${first + i}`)
        .digest(),
      0,
    ),
    until,
  }));
  return encodeBatch(tokens, Date.now());
}

const batches = Array.from({ length: Math.ceil(TOKENS / BATCH) }, (_, i) => batchFrom(i * BATCH));
const storedBytes = batches.reduce((sum, { length }) => sum + length, 0);
globalThis.gc?.();
const before = process.memoryUsage();

const revocations = openRevocations({
  ...{ prefix: "/apisix", clock: systemClock, metrics: openMetrics(), keepMs: 600_000 },
});
let longestMs = 0;
const cpu = process.cpuUsage();
const startMs = performance.now();
for (const [i, batch] of batches.entries()) {
  const turnMs = performance.now();
  revocations.apply(`${hourDir("/apisix", hourOf(until))}bench-${i}-${BATCH}`, batch);
  longestMs = Math.max(longestMs, performance.now() - turnMs);
}
const loadMs = performance.now() - startMs;
const used = process.cpuUsage(cpu);
const cpuMs = (used.user + used.system) / 1_000;
globalThis.gc?.();
const after = process.memoryUsage();

const LOOKED_UP = 200_000;
const unknown = Array.from({ length: 1_000 }, (_, i) => fingerprintOfText(`h.${i}.s`));
const token = {
  ...{ consumer: "jack", client: undefined, issuer: undefined, subject: undefined, keyId: undefined },
  ...{ issuedAt: until, expires: until, id: undefined, checked: 0, fingerprint: undefined },
};
const lookMs = performance.now();
for (let i = 0; i < LOOKED_UP; i++) revocations.find(token, unknown[i % unknown.length]);
const lookUpNs = ((performance.now() - lookMs) * 1e6) / LOOKED_UP;
revocations.close();

const tableMiB = (after.arrayBuffers - before.arrayBuffers) / MIB;
const heapMiB = (after.heapUsed - before.heapUsed) / MIB;
console.log(`${revocations.tokenCount} tokens in ${batches.length} records, Node ${process.version}`);
console.log(`store          ${(storedBytes / 1e6).toFixed(1)} MB, as much in each process's table of records`);
const rssMiB = (after.rss - before.rss) / MIB;
console.log(
  `tables         ${tableMiB.toFixed(1)} MiB, heap ${heapMiB.toFixed(1)} MiB, resident ${rssMiB.toFixed(1)} MiB more`,
);
console.log(
  `load           ${loadMs.toFixed(0)} ms (${cpuMs.toFixed(0)} ms of processor time), longest turn ${longestMs.toFixed(1)} ms`,
);
console.log(`look-up        ${lookUpNs.toFixed(0)} ns`);
