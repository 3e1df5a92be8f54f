#!/usr/bin/env python3
"""Reads committed parts as they lie, with pandas and with DuckDB, and compares what they find.

The paths come on standard input, one a line, as `millstream batches list FILE --files` prints them. Needs pandas, pyarrow and
duckdb. Says one line per part; ends with 1 when a part cannot be read, or the two disagree.
"""

import math
import sys

import duckdb
import pandas


def with_pandas(path):
    if path.endswith(".parquet"):
        return pandas.read_parquet(path)
    if path.endswith(".csv"):
        # A text such as NA is a text: only an empty field is null.
        return pandas.read_csv(path, keep_default_na=False, na_values=[""], parse_dates=["_time"])
    frame = pandas.read_json(path, lines=True, convert_dates=False, dtype={"_offset": "int64"}, precise_float=True)
    frame["_time"] = pandas.to_datetime(frame["_time"], format="ISO8601")
    return frame


def with_duckdb(path):
    # The folder's name, batch=000001, would be a column of its own.
    if path.endswith(".parquet"):
        return duckdb.read_parquet(path, hive_partitioning=False)
    if path.endswith(".csv"):
        return duckdb.read_csv(path, sample_size=-1, hive_partitioning=False)
    return duckdb.read_json(path, format="newline_delimited", sample_size=-1, hive_partitioning=False)


def compare(path):
    frame, relation = with_pandas(path), with_duckdb(path)
    names = list(relation.columns)
    if names != list(frame.columns):
        raise ValueError(f"columns {list(frame.columns)} and {names}")
    if names[-3:] != ["_partition", "_offset", "_time"]:
        raise ValueError(f"the last columns are {names[-3:]}")
    rows = relation.aggregate("count(*)").fetchall()[0][0]
    if rows != len(frame):
        raise ValueError(f"pandas reads {len(frame)} rows, DuckDB {rows}")
    if not frame["_offset"].is_monotonic_increasing or not frame["_offset"].is_unique:
        raise ValueError("the offsets do not ascend")
    types = dict(zip(names, map(str, relation.types)))
    if not types["_time"].startswith("TIMESTAMP"):
        raise ValueError(f"_time is {types['_time']} for DuckDB")
    if not pandas.api.types.is_datetime64_any_dtype(frame["_time"]):
        raise ValueError(f"_time is {frame['_time'].dtype} for pandas")
    summed = [name for name in names if types[name] in ("DOUBLE", "BIGINT", "INTEGER")]
    for name in summed:
        total = relation.aggregate(f'sum("{name.replace(chr(34), chr(34) * 2)}"::double)').fetchall()[0][0] or 0.0
        expected = float(pandas.to_numeric(frame[name]).astype("float64").sum())
        if not math.isclose(total, expected, rel_tol=1e-9, abs_tol=1e-9):
            raise ValueError(f"the sum of {name} is {expected} for pandas, {total} for DuckDB")
    shown = ", ".join(f"{name} {types[name]}/{frame[name].dtype}" for name in names)
    return f"{rows} rows, {len(summed)} sums agree: {shown}"


def main():
    paths = [line.strip() for line in sys.stdin if line.strip()]
    if not paths:
        sys.exit("no path on standard input: pipe `millstream batches list FILE --files` into this")
    wrong = 0
    for path in paths:
        try:
            print(f"{path}: {compare(path)}")
        except Exception as error:  # Whatever a reader raises says that it does not read the part as it lies.
            wrong += 1
            print(f"{path}: {error}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
