// The page without JavaScript: it shows the same, and its forms are answered by pages.
import { By, error as webdriver } from "selenium-webdriver";
import { pause } from "./server.mjs";

const FORMS_MOST = 25;
const ANSWER_MS = 30_000;

const count = async (browser) => ({
  h1: await Promise.all((await browser.driver.findElements(By.css("h1"))).map((element) => element.getText())),
  links: (await browser.driver.findElements(By.css("a[href]"))).length,
  forms: (await browser.driver.findElements(By.css("form"))).length,
});

export async function withoutScript(browser, plain, url) {
  await browser.go(url);
  await plain.go(url);
  const [shown, bare] = [await count(browser), await count(plain)];
  const found = Object.keys(shown)
    .filter((what) => JSON.stringify(shown[what]) !== JSON.stringify(bare[what]))
    .map((what) => `without JavaScript: ${what}: ${JSON.stringify(bare[what])}, with it ${JSON.stringify(shown[what])}`);
  for (let place = 0; place < Math.min(bare.forms, FORMS_MOST); place += 1) {
    const wrong = await submit(plain, url, place);
    if (wrong) found.push(`form without JavaScript: ${wrong}`);
  }
  return found;
}

// Sends a form as it is delivered. What is wrong with the answer, or an empty text.
async function submit(plain, url, place) {
  await plain.go(url);
  const form = (await plain.driver.findElements(By.css("form")))[place];
  if (!form) return `form ${place + 1} is gone when the page is opened again`;
  const name = `${await form.getAttribute("method")} ${await form.getAttribute("action")}`;
  const [button] = await form.findElements(By.css("button:not([type=button]):not([type=reset]), input[type=submit]"));
  if (!button) return `${name}: it has no button that sends it`;
  await plain.logs();
  try {
    // As a person does who cannot see it yet.
    const [summary] = await form.findElements(By.xpath("ancestor::details[not(@open)]/summary"));
    await summary?.click();
    await button.click();
  } catch (error) {
    if (!(error instanceof webdriver.WebDriverError)) throw error;
    return `${name}: its button cannot be clicked: ${error.message.split("\n")[0]}`;
  }
  const seen = [];
  for (const end = Date.now() + ANSWER_MS; Date.now() < end; await pause(100)) {
    seen.push(...(await plain.logs()).requests.filter((request) => request.type === "Document" && (request.status || request.failed)));
    const answer = seen.at(-1);
    if (answer && !(answer.status >= 300 && answer.status < 400)) {
      const text = await plain.driver.findElement(By.css("body")).getText();
      if (answer.failed) return `${name}: ${answer.failed}`;
      if (answer.status >= 500) return `${name}: ${answer.status}: ${text.slice(0, 200)}`;
      return text.trim() ? "" : `${name}: ${answer.status}, a page that says nothing`;
    }
    // An empty field that is required keeps the browser from sending, and nothing would ever come.
    if (seen.length === 0 && (await form.findElements(By.css(":invalid")).catch(() => [])).length > 0) {
      return `${name}: a required field is delivered without an example`;
    }
  }
  return `${name}: no answer in ${ANSWER_MS / 1000} s`;
}
