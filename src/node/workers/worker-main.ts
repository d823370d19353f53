/**
 * The program of a worker process; started by its primary, useless otherwise.
 */
import process from "node:process";

// Node.js would open its debugger to whoever may send this signal. Before anything else is loaded, which takes a while.
process.on("SIGUSR1", () => undefined);
const { runWorker } = await import("./worker.ts");
await runWorker();
