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
  // By their ids, since the page was opened: what a request comes to may be told after it was.
  #requests = new Map();

  constructor(driver) { this.driver = driver; }

  // The page as it is once its scripts had a moment.
  async go(url) {
    await this.logs();
    this.#requests.clear();
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

  // What was said since the last call, and the requests of which something was.
  async logs() {
    const logs = this.driver.manage().logs();
    const console = (await logs.get("browser")).map((entry) => ({ level: entry.level.name, text: entry.message }));
    const events = (await logs.get("performance")).map((entry) => JSON.parse(entry.message).message);
    return { console, requests: follow(this.#requests, events) };
  }

  close() { return this.driver.quit(); }
}

// A request whose page was left is no failed one.
function follow(requests, events) {
  const told = new Set();
  for (const { method, params } of events) {
    if (method === "Network.requestWillBeSent") {
      const { requestId, request, type, redirectResponse } = params;
      // A redirection goes on by the same id, maybe to another host: both count.
      if (redirectResponse) requests.set(`${requestId} before ${request.url}`, requests.get(requestId));
      requests.set(requestId, { url: request.url, type, status: 0, bytes: 0, failed: "" });
    }
    const request = requests.get(params?.requestId);
    if (!request || !/^(https?|wss?):/.test(request.url)) continue;
    told.add(request);
    if (method === "Network.responseReceived") request.status = params.response.status;
    if (method === "Network.loadingFinished") request.bytes = params.encodedDataLength;
    if (method === "Network.loadingFailed" && !params.canceled) request.failed = params.errorText;
  }
  return [...told];
}
