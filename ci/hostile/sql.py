"""Hostile SQL of requests, and what must go on beside it."""

import threading
import time

from harness import require
from scene import Shop

EXPRESSIONS = ", ".join(f"item + {n}" for n in range(20))
DOUBLING = ", ".join(f"t{n} as (select * from t{n - 1} a cross join t{n - 1} b)" for n in range(1, 40))
CASTS = "cast(" * 60 + "item" + " as int)" * 60

QUERIES = {
    "cube of twenty": f"select count(*) from batches group by cube ({EXPRESSIONS})",
    "rollup and cube": f"select count(*) from batches group by cube ({EXPRESSIONS}), rollup ({EXPRESSIONS})",
    "unnest of a crossed list": "select count(*) from (select unnest(range(0, 100000)) x from batches a cross join batches b)",
    "unnest of unnest": "select unnest(range(0, 1000000)), unnest(range(0, 1000000)) from batches",
    "a cross join of cross joins": "select sum(a.item * b.item) from batches a, batches b, batches c",
    "a cross join sorted": "select a.overview, b.overview from batches a, batches b order by a.overview, b.overview",
    "everything in one array": "select array_agg(a.overview) from batches a, batches b",
    "everything in one text": "select string_agg(a.overview, ',') from batches a, batches b",
    "distinct pairs": "select count(distinct concat(a.overview, b.overview)) from batches a, batches b",
    "repeat": "select repeat('x', 2000000000)",
    "repeat of repeat": "select length(repeat(repeat('x', 30000), 30000)) from batches",
    "lpad": "select lpad(overview, 2000000000, 'x') from batches",
    "replace of replace": "select replace(replace(replace(repeat('a', 10000), 'a', repeat('a', 10000)), 'a', repeat('b', 1000)), 'b', 'cc')",
    "range": "select cardinality(range(0, 1000000000000))",
    "generate_series": "select count(*) from generate_series(0, 1000000000000)",
    "make arrays": "select array_repeat(array_repeat(array_repeat(1, 10000), 10000), 10000)",
    "a recursion without end": "with recursive t as (select 1 as n union all select n + 1 from t) select count(*) from t",
    "a recursion that doubles": "with recursive t as (select 1 as n union all select n + 1 from t a cross join (values (1), (2)) b) select count(*) from t",
    "with that doubles": f"with t0 as (select 1 as x), {DOUBLING} select count(*) from t39",
    "60 casts": f"select {CASTS} from batches",
    "30 coalesce": "select " + "coalesce(" * 30 + "item" + ", 2)" * 30 + " from batches",
    "deep parentheses": "select " + "(" * 5000 + "1" + ")" * 5000,
    "deep subqueries": "select * from (" * 500 + "select 1" + ")" * 500,
    "deep case": "select " + "case when item > 1 then " * 300 + "1" + " else 2 end" * 300 + " from batches",
    "a chain of ors": "select count(*) from batches where " + " or ".join(["item = 1"] * 30000),
    "a huge list": "select count(*) from batches where item in (" + ",".join(map(str, range(200000))) + ")",
    "a million columns": "select " + ",".join(["item"] * 100000) + " from batches",
    "windows": "select " + ", ".join(f"sum(item) over (order by overview rows between {n} preceding and 9999 following)" for n in range(60)) + " from batches",
    "a regular expression": "select count(*) from batches where regexp_like(repeat(overview, 100), '(x+x+)+y')",
    "a large regular expression": "select regexp_like('a', '((a{100}){100}){100}')",
    "like": "select count(*) from batches where repeat(overview, 100) like '" + "%a" * 1000 + "%'",
    "sort of much": "select a.overview from batches a, batches b order by random()",
    "tablesample": "select * from batches tablesample bernoulli (10)",
    "for update": "select * from batches for update",
    "an overflow": "select item + 9223372036854775807 from batches",
    "an overflow of a product": "select item * 9223372036854775807 from batches where item > 1",
    "an overflow of a sum": "select sum(9223372036854775807 - item) from batches",
    "a file read": "select * from '/etc/passwd'",
    "a csv read": "select * from read_csv('/etc/passwd')",
    "a table made": "create table x as select 1",
    "a file written": "copy batches to '/tmp/x.csv'",
    "an external table": "create external table x stored as csv location '/etc/passwd'",
    "a setting": "set datafusion.execution.target_partitions = 1000",
    "an explanation": "explain analyze select * from batches a cross join batches b",
    "two statements": "select 1; select 2",
    "nothing": "",
    "nul": "select '\x00'",
    "predictions crossed": "select sum(predict_cost(a.volume, b.rating)) from batches a, batches b, batches c",
}
REFUSED = ("tablesample", "for update", "an overflow", "a file", "a csv", "a table", "an external", "a setting", "two statements", "nothing")
SECONDS = 15


def attacks(scene):
    for name, sql in QUERIES.items():
        yield name, lambda name=name, sql=sql: ask(scene, name, {"sql": sql})
    texts = {f"p{n}": "x" * 4096 for n in range(300)}
    columns = ", ".join(f"concat(a.overview, $p{n})" for n in range(300))
    yield "300 columns of a 4 KB parameter", lambda: ask(scene, "", {"sql": f"select {columns} from batches a, batches b", "params": texts})
    yield "four casts at once", lambda: at_once(scene, [f"select {CASTS} from batches"] * 4)
    yield "eight cross joins at once", lambda: at_once(scene, [QUERIES["a cross join sorted"]] * 8)
    yield "asked and left", lambda: asked_and_left(scene)
    yield "a good one afterwards", lambda: good(scene)


def ask(scene, name, body):
    answers = []

    def post():
        try:
            answers.append(scene.server.post("/v1/query", body, seconds=SECONDS + 5))
        except OSError as error:
            answers.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    # While it runs the others are served.
    thread.join(0.3)
    if thread.is_alive():
        scene.server.check_alive(scene.honest)
    thread.join()
    answer = answers[0]
    require(not isinstance(answer, OSError), f"no answer: {answer!r}")
    status, headers, said = answer
    require(status in (200, 400, 413, 422, 503), f"{status}: {said[:300]}")
    require(status != 503 or headers.get("retry-after"), "503 without Retry-After")
    require(not name.startswith(REFUSED) or status in (400, 413, 422), f"{status}, must be refused: {said[:200]}")
    return f"{status} {said[:90].decode(errors='replace') if status != 200 else ''}"


def at_once(scene, queries):
    threads = [threading.Thread(target=ask, args=(scene, "", {"sql": sql})) for sql in queries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def asked_and_left(scene):
    """Twenty clients that ask and go away hold no place."""
    for _ in range(20):
        try:
            scene.server.post("/v1/query", {"sql": QUERIES["a cross join sorted"]}, seconds=0.2)
        except OSError:
            pass
    return good(scene)


def good(scene):
    until = time.monotonic() + 10
    while True:
        status, _, said = scene.server.post("/v1/query", {"sql": "select count(*) as n from batches"}, seconds=5)
        if status == 200:
            return
        require(status == 503 and time.monotonic() < until, f"{status}: {said[:200]}")
        time.sleep(0.2)


def group(setup):
    return Shop(setup, attacks)
