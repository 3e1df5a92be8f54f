"""Prints the figures of tests/it/oracle_ranking.rs. usage: python oracle_ranking.py
(needs numpy, scipy, scikit-learn and implicit; ours were scikit-learn 1.9.1 and implicit 0.7.3)."""
import numpy as np
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix
from sklearn.metrics import ndcg_score

# The users of `lists()` in oracle_ranking.rs; user 4 chose nothing.
user, item = np.meshgrid(np.arange(12), np.arange(40), indexing="ij")
score = (item * (53 + 11 * user) + 37 * user) % 101
chosen = ((7 * user + 13 * item) % 17 < 2 + 3 * (user % 4)) & (user != 4)
ranked = np.argsort(-score, axis=1).astype(np.int32)
measured = chosen.any(axis=1)


class Lists:
    """What implicit asks of a model, with the lists above."""

    def recommend(self, users, _liked, N, **_):
        return ranked[users, :N], None


for k in [1, 5, 10]:
    print("k", k)
    print("ndcg, scikit-learn", ndcg_score(chosen[measured], score[measured], k=k))
    none, test = csr_matrix(score.shape), csr_matrix(chosen.astype(float))
    theirs = ranking_metrics_at_k(Lists(), none, test, K=k, show_progress=False)
    print("ndcg, map, implicit", theirs["ndcg"], theirs["map"])
    # implicit's `precision` is all hits / Σ min(k, relevant): neither its denominator nor its mean is that of recall.
    hits = np.array([len(set(row[:k]) & set(np.flatnonzero(liked))) for row, liked in zip(ranked, chosen)])
    print("recall", np.mean(hits[measured] / chosen[measured].sum(axis=1)))
    print("implicit's precision", theirs["precision"])
    print("coverage", len(np.unique(ranked[measured, :k])) / score.shape[1])
