// Which pages there are: from `/` by links and by forms that only read, breadth first, a few of each pattern.
const PAGES_MOST = 60;
const OF_A_PATTERN_MOST = 2;

// `/models/price/versions/3?sort=x` is `/models/*/versions/*?sort`: names, then what they are of, in turn. A link of the navigation is a
// pattern of its own, whatever its path.
export function patternOf(url, inNavigation = false) {
  const { pathname, searchParams } = new URL(url);
  const segment = (text, place) => (place % 2 === 1 || /[^a-z_-]/.test(text) ? "*" : text);
  const path = inNavigation ? pathname : `/${pathname.slice(1).split("/").map(segment).join("/")}`;
  const keys = [...new Set(searchParams.keys())].sort();
  return path + (keys.length ? `?${keys.join("&")}` : "");
}

export class Crawl {
  #patterns = new Map();
  #seen = new Set();
  #waiting = [];
  #visited = 0;

  constructor(origin) {
    this.origin = origin;
    this.add({ url: `${origin}/`, inNavigation: true }, "the beginning");
  }

  add({ url, inNavigation, isForm }, from) {
    const plain = url.split("#")[0];
    if (new URL(plain).origin !== this.origin || this.#seen.has(plain)) return;
    const pattern = patternOf(plain, inNavigation);
    const known = this.#patterns.get(pattern) ?? 0;
    if (known >= OF_A_PATTERN_MOST) return;
    this.#seen.add(plain);
    this.#patterns.set(pattern, known + 1);
    this.#waiting.push({ url: plain, pattern, from, isForm, path: plain.slice(this.origin.length), isFirst: known === 0 });
  }

  // The next page with how it was answered; what is no page is looked at by nobody, but it must be there. A form may be delivered without
  // examples: what is wrong with its answer then is for the rule of forms to say.
  async next() {
    while (this.#waiting.length > 0 && this.#visited < PAGES_MOST) {
      const page = this.#waiting.shift();
      const began = performance.now();
      // No answer at all, and one that leads to another host, count as status 0.
      const response = await fetch(page.url, { headers: { accept: "text/html" } }).catch(() => Response.error());
      const isPage = response.headers.get("content-type")?.startsWith("text/html") ?? false;
      if (isPage) await response.text(); else await response.body?.cancel();
      if (page.isForm ? !isPage || response.status !== 200 : !isPage && response.status >= 200 && response.status < 400) continue;
      this.#visited += 1;
      return { ...page, isPage, status: response.status, ms: performance.now() - began, policy: response.headers.get("content-security-policy") };
    }
    return null;
  }
}
