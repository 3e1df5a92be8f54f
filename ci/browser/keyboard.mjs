// The page by Tab alone: everything that can be used is reached, seen when it has the focus, and left again.
import { Key } from "selenium-webdriver";

// Of more a long page consists of repetitions; from there on only the order of time is lost.
const STEPS_MOST = 600;
// A field for a date or a time takes several.
const STEPS_WITHIN_ONE = 8;

// Names an element by its way from the root: a live section may be replaced by one of the same shape while we walk.
const HELPERS = `
  const wayTo = (element) => {
    const way = [];
    for (let at = element; at && at !== document.documentElement; at = at.parentElement) way.unshift([...at.parentElement.children].indexOf(at));
    return way.join(".");
  };
  const styleOf = (element) => {
    const style = getComputedStyle(element);
    const outline = style.outlineStyle === "none" || parseFloat(style.outlineWidth) === 0 ? "none" : style.outlineWidth + style.outlineStyle + style.outlineColor;
    return { outline, shadow: style.boxShadow };
  };`;

const LIST = `${HELPERS}
  const usable = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")].filter((element) => {
    const box = element.getBoundingClientRect();
    return element.checkVisibility({ visibilityProperty: true }) && box.width > 0 && box.height > 0 && !element.disabled && element.type !== "hidden"
      && !element.closest("[inert]");
  });
  // Of the buttons of one choice, and of the tabs of one list, Tab reaches one; arrows the others.
  const groupOf = (element) => {
    if (element.type === "radio" && element.name) return "radio " + (element.form ? wayTo(element.form) : "") + element.name;
    const list = element.closest("[role=tablist], [role=radiogroup], [role=listbox], [role=menubar], [role=toolbar]");
    return list ? "list " + wayTo(list) : wayTo(element);
  };
  return usable.map((element) => ({ way: wayTo(element), group: groupOf(element), html: element.outerHTML.slice(0, 120), ...styleOf(element) }));`;

const FOCUSED = `${HELPERS}
  const element = document.activeElement;
  return !element || element === document.body || element === document.documentElement ? null
    : { way: wayTo(element), html: element.outerHTML.slice(0, 120), ...styleOf(element) };`;

export async function walk(browser) {
  const { driver } = browser;
  await driver.executeScript("document.activeElement?.blur(); window.scrollTo(0, 0);");
  const usable = await driver.executeScript(LIST);
  const byWay = new Map(usable.map((element) => [element.way, element]));
  const waiting = new Set(usable.map((element) => element.group));
  const found = [];
  const complained = new Set();
  let [first, last, within] = ["", "", 0];
  for (let step = 0; step < STEPS_MOST && waiting.size > 0; step += 1) {
    await driver.actions().sendKeys(Key.TAB).perform();
    const focused = await driver.executeScript(FOCUSED);
    const way = focused?.way ?? "the page itself";
    first ||= way;
    // Behind the end of the page Tab begins anew: once around is enough.
    if (way === first && last !== first && step > 0) break;
    within = way === last ? within + 1 : 0;
    last = way;
    if (!focused) continue;
    if (within >= STEPS_WITHIN_ONE) {
      found.push(`keyboard: Tab does not leave ${focused.html}`);
      break;
    }
    const known = byWay.get(focused.way);
    if (!known) continue;
    waiting.delete(known.group);
    const isSeen = (focused.outline !== "none" && focused.outline !== known.outline) || focused.shadow !== known.shadow;
    if (!isSeen && !complained.has(focused.way)) {
      complained.add(focused.way);
      found.push(`keyboard: the focus is not seen on ${focused.html}`);
    }
  }
  const unreached = usable.filter((element) => waiting.has(element.group));
  if (usable.length < STEPS_MOST) found.push(...unreached.slice(0, 10).map((element) => `keyboard: Tab does not reach ${element.html}`));
  return found;
}
