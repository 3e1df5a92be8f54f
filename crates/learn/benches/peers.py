"""Fits the bench's data with scikit-learn, LightGBM, implicit and, where it is installed, Spark MLlib: one JSON line a case,
the median of three runs. Recommenders: seconds of one iteration, by the difference of one and four.

usage: peers.py FOLDER [CASE ...], FOLDER being where `bench` wrote its columns. Cases have the names of bench's; the
quality is measured on the same rows in the same way.
"""
import json
import os
import statistics
import sys
import time
from pathlib import Path

THREADS = os.cpu_count()
os.environ.update(OPENBLAS_NUM_THREADS=str(THREADS), OMP_NUM_THREADS=str(THREADS))

import numpy as np

FOLDER, WANTED = Path(sys.argv[1]), sys.argv[2:]


def column(name):
    return np.fromfile(FOLDER / f"{name}.f64")


def columns(*numbers):
    return np.column_stack([column(f"x{number}") for number in numbers])


def rmse(actual, predicted):
    return float(np.sqrt(np.mean((actual - predicted) ** 2)))


def measure(case, peer, fit, quality, runs=3):
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        model = fit()
        seconds.append(time.perf_counter() - start)
    line = dict(case=case, peer=peer, seconds=round(statistics.median(seconds), 4), quality=quality(model))
    print(json.dumps(line), flush=True)


def linear():
    from sklearn.linear_model import LinearRegression

    x, y = columns(0, 1, 2, 3, 4), column("next_close")
    measure("linear", "scikit-learn", lambda: LinearRegression().fit(x, y), lambda m: rmse(y, m.predict(x)))


def logistic():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    x, y = columns(0, 3, 4), column("up").astype(int)
    for solver in ["newton-cholesky", "lbfgs"]:
        fit = lambda: LogisticRegression(solver=solver, max_iter=1000).fit(x, y)
        measure("logistic", f"scikit-learn {solver}", fit, lambda m: log_loss(y, m.predict_proba(x)))


def forest(n_columns, depth):
    if not wanted(f"forest_{n_columns}x_depth_{depth}"):
        return
    import lightgbm

    x, y = columns(*([0, 4] if n_columns == 2 else range(5))), column("surface")
    params = dict(objective="regression", boosting="rf", num_leaves=2**depth, max_depth=depth, min_data_in_leaf=1,
                  min_sum_hessian_in_leaf=0, bagging_fraction=0.632, bagging_freq=1, num_threads=THREADS, verbose=-1, seed=1)
    fit = lambda: lightgbm.train(params, lightgbm.Dataset(x, y), 20)
    measure(f"forest_{n_columns}x_depth_{depth}", "lightgbm rf", fit, lambda m: rmse(y, m.predict(x)))


def boosting():
    """Squared error, and the surface in three classes; all else is LightGBM's default, as ours is but for l2."""
    if not (wanted("boosting_5x") or wanted("boosting_3_classes")):
        return
    import lightgbm
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import log_loss

    x, y = columns(*range(5)), column("surface")
    classes = np.digitize(y, [-2, 2])
    params = dict(num_leaves=31, num_threads=THREADS, verbose=-1, seed=1)
    same = dict(max_iter=100, max_leaf_nodes=31, min_samples_leaf=20, early_stopping=False)
    squared, loss = lambda m: rmse(y, m.predict(x)), lambda m: log_loss(classes, m.predict(x))
    if wanted("boosting_5x"):
        fit = lambda: lightgbm.train(dict(params, objective="regression"), lightgbm.Dataset(x, y), 100)
        measure("boosting_5x", "lightgbm", fit, squared)
        measure("boosting_5x", "scikit-learn", lambda: HistGradientBoostingRegressor(**same).fit(x, y), squared)
    if wanted("boosting_3_classes"):
        of = dict(params, objective="multiclass", num_class=3)
        fit = lambda: lightgbm.train(of, lightgbm.Dataset(x, classes), 100)
        measure("boosting_3_classes", "lightgbm", fit, loss)
        fit = lambda: HistGradientBoostingClassifier(**same).fit(x, classes)
        measure("boosting_3_classes", "scikit-learn", fit, lambda m: log_loss(classes, m.predict_proba(x)), runs=1)


def wanted(case):
    return not WANTED or any(case.startswith(name) for name in WANTED)


def triples(name):
    read = lambda part, kind: np.fromfile(FOLDER / f"{name}.{part}", dtype=kind)
    return read("users.u32", np.uint32), read("items.u32", np.uint32), read("values.f32", np.float32)


def iterations(case, peer, fit, few, many, quality, runs):
    """`fit(n)` fits n iterations. The seconds of CPU are those of this process: Spark works in another."""
    seconds, cpu = [], []
    for _ in range(runs):
        marks = [(time.perf_counter(), time.process_time())]
        for n in [few, many]:
            model = fit(n)
            marks.append((time.perf_counter(), time.process_time()))
        for at, times in enumerate([seconds, cpu]):
            one, other = marks[1][at] - marks[0][at], marks[2][at] - marks[1][at]
            times.append((other - one) / (many - few))
    line = dict(case=case, peer=peer, seconds=round(statistics.median(seconds), 4), quality=quality(model))
    line["cpu_seconds"] = round(statistics.median(cpu), 3)
    print(json.dumps(line), flush=True)


def als_implicit(case, data, rank):
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    users, items, values = data
    matrix = csr_matrix((values, (users, items)))

    def fit(n):
        params = dict(factors=rank, iterations=n, regularization=0.1, num_threads=THREADS, use_gpu=False)
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(**params)
            model.fit(matrix, show_progress=False)
        return model

    # Its scores are no ratings: no quality here; benches/als_quality.sh compares rankings.
    iterations(case, "implicit", fit, 1, 4, lambda model: float("nan"), 1)


def als_spark(case, name, rank):
    try:
        import pandas
        from pyspark.ml.evaluation import RegressionEvaluator
        from pyspark.ml.recommendation import ALS
        from pyspark.sql import SparkSession
    except ImportError:
        return print("pyspark is not installed: left out", file=sys.stderr)
    session = SparkSession.builder.master(f"local[{THREADS}]").config("spark.driver.memory", "8g")
    session = session.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")

    def frame(name):
        path = FOLDER / f"{name}.parquet"
        users, items, values = triples(name)
        table = pandas.DataFrame(dict(user=users.astype(np.int32), item=items.astype(np.int32), rating=values))
        table.to_parquet(path, row_group_size=1_000_000)
        cached = session.read.parquet(str(path)).cache()
        cached.count()
        return cached

    train, test = frame(name), frame(name + "_test")

    def fit(n):
        als = ALS(rank=rank, maxIter=n, regParam=0.1, userCol="user", itemCol="item", coldStartStrategy="drop", seed=1)
        model = als.fit(train)
        model.userFactors.count()
        return model

    evaluator = RegressionEvaluator(labelCol="rating", predictionCol="prediction")
    fit(1)  # the virtual machine warms up
    iterations(case, "Spark MLlib", fit, 1, 4, lambda model: evaluator.evaluate(model.transform(test)), 1)


def clusters(k):
    """One start and twenty passes over all rows, as ours; each run has its own seed, and the quality is their mean."""
    if not wanted(f"kmeans_{k}"):
        return
    from sklearn.cluster import KMeans

    x = columns(0, 1, 2, 3, 4)
    inertias = []

    def fit():
        model = KMeans(k, n_init=1, max_iter=20, tol=0, random_state=len(inertias) + 1).fit(x)
        inertias.append(model.inertia_ / len(x))

    measure(f"kmeans_{k}", "scikit-learn", fit, lambda _: statistics.mean(inertias))


def spark_clusters(k):
    """The same with Spark, where it is installed and has its session: the cached rows are read by an untimed count."""
    try:
        from pyspark.ml.clustering import KMeans as SparkKMeans
        from pyspark.ml.functions import array_to_vector
        from pyspark.sql import SparkSession, functions
    except ImportError:
        return
    if not wanted(f"kmeans_{k}"):
        return
    import pyarrow.parquet

    spark = SparkSession.builder.master(f"local[{THREADS}]").config("spark.driver.memory", "4g").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    names = [f"x{number}" for number in range(5)]
    pyarrow.parquet.write_table(pyarrow.table({name: column(name) for name in names}), FOLDER / "kmeans.parquet")
    rows = spark.read.parquet(str(FOLDER / "kmeans.parquet"))
    rows = rows.select(array_to_vector(functions.array(*names)).alias("features")).cache()
    n_rows = rows.count()
    fit = lambda: SparkKMeans(k=k, maxIter=20, tol=0.0, seed=1).fit(rows)
    measure(f"kmeans_{k}", "spark", fit, lambda m: m.summary.trainingCost / n_rows, runs=1)


for case, run in [("linear", linear), ("logistic", logistic)]:
    if wanted(case):
        run()
for depth in [5, 12]:
    for n_columns in [2, 5]:
        forest(n_columns, depth)
boosting()
for k in [8, 100]:
    clusters(k)
    spark_clusters(k)
for suffix in ["", "_1m"]:
    for rank in [10, 64]:
        if wanted(f"als_implicit_{rank}{suffix}"):
            als_implicit(f"als_implicit_{rank}{suffix}", triples(f"als{suffix}"), rank)
        # Spark takes minutes an iteration at the higher rank.
        if rank == 10 and wanted(f"als_explicit_{rank}{suffix}"):
            als_spark(f"als_explicit_{rank}{suffix}", f"als{suffix}", rank)
