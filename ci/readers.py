"""Files of 60 generated dialects, read by Millstream, DuckDB and polars: the same rows, values and types, or a difference that is listed
here with its reason. usage: readers.py MILLSTREAM [SEED]"""
import json, pathlib, random, subprocess, sys, tempfile

import duckdb, polars

millstream, seed = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1
FILES = 60
ROWS = 40

# What Millstream means to read otherwise, by the column's kind: what the others make of it, and why.
DIFFERENCES = {
    "code": "007 stays text: an id loses a digit as a number (DuckDB and polars make 7 of it)",
    "flag": "true and false of csv are text: csv knows no types (DuckDB and polars make a boolean)",
    "date": "dates stay text, as ISO 8601, and make times where schema.time names them (DuckDB makes a DATE)",
    "plus": "+1.5 is a number, as DuckDB reads it (polars keeps text)",
    "blank": "blanks around a number are no part of it, as DuckDB reads it (polars keeps text)",
}

WORDS = ["apple", "Zoë", "naïve café", "x y", "O'Neil", "a-b", "ß", "end."]


def value(random, kind, awkward):
    if kind == "whole":
        return str(random.randint(-10**6, 10**6))
    if kind == "large":
        return str(random.randint(2**53, 2**62))
    if kind == "real":
        return random.choice([f"{random.uniform(-1e3, 1e3):.3f}", f"{random.randint(1, 99)}e{random.randint(1, 5)}", f"{random.random():.2f}"])
    if kind == "code":
        return f"{random.randint(0, 999):05d}"
    if kind == "plus":
        return f"+{random.uniform(0, 9):.1f}"
    if kind == "blank":
        return f" {random.uniform(0, 9):.2f} "
    if kind == "flag":
        return random.choice(["true", "false"])
    if kind == "date":
        return f"20{random.randint(10, 24)}-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}"
    return random.choice(WORDS) + random.choice(["", *awkward])


def generate(number):
    r = random.Random(seed * 1000 + number)
    d = {
        "separator": r.choice([",", ";", "\t", "|", ",", "::" if number % 10 == 0 else ";"]),
        "quote": r.choice(['"', '"', "'"]),
        "escape": None,
        "header": r.random() < 0.8,
        "skip": r.choice([0, 0, 0, 2]),
        "comment": r.choice([None, None, "#"]),
        "encoding": r.choice(["utf-8", "utf-8", "utf-8", "utf-16", "latin1"]),
        "end": r.choice(["\n", "\n", "\r\n"]),
        "marker": r.choice(["", "", "NA", "N/A", "-", "?"]),
    }
    if d["quote"] == '"' and r.random() < 0.2:
        d["escape"] = "\\"
    if d["encoding"] == "utf-16":
        d["skip"] = 0
    kinds = [r.choice(["whole", "real", "text", "text", "large", "code", "flag", "date", "plus", "blank"]) for _ in range(r.randint(2, 7))]
    names = [f"{kind}_{i}" for i, kind in enumerate(kinds)]
    # DuckDB reads no other line ends within quotes than between rows.
    awkward = [d["separator"], d["quote"], f"{d['quote']}x{d['quote']}", d["end"]] if d["separator"] != "::" else [" :", d["quote"]]
    rows = []
    for _ in range(ROWS):
        row = []
        for kind in kinds:
            # A marker among texts is a text.
            missing = r.random() < 0.1
            row.append(None if missing and kind != "text" else "" if missing else value(r, kind, awkward))
        rows.append(row)
    return d, kinds, names, rows


def write(path, d, kinds, names, rows):
    q, e = d["quote"], d["escape"] or d["quote"]

    def field(text, kind):
        if text is None:
            return d["marker"] if kind in ("whole", "real", "large", "plus", "blank") else ""
        if kind != "text":
            return text
        return q + (text.replace("\\", "\\\\") if d["escape"] else text).replace(q, e + q) + q if text else ""

    lines = ["a line before"] * d["skip"]
    if d["comment"]:
        lines.append("# made by a program")
    if d["header"]:
        lines.append(d["separator"].join(names))
    lines += [d["separator"].join(field(text, kind) for text, kind in zip(row, kinds)) for row in rows]
    path.write_bytes((d["end"].join(lines) + d["end"]).encode(d["encoding"]))


def by_millstream(folder, path, d):
    keys = [f'path = "{path.name}"', f'separator = {json.dumps(d["separator"])}', f'quote = {json.dumps(d["quote"])}', f'encoding = "{d["encoding"]}"']
    keys += [f'escape = {json.dumps(d["escape"])}'] if d["escape"] else []
    keys += [f'comment = "{d["comment"]}"'] if d["comment"] else []
    keys += [f'skip = {d["skip"]}'] if d["skip"] else []
    keys += ["header = false"] if not d["header"] else []
    (folder / "p.toml").write_text(
        'name = "p"\n[source]\n' + "\n".join(keys) + '\n[batch]\nparts = 1\n[store]\nurl = "file:store"\n'
        '[stream]\nlisten = "127.0.0.1:0"\n[serve]\nlisten = "127.0.0.1:0"\n'
    )
    done = subprocess.run([millstream, "run", "p.toml", "--exit-when-done"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{path}: {done.stderr}")
    parts = str(folder / "store/batches/*/part-*.parquet")
    table = duckdb.sql(f"select * exclude (_partition, _offset, _time) from read_parquet('{parts}', hive_partitioning = false) order by _offset")
    return dict(zip(table.columns, map(str, table.types))), table.fetchall()


def by_duckdb(path, d):
    markers = ["", d["marker"]] if d["marker"] else [""]
    if d["encoding"] != "utf-8":  # Which it reads by an extension alone.
        copy = path.with_name("utf-8.csv")
        copy.write_bytes(path.read_bytes().decode(d["encoding"]).encode())
        path = copy
    table = duckdb.read_csv(
        str(path), sep=d["separator"], quotechar=d["quote"], escapechar=d["escape"] or d["quote"], header=d["header"], skiprows=d["skip"],
        na_values=markers, sample_size=-1, **({"comment": d["comment"]} if d["comment"] else {}),
    )
    return dict(zip(table.columns, map(str, table.types))), table.fetchall()


def by_polars(path, d):
    text = path.read_bytes().decode(d["encoding"])
    table = polars.read_csv(
        text.encode(), separator=d["separator"], quote_char=d["quote"], has_header=d["header"], skip_lines=d["skip"],
        null_values=["", d["marker"]] if d["marker"] else [""], comment_prefix=d["comment"], infer_schema_length=None,
    )
    return {name: str(kind) for name, kind in table.schema.items()}, table.rows()


KINDS = {"BIGINT": "whole", "DOUBLE": "real", "VARCHAR": "text", "Int64": "whole", "Float64": "real", "String": "text", "BOOLEAN": "flag", "Boolean": "flag", "DATE": "date", "Date": "date"}


def differs(kinds, mine, theirs, who):
    """What is neither the same nor a listed difference."""
    (types, rows), (other_types, others) = mine, theirs
    if len(rows) != len(others):
        yield f"{len(rows)} rows, {who} {len(others)}"
        return
    for place, kind in enumerate(kinds):
        type_, other = list(types.values())[place], list(other_types.values())[place]
        if KINDS.get(type_, type_) != KINDS.get(other, other) and kind not in DIFFERENCES:
            yield f"column {place} ({kind}) is {type_}, {who}: {other}"
        for number, (row, theirs) in enumerate(zip(rows, others)):
            one, two = row[place], theirs[place]
            if one == two or one in (None, "") and two in (None, ""):
                continue
            if kind in DIFFERENCES and (str(one).strip() == str(two).strip() or str(one).lower() == str(two).lower()):
                continue
            try:
                exact = int if kind in ("whole", "large") else float
                if kind != "text" and exact(one) == exact(two):
                    continue
            except (TypeError, ValueError):
                pass
            yield f"row {number + 1}, column {place} ({kind}): {one!r}, {who}: {two!r}"


faults, compared = [], {"duckdb": 0, "polars": 0}
for number in range(FILES):
    d, kinds, names, rows = generate(number)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rows.csv"
        write(path, d, kinds, names, rows)
        mine = by_millstream(pathlib.Path(folder), path, d)
        for who, read in (("duckdb", by_duckdb), ("polars", by_polars)):
            if who == "polars" and (len(d["separator"]) > 1 or d["escape"]):
                continue  # It has neither.
            try:
                theirs = read(path, d)
            except Exception as error:
                faults.append(f"file {number} {d}: {who} cannot read it: {str(error)[:200]}")
                continue
            compared[who] += 1
            faults += [f"file {number} {d}: {fault}" for fault in list(differs(kinds, mine, theirs, who))[:3]]
for fault in faults:
    print(fault)
print(f"{FILES} files, {compared['duckdb']} compared with DuckDB, {compared['polars']} with polars, {len(faults)} differences that are not listed")
sys.exit(bool(faults))
