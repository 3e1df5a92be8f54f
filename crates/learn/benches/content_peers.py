"""Fits and queries the texts of the content bench with scikit-learn: one JSON line a case, the median of three runs.

usage: content_peers.py FOLDER [CASE ...], FOLDER being where `content_bench` wrote its texts. The quality of a fit is the
number of terms, that of the lists the mean score of the tenth row, as `content_bench` has them.
"""
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

FOLDER, WANTED = Path(sys.argv[1]), sys.argv[2:]


def measure(case, run, quality, runs=3):
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    line = dict(case=case, peer="scikit-learn", seconds=round(statistics.median(seconds), 7), quality=quality(result))
    print(json.dumps(line), flush=True)
    return result


def each(case, queries, ask):
    """The median query."""
    seconds, answers = [], []
    for query in queries:
        start = time.perf_counter()
        answers.append(ask(query))
        seconds.append(time.perf_counter() - start)
    line = dict(case=case, peer="scikit-learn", seconds=round(statistics.median(seconds), 7), quality=float(np.mean(answers)))
    print(json.dumps(line), flush=True)


def similar(rows, row):
    """The ten most similar rows: a sparse product, then a partial sort."""
    scores = (rows @ rows[row].T).toarray().ravel()
    scores[row] = -1
    best = np.argpartition(-scores, 10)[:10]
    return scores[best].min()


for name in ["short", "long"]:
    if WANTED and not any(name.startswith(case) for case in WANTED):
        continue
    texts = (FOLDER / f"{name}.txt").read_text().split("\n")
    queries = [int(row) for row in (FOLDER / f"{name}_queries.txt").read_text().split()][:200]
    fit = lambda: TfidfVectorizer(dtype=np.float32).fit_transform(texts)
    rows = measure(f"{name}_fit", fit, lambda rows: rows.shape[1])
    each(f"{name}_similar", queries, lambda row: similar(rows, row))
