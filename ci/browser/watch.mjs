// Holds the first page of a running pipeline open and says how much the browser holds: watch.mjs URL SECONDS. A line every ten seconds:
// seconds, the page's JavaScript heap in KiB after a collection, its DOM nodes and listeners, resident MiB of all of Chromium.
import { readFileSync, readdirSync } from "node:fs";
import { open } from "./chromium.mjs";
import { pause } from "./server.mjs";

const EVERY_MS = 10_000;
const [url, seconds] = process.argv.slice(2);
const browser = await open();
await browser.command("HeapProfiler.enable", {});
await browser.command("Performance.enable", {});
await browser.go(url);
const began = Date.now();
while (Date.now() - began < Number(seconds) * 1000) {
  await pause(EVERY_MS);
  await browser.command("HeapProfiler.collectGarbage", {});
  const { metrics } = await browser.driver.sendAndGetDevToolsCommand("Performance.getMetrics", {});
  const of = (name) => metrics.find((metric) => metric.name === name)?.value ?? 0;
  // What the logs of WebDriver hold of the page's requests is no memory of the page.
  await browser.logs();
  console.log([Math.round((Date.now() - began) / 1000), Math.round(of("JSHeapUsedSize") / 1024), of("Nodes"), of("JSEventListeners"), resident()].join(" "));
}
await browser.close();

function resident() {
  let kib = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "chromium") kib += Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmRSS:\s+(\d+)/)?.[1] ?? 0);
    } catch {
      // It ended meanwhile.
    }
  }
  return Math.round(kib / 1024);
}
