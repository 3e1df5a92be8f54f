// What every page must hold. Each rule gives a list of what breaks it, in words that name the rule and the element.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const NARROW = 360;
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// --- in the page ---------------------------------------------------------------------------------------------------
function look() {
  const found = [];
  const named = (element) => element.outerHTML.slice(0, 160);
  const each = (selector, rule, isBad = () => true) => {
    for (const element of document.querySelectorAll(selector)) if (isBad(element)) found.push(`${rule}: ${named(element)}`);
  };
  const n_h1 = document.querySelectorAll("h1").length;
  if (!document.title.trim()) found.push("title: there is none");
  if (n_h1 !== 1) found.push(`one h1: there are ${n_h1}`);
  if (window.hacked !== undefined) found.push(`hostile data: it ran a script (${window.hacked})`);
  each("[data-hostile]", "hostile data: it became an element");
  each("iframe, object, embed, frame, base", "hostile data: an element that no page of ours has");
  each("script", "script of our own: a script without a file of this server", (script) => !script.src || new URL(script.src).origin !== location.origin);
  each("a[href], area[href]", "links: it leads to no web page", (link) => !/^(https?|mailto):$/.test(new URL(link.href, location.href).protocol));
  each("img[src]", "pictures: it shows nothing", (image) => image.complete && image.naturalWidth === 0);
  each("form[action]", "forms: it sends to another host", (form) => new URL(form.getAttribute("action"), location.href).origin !== location.origin);
  each("a[href^='#']", "links: nothing on this page has that id", (link) => link.hash.length > 1 && !document.getElementById(decodeURIComponent(link.hash.slice(1))));
  return found;
}

// The links, and what each form that only reads would ask as it is delivered.
function linksOf() {
  const links = [...document.querySelectorAll("a[href]")].map((link) => ({
    url: link.href, inNavigation: link.closest("header nav") !== null,
  }));
  for (const form of document.forms) {
    const action = form.getAttribute("action") ?? location.pathname;
    // A pattern that the script fills in is no URL yet.
    if (form.method !== "get" || action.includes("{")) continue;
    const url = new URL(action, location.href);
    url.search = new URLSearchParams(new FormData(form));
    links.push({ url: url.href, inNavigation: false, isForm: true });
  }
  return links.filter((link) => /^https?:/.test(link.url));
}

function sideways() {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const scrolls = (element) => {
    for (let above = element.parentElement; above && above !== document.body; above = above.parentElement) {
      if (/auto|scroll|hidden|clip/.test(getComputedStyle(above).overflowX)) return true;
    }
    return false;
  };
  const wide = [...document.body.querySelectorAll("*")]
    .filter((element) => element.getBoundingClientRect().right > root.clientWidth + 1 && !scrolls(element));
  const innermost = wide.filter((element) => !wide.some((other) => other !== element && element.contains(other)));
  return [`no sideways scroll: ${root.scrollWidth} px in a window of ${root.clientWidth} px: ${
    innermost.slice(0, 3).map((element) => element.outerHTML.slice(0, 120)).join(" and ")}`];
}

// --- from outside --------------------------------------------------------------------------------------------------
export function answered(page) {
  const found = [];
  const where = `linked from ${page.from}`;
  if (page.status !== 200) found.push(`HTTP 200: ${page.status}, ${where}`);
  const policy = page.policy ?? "";
  if (page.isPage && !/default-src/.test(policy)) found.push(`content security policy: there is none with default-src: ${policy}`);
  if (/unsafe-inline|unsafe-eval/.test(policy)) found.push(`content security policy: ${policy}`);
  return found;
}

export async function axe(browser, scheme) {
  await browser.scheme(scheme);
  await browser.driver.executeScript(`if (!window.axe) { ${axeSource} }`);
  const violations = await browser.driver.executeAsyncScript(`
    const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ["violations"], preload: false }).then(
      (result) => done(result.violations.map((rule) => ({ id: rule.id, help: rule.help, n: rule.nodes.length, html: rule.nodes[0].html.slice(0, 160),
        why: rule.nodes[0].failureSummary.split("\\n")[1]?.trim() }))),
      (error) => done([{ id: "axe", help: String(error), n: 1, html: "", why: "" }]));`);
  await browser.scheme("");
  return violations.map((rule) => `axe ${rule.id}: ${rule.help}; ${rule.n} elements, the first ${rule.html}: ${rule.why}`);
}

export function said(logs, origin) {
  const found = logs.console.filter((entry) => entry.level === "SEVERE").map((entry) => `console: ${entry.text}`);
  for (const request of logs.requests) {
    if (new URL(request.url.replace(/^ws/, "http")).origin !== origin) found.push(`no other host: ${request.type} ${request.url}`);
    else if (request.status >= 400) found.push(`no failed request: ${request.status} for ${request.url}`);
    else if (request.failed) found.push(`no failed request: ${request.failed} for ${request.url}`);
  }
  return found;
}

// Opens the page and asks everything of it. The links come back with what was found.
export async function examine(browser, url) {
  const { origin } = new URL(url);
  await browser.go(url);
  const found = await browser.run(look);
  const links = await browser.run(linksOf);
  const light = await axe(browser, "light");
  const dark = (await axe(browser, "dark")).filter((rule) => !light.includes(rule)).map((rule) => `in dark, ${rule}`);
  found.push(...light, ...dark);
  await browser.size(NARROW, 740);
  found.push(...await browser.run(sideways));
  await browser.size(1280, 800);
  found.push(...said(await browser.logs(), origin));
  return { found, links };
}
