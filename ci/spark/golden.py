"""Makes the folders of crates/model/golden/spark: models that a real Spark trained and saved, each beside what that Spark answers.

usage: golden.py FOLDER [CASE...]     with the Python that has pyspark (3.5 or 4.x) and numpy, and Java

Each case is a folder: `model` as Spark saved it (without checksums), and `answers.json` with rows and what `transform` says of each:
`prediction`, `probability` where there is one, and `fault` where Spark refuses the row.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.ml import Pipeline, Transformer
from pyspark.ml.classification import (
    DecisionTreeClassifier,
    GBTClassifier,
    LogisticRegression,
    RandomForestClassifier,
)
from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import (
    Bucketizer,
    Imputer,
    IndexToString,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
    StringIndexer,
    VectorAssembler,
)
from pyspark.ml.linalg import Vectors
from pyspark.ml.recommendation import ALS
from pyspark.ml.regression import (
    DecisionTreeRegressor,
    GBTRegressor,
    LinearRegression,
    RandomForestRegressor,
)
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

Answer = dict[str, Any]

HOUSES = StructType(
    [
        StructField("city", StringType()),
        StructField("kind", StringType()),
        StructField("area", DoubleType()),
        StructField("rooms", DoubleType()),
        StructField("price", DoubleType()),
        StructField("sold", StringType()),
    ]
)
CITIES = ["Oslo", "Rome", "Lima", "Bern", "Cairo", "Pune", "Kyiv", "Nice"]
KINDS = ["flat", "house", "loft"]


def houses(n: int) -> list[tuple[Any, ...]]:
    chance = random.Random(7)
    rows: list[tuple[Any, ...]] = []
    for _ in range(n):
        city = min(int(chance.expovariate(0.5)), len(CITIES) - 1)
        kind = chance.randrange(3)
        area = round(chance.uniform(20, 200), 1)
        rooms = float(chance.randrange(1, 8))
        price = round(area * (3 + city) + 40 * kind * rooms + chance.gauss(0, 30), 1)
        sold = "yes" if price + chance.gauss(0, 80) > 500 else ("no" if chance.random() < 0.8 else "withdrawn")
        rows.append((CITIES[city], KINDS[kind], area, rooms, price, sold))
    return rows


# Unseen categories, nulls, the ends of buckets, and numbers far outside.
PROBES: list[dict[str, Any]] = [
    {"city": "Oslo", "kind": "flat", "area": 50.0, "rooms": 2.0},
    {"city": "Nice", "kind": "loft", "area": 120.5, "rooms": 5.0},
    {"city": "Rome", "kind": "house", "area": 200.0, "rooms": 7.0},
    {"city": "Atlantis", "kind": "flat", "area": 75.0, "rooms": 3.0},
    {"city": None, "kind": "house", "area": 75.0, "rooms": 3.0},
    {"city": "Bern", "kind": "flat", "area": None, "rooms": 3.0},
    {"city": "Lima", "kind": "flat", "area": 99.9, "rooms": None},
    {"city": "Cairo", "kind": "castle", "area": 99.9, "rooms": 4.0},
    {"city": "Pune", "kind": None, "area": 99.9, "rooms": 4.0},
    {"city": "Kyiv", "kind": "loft", "area": 60.0, "rooms": 4.0},
    {"city": "Kyiv", "kind": "loft", "area": 20.0, "rooms": 1.0},
    {"city": "Oslo", "kind": "house", "area": 1e6, "rooms": -40.0},
    {"city": "Oslo", "kind": "house", "area": 0.0, "rooms": 0.0},
]


def number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(value)


def answered(row: Row) -> Answer:
    answer: Answer = {"prediction": number(row["prediction"])}
    if "probability" in row:
        answer["probability"] = [number(value) for value in row["probability"]]
    if "named" in row:
        answer["named"] = row["named"]
    return answer


def ask(model: Transformer, frame: Callable[[dict[str, Any]], DataFrame], probes: list[dict[str, Any]]) -> list[Answer]:
    answers = []
    for probe in probes:
        try:
            found = model.transform(frame(probe)).collect()
            said: Answer = answered(found[0]) if found else {"fault": "skipped"}
        except Exception as error:  # noqa: BLE001: whatever Spark refuses a row with
            text = str(error)
            lines = [line for line in text.splitlines() if "SparkException" in line or "Exception" in line]
            said = {"fault": (lines[-1] if lines else text.splitlines()[0])[:200]}
        answers.append({"row": probe, **said})
    return answers


class Maker:
    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark = spark
        self.folder = folder
        self.data = spark.createDataFrame(houses(240), HOUSES).coalesce(1).cache()

    def keep(self, name: str, model: Any, answers: list[Answer]) -> None:
        case = self.folder / name
        shutil.rmtree(case, ignore_errors=True)
        model.write().overwrite().save(str(case / "model"))
        for path in sorted((case / "model").rglob(".*.crc")):
            path.unlink()
        text = json.dumps({"spark": self.spark.version, "answers": answers}, indent=1)
        (case / "answers.json").write_text(text + "\n")

    def house(self, probe: dict[str, Any]) -> DataFrame:
        fields = StructType([field for field in HOUSES.fields if field.name in probe])
        return self.spark.createDataFrame([tuple(probe[field.name] for field in fields)], fields)

    def vector(self, probe: dict[str, Any]) -> DataFrame:
        return self.spark.createDataFrame([(Vectors.dense(list(probe.values())),)], ["features"])

    def pipeline(self, name: str, *stages: Any) -> None:
        model = Pipeline(stages=list(stages)).fit(self.data)
        self.keep(name, model, ask(model, self.house, PROBES))

    def vectors(self, n: int, width: int) -> list[list[float]]:
        chance = random.Random(11)
        return [[round(chance.gauss(0, 1 + column), 3) for column in range(width)] for _ in range(n)]

    def bare(self, name: str, estimator: Any, label: Callable[[list[float]], float], width: int = 4) -> None:
        rows = self.vectors(200, width)
        frame = self.spark.createDataFrame([(Vectors.dense(row), label(row)) for row in rows], ["features", "label"])
        model = estimator.fit(frame.coalesce(1))
        probes = [{f"features_{column}": value for column, value in enumerate(row)} for row in rows[:12]]
        probes.append({f"features_{column}": 0.0 for column in range(width)})
        self.keep(name, model, ask(model, self.vector, probes))

    def als(self, name: str, **params: Any) -> None:
        chance = random.Random(3)
        ratings = [(user * 7, item * 3 - 4, float(chance.randrange(1, 6))) for user in range(14) for item in range(11) if chance.random() < 0.6]
        frame = self.spark.createDataFrame(ratings, "user int, item int, rating double").coalesce(1)
        model = ALS(rank=3, maxIter=4, numUserBlocks=2, numItemBlocks=2, seed=1, **params).fit(frame)
        users = model.getUserCol()
        pairs = [{"user": user, "item": item} for user, item in [(0, 2), (7, 5), (91, 26), (14, -4), (1, 2), (7, 3), (1, 1)]]
        fields = "user int, item int"

        def pair(probe: dict[str, Any]) -> DataFrame:
            return self.spark.createDataFrame([(probe["user"], probe["item"])], fields)

        assert users == "user"
        answers = ask(model, pair, pairs)
        lists = [
            {"user": row["user"], "items": [[item, score] for item, score in row["recommendations"]]}
            for row in model.recommendForAllUsers(5).collect()
        ]
        self.keep(name, model, answers)
        path = self.folder / name / "answers.json"
        shown = json.loads(path.read_text())
        shown["recommend"] = sorted(lists, key=lambda found: int(found["user"]))
        path.write_text(json.dumps(shown, indent=1) + "\n")


def indexers(invalid: str) -> StringIndexer:
    return StringIndexer(inputCols=["city", "kind"], outputCols=["city_index", "kind_index"], handleInvalid=invalid)


def cases(make: Maker) -> dict[str, Callable[[], None]]:
    def imputer() -> Imputer:
        return Imputer(inputCols=["area", "rooms"], outputCols=["area_full", "rooms_full"], strategy="median")

    def one_hot(drop: bool) -> OneHotEncoder:
        return OneHotEncoder(inputCols=["city_index", "kind_index"], outputCols=["city_vector", "kind_vector"], dropLast=drop)

    def buckets(invalid: str) -> Bucketizer:
        splits = [-math.inf, 60.0, 100.0, 200.0, 1e6]
        return Bucketizer(splits=splits, inputCol="area", outputCol="bucket", handleInvalid=invalid)

    def assembler(*columns: str, to: str = "features", invalid: str = "error") -> VectorAssembler:
        return VectorAssembler(inputCols=list(columns), outputCol=to, handleInvalid=invalid)

    sold = StringIndexer(inputCol="sold", outputCol="label")
    return {
        "als": lambda: make.als("als"),
        "als-implicit": lambda: make.als("als-implicit", implicitPrefs=True, nonnegative=True),
        "kmeans": lambda: make.bare("kmeans", KMeans(k=3, seed=1), lambda row: 0.0),
        "kmeans-cosine": lambda: make.bare("kmeans-cosine", KMeans(k=2, seed=1, distanceMeasure="cosine"), lambda row: 0.0),
        "linear": lambda: make.bare("linear", LinearRegression(), lambda row: 3 + 2 * row[0] - row[1]),
        "logistic-sparse": lambda: make.bare(
            "logistic-sparse",
            LogisticRegression(family="multinomial", regParam=0.05, elasticNetParam=1.0),
            lambda row: float((row[0] > 0.3) + (row[1] > 0)),
        ),
        "tree-regression": lambda: make.bare("tree-regression", DecisionTreeRegressor(maxDepth=4), lambda row: row[0] * 2 + (row[1] > 0)),
        "boosted-regression": lambda: make.bare("boosted-regression", GBTRegressor(maxIter=5, maxDepth=3, seed=1), lambda row: row[0] * row[1]),
        "boosted-classes": lambda: make.bare("boosted-classes", GBTClassifier(maxIter=4, maxDepth=3, seed=1), lambda row: float(row[0] * row[1] > 0)),
        "pipeline-linear": lambda: make.pipeline(
            "pipeline-linear",
            indexers("keep"),
            one_hot(True),
            imputer(),
            assembler("area_full", "rooms_full", to="numbers"),
            StandardScaler(inputCol="numbers", outputCol="scaled", withMean=True),
            assembler("scaled", "city_vector", "kind_vector", "kind_index"),
            LinearRegression(labelCol="price"),
        ),
        "pipeline-logistic": lambda: make.pipeline(
            "pipeline-logistic",
            sold,
            indexers("error"),
            one_hot(False),
            buckets("error"),
            assembler("area", "rooms", to="numbers"),
            MinMaxScaler(inputCol="numbers", outputCol="scaled", min=-1.0),
            assembler("bucket", "scaled", "city_vector"),
            LogisticRegression(family="multinomial", maxIter=40, regParam=0.01),
            IndexToString(inputCol="prediction", outputCol="named", labels=["no", "yes", "withdrawn"]),
        ),
        "pipeline-forest": lambda: make.pipeline(
            "pipeline-forest",
            sold,
            indexers("keep"),
            buckets("keep"),
            assembler("city_index", "kind_index", "bucket", "rooms", "area", invalid="keep"),
            RandomForestClassifier(numTrees=5, maxDepth=4, seed=2),
        ),
        "pipeline-forest-numbers": lambda: make.pipeline(
            "pipeline-forest-numbers",
            indexers("skip"),
            one_hot(True),
            assembler("area", "rooms", to="numbers"),
            StandardScaler(inputCol="numbers", outputCol="scaled", withMean=True),
            assembler("scaled", "city_vector", "kind_index"),
            RandomForestRegressor(numTrees=4, maxDepth=4, seed=2, labelCol="price"),
        ),
        "pipeline-tree": lambda: make.pipeline(
            "pipeline-tree",
            StringIndexer(inputCol="kind", outputCol="label"),
            StringIndexer(inputCol="city", outputCol="city_index"),
            assembler("city_index", "rooms", "area"),
            DecisionTreeClassifier(maxDepth=4),
        ),
        "pipeline-boosted": lambda: make.pipeline(
            "pipeline-boosted",
            StringIndexer(inputCol="city", outputCol="city_index", handleInvalid="keep"),
            assembler("area", "city_index", "rooms", invalid="skip"),
            GBTRegressor(maxIter=4, maxDepth=3, seed=1, labelCol="price"),
        ),
        "pipeline-kmeans": lambda: make.pipeline(
            "pipeline-kmeans",
            StringIndexer(inputCol="kind", outputCol="kind_index", handleInvalid="keep"),
            OneHotEncoder(inputCol="kind_index", outputCol="kind_vector"),
            Imputer(inputCol="area", outputCol="area_full"),
            assembler("area_full", "rooms", "kind_vector", to="raw"),
            StandardScaler(inputCol="raw", outputCol="features"),
            KMeans(k=4, seed=1),
        ),
        "pipeline-kmeans-numbers": lambda: make.pipeline(
            "pipeline-kmeans-numbers",
            assembler("area", "rooms", to="raw"),
            StandardScaler(inputCol="raw", outputCol="features", withMean=True),
            KMeans(k=3, seed=1),
        ),
    }


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    conf = {"spark.ui.enabled": "false", "spark.default.parallelism": "1", "spark.sql.shuffle.partitions": "1", "spark.driver.memory": "1g"}
    builder = SparkSession.builder.master("local[1]").appName("golden")
    for name, value in conf.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    known = cases(Maker(spark, folder))
    for name in sys.argv[2:] or list(known):
        known[name]()
        print(name, flush=True)
    spark.stop()


main()
