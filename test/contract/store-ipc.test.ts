import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Channel } from "../../src/base/channel.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEmbeddedSource } from "../../src/store/embedded/embedded.ts";
import { openIpcSource } from "../../src/store/ipc/ipc.ts";
import { serveStore } from "../../src/store/ipc/ipc-serve.ts";
import { makePipes } from "../support/pipes.ts";
import { storeContract } from "./store.ts";

storeContract("a store that another process has open", async () => {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-ipc-"));
  const source = await openEmbeddedSource({ folder, clock: systemClock, log: silentLog });
  const [here, there] = makePipes();
  const options = { clock: systemClock, log: silentLog };
  const unserve = serveStore(new Channel({ ...options, pipe: here }), source);
  return {
    source: openIpcSource(new Channel({ ...options, pipe: there })),
    async stop() {
      await unserve();
      await source.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
});
