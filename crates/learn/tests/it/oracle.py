"""Prints the figures of tests/it/oracle.rs. usage: python oracle.py [tables | clusters | als | boosting] (needs numpy;
tables: scikit-learn, ours was 1.9.1; als: implicit 0.7.3, pyspark 4.3.0 and Java; boosting: scikit-learn, LightGBM 4.7.0)."""
import sys

import numpy as np


def show(name, *values):
    print(name, *(np.array2string(np.asarray(v).ravel(), precision=15, separator=", ", max_line_width=200) for v in values))


def tables():
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

    # The rows of `data()` in oracle.rs.
    i = np.arange(60)
    a = (i * 37 % 101) / 10
    b = (i * 53 % 89) / 7
    c = i % 3
    noise = (i * 29 % 17) / 17
    y = 1.5 * a - 0.7 * b + np.array([0.0, 2.0, -1.0])[c] + noise
    binary = (a - b + 8 * noise > 3).astype(int)
    multi = np.digitize(a - b + 8 * noise, [0, 5])
    onehot = np.eye(3)[c]
    x = np.c_[a, b]
    mixed = np.c_[a, b, onehot]
    epoch = np.c_[1.6e9 + 60 * i, a]


    def shown(name, model, xs, ys):
        model.fit(xs, ys)
        show(name, model.coef_, model.intercept_)


    shown("ols", LinearRegression(), x, y)
    shown("ridge", Ridge(alpha=2.5), x, y)
    shown("least norm", LinearRegression(), mixed, y)
    shown("ridge one-hot", Ridge(alpha=1.0), mixed, y)
    m = LinearRegression().fit(np.c_[60 * i, a], y)
    show("epoch", m.coef_, m.intercept_)
    # Its lbfgs stops at a relative change of the loss, about six digits short of this.
    tight = dict(tol=1e-13, max_iter=100_000, solver="newton-cg")
    shown("logistic", LogisticRegression(**tight), x, binary)
    shown("logistic one-hot", LogisticRegression(C=0.5, **tight), mixed, binary)
    shown("logistic no penalty", LogisticRegression(C=np.inf, **tight), x, binary)
    shown("multinomial", LogisticRegression(**tight), x, multi)
    shown("multinomial one-hot", LogisticRegression(C=0.5, **tight), mixed, multi)

    j = np.arange(4000)
    fa, fb, fn = (j * 7919 % 4001) / 4001, (j * 6151 % 3989) / 3989, (j * 104729 % 997) / 997
    fy = np.sin(9 * fa) * 3 + (fb > 0.4) * 2 * fa + fn
    fc = np.digitize(fy, [0, 2])
    train = j % 2 == 0
    fx = np.c_[fa, fb]
    r = RandomForestRegressor(50, max_depth=8, random_state=0, n_jobs=2).fit(fx[train], fy[train])
    print("forest rmse", np.sqrt(np.mean((r.predict(fx[~train]) - fy[~train]) ** 2)))
    r = RandomForestClassifier(50, max_depth=8, max_features=None, random_state=0, n_jobs=2).fit(fx[train], fc[train])
    print("forest accuracy", np.mean(r.predict(fx[~train]) == fc[~train]))


def clusters():
    # The rows of `spread_rows()` in oracle.rs: no heaps, so that the optimum has to be searched for.
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score
    from sklearn.preprocessing import StandardScaler

    j = np.arange(3000)
    kx = np.c_[(j * 7919 % 4001) / 4001, (j * 6151 % 3989) / 398.9, ((j * 104729 % 997) / 997) ** 3 * 1e6]
    kz = StandardScaler().fit_transform(kx)
    for clusters in [3, 8]:
        m = KMeans(clusters, n_init=20, max_iter=1000, tol=1e-6, random_state=0).fit(kz)
        print("k-means inertia", clusters, m.inertia_)
    once = [KMeans(40, max_iter=1000, tol=1e-6, random_state=seed).fit(kz).inertia_ for seed in range(200)]
    print("k-means inertia 40, mean", np.mean(once))
    labels = (j * 31 % 7 * (kz[:, 0] > 0)).astype(int)
    labels[17] = 99
    print("silhouette", silhouette_score(kz, labels), "of", np.bincount(labels).max())


def als():
    # The ratings of `rated()` in oracle.rs: 12 users, 9 items.
    cells = [(u, i) for u in range(12) for i in range(9) if (u * 31 + i * 17) % 7 < 3]
    rating = lambda u, i: 0.5 + (u * 13 + i * 29 + u * i) % 10 / 2
    import implicit.cpu.als
    from scipy.sparse import csr_matrix

    users, items = np.array(cells).T
    # Its confidence is alpha times what it is given, where Hu et al. have 1 + alpha times the rating.
    values = np.array([rating(u, i) + 1 / 2 for u, i in cells], dtype=np.float32)
    matrix = csr_matrix((values, (users, items)), (12, 9))
    model = implicit.cpu.als.AlternatingLeastSquares(
        factors=3, regularization=0.2, alpha=2, iterations=5, use_cg=False, use_native=True, random_state=1
    )
    model.fit(matrix, show_progress=False)
    # It ends with items, so these are what users' vectors give.
    show("implicit given", model.user_factors)
    show("implicit solved", model.item_factors)

    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    shifted = lambda u, i: rating(u, i) - 1.5  # some are 0 or less
    for name, of, params in [
        ("explicit", rating, dict(regParam=0.1)),
        ("nonnegative", shifted, dict(regParam=0.1, nonnegative=True)),
        ("implicit", shifted, dict(regParam=0.1, alpha=2.0, implicitPrefs=True)),
        ("implicit nonnegative", shifted, dict(regParam=0.1, alpha=2.0, implicitPrefs=True, nonnegative=True)),
    ]:
        rows = spark.createDataFrame([(u, i, float(of(u, i))) for u, i in cells], "user int, item int, rating float")
        model = ALS(rank=3, maxIter=4, seed=1, **params).fit(rows)
        vectors = lambda frame: [row.features for row in frame.orderBy("id").collect()]
        # It ends with users.
        show(f"spark {name} given", vectors(model.itemFactors))
        show(f"spark {name} solved", vectors(model.userFactors))


def boosting():
    # The rows of `minutes()` and `ratings()` in oracle_boosting.rs; the settings of both peers are ours.
    import csv
    import re
    from pathlib import Path

    import lightgbm
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import log_loss

    folder = next(p / "shared/data" for p in Path(__file__).resolve().parents if (p / "shared/data").exists())
    params = dict(num_leaves=31, learning_rate=0.1, lambda_l2=1, num_threads=2, verbose=-1, seed=1)
    same = dict(max_iter=100, max_leaf_nodes=31, l2_regularization=1, early_stopping=False, random_state=1)

    def classes(name, x, y, test, category):
        n = int(y.max()) + 1
        objective = dict(objective="binary") if n == 2 else dict(objective="multiclass", num_class=n)
        data = lightgbm.Dataset(x[~test], y[~test], categorical_feature=[category])
        light = lightgbm.train(dict(params, **objective), data, 100).predict(x[test])
        light = np.c_[1 - light, light] if n == 2 else light
        peer = HistGradientBoostingClassifier(categorical_features=[category], **same).fit(x[~test], y[~test])
        for who, p in [("lightgbm", light), ("scikit-learn", peer.predict_proba(x[test]))]:
            print(name, who, "log-loss", log_loss(y[test], p), "accuracy", np.mean(p.argmax(1) == y[test]))

    def number(name, x, y, test, category):
        data = lightgbm.Dataset(x[~test], y[~test], categorical_feature=[category])
        light = lightgbm.train(dict(params, objective="regression"), data, 100)
        peer = HistGradientBoostingRegressor(categorical_features=[category], **same).fit(x[~test], y[~test])
        for who, model in [("lightgbm", light), ("scikit-learn", peer)]:
            print(name, who, "rmse", np.sqrt(np.mean((model.predict(x[test]) - y[test]) ** 2)))

    # `generated()`.
    j = np.arange(20_000)
    a, b, city = (j * 7919 % 40_009) / 40_009, (j * 6151 % 39_989) / 39_989, j * 31 % 23
    y = np.sin(9 * a) * 3 + (b > 0.4) * 2 * a + city % 5 * b + (j * 104_729 % 997) / 997
    x = np.c_[np.where(j % 7 == 0, np.nan, a), b, city]
    number("generated", x, y, j % 3 == 0, 2)
    classes("generated", x, np.digitize(y, [0, 1.5, 3, 4.5]), j % 3 == 0, 2)

    time, opened, high, low, close, volume = np.loadtxt(folder / "bitcoin/btcusdt_1min.csv", delimiter=",", skiprows=1).T
    volume = np.log1p(volume)
    here = np.flatnonzero(time[2:] - time[1:-1] == 60) + 1
    before = np.where(time[here] - time[here - 1] == 60, volume[here - 1], np.nan)
    hour, minute = time[here] // 3600 % 24, time[here] // 60 % 60
    move = [np.log(high / low)[here], np.log(close / opened)[here]]
    x = np.c_[volume[here], before, move[0], move[1], minute, hour]
    test = here // 1000 % 5 == 4
    y = volume[here + 1]
    number("minutes", x, y, test, 5)
    classes("minutes", x, (y > volume[here]).astype(int), test, 5)

    rows = list(csv.DictReader(open(folder / "movielens/movies.csv", encoding="utf-8")))
    years = {row["movieId"]: re.findall(r"\((\d{4})\)", row["title"]) for row in rows}
    first = {row["movieId"]: row["genres"].split("|")[0] for row in rows}
    genres = sorted(set(first.values()))
    rated = list(csv.DictReader(open(folder / "movielens/ratings.csv", encoding="utf-8")))
    year = [float(years[row["movieId"]][-1]) if years[row["movieId"]] else np.nan for row in rated]
    genre = [genres.index(first[row["movieId"]]) for row in rated]
    x = np.c_[[float(row["userId"]) for row in rated], [float(row["movieId"]) for row in rated], year, genre]
    y = np.digitize([float(row["rating"]) for row in rated], [3.25, 4.25])
    classes("ratings", x, y, np.arange(len(y)) % 5 == 4, 3)


for name, run in [("tables", tables), ("clusters", clusters), ("als", als), ("boosting", boosting)]:
    if len(sys.argv) < 2 or sys.argv[1] == name:
        run()
