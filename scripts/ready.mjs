/**
 * Makes a checkout ready to run: packages installed, sources built, both only when needed.
 */
import { buildIfNeeded, installIfNeeded } from "./project.mjs";

try {
  await installIfNeeded();
  await buildIfNeeded();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
