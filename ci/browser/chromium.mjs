// Chromium by WebDriver, and what it says of a page: its console and its requests.
import { Builder } from "selenium-webdriver";
import { Options, ServiceBuilder } from "selenium-webdriver/chrome.js";
import { pause } from "./server.mjs";

const CHROMEDRIVER = process.env.CHROMEDRIVER ?? "/usr/bin/chromedriver";
const BLOCKED = 2;
const SETTLE_MS = 400;

export async function open({ javascript = true } = {}) {
  const options = new Options();
  options.addArguments("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb", "--lang=en");
  options.set("goog:loggingPrefs", { browser: "ALL", performance: "ALL" });
  if (!javascript) options.setUserPreferences({ "profile.managed_default_content_settings.javascript": BLOCKED });
  const driver = await new Builder().forBrowser("chrome").setChromeOptions(options)
    .setChromeService(new ServiceBuilder(CHROMEDRIVER)).build();
  await driver.manage().setTimeouts({ pageLoad: 60_000, script: 60_000 });
  const browser = new Chromium(driver);
  await browser.size(1280, 800);
  return browser;
}

class Chromium {
  constructor(driver) { this.driver = driver; }

  // The page as it is once its scripts had a moment.
  async go(url) {
    await this.logs();
    await this.driver.get(url);
    await pause(SETTLE_MS);
  }

  // Runs a function of this file's callers in the page.
  run(inPage, ...values) { return this.driver.executeScript(`return (${inPage}).apply(null, arguments)`, ...values); }

  command(name, parameters) { return this.driver.sendDevToolsCommand(name, parameters); }

  size(width, height) {
    return this.command("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  }

  scheme(value) {
    return this.command("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });
  }

  // What was said since the last call.
  async logs() {
    const logs = this.driver.manage().logs();
    const console = (await logs.get("browser")).map((entry) => ({ level: entry.level.name, text: entry.message }));
    const events = (await logs.get("performance")).map((entry) => JSON.parse(entry.message).message);
    return { console, requests: requestsOf(events) };
  }

  close() { return this.driver.quit(); }
}

// A request whose page was left is no failed one.
function requestsOf(events) {
  const requests = new Map();
  for (const { method, params } of events) {
    if (method === "Network.requestWillBeSent") {
      const { request, type, redirectResponse } = params;
      // A redirection goes on by the same id, maybe to another host: both count.
      if (redirectResponse) requests.set(`${params.requestId} before ${request.url}`, requests.get(params.requestId));
      requests.set(params.requestId, { url: request.url, type, status: 0, bytes: 0, failed: "" });
    }
    const request = requests.get(params?.requestId);
    if (!request) continue;
    if (method === "Network.responseReceived") Object.assign(request, { status: params.response.status, kind: params.response.mimeType });
    if (method === "Network.loadingFinished") request.bytes = params.encodedDataLength;
    if (method === "Network.loadingFailed" && !params.canceled) request.failed = params.errorText;
  }
  return [...requests.values()].filter((request) => request && /^(https?|wss?):/.test(request.url));
}
