/**
 * `npm run build`: compiles src to dist, always.
 */
import { build, progress } from "./project.mjs";

const done = progress("Building");
try {
  await build();
  console.log(`Built in ${done()}.`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
done();
