import { missing } from "./not-there.mjs";

missing();
