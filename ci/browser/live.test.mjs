// The page while the stream flows, when the server dies, and when it is back.
import { after, before, test } from "node:test";
import { open } from "./chromium.mjs";
import { none } from "./finding.mjs";
import { examine, said } from "./rules.mjs";
import { dataFolder, start, until } from "./server.mjs";

const SECONDS = 1000;
const settings = ["source.rate=200", "batch.rows=500"];

let browser;
before(async () => { browser = await open(); });
after(async () => { await browser?.close(); });

// The numbers that the page says are live, else all of it. `unloaded` tells a reload from a change in place.
function numbers() {
  const live = [...document.querySelectorAll("[data-live]")];
  return (live.length > 0 ? live : [document.querySelector("main")]).map((element) => element.innerText).join("\n").match(/\d[\d,.\s]*/g)?.join(" ") ?? "";
}

// What the page says of its connection, where someone who does not see it is told as well.
const connection = () => [...document.querySelectorAll("[role=status], [role=alert], [aria-live], output")]
  .filter((element) => element.checkVisibility()).map((element) => element.innerText.trim()).filter(Boolean).join(" | ");

const isLost = (text) => /reconnect|lost|no connection|no longer|not (be )?reach|unreachable|offline|disconnect/i.test(text);

test("the page of a stream that flows", { timeout: 300 * SECONDS }, async (t) => {
  const args = ["demo", "--rows", "200000", "--data", dataFolder("live")];
  let server = await start(args, settings);
  t.after(() => server.stop("SIGKILL"));
  const { url } = server;

  await t.test("all rules hold while it changes", async () => {
    const { found } = await examine(browser, `${url}/`);
    none(found, "live /");
  });

  await browser.go(`${url}/`);
  await browser.run(() => { window.isSamePage = true; });

  await t.test("a number moves without a reload", async () => {
    const before = await browser.run(numbers);
    none(/\d/.test(before) ? [] : ["there is no number"], "live /");
    await until("live /: a number moves", 15 * SECONDS, async () => (await browser.run(numbers)) !== before);
    none(await browser.run(() => window.isSamePage === true) ? [] : ["it was loaded anew"], "live /");
  });

  await t.test("no error comes with the changes", async () => {
    await until("a batch is committed", 30 * SECONDS, async () => (await (await fetch(`${url}/v1/batches`)).json()).total > 0);
    const found = said(await browser.logs(), new URL(url).origin);
    none(found, "live /, after a batch");
  });

  const quiet = await browser.run(connection);
  await server.stop("SIGKILL");
  await t.test("the server is killed: the page says that the connection is lost", async () => {
    await until(`live /: lost connection: an element with role=status, role=alert or aria-live says so; they say "${quiet}"`, 15 * SECONDS,
      async () => { const text = await browser.run(connection); return text !== quiet && isLost(text); });
  });

  await t.test("the server is back: the page goes on by itself", async () => {
    const before = await browser.run(numbers);
    server = await start(args, [...settings, `serve.listen=${new URL(url).host}`]);
    await until("live /: after a restart a number moves", 30 * SECONDS, async () => (await browser.run(numbers)) !== before);
    await until("live /: after a restart nothing says that the connection is lost", 15 * SECONDS, async () => !isLost(await browser.run(connection)));
    none(await browser.run(() => window.isSamePage === true) ? [] : ["it was loaded anew"], "live /");
  });
});
