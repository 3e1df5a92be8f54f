// What can be done on a page, done once each with its script: forms as they are delivered, buttons, tabs, what opens and closes.
import { error as webdriver } from "selenium-webdriver";
import { axe } from "./rules.mjs";
import { pause } from "./server.mjs";

const ACTIONS_MOST = 40;
const ANSWER_MS = 15_000;

// By the way from the root, which what appears below it leaves alone.
const LIST = () => [...document.querySelectorAll("button, input[type=submit], summary, [role=tab]")]
  .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.disabled)
  .map((element) => {
    const way = [];
    for (let at = element; at !== document.documentElement; at = at.parentElement) way.unshift([...at.parentElement.children].indexOf(at));
    return { way, html: element.outerHTML.slice(0, 120), form: element.type === "submit" ? element.form?.getAttribute("action") ?? null : null };
  });

const FIND = (way) => way.reduce((element, place) => element?.children[place], document.documentElement) ?? null;

const shown = () => location.href + document.body.innerText;

// `known` was found before; of what the page became, only what is new is told.
export async function act(browser, url, known) {
  const found = [];
  await browser.go(url);
  const actions = await browser.run(LIST);
  for (const { way, html, form } of actions.slice(0, ACTIONS_MOST)) {
    if (await browser.driver.getCurrentUrl() !== url) await browser.go(url);
    const element = await browser.run(FIND, way);
    if (!element || !(await element.isDisplayed())) continue;
    const name = form === null ? `action: ${html}` : `form ${form}`;
    const before = await browser.run(shown);
    await browser.logs();
    try {
      await element.click();
    } catch (error) {
      if (!(error instanceof webdriver.WebDriverError)) throw error;
      found.push(`${name}: it cannot be clicked: ${error.message.split("\n")[0]}`);
      continue;
    }
    await pause(150);
    const logs = await browser.logs();
    // A button may do what nobody sees, such as copying; a form that is sent has an answer: in its place, as a page or as a file.
    const isAnswered = async () => await browser.run(shown) !== before || logs.requests.some((request) => request.type === "Document" && request.status);
    const end = Date.now() + ANSWER_MS;
    while (form !== null && !(await isAnswered())) {
      if (Date.now() > end) {
        found.push(`${name}: it is sent, and nothing is shown`);
        break;
      }
      await pause(100);
      const more = await browser.logs();
      logs.console.push(...more.console);
      logs.requests.push(...more.requests);
    }
    found.push(...new Set(logs.requests.filter((request) => request.status >= 500).map((request) => `${name}: ${request.status} for ${request.url}`)));
    // Chromium logs each answer of 4xx; what the form was delivered with may be no example.
    const errors = logs.console.filter((entry) => entry.level === "SEVERE" && !/status of 4\d\d/.test(entry.text));
    found.push(...errors.map((entry) => `${name}: console: ${entry.text}`));
  }
  if (await browser.driver.getCurrentUrl() === url) {
    found.push(...(await axe(browser, "light")).filter((rule) => !known.includes(rule)).map((rule) => `after its actions, ${rule}`));
  }
  return found;
}
