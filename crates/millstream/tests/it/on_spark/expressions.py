"""Evaluates SQL on rows as Spark does: spark-submit expressions.py ASKED, a JSON file; each value is written as the test writes its own."""

import json
import struct
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def told(value):
    """A float by its bits: no digit is lost, and the zeros differ."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack(">d", value).hex()
    return value


with open(sys.argv[1], encoding="utf-8") as file:
    asked = json.load(file)
session = SparkSession.builder.getOrCreate()
for key, value in asked["session"].items():
    session.conf.set(key, value)
rows = session.read.parquet(asked["rows"]).coalesce(1)
answers = []
for sql in asked["sql"]:
    try:
        found = rows.select(F.expr(sql)).collect()
        answers.append([told(row[0]) for row in found])
    except Exception as error:
        answers.append(str(error))
with open(asked["answers"], "w", encoding="utf-8") as file:
    json.dump(answers, file)
session.stop()
