"""Fits the bench's data with scikit-learn and LightGBM: one JSON line a case, the median of three runs.

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

import lightgbm
import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss

FOLDER, WANTED = Path(sys.argv[1]), sys.argv[2:]


def column(name):
    return np.fromfile(FOLDER / f"{name}.f64")


def columns(*numbers):
    return np.column_stack([column(f"x{number}") for number in numbers])


def rmse(actual, predicted):
    return float(np.sqrt(np.mean((actual - predicted) ** 2)))


def measure(case, peer, fit, quality, runs=3):
    if WANTED and not any(case.startswith(name) for name in WANTED):
        return
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        model = fit()
        seconds.append(time.perf_counter() - start)
    line = dict(case=case, peer=peer, seconds=round(statistics.median(seconds), 4), quality=quality(model))
    print(json.dumps(line), flush=True)


def linear():
    x, y = columns(0, 1, 2, 3, 4), column("next_close")
    measure("linear", "scikit-learn", lambda: LinearRegression().fit(x, y), lambda m: rmse(y, m.predict(x)))


def logistic():
    x, y = columns(0, 3, 4), column("up").astype(int)
    for solver in ["newton-cholesky", "lbfgs"]:
        fit = lambda: LogisticRegression(solver=solver, max_iter=1000).fit(x, y)
        measure("logistic", f"scikit-learn {solver}", fit, lambda m: log_loss(y, m.predict_proba(x)))


def forest(n_columns, depth):
    x, y = columns(*([0, 4] if n_columns == 2 else range(5))), column("surface")
    params = dict(objective="regression", boosting="rf", num_leaves=2**depth, max_depth=depth, min_data_in_leaf=1,
                  min_sum_hessian_in_leaf=0, bagging_fraction=0.632, bagging_freq=1, num_threads=THREADS, verbose=-1, seed=1)
    fit = lambda: lightgbm.train(params, lightgbm.Dataset(x, y), 20)
    measure(f"forest_{n_columns}x_depth_{depth}", "lightgbm rf", fit, lambda m: rmse(y, m.predict(x)))


linear()
logistic()
for depth in [5, 12]:
    for n_columns in [2, 5]:
        forest(n_columns, depth)
