"""Prints the figures of tests/it/similarity.rs as Rust. usage: python similarity_oracle.py (needs numpy and scikit-learn;
ours were 1.9.1)."""
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# The texts of `OVERVIEWS` and `GENRES` in similarity.rs.
OVERVIEWS = [
    "A young wizard learns the ways of magic at a school of magic",
    "The wizard school opens again and the magic grows darker",
    "A crew in deep space meets a deadly creature",
    "Marines return to deep space to fight the creature and its nest",
    "A detective hunts a killer through the rain of a dark city",
    "The dark city hides a killer and a detective with a secret",
    "",
    "Café owner ÉMILE opens a café in Paris",
    "Two friends open a café in the rain",
    "space space space city",
]
GENRES = ["Fantasy|Family", "Fantasy|Adventure", "Horror|Science Fiction", "Action|Science Fiction|Horror", "Crime|Thriller",
          "Crime|Mystery", "Drama", "Comedy|Romance", "", "Science Fiction"]


def rust(name, rows):
    print(f"const {name}: &[&[(u32, f64)]] = &[")
    for row in rows:
        print("    &[" + ", ".join(f"({i}, {v:.9f})" for i, v in row) + "],")
    print("];")


def vectors(texts, **options):
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", **options)
    return vectorizer.fit_transform(texts).toarray(), vectorizer.get_feature_names_out()


def lists(rows, n=4):
    """For each row the n most similar others of a score above 0, ties by row."""
    scores = rows @ rows.T
    return [[(j, scores[i, j]) for j in sorted(range(len(rows)), key=lambda j: (-round(scores[i, j], 9), j))
             if j != i and scores[i, j] > 0][:n] for i in range(len(rows))]


for name, options in [("PLAIN", {}), ("FREQUENT", dict(max_features=3)), ("MIDDLING", dict(min_df=2, max_df=0.45))]:
    rows, terms = vectors(OVERVIEWS, **options)
    rust(name, lists(rows))
    print(f"// {name} row 3:", [(terms[k], round(rows[3, k], 9)) for k in np.flatnonzero(rows[3])])
overviews, _ = vectors(OVERVIEWS)
genres, _ = vectors(GENRES)
both = np.hstack([overviews, np.sqrt(0.5) * genres])
rust("WEIGHTED", lists(both / np.linalg.norm(both, axis=1, keepdims=True)))

# The rows of `homes()` in similarity.rs; NaN and -1 are missing.
i = np.arange(40)
price = np.where(i % 11 == 5, np.nan, i * 37 % 101 * 1000.0)
area = i * 53 % 89 / 7
kind = np.where(i % 13 == 7, -1, i % 3)
town = i * 7 % 10


def gower(q, j):
    total = compared = 0
    for values in (price, area):
        if not np.isnan(values[q]) and not np.isnan(values[j]):
            total += abs(values[q] - values[j]) / (np.nanmax(values) - np.nanmin(values))
            compared += 1
    for codes in (kind, town):
        if codes[q] >= 0 and codes[j] >= 0:
            total += codes[q] != codes[j]
            compared += 1
    return total / compared


def nearest(distance, q, n=5):
    return sorted(((j, distance(q, j)) for j in range(40) if j != q), key=lambda found: (round(found[1], 12), found[0]))[:n]


rust("GOWER", [nearest(gower, q) for q in (0, 5, 7)])
price = np.nan_to_num(price, nan=0.0)
points = np.hstack([StandardScaler().fit_transform(np.c_[price, area]), OneHotEncoder().fit_transform(np.c_[i % 3, town]).toarray()])
rust("EUCLIDEAN", [nearest(lambda q, j: np.linalg.norm(points[q] - points[j]), q) for q in (0, 5, 7)])

# The rows of `ratings()` in similarity.rs.
k = np.arange(500)
item, score = (k * k + 3 * k) % 17 * (k % 3 + 1) % 23, 1 + k * 7 % 9 / 2
votes = np.array([np.sum(item == j) for j in range(23)])
means = np.array([score[item == j].mean() if votes[j] else 0 for j in range(23)])
m = np.quantile(votes[votes > 0], 0.9)
weighted = (means * votes + score.mean() * m) / (votes + m)
rust("WEIGHTED_SCORES", [[(j, weighted[j]) for j in sorted(np.flatnonzero(votes), key=lambda j: (-weighted[j], j))]])
