// Keeps the page live and answers its forms in place. Everything here is also reachable without it.
"use strict";

const REFRESH_MS = 400; // at most one refresh in so many milliseconds, however fast events come
const connection = document.getElementById("connection");
const announcer = document.getElementById("announcer");

// --- live fragments ---------------------------------------------------------------------------------------------
const last = new Map(); // section id → its HTML as the server last sent it
let refreshing = false;
let again = false;

async function fragment(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(path + " answered " + response.status);
  const holder = document.createElement("template");
  holder.innerHTML = await response.text();
  return holder.content;
}

// Replaces the sections that changed, and keeps where their tables were scrolled to and what had the focus.
function replaceSections(content) {
  for (const section of content.querySelectorAll("section[id]")) {
    const old = document.getElementById(section.id);
    if (!old || last.get(section.id) === section.outerHTML) continue;
    last.set(section.id, section.outerHTML);
    const scrolls = [...old.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
    const focusables = "a, .scroll";
    const focused = [...old.querySelectorAll(focusables)].indexOf(document.activeElement);
    old.replaceWith(section);
    section.querySelectorAll(".scroll").forEach((element, index) => { element.scrollLeft = scrolls[index] || 0; });
    if (focused >= 0) section.querySelectorAll(focusables)[focused]?.focus({ preventScroll: true });
  }
}

// A form is replaced when its fields changed; while someone uses it, it stays, with what they typed.
function replaceForms(content) {
  const forms = document.getElementById("forms");
  const fresh = [...content.children];
  const ids = new Set(fresh.map((form) => form.id));
  for (const old of [...forms.children]) if (!ids.has(old.id)) old.remove();
  fresh.forEach((form, index) => {
    const old = form.id && document.getElementById(form.id);
    const used = old && (old.contains(document.activeElement) || [...old.elements].some((element) => element.name && element.value));
    if (!old) forms.insertBefore(form, forms.children[index] || null);
    else if (!used) old.replaceWith(form);
  });
}

async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = true;
  try {
    replaceSections(await fragment("/page/live"));
  } catch {
    // The stream's own reconnect says when the server is back.
  }
  setTimeout(() => { refreshing = false; if (again) { again = false; refresh(); } }, REFRESH_MS);
}

async function refreshForms() {
  try { replaceForms(await fragment("/page/forms")); } catch { /* as above */ }
}

function connected(on, text) {
  connection.dataset.on = on ? "yes" : "no";
  connection.textContent = text;
}

let versionsServed = "";
const events = new EventSource("/v1/events");
events.onopen = () => { connected(true, "live"); refresh(); refreshForms(); };
events.onerror = () => connected(false, "reconnecting…");
events.addEventListener("status", (event) => {
  refresh();
  const serving = JSON.stringify(JSON.parse(event.data).serving);
  if (serving !== versionsServed) { versionsServed = serving; refreshForms(); }
});
for (const kind of ["batch_committed", "version_trained", "version_removed", "training_failed", "source_ended", "problem", "problem_over", "lagged"]) {
  events.addEventListener(kind, (event) => {
    refresh();
    const message = JSON.parse(event.data).message;
    if (message) announcer.textContent = message;
    if (kind === "version_trained" || kind === "version_removed") refreshForms();
  });
}

// --- forms ------------------------------------------------------------------------------------------------------
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

// Numbers go as they were typed: a JavaScript number would round a long id.
function jsonValue(element) {
  const text = element.value;
  const number = element.dataset.type === "float64" || element.dataset.type === "int64";
  if (number && JSON_NUMBER.test(text)) return text;
  if (element.dataset.type === "boolean" && (text === "true" || text === "false")) return text;
  return JSON.stringify(text);
}

function requestOf(form) {
  const fields = [...form.elements].filter((element) => element.name);
  let path = form.getAttribute("action");
  const rest = [];
  for (const field of fields) {
    const mark = "{" + field.name + "}";
    if (path.includes(mark)) path = path.replace(mark, encodeURIComponent(field.value));
    else if (field.value !== "") rest.push(field);
  }
  if (form.getAttribute("method") === "get") {
    const query = new URLSearchParams(rest.map((field) => [field.name, field.value]));
    return [path + (rest.length ? "?" + query : ""), {}];
  }
  let body = "{" + rest.map((field) => JSON.stringify(field.name) + ":" + jsonValue(field)).join(",") + "}";
  if (form.dataset.body) body = "{" + JSON.stringify(form.dataset.body) + ":" + body + "}";
  return [path, { method: "POST", headers: { "content-type": "application/json" }, body }];
}

function clearErrors(form) {
  form.querySelectorAll("[aria-invalid]").forEach((element) => element.removeAttribute("aria-invalid"));
  form.querySelectorAll(".error").forEach((element) => { element.textContent = ""; });
}

function shown(value) {
  if (typeof value === "number") return value.toLocaleString("en", { maximumSignificantDigits: 8 });
  return typeof value === "string" ? value : JSON.stringify(value);
}

function showAnswer(box, answer, version) {
  box.className = "answer";
  box.replaceChildren();
  const list = document.createElement("dl");
  const entries = answer && typeof answer === "object" && !Array.isArray(answer) ? Object.entries(answer) : [["answer", answer]];
  const add = (name, value) => {
    const term = document.createElement("dt");
    const data = document.createElement("dd");
    term.textContent = name;
    data.textContent = value;
    list.append(term, data);
  };
  for (const [name, value] of entries) {
    if (name === "warnings" || name === "model" || name === "version") continue;
    if (name === "probability" && value) {
      for (const [label, share] of Object.entries(value)) add("probability of " + label, shown(share));
    } else add(name, shown(value));
  }
  if (version) add("answered by", version);
  box.append(list);
  for (const warning of (answer && answer.warnings) || []) {
    const line = document.createElement("p");
    line.className = "warning";
    line.textContent = typeof warning === "string" ? warning : warning.message;
    box.append(line);
  }
}

function showError(form, box, error) {
  const field = error.field && [...form.elements].find((element) => element.name === error.field);
  if (field) {
    field.setAttribute("aria-invalid", "true");
    field.closest(".field").querySelector(".error").textContent = error.message;
    field.focus();
    box.hidden = true;
    return;
  }
  box.className = "answer failed";
  box.textContent = error.message;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form.ask")) return;
  event.preventDefault();
  const box = form.querySelector(".answer");
  const button = form.querySelector("button");
  clearErrors(form);
  button.disabled = true;
  try {
    const [path, options] = requestOf(form);
    const response = await fetch(path, options);
    const answer = await response.json();
    box.hidden = false;
    if (response.ok) showAnswer(box, answer, response.headers.get("x-model-version"));
    else showError(form, box, answer.error);
  } catch {
    box.hidden = false;
    showError(form, box, { message: "The server could not be reached." });
  } finally {
    button.disabled = false;
  }
});
