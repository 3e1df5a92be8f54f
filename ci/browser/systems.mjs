// What the pages are proven on: every demo, small enough for a debug build, and a store of hostile data.
import { writeHostile } from "./hostile.mjs";

const demo = (system, rows) => ({
  name: system ?? "bitcoin",
  arguments: (folder) => [
    "demo", ...(system ? [system] : []), ...(rows ? ["--rows", String(rows)] : []), "--data", folder,
  ],
});

const ALL = [
  demo(undefined, 20_000),
  demo("movies"),
  demo("products"),
  demo("houses", 6_000),
  demo("movielens", 20_000),
  { name: "hostile", isHostile: true, arguments: (folder) => ["run", writeHostile(folder)] },
];

const only = process.env.ONLY;
export const SYSTEMS = ALL.filter((system) => !only || system.name === only);
