/**
 * `npm run build`: compiles src to dist, always.
 */
import { build } from "./project.mjs";

try {
  await build();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
