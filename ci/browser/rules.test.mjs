// The rules themselves: a page with a fault of each kind, and which rule must find it. A rule that finds nothing proves nothing.
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { act } from "./actions.mjs";
import { open } from "./chromium.mjs";
import { none } from "./finding.mjs";
import { walk } from "./keyboard.mjs";
import { withoutScript } from "./plain.mjs";
import { examine } from "./rules.mjs";

const STYLE = "body { background: #fff; color: #000 } @media (prefers-color-scheme: dark) { .dim { color: #eee } } .wide { width: 600px } .bare:focus { outline: none }";
const SCRIPT = `
  document.querySelector("#add")?.insertAdjacentHTML("afterend", "<a href='/'>more</a>");
  document.querySelector("#trap")?.addEventListener("keydown", (event) => { if (event.key === "Tab") event.preventDefault(); });
  document.querySelector("#fail")?.addEventListener("click", () => { throw new Error("clicked"); });
  document.querySelector("#mute")?.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector("#show")?.addEventListener("click", () => document.querySelector("main").insertAdjacentHTML("beforeend", "<img src='/pixel.png'>"));
  if (document.querySelector("#throw")) throw new Error("thrown");
  if (document.querySelector("#ask")) fetch("/missing");`;

const page = (body, head = "<title>A page</title>") => `<!doctype html><html lang="en"><head>${head}<link rel="icon" href="data:,">
  <link rel="stylesheet" href="/page.css"><script src="/page.js" defer></script></head><body><main>${body}</main></body></html>`;

// What stands in the page, and what must be found; nothing of a page without a fault.
const PAGES = [
  [page("<h1>Good</h1><a href='/'>home</a><form action='/answer'><label>q <input name=q value=1></label><button>Ask</button></form>"), null],
  [page("<h1>One</h1><h1>Two</h1>"), /one h1: there are 2/],
  [page("<h1>x</h1>", ""), /title: there is none/],
  [page("<h1>x</h1><img src='/pixel.png'>"), /axe image-alt/],
  [page("<h1>x</h1><img alt=x src='/page.css'>"), /pictures: it shows nothing/],
  [page("<h1>x</h1><p class=dim>dim in the dark alone</p>"), /in dark, axe color-contrast/],
  [page("<h1>x</h1><div class=wide>wide</div>"), /no sideways scroll: .*class="wide"/],
  [page("<h1>x</h1><p id=throw>x</p>"), /console: .*thrown/],
  [page("<h1>x</h1><p id=ask>x</p>"), /no failed request: 404 for .*missing/],
  [page("<h1>x</h1><p style='color: red'>x</p>"), /console: .*inline style/],
  [page("<h1>x</h1><img alt=x src='http://127.0.0.1:9/x.png'>"), /no other host|console: .*Content Security Policy/],
  [page("<h1>x</h1><b data-hostile>x</b>"), /hostile data: it became an element/],
  [page("<h1>x</h1><script>window.hacked = 1</script>"), /without a file of this server/],
  [page("<h1>x</h1><a href='javascript:window.hacked=1'>x</a>"), /links: it leads to no web page/],
  [page("<h1>x</h1><a href='#nowhere'>x</a>"), /nothing on this page has that id/],
  [page("<h1>x</h1><button class=bare>x</button>"), /focus is not seen on .*bare/],
  [page("<h1>x</h1><button tabindex=-1>x</button><a href='/'>y</a>"), /Tab does not reach .*button/],
  [page("<h1>x</h1><input id=trap aria-label=x><a href='/'>y</a>"), /Tab does not leave .*trap/],
  [page("<h1>x</h1><button id=fail>x</button>"), /action: .*fail.*: console: .*clicked/],
  [page("<h1>x</h1><button id=show>x</button>"), /after its actions, axe image-alt/],
  [page("<h1>x</h1><form id=mute action='/answer'><button>x</button></form>"), /form .answer: it is sent, and nothing is shown/],
  [page("<h1>x</h1><form action='/broken'><button>x</button></form>"), /form .broken: 500 for/],
  [page("<h1>x</h1><p id=add>x</p>"), /without JavaScript: links: 0, with it 1/],
  [page("<h1>x</h1><form action='/broken'><button>Ask</button></form>"), /form without JavaScript: get .*broken: 500/],
  [page("<h1>x</h1><form action='/empty' method=post><button>Ask</button></form>"), /says nothing/],
  [page("<h1>x</h1><form action='/answer'><input name=q aria-label=q required><button>Ask</button></form>"), /without an example/],
];

const FILES = {
  "/page.css": [200, "text/css", STYLE],
  "/page.js": [200, "text/javascript", SCRIPT],
  "/pixel.png": [200, "image/png", Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==", "base64")],
  "/answer": [422, "text/html", "<!doctype html><title>x</title>q is wrong"],
  "/broken": [500, "text/html", "<!doctype html><title>x</title>broken"],
  "/empty": [200, "text/html", "<!doctype html><title>x</title>"],
};

let browser;
let plain;
let server;
before(async () => {
  [browser, plain] = [await open(), await open({ javascript: false })];
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://host");
    const html = PAGES[Number(pathname.slice(1) || 0)]?.[0];
    const [status, type, body] = FILES[pathname] ?? (html ? [200, "text/html; charset=utf-8", html] : [404, "text/plain", "nothing"]);
    response.writeHead(status, { "content-type": type,
      "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'" });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
});
after(async () => {
  server?.closeAllConnections();
  server?.close();
  await browser?.close();
  await plain?.close();
});

for (const [place, [, expected]] of PAGES.entries()) {
  test(`rules: ${expected?.source ?? "a page without a fault"}`, { timeout: 60_000 }, async () => {
    const url = `http://127.0.0.1:${server.address().port}/${place}`;
    const found = [];
    const parts = [
      async () => (await examine(browser, url)).found,
      () => walk(browser),
      () => act(browser, url, [...found]),
      () => withoutScript(browser, plain, url),
    ];
    for (const part of parts) {
      found.push(...await part());
      if (expected && found.some((text) => expected.test(text))) return;
    }
    const isRight = !expected && found.length === 0;
    none(isRight ? [] : [`wanted ${expected}; found:`, ...found], "rules");
  });
}
