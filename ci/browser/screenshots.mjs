// Pictures of the running product, for people to look at: `ci/browser.sh screenshots BINARY FOLDER`.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { open } from "./chromium.mjs";
import { dataFolder, start, until } from "./server.mjs";
import { SYSTEMS } from "./systems.mjs";

// A line a picture's page. Every page is taken light at 1280 × 800; `also` has what else of it.
const PAGES = [
  { system: "bitcoin", path: "/", name: "now", also: ["dark", "phone"] },
  { system: "bitcoin", path: "/p/predict?_tab=2&open=4300&close=4310&volume=5&_ask=1", name: "predict" },
  { system: "bitcoin", path: "/page/models/range_boosted/latest", name: "version" },
  { system: "bitcoin", path: "/page/batches/1", name: "batch" },
  { system: "movies", path: "/p/films", name: "films", also: ["phone"] },
  { system: "movies", path: "/p/audience", name: "audience" },
  { system: "products", path: "/p/shop", name: "shop" },
  { system: "houses", path: "/page/models/kind/latest", name: "clusters" },
  { system: "movielens", path: "/p/taste", name: "taste" },
];

const WAITS_MS = 120_000;
const LOOKS = {
  light: { width: 1280, height: 800, scheme: "light" },
  dark: { width: 1280, height: 800, scheme: "dark" },
  phone: { width: 390, height: 844, scheme: "light" },
};

async function take(browser, url, file, { width, height, scheme }) {
  await browser.size(width, height);
  await browser.scheme(scheme);
  await browser.go(url);
  // What is computed on demand fills itself.
  await until(`${url} is complete`, WAITS_MS, () => browser.run(() => !document.querySelector("[data-waits]")));
  const bytes = Buffer.from(await browser.driver.takeScreenshot(), "base64");
  writeFileSync(file, bytes);
  console.log(`${String(Math.ceil(bytes.length / 1024)).padStart(6)} KiB  ${width}×${height}  ${file}`);
}

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
const browser = await open();
try {
  for (const system of SYSTEMS) {
    const pages = PAGES.filter((page) => page.system === system.name);
    if (pages.length === 0) continue;
    const server = await start(system.arguments(dataFolder(system.name)));
    try {
      await server.trained();
      for (const { path, name, also = [] } of pages) {
        for (const look of ["light", ...also]) {
          await take(browser, server.url + path, join(folder, look === "light" ? `${name}.png` : `${name}-${look}.png`), LOOKS[look]);
        }
      }
    } finally {
      await server.stop();
    }
  }
} finally {
  await browser.close();
}
