"""Fits one model with Spark MLlib: the job that Millstream starts for `engine = "spark"`.

spark-submit job.py PLAN

PLAN is a JSON file, and what is decided is decided by Millstream: its parameters are MLlib's own. Its rows are encoded already and the
held-out records are not among them; or, with `encode = "cluster"`, it has the files of the batches and SQL that says which of their rows
are trained on and what their features are. Then one job finds what encodings are made of (counts, means, categories), and a second one
encodes by what Millstream made of that. The model is saved as MLlib saves it, and Millstream reads it. What Millstream is told
meanwhile is a line of JSON on standard output behind a prefix; everything else is log.
"""

from __future__ import annotations

import json
import math
import re
import sys
import threading
from typing import Any

PREFIX = "millstream "
LOOK_SECONDS = 0.5


def tell(**news: Any) -> None:
    """One line to Millstream; whole, whatever else writes."""
    sys.stdout.write(PREFIX + json.dumps(news) + "\n")
    sys.stdout.flush()


def estimator_of(plan: dict[str, Any]) -> Any:
    """The estimator that the plan names, with its parameters."""
    from pyspark.ml import classification, clustering, recommendation, regression

    estimators = {
        "ALS": recommendation.ALS,
        "GBTClassifier": classification.GBTClassifier,
        "GBTRegressor": regression.GBTRegressor,
        "KMeans": clustering.KMeans,
        "LinearRegression": regression.LinearRegression,
        "LogisticRegression": classification.LogisticRegression,
        "RandomForestClassifier": classification.RandomForestClassifier,
        "RandomForestRegressor": regression.RandomForestRegressor,
    }
    return estimators[plan["estimator"]](**plan["params"])


def literal_path(path: str) -> str:
    """A path in which nothing is a pattern."""
    return re.sub(r"([\\\[\]{}*?])", r"\\\1", path)


def files_of(session: Any, raw: dict[str, Any]) -> Any:
    """The rows of the batches, with the columns that are read."""
    from pyspark.sql.types import StructType

    reader = session.read.schema(StructType.fromJson(raw["columns"]))
    # The folders of batches are no column of theirs.
    return reader.option("recursiveFileLookup", "true").parquet(*map(literal_path, raw["parts"]))


def fitted_rows(files: Any, raw: dict[str, Any]) -> Any:
    """The rows that are fitted: `label`, and `f0`, `f1`, …; a missing value is null."""
    from pyspark.sql import functions as F

    columns = [F.expr(sql).alias(f"f{place}") for place, sql in enumerate(raw["features"])]
    columns.append(F.expr(raw["label"]).alias("label"))
    return files.where(F.expr(f"{raw['stage']} = {raw['fitted']}")).select(*columns)


def finite(number: float | None) -> float | None:
    """JSON has no other numbers."""
    return number if number is not None and math.isfinite(number) else None


# So few rows are sorted in the driver's memory. An estimate of a quantile is off by a share of 1 / accuracy at most.
SORTED_ROWS, QUANTILE_ACCURACY, NARROW_SHARE = 1000, 10000, 2e-4


def at_rank(values: Any, rank: int, count: int) -> float:
    """The value of this rank, from 0, in the column `value` of so many rows without nulls.

    Estimates of quantiles narrow down what lies around it, until few enough are left to be sorted here."""
    from pyspark.sql import functions as F

    value, share = F.col("value"), NARROW_SHARE
    while count > SORTED_ROWS:
        bounds = [max(rank / count - share, 0.0), min(rank / count + share, 1.0)]
        low, high = values.agg(F.percentile_approx(value, bounds, QUANTILE_ACCURACY)).first()[0]
        is_inside = (value > low) & (value < high)
        counts = [F.count_if(condition) for condition in (value < low, value == low, is_inside, value <= high)]
        below, lowest, inside, to_high = values.agg(*counts).first()
        if not below <= rank < to_high:
            share *= 10
        elif rank < below + lowest:
            return low
        elif rank >= below + lowest + inside:
            return high
        else:
            values, rank, count = values.where(is_inside), rank - below - lowest, inside
    return sorted(row["value"] for row in values.collect())[rank]


def middle_of(rows: Any, name: str, count: int) -> list[float]:
    """The two values in the middle of a column that are the median; one twice where their number is odd."""
    from pyspark.sql import functions as F

    # Without the sign of a zero, by which nothing is sorted here.
    values = rows.where(F.col(name).isNotNull()).select((F.col(name) + F.lit(0.0)).alias("value"))
    value, lower = F.col("value"), at_rank(values, (count - 1) // 2, count)
    to_lower, next_above = values.agg(F.count_if(value <= lower), F.min(F.when(value > lower, value))).first()
    return [lower, lower if count // 2 < to_lower else next_above]


def counts_of(rows: Any, name: str, order: list[Any], most: int) -> dict[str, Any]:
    """How often each value is there, and how many there are; the first `most` in this order."""
    from pyspark.sql import functions as F

    counts = rows.where(F.col(name).isNotNull()).groupBy(name).count().persist()
    found = counts.orderBy(*order).limit(most).collect()
    distinct, present = counts.agg(F.count(F.lit(1)), F.sum("count")).first()
    counts.unpersist()
    return {"distinct": distinct, "present": present or 0, "counts": [[row[name], row["count"]] for row in found]}


def find(session: Any, raw: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Writes what encodings are made of to a file of this machine."""
    from pyspark import StorageLevel
    from pyspark.sql import functions as F

    files = files_of(session, raw)
    stages = files.select(F.expr(raw["stage"]).alias("stage")).groupBy("stage").count().collect()
    found: dict[str, Any] = {"stages": [[row["stage"], row["count"]] for row in stages], "features": [], "label": None}
    rows = fitted_rows(files, raw).persist(StorageLevel.MEMORY_AND_DISK)
    measures = [F.count(F.lit(1)).alias("rows")]
    for place, feature in enumerate(wanted["features"]):
        if feature["categories"] is None:
            name = f"f{place}"
            for measure in (F.count, F.min, F.max, F.avg):
                measures.append(measure(name).alias(f"{measure.__name__}{place}"))
    classes = wanted["classes"]
    if classes is None:
        # Where no row has an answer, as where the process itself sums none.
        answered = F.coalesce(F.avg(F.expr(wanted["output"])), F.lit(0.0))
        measures += [F.stddev_pop("label").alias("deviation"), answered.alias("output")]
    measured = rows.withColumn("prediction", F.col("label")).agg(*measures).first()
    for place, feature in enumerate(wanted["features"]):
        name = f"f{place}"
        if feature["categories"] is None:
            count = measured[f"count{place}"]
            number = {key: finite(measured[f"{measure}{place}"]) for key, measure in NUMBER.items()}
            middle = middle_of(rows, name, count) if feature["median"] and count > 0 else None
            found["features"].append({"present": count, "middle": middle, **number})
        else:
            order = [F.desc("count"), F.asc(name)]
            found["features"].append(counts_of(rows, name, order, feature["categories"]))
    if classes is not None:
        found["label"] = counts_of(rows, "label", [F.asc("label")], classes)
    else:
        found["label"] = {key: finite(measured[key]) for key in ("deviation", "output")}
    with open(wanted["file"], "w", encoding="utf-8") as file:
        json.dump(found, file, ensure_ascii=False, allow_nan=False)


NUMBER = {"least": "min", "greatest": "max", "mean": "avg"}


def with_codes(session: Any, rows: Any, name: str, url: str) -> Any:
    """The number of each value of a column, under `code_` and its name; null where it has none."""
    from pyspark.sql import functions as F

    codes = session.read.parquet(literal_path(url))
    codes = codes.select(F.col("value").alias(name), F.col("code").alias(f"code_{name}"))
    return rows.join(F.broadcast(codes), on=name, how="left")


def encoded(session: Any, raw: dict[str, Any], encode: dict[str, Any]) -> Any:
    """`features` and `label` of the rows that are fitted."""
    from pyspark.ml.feature import OneHotEncoder, VectorAssembler
    from pyspark.sql import functions as F

    rows = fitted_rows(files_of(session, raw), raw)
    columns, one_hot = [], []
    for place, feature in enumerate(encode["features"]):
        name = f"f{place}"
        if feature["codes"] is None:
            value = F.col(name) if feature["fill"] is None else F.coalesce(F.col(name), F.lit(feature["fill"]))
            columns.append((value - F.lit(feature["center"])).alias(name))
            continue
        rows = with_codes(session, rows, name, feature["codes"])
        known = F.coalesce(F.col(f"code_{name}"), F.lit(feature["other"]))
        code = F.when(F.col(name).isNull(), F.lit(feature["missing"])).otherwise(known)
        # MLlib is told how many there are, and does not look.
        attribute = {"ml_attr": {"type": "nominal", "num_vals": feature["categories"], "name": name}}
        columns.append(code.cast("double").alias(name, metadata=attribute))
        if feature["one_hot"]:
            one_hot.append(name)
    label = F.col("label")
    if encode["label"] is not None:
        rows = with_codes(session, rows, "label", encode["label"])
        label = F.col("code_label").cast("double").alias("label")
    rows = rows.select(*columns, label)
    if one_hot:
        vectors = [f"{name}_vector" for name in one_hot]
        encoder = OneHotEncoder(inputCols=one_hot, outputCols=vectors, dropLast=False, handleInvalid="error")
        rows = encoder.fit(rows).transform(rows)
    names = [f"f{place}" for place in range(len(encode["features"]))]
    names = [f"{name}_vector" if name in one_hot else name for name in names]
    rows = VectorAssembler(inputCols=names, outputCol="features", handleInvalid="error").transform(rows)
    return rows.select("features", "label")


def watch(context: Any, ended: threading.Event) -> None:
    """Tells which stage runs and how far it is, whenever that has changed."""
    tracker = context.statusTracker()
    told = None
    while not ended.wait(LOOK_SECONDS):
        try:
            found = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        except Exception:  # The context is going: the job itself says why.
            return
        stages = [stage for stage in found if stage is not None]
        if not stages:
            continue
        stage = max(stages, key=lambda stage: stage.stageId)
        news = {
            "stage": stage.stageId,
            "done": stage.numCompletedTasks,
            "tasks": stage.numTasks,
            "active": stage.numActiveTasks,
        }
        if news != told:
            told = news
            tell(**news)


def iterations_of(model: Any) -> int | None:
    """How many there were, where a model knows it."""
    if not getattr(model, "hasSummary", False):
        return None
    summary = model.summary
    for name in ("numIter", "totalIterations"):
        found = getattr(summary, name, None)
        if found is not None:
            return int(found)
    return None


def remove(context: Any, url: str) -> None:
    """Removes a folder, also the markers of folders that Hadoop keeps in a bucket and that nobody else sees."""
    path = context._jvm.org.apache.hadoop.fs.Path(url)
    path.getFileSystem(context._jsc.hadoopConfiguration()).delete(path, True)


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        plan: dict[str, Any] = json.load(file)
    try:
        import numpy  # noqa: F401  MLlib needs it, and says so late.
        from pyspark.sql import SparkSession
    except ImportError as error:
        tell(missing=error.name or str(error), python=sys.executable)
        return 3
    builder = SparkSession.builder.appName(plan["app"])
    for key, value in plan["conf"].items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    context = session.sparkContext
    tell(version=session.version)
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(context, ended), daemon=True)
    watcher.start()
    try:
        context.setCheckpointDir(plan["checkpoints"])
        raw = plan.get("raw")
        if raw is not None:
            # What the SQL of a plan is written for, whatever is configured.
            for key, value in raw["session"].items():
                session.conf.set(key, value)
        if "find" in plan:
            find(session, raw, plan["find"])
            tell(fitted=True, iterations=None)
        else:
            if raw is None:
                rows = session.read.parquet(literal_path(plan["rows"]))
            else:
                rows = encoded(session, raw, plan["encode"])
            model = estimator_of(plan).fit(rows)
            model.write().overwrite().save(plan["model"])
            tell(fitted=True, iterations=iterations_of(model))
    finally:
        ended.set()
        watcher.join(timeout=2 * LOOK_SECONDS)
        try:
            remove(context, plan["checkpoints"])
        except Exception as error:  # The context may be gone: why, the job itself says.
            print(f"the checkpoints stay: {error}", file=sys.stderr)
    session.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
