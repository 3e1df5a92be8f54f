"""Hostile texts of `filter=`: on the catalogue, on recommendations, on similar and popular items."""

from urllib.parse import quote

from harness import require
from scene import Shop

DEEP = 60


def nested(opening, inside, closing, times=DEEP):
    return opening * times + inside + closing * times


TEXTS = {
    "60 nested casts": nested("cast(", "year", " as int)") + " > 1990",
    "60 nested try_casts": nested("try_cast(", "title", " as int)") + " > 1990",
    "30 nested coalesce": nested("coalesce(", "year", ", 2)", 30) + " > 1990",
    "30 nested nvl": nested("nvl(", "year", ", 2)", 30) + " > 1990",
    "30 nested nullif": nested("nullif(", "year", ", 2)", 30) + " > 1990",
    "30 nested case": nested("case when year > 1 then ", "year", " else 2 end", 30) + " > 1990",
    "30 nested greatest": nested("greatest(", "year", ", year)", 30) + " > 1990",
    "100 nested concat": nested("concat(title, ", "title", ")", 100) + " = 'x'",
    "60 nested upper": nested("upper(", "title", ")") + " = 'x'",
    "1,300 parentheses": nested("(", "year > 1990", ")", 1300),
    "1,000 nots": "not " * 1000 + "year > 1990",
    "2,000 minus signs": "-" * 2000 + "1 = year",
    "500 ors": " or ".join(["year = 1"] * 400),
    "a list of 1,300 numbers": "year in (" + ",".join(["1"] * 1300) + ")",
    "arrays in arrays": "array_has(" * 200 + "genre" + ", 'x')" * 200,
    "like of many wildcards": "overview like '" + "%a" * 1500 + "%'",
    "ilike of many wildcards": "overview ilike '" + "%a" * 1500 + "%b'",
    "many likes": " or ".join(["overview like '%a%b%c%d%e%f%zz%'"] * 100),
    "a pattern that is a column": "overview like overview",
    "a regular expression": "overview ~ '" + "(a*)*" * 300 + "b'",
    "similar to": "title similar to '(a|a)*b'",
    "regexp_like": "regexp_like(overview, '(x+x+)+y')",
    "repeat": "repeat(title, 1000000000) = 'x'",
    "range": "cardinality(range(0, 1000000000)) = 1",
    "a subquery": "year in (select year from catalogue)",
    "a number of 4,000 digits": "year > " + "9" * 4000,
    "a number of large exponent": "year > 1e999999999",
    "4,000 quotes": "title = '" + "''" * 2000,
    "an unclosed text": "title = 'x",
    "an unclosed name": '"year > 1',
    "nul": "title = '\x00'",
    "emoji": "title = '" + "\U0001f600" * 900 + "'",
    "a megabyte": "year > 1990 and " * 4000,
    "only blanks": " " * 4000,
    "comments": "/*" * 1000 + "year > 1" + "*/" * 1000,
    "a statement": "1 = 1; drop table catalogue",
    "overflow": "year + 9223372036854775807 > 0",
    "division by zero": "year / 0 > 1",
    "a column that is none": "yaer > 1990",
    "a very long column": "y" * 4000 + " > 1",
}
PATHS = {
    "catalogue": "/v1/catalogue?limit=1&filter=",
    "recommend": "/v1/models/taste/recommend/1?n=1&filter=",
    "similar": "/v1/models/alike/similar/1?n=1&filter=",
    "popular": "/v1/models/best/popular?n=1&filter=",
}


def attacks(scene):
    for index, (name, text) in enumerate(TEXTS.items()):
        # Every text at the catalogue, and in turn at one of the others.
        for place in ["catalogue", list(PATHS)[1 + index % 3]]:
            yield f"{name}, {place}", lambda place=place, text=text: ask(scene.server, PATHS[place] + quote(text))


def ask(server, path):
    # A line of a megabyte may be refused before it is read whole.
    try:
        status, _, body = server.get(path, seconds=5)
    except (ConnectionError, BrokenPipeError):
        return "closed"
    require(status in (200, 400, 414, 422, 431), f"{status}: {body[:300]}")
    require(len(body) < 20_000, f"an answer of {len(body)} bytes")
    return str(status)


def group(setup):
    return Shop(setup, attacks)
