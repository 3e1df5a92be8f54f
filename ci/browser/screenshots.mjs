// Pictures of the running product, for people to look at: `ci/browser.sh screenshots BINARY FOLDER`.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { open } from "./chromium.mjs";
import { dataFolder, start } from "./server.mjs";
import { SYSTEMS } from "./systems.mjs";

// A line a picture's page. Every page is taken light at 1280 × 800; `also` has what else of it.
const PAGES = [
  { system: "bitcoin", path: "/", name: "live", also: ["dark", "phone"] },
  { system: "bitcoin", path: "/docs", name: "api" },
  { system: "movies", path: "/", name: "movies" },
  { system: "products", path: "/", name: "products" },
  { system: "houses", path: "/", name: "houses" },
  { system: "movielens", path: "/", name: "movielens" },
];

const LOOKS = {
  light: { width: 1280, height: 800, scheme: "light" },
  dark: { width: 1280, height: 800, scheme: "dark" },
  phone: { width: 390, height: 844, scheme: "light" },
};

async function take(browser, url, file, { width, height, scheme }) {
  await browser.size(width, height);
  await browser.scheme(scheme);
  await browser.go(url);
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
