// Pages are complete without this. With it they stay up to date, and forms answer in place: both ask for the page itself, and put the
// elements that are marked so in place of the old ones.
"use strict";

// Often enough to be live, seldom enough for 10,000 rows a second.
const REFRESH_MS = 1000;
const connection = document.getElementById("connection");
const skipped = document.getElementById("skipped");
const announcer = document.getElementById("announcer");
// What each part was when it came: a part that did not change is left alone, with its focus, its scrolling and what is open in it.
const shown = new Map();
// A page that has just come is as good as a fresh one.
let refreshing = true;
let again = false;
setTimeout(() => { refreshing = false; if (again) refresh(); }, REFRESH_MS);
let lost = 0;

async function pageAt(url) {
  const response = await fetch(url, { headers: { accept: "text/html" } });
  if (!response.ok && response.status !== 422) throw new Error(String(response.status));
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function replace(old, fresh) {
  if ((shown.get(old.id) ?? old.outerHTML) === fresh.outerHTML) return;
  shown.set(old.id, fresh.outerHTML);
  const scrolls = [...old.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  const open = [...old.querySelectorAll("details")].map((element) => element.open);
  const focusables = "a, button, input, select, summary, .scroll";
  const focused = [...old.querySelectorAll(focusables)].indexOf(document.activeElement);
  old.replaceWith(fresh);
  fresh.querySelectorAll(".scroll").forEach((element, index) => { element.scrollLeft = scrolls[index] || 0; });
  fresh.querySelectorAll("details").forEach((element, index) => { element.open = open[index] || false; });
  if (focused >= 0) fresh.querySelectorAll(focusables)[focused]?.focus({ preventScroll: true });
}

async function refresh() {
  if (refreshing || document.hidden) { again = true; return; }
  refreshing = true;
  again = false;
  try {
    const page = await pageAt(location.href);
    for (const old of document.querySelectorAll("[data-live][id]")) {
      const fresh = page.getElementById(old.id);
      if (fresh) replace(old, fresh);
    }
  } catch {
    // The stream's own reconnect says when the server is back.
  }
  setTimeout(() => { refreshing = false; if (again || document.querySelector("[data-waits]")) refresh(); }, REFRESH_MS);
}

// --- the event stream: only so many pages of one browser may hold one, so a page that nobody sees lets go of its own ---------------
let events = null;
function listen() {
  if (events || document.hidden || !document.querySelector("main [data-live], [data-waits]")) return;
  events = new EventSource("/v1/events");
  events.onopen = () => { tell(true, "live"); refresh(); };
  events.onerror = () => tell(false, "connection lost, trying again");
  events.addEventListener("status", refresh);
  events.addEventListener("lagged", (event) => {
    lost += JSON.parse(event.data).lost;
    skipped.textContent = lost + " events skipped";
    refresh();
  });
  for (const kind of ["batch_committed", "version_trained", "version_removed", "version_decided", "alias_moved", "training_failed", "source_ended", "problem", "problem_over"]) {
    events.addEventListener(kind, (event) => {
      refresh();
      const message = JSON.parse(event.data).message;
      if (message) announcer.textContent = message;
    });
  }
}
function tell(on, text) {
  connection.dataset.on = on ? "yes" : "no";
  connection.textContent = text;
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { events?.close(); events = null; tell(false, "paused"); } else { listen(); refresh(); }
});
window.addEventListener("pagehide", () => { events?.close(); events = null; });
window.addEventListener("pageshow", listen);
listen();
if (!events) connection.textContent = "";

// --- forms that answer in place ---------------------------------------------------------------------------------------------------
let asked = 0;
async function answer(form, submitter) {
  const target = form.dataset.swap;
  const data = new FormData(form, submitter);
  const said = [...data].filter(([, value]) => value !== "");
  const url = form.getAttribute("action") + (said.length ? "?" + new URLSearchParams(said) : "");
  const mine = ++asked;
  try {
    const page = await pageAt(url);
    if (mine !== asked) return;
    const [old, fresh] = [document.getElementById(target), page.getElementById(target)];
    if (!old || !fresh) { location.href = url; return; }
    old.replaceWith(fresh);
    // What is wrong with a field stands at the field.
    for (const field of form.querySelectorAll(".field")) {
      const named = field.querySelector("[name]");
      const other = named && page.getElementById(named.id)?.closest(".field");
      field.querySelector(".error")?.remove();
      named?.removeAttribute("aria-invalid");
      const error = other?.querySelector(".error");
      if (error) { field.append(error); named.setAttribute("aria-invalid", "true"); named.setAttribute("aria-describedby", error.id); named.focus(); }
    }
    document.getElementById("made").replaceWith(page.getElementById("made"));
    announcer.textContent = "Answer " + mine;
    history.replaceState(null, "", url);
  } catch {
    location.href = url;
  }
}
document.addEventListener("submit", (event) => {
  if (!event.target.dataset.swap) return;
  event.preventDefault();
  answer(event.target, event.submitter);
});
// A search finds as one types.
let typing = 0;
document.addEventListener("input", (event) => {
  const form = event.target.closest("form[role=search][data-swap]");
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(() => answer(form, null), 200);
});

// --- names that go on as what was typed -------------------------------------------------------------------------------------------
const box = document.querySelector("textarea[data-names]");
const completions = document.getElementById("completions");
function word() {
  const before = box.value.slice(0, box.selectionStart);
  return before.match(/[\p{L}_][\p{L}\p{N}_]*$/u)?.[0] || "";
}
function complete() {
  const begun = word().toLowerCase();
  const names = begun ? box.dataset.names.split("\n").filter((name) => name.toLowerCase().startsWith(begun)).slice(0, 8) : [];
  completions.replaceChildren(...names.map((name) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = name;
    button.addEventListener("click", () => {
      const at = box.selectionStart;
      const quoted = /^[\p{L}_][\p{L}\p{N}_]*$/u.test(name) ? name : '"' + name.replaceAll('"', '""') + '"';
      box.setRangeText(quoted, at - word().length, at, "end");
      box.focus();
      complete();
    });
    item.append(button);
    return item;
  }));
}
box?.addEventListener("input", complete);

// --- a picture that does not come leaves what is drawn behind it -------------------------------------------------------------------
document.addEventListener("error", (event) => {
  if (event.target.tagName === "IMG" && event.target.closest(".picture")) event.target.remove();
}, true);
