import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEmbeddedSource } from "../../src/store/embedded/embedded.ts";
import { storeContract } from "./store.ts";

storeContract("the embedded store", async () => {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-embedded-"));
  const source = await openEmbeddedSource({ folder, clock: systemClock, log: silentLog });
  return {
    source,
    async stop() {
      await source.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
});
