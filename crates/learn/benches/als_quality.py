"""Fits the splits which `als_quality split` wrote with Spark MLlib and implicit, where they are installed: one JSON line a
figure, the mean over the splits. usage: als_quality.py FOLDER
"""
import json
import os
import sys
from pathlib import Path

os.environ.update(OPENBLAS_NUM_THREADS="1")

import numpy as np

FOLDER = Path(sys.argv[1])
SEEDS = sorted(int(path.stem.split("_")[1]) for path in FOLDER.glob("train_*.csv"))
# As EXPLICIT and IMPLICIT in examples/als_quality.rs.
EXPLICIT = [
    ("explicit rank 10 lambda 0.1 × 10", dict(rank=10, regParam=0.1, maxIter=10)),
    ("nonnegative rank 12 lambda 0.16 × 21", dict(rank=12, regParam=0.16, maxIter=21, nonnegative=True)),
]
IMPLICIT = [
    ("implicit rank 32 alpha 1 lambda 0.1 × 15", dict(factors=32, alpha=1, regularization=0.1, iterations=15)),
    ("implicit rank 64 alpha 5 lambda 10 × 15", dict(factors=64, alpha=5, regularization=10, iterations=15)),
]


def line(case, who, measure, values):
    print(json.dumps(dict(case=case, who=who, measure=measure, value=round(float(np.mean(values)), 5))), flush=True)


def spark():
    from pyspark.ml.evaluation import RegressionEvaluator
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master(f"local[{os.cpu_count()}]").config("spark.ui.enabled", "false")
    session = session.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    # Without checkpoints its lineage overflows the stack after some fifteen iterations.
    session.sparkContext.setCheckpointDir(str(FOLDER / "checkpoints"))
    read = lambda name: session.read.csv(str(FOLDER / name), header=True, schema="user int, item int, rating float").cache()
    evaluator = RegressionEvaluator(labelCol="rating", predictionCol="prediction")
    for case, params in EXPLICIT:
        def rmse(seed):
            model = ALS(userCol="user", itemCol="item", coldStartStrategy="drop", seed=seed, **params).fit(read(f"train_{seed}.csv"))
            return evaluator.evaluate(model.transform(read(f"test_{seed}.csv")))
        line(case, "Spark MLlib", "RMSE", [rmse(seed) for seed in SEEDS])
    session.stop()


def implicit():
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    read = lambda name: np.loadtxt(FOLDER / name, delimiter=",", skiprows=1)
    gains = 1 / np.log2(np.arange(10) + 2)

    def ndcg(seed, params):
        train, test = read(f"train_{seed}.csv"), read(f"test_{seed}.csv")
        shape = tuple(1 + max(int(part[:, at].max()) for part in (train, test)) for at in (0, 1))
        # Its confidence is alpha times what it is given, where Hu et al. have 1 + alpha times the rating.
        values = (train[:, 2] + 1 / params["alpha"]).astype(np.float32)
        matrix = csr_matrix((values, (train[:, 0].astype(int), train[:, 1].astype(int))), shape)
        model = AlternatingLeastSquares(use_gpu=False, random_state=seed, **params)
        model.fit(matrix, show_progress=False)
        known_users, known_items = np.diff(matrix.indptr) > 0, np.diff(matrix.tocsc().indptr) > 0
        relevant = {}
        for user, item in test[:, :2].astype(int):
            if known_users[user] and known_items[item]:
                relevant.setdefault(user, set()).add(item)
        users = np.array(sorted(relevant))
        top = model.recommend(users, matrix[users], N=10)[0]
        def of_user(user, items):
            return gains[[item in relevant[user] for item in items]].sum() / gains[: min(len(relevant[user]), 10)].sum()
        return np.mean([of_user(user, items) for user, items in zip(users, top)])

    for case, params in IMPLICIT:
        line(case, "implicit", "NDCG@10", [ndcg(seed, params) for seed in SEEDS])


for peer in [spark, implicit]:
    try:
        peer()
    except ImportError as missing:
        print(f"{missing}: left out", file=sys.stderr)
