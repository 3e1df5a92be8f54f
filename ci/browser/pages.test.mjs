// Every page of every system, whatever pages there are: found by links, held to all rules.
import { describe, test } from "node:test";
import { act } from "./actions.mjs";
import { open } from "./chromium.mjs";
import { Crawl } from "./crawl.mjs";
import { none } from "./finding.mjs";
import { MARK } from "./hostile.mjs";
import { walk } from "./keyboard.mjs";
import { withoutScript } from "./plain.mjs";
import { answered, examine } from "./rules.mjs";
import { dataFolder, start } from "./server.mjs";
import { SYSTEMS } from "./systems.mjs";

const FIRST_PAGE_BYTES_MOST = 100_000;
// Pages that are the same for every system but for their data: keyboard, actions and the page without script are proven on one of them.
const SAME_EVERYWHERE = /^\/(docs|page\/(batches|models|pipeline|sql)|page\/try$)/;
const proven = new Set();

function isNew(page, system) {
  const key = SAME_EVERYWHERE.test(page.pattern) && !system.isHostile ? page.pattern : `${system.name} ${page.pattern}`;
  const isFirst = page.isFirst && !proven.has(key);
  if (isFirst) proven.add(key);
  return isFirst;
}

async function checkPage({ browser, plain }, page, system, where, crawl) {
  const found = answered(page);
  if (page.isPage && page.status === 200) {
    const examined = await examine(browser, page.url);
    for (const link of examined.links) crawl.add(link, page.path);
    found.push(...examined.found);
    if (isNew(page, system)) {
      found.push(...await walk(browser), ...await act(browser, page.url, examined.found), ...await withoutScript(browser, plain, page.url));
    }
  }
  none(found, where);
}

// All of the page's own host, asked as by someone who comes for the first time.
async function weight(browser, url) {
  await browser.command("Network.clearBrowserCache", {});
  await browser.go(url);
  const { requests } = await browser.logs();
  const bytes = requests.reduce((sum, request) => sum + request.bytes, 0);
  return { bytes, of: requests.map((request) => `${request.bytes} ${new URL(request.url).pathname}`).join(", ") };
}

async function checkSystem(t, system) {
  const server = await start(system.arguments(dataFolder(system.name)));
  t.after(() => server.stop());
  const browser = await open();
  t.after(() => browser.close());
  const plain = await open({ javascript: false });
  t.after(() => plain.close());
  await server.trained();
  const crawl = new Crawl(server.url);
  let showsMark = false;
  for (let page = await crawl.next(); page; page = await crawl.next()) {
    const where = `${system.name} ${page.path}`;
    await t.test(`${where} (${page.ms.toFixed(0)} ms)`, () => checkPage({ browser, plain }, page, system, where, crawl));
    if (system.isHostile && page.isPage && !showsMark) {
      showsMark = await browser.run((mark) => document.documentElement.textContent.includes(mark), MARK);
    }
  }
  if (system.isHostile) await t.test("hostile: the data is shown, as text", () => none(showsMark ? [] : [`no page shows a text with ${MARK}`], "hostile"));
  await t.test(`${system.name}: the first page's weight`, async () => {
    const { bytes, of } = await weight(browser, `${server.url}/`);
    t.diagnostic(`${system.name}: the first page is ${bytes} bytes: ${of}`);
    const isLight = bytes > 0 && bytes < FIRST_PAGE_BYTES_MOST;
    none(isLight ? [] : [`weight: ${bytes} bytes, not under ${FIRST_PAGE_BYTES_MOST}: ${of}`], `${system.name} /`);
  });
}

// Two at once: Chromium and the server wait for each other, and a machine of CI has two cores.
describe("pages", { concurrency: 2 }, () => {
  for (const system of SYSTEMS) test(system.name, { timeout: 1_800_000 }, (t) => checkSystem(t, system));
});
