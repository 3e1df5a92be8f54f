// A store of hostile data: what others may write into any field. Elements made of it would carry `data-hostile`, scripts would set `hacked`.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DRAWS_PICTURES } from "./server.mjs";

const ROWS = 480;

// Beginnings of words that pages may cut a text to, so that the mark is seen in it.
export const MARK = "<b data-hostile";

const TEXTS = [
  "<b data-hostile>bold</b>",
  "<script data-hostile>window.hacked='script'</script>",
  "</title><script data-hostile>window.hacked='title'</script>",
  "\"><img data-hostile src=x onerror=window.hacked='attribute'>",
  "' autofocus onfocus=window.hacked='focus' data-hostile='",
  "<svg data-hostile onload=window.hacked='svg'><script>window.hacked='svg script'</script></svg>",
  "</textarea></select></option></datalist></table></template><iframe data-hostile srcdoc='<script>parent.hacked=1</script>'></iframe>",
  "<style data-hostile>*{display:none!important}</style><base data-hostile href='http://evil.invalid/'>",
  "<meta data-hostile http-equiv=refresh content='0;url=http://evil.invalid/'>",
  "javascript:window.hacked='link'",
  "data:text/html,<script>window.hacked='data'</script>",
  "]]><!-- --!> <![CDATA[ <b data-hostile>comment</b>",
  "{{constructor.constructor('window.hacked=1')()}} ${window.hacked=1} `window.hacked=1`",
  "&lt;b data-hostile&gt; &#60;b data-hostile&#62; &amp;",
  "W".repeat(10_000),
  "<b data-hostile>".repeat(625),
  "x\u0301".repeat(5_000),
  "\u202Eright to left over\u202D \u2066isolated",
  "שלום עולם مرحبا بالعالم",
  "👩‍👩‍👧‍👦🏳️‍🌈🇺🇳 emoji 🧨",
  "\u0000\u0001\u0007\u001b[31mred\u001b[0m\u007f\ufeff\ufffe",
  "line\nfeed\r\nand\ttab\u2028\u2029",
  "../../../../etc/passwd",
  "a/b?c=d&e=f#g%2e%2e%00;h",
  "'; drop table batches; --",
  "=cmd|' /C calc'!A0",
  "   ",
  "",
  "null",
  "__proto__",
];

const PICTURES = [
  "javascript:window.hacked='picture'",
  "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' data-hostile='' onload='window.hacked=1'/>",
  "data:text/html,<script>window.hacked=1</script>",
  "x\" onerror=\"window.hacked='picture'\" data-hostile=\"",
  "../../../../etc/passwd",
  "script.svg",
  "not-a-picture.png",
  "missing.png",
  "W".repeat(10_000),
  null,
  // Only where no page asks them: see `serve.images`.
  ...(DRAWS_PICTURES ? ["http://evil.invalid/pixel.png", "//evil.invalid/pixel.png", "http://127.0.0.1:9/pixel.png"] : []),
];

const SVG = "<svg xmlns='http://www.w3.org/2000/svg' data-hostile='' onload='window.hacked=1'><script>window.hacked=1</script></svg>";

const pick = (list, i) => list[i % list.length];

// Lines that are no rows: their reasons and beginnings are shown where rejects are.
const REJECTS = [
  "<script data-hostile>window.hacked='reject'</script>",
  "{\"id\": <b data-hostile>",
  "[\"<b data-hostile>a list</b>\"]",
  "{\"<b data-hostile>twice</b>\": 1, \"<b data-hostile>twice</b>\": 2}",
  `{"id": "${"W".repeat(10_000)}`,
];

function row(i) {
  const text = pick(TEXTS, i);
  return {
    // The same items again and again: of each the latest counts, and some ids hold what a path does not.
    id: i % 3 === 0 ? `${i % 60} ${text}`.slice(0, 300) : `item ${i % 60}`,
    title: i % 11 === 0 ? null : text,
    story: `${pick(TEXTS, i + 7)} words that several stories share ${i % 5}`,
    kind: i % 13 === 0 ? null : pick(TEXTS.slice(0, 9), i),
    tags: `${pick(TEXTS, i + 3)}|${pick(TEXTS, i + 5)}`,
    picture: pick(PICTURES, i),
    link: "javascript:window.hacked='column'",
    user: `user ${i % 40} ${pick(TEXTS, i % 40)}`.slice(0, 200),
    stars: (i % 9) / 2 + 0.5,
    amount: i % 17 === 0 ? null : (i * 7919) % 1000,
    score: i % 19 === 0 ? 1e300 : (i % 101) / 10,
    nothing: null,
    "<b data-hostile>column</b>": i % 4,
  };
}

const PIPELINE = (folder) => `
name = "hostile"

[source]
path = ${JSON.stringify(join(folder, "rows.jsonl"))}

[schema.columns]
nothing = "utf8"
picture = "utf8"
title = "utf8"
kind = "utf8"

[batch]
rows = ${(ROWS + REJECTS.length) / 5}
max_rejects = 100

[store]
url = ${JSON.stringify(`file:${join(folder, "store")}`)}

[[model]]
name = "alike"
algorithm = "content"
id = "id"
title = "title"
text = { story = 1.0, title = 0.5 }

[[model]]
name = "groups"
algorithm = "kmeans"
features = ["amount", "kind", "<b data-hostile>column</b>"]
missing = "mean"
params = { k = 3 }

[[model]]
name = "worth"
algorithm = "linear_regression"
features = ["kind", "stars"]
target = "amount"
params = { l2 = 1.0 }

[[model]]
name = "sort"
algorithm = "random_forest"
features = ["amount", "stars"]
target = "kind"
params = { trees = 3, max_depth = 3 }

[[model]]
name = "best"
algorithm = "popularity"
item = "id"
score = "stars"
group = "string_to_array(tags, '|')"

[[model]]
name = "taste"
algorithm = "als"
user = "user"
item = "id"
rating = "stars"
params = { rank = 2, iterations = 2 }

[catalogue]
from = "batches"
id = "id"
title = "title"
image = "picture"
images = "pictures/"
facets = ["kind", "tags"]

[catalogue.columns]
kind = "kind"
tags = "string_to_array(tags, '|')"
story = "story"
link = "link"
amount = "amount"
nothing = "nothing"

[[view]]
name = "found"
params = { q = { type = "utf8", default = "<b data-hostile>" } }
sql = "select id, title, story, image, nothing from catalogue where strpos(coalesce(title, ''), $q) > 0 order by id limit 20"

[[view]]
name = "all"
sql = "select * from batches limit 50"

[[route]]
path = "/found"
view = "found"

[[route]]
path = "/worth"
model = "worth"

[[route]]
path = "/alike/{id}"
model = "alike"
action = "similar"
args = { item = "id" }
`;

// The pipeline file's path.
export function writeHostile(folder) {
  const pictures = join(folder, "store", "pictures");
  mkdirSync(pictures, { recursive: true });
  writeFileSync(join(pictures, "script.svg"), SVG);
  writeFileSync(join(pictures, "not-a-picture.png"), SVG);
  const rows = Array.from({ length: ROWS }, (_, i) => JSON.stringify(row(i)));
  writeFileSync(join(folder, "rows.jsonl"), `${[...rows.slice(0, 50), ...REJECTS, ...rows.slice(50)].join("\n")}\n`);
  const file = join(folder, "hostile.toml");
  writeFileSync(file, PIPELINE(folder));
  return file;
}
