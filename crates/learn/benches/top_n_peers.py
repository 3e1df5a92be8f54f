"""Finds the ten best items with numpy and usearch on what examples/top_n_bench.rs wrote, one query at a time on one
thread, and compares our lists with the true ones. usage: top_n_peers.py FOLDER [case ...]"""
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import json
import sys
import time

import numpy as np
from usearch.index import Index

N = 10
GRAPH_ITEMS_MAX = 200_000  # A graph of a million items takes minutes to build.


def median_us(queries, search):
    times, lists = [], []
    for query in queries:
        started = time.perf_counter()
        found = search(query)
        times.append((time.perf_counter() - started) * 1e6)
        lists.append(found)
    return np.median(times), np.array(lists)


def brute_force(items, query):
    scores = items @ query
    best = np.argpartition(scores, -N)[-N:]
    return best[np.argsort(-scores[best])]


def recall(found, true):
    return np.mean([len(set(a) & set(b)) / N for a, b in zip(found, true)])


folder, wanted = sys.argv[1], sys.argv[2:]
for name in ["27k", "138k", "1m"]:
    for rank in [64, 10]:
        case = f"{name}_{rank}"
        if wanted and not any(case.startswith(prefix) for prefix in wanted):
            continue
        read = lambda what, kind: np.fromfile(f"{folder}/{case}.{what}", kind)
        items, queries = read("items", "<f4").reshape(-1, rank), read("queries", "<f4").reshape(-1, rank)
        true = np.array([brute_force(items.astype("f8"), query) for query in queries[:50].astype("f8")])
        ours = read("lists", "<u4").reshape(-1, N)
        us, found = median_us(queries, lambda query: brute_force(items, query))
        line = {"case": case, "our_recall": recall(ours, true)}
        line |= {"numpy_us": round(us, 1), "numpy_recall": recall(found, true)}
        if len(items) <= GRAPH_ITEMS_MAX:
            started = time.perf_counter()
            index = Index(ndim=rank, metric="ip", dtype="f32")
            index.add(np.arange(len(items)), items)
            line["usearch_build_s"] = round(time.perf_counter() - started, 1)
            us, found = median_us(queries, lambda query: index.search(query, N, threads=1).keys)
            line |= {"usearch_us": round(us, 1), "usearch_recall": round(recall(found, true), 3)}
        print(json.dumps(line), flush=True)
