"""Fits one model with Spark MLlib: the job that Millstream starts for `engine = "spark"`.

spark-submit job.py PLAN

PLAN is a JSON file. Its rows are encoded already, the held-out records are not among them, and its parameters are MLlib's own: what
is decided is decided by Millstream. The model is saved as MLlib saves it, and Millstream reads it. What Millstream is told meanwhile
is a line of JSON on standard output behind a prefix; everything else is log.
"""

from __future__ import annotations

import json
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
        rows = session.read.parquet(plan["rows"])
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
