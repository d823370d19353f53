/**
 * `npm run dev`: `jotgate start` from the sources, started anew whenever a file of src changes (Node's own --watch).
 * Further arguments go to it: `npm run dev -- --gateway-listen 127.0.0.1:8080`.
 */
import { main } from "../src/cli/main.ts";

// A restart waits for no caller.
process.env.JOTGATE_DRAIN_TIME ??= "1s";
process.exitCode = await main(["start", ...process.argv.slice(2)]);
