// Which pages are visited, and how many of a kind; without a browser.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { Crawl, patternOf } from "./crawl.mjs";

const PATTERNS = [
  ["/", "/"],
  ["/batches/12", "/batches/*"],
  ["/models/price/versions/3", "/models/*/versions/*"],
  ["/models/price/3", "/models/*/*"],
  ["/models/price/versions", "/models/*/versions"],
  ["/catalogue?page=2&genre=Drama&genre=War", "/catalogue?genre&page"],
  ["/catalogue/Apollo%2013%20(PG)", "/catalogue/*"],
];
for (const [path, pattern] of PATTERNS) {
  test(`the pattern of ${path} is ${pattern}`, () => assert.equal(patternOf(`http://host${path}`), pattern));
}

test("pages of one pattern are visited twice, links of the navigation each, broken links are told, and other hosts left alone", async (t) => {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://host");
    if (pathname === "/dead") return request.socket.destroy();
    const [status, type] = pathname === "/gone" ? [404, "application/json"] : pathname === "/data" ? [200, "application/json"] : [200, "text/html"];
    return response.writeHead(status, { "content-type": type }).end("x");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  const origin = `http://127.0.0.1:${server.address().port}`;
  const crawl = new Crawl(origin);
  const links = ["/page/a", "/page/b", "/page/c", "/page/d#x", "/page/a#again", "/gone", "/dead", "/data"].map((path) => ({ url: origin + path }));
  links.push(...["/shown/e", "/shown/f", "/shown/g", "/shown/h"].map((path) => ({ url: origin + path, inNavigation: true })));
  links.push({ url: `${origin}/gone?of=form`, isForm: true }, { url: "http://elsewhere.invalid/" });
  for (const link of links) crawl.add(link, "/");
  const visited = [];
  for (let page = await crawl.next(); page; page = await crawl.next()) visited.push(page);
  assert.deepEqual(visited.map((page) => page.path), ["/", "/page/a", "/page/b", "/gone", "/dead", "/shown/e", "/shown/f", "/shown/g", "/shown/h"]);
  assert.deepEqual(visited.filter((page) => page.status !== 200).map((page) => [page.path, page.status, page.from]), [["/gone", 404, "/"], ["/dead", 0, "/"]]);
  assert.deepEqual(visited.filter((page) => page.isPage && !page.isFirst).map((page) => page.path), ["/page/b"]);
});
