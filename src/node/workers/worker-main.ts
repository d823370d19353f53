/**
 * The program of a worker process; started by its primary, useless otherwise.
 */
import { runWorker } from "./worker.ts";

await runWorker();
