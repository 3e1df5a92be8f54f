"""The pipelines that are attacked: a shop with every kind of model, and a topic that strangers write."""

import csv
import random
import shutil
import subprocess
import time

from harness import Failed, Raw, Server, free_port

WORDS = "space war love river night city horse robot song winter island garden letter storm king child train mirror".split()
ITEMS, USERS, ROWS = 400, 300, 6000

SHOP = """
name = "shop"
source.path = "shop.csv"
batch.parts = 2
store.url = "file:shop-store"
serve.listen = "127.0.0.1:{port}"
stream.listen = "127.0.0.1:{broker}"
stream.data = "shop-topic"

[[model]]
name = "taste"
algorithm = "als"
user = "user"
item = "item"
rating = "rating"
params = {{ rank = 8, iterations = 5 }}

[[model]]
name = "alike"
algorithm = "content"
id = "item"
title = "title"
text = ["overview"]

[[model]]
name = "near"
algorithm = "neighbours"
id = "item"
features = ["price", "volume"]

[[model]]
name = "groups"
algorithm = "kmeans"
features = ["price", "volume"]
params = {{ k = 3 }}

[[model]]
name = "cost"
algorithm = "linear_regression"
features = ["volume + 0.5", "rating"]
target = "price"

[[model]]
name = "best"
algorithm = "popularity"
item = "item"
score = "rating"

[[model]]
name = "which"
algorithm = "logistic_regression"
features = ["price", "volume"]
target = "title"
params = {{ max_iterations = 3 }}

[catalogue]
from = "batches"
id = "item"
title = "title"
facets = ["genre", "year"]
[catalogue.columns]
year = "year"
price = "price"
genre = "string_to_array(genres, '|')"
overview = "overview"

[[table]]
name = "sizes"
rows = [ {{ genre = "war", size = 1 }}, {{ genre = "love", size = 2 }} ]

[[view]]
name = "cheap"
params = {{ most = {{ type = "float64", min = 0 }}, name = {{ type = "utf8", default = "" }} }}
sql = "select id, title, price, predict_cost(price, 3.0) as guess from catalogue where price < $most and strpos(title, $name) > 0 order by price limit 20"

[[route]]
path = "/cost"
model = "cost"
response = {{ "*" = "", price = "prediction" }}

[[route]]
path = "/cheap"
view = "cheap"
response = [ {{ id = "id", title = "title" }} ]

[[route]]
path = "/new/{{n}}"
method = "POST"
model = "taste"
action = "recommend"
args = {{ n = "n", ratings = "ratings" }}
"""

# A topic that strangers write, to the broker that this pipeline embeds.
TOPIC = """
name = "events"
store.url = "file:{name}-store"
serve.listen = "127.0.0.1:{port}"
stream.listen = "127.0.0.1:{broker}"
stream.data = "{name}-topic"
stream.partitions = 1
batch.rows = 50
batch.max_rejects = 1000000
[schema.columns]
x = "float64"
[[model]]
name = "level"
algorithm = "linear_regression"
features = ["x"]
target = "x * 2"
"""


def write_shop(path):
    random.seed(7)
    items = [
        (
            item,
            " ".join(random.sample(WORDS, 3)).title() + f" {item}",
            " ".join(random.choices(WORDS, k=30)),
            "|".join(random.sample(["war", "love", "crime", "song"], 2)),
            random.randint(1950, 2020),
            round(random.uniform(1, 500), 2),
        )
        for item in range(1, ITEMS + 1)
    ]
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow("user item rating title overview genres year price volume".split())
        for row in range(ROWS):
            item, title, overview, genres, year, price = items[row % ITEMS]
            rating = random.choice([1, 2, 3, 3.5, 4, 4.5, 5])
            rows.writerow([random.randint(1, USERS), item, rating, title, overview, genres, year, price, random.randint(1, 99)])


class Scene:
    """A server and its attacks. A failed attack costs the next one nothing: `recover` starts another server."""

    def __init__(self, setup, attacks, honest):
        self.setup, self._attacks, self.honest = setup, attacks, honest
        self.server, self.highest = None, 0

    def start(self):
        self.launch()
        self.server.check_alive(self.honest)

    def launch(self):
        raise NotImplementedError

    def attacks(self):
        return self._attacks(self)

    def after(self):
        self.server.check_alive(self.honest)

    def recover(self):
        self.kill()
        self.launch()

    def peak(self):
        return max(self.highest, self.server.peak)

    def stop(self):
        return self.server.stop()

    def kill(self):
        if self.server:
            self.highest = max(self.highest, self.server.peak)
            self.server.kill()


class Shop(Scene):
    # `{n}` is another number at every time, so that no kept answer hides a server that is lost.
    HONEST = [
        ("/v1/catalogue?filter=year%20%3E%20{n}&limit=2", (200,)),
        ("/v1/models/cost/predict?volume=3&rating=4", (200,)),
        ("/v1/models/taste/recommend/1?n=3", (200,)),
        ("/v1/views/cheap?most={n}", (200,)),
    ]

    def __init__(self, setup, attacks, honest=None):
        super().__init__(setup, attacks, self.HONEST if honest is None else honest)

    def launch(self):
        work, file = self.setup.work, self.setup.work / "shop.toml"
        port, broker = free_port(), free_port()
        file.write_text(SHOP.format(port=port, broker=broker))
        if not (work / "shop-store").exists():
            write_shop(work / "shop.csv")
            command = [str(self.setup.binary), "run", "shop.toml", "--exit-when-done"]
            trained = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300)
            if trained.returncode != 0:
                shutil.rmtree(work / "shop-store", ignore_errors=True)
                raise Failed(f"the shop was not trained: {trained.stderr[-800:]}")
        self.server = Server(self.setup, ["run", "shop.toml"], work / "shop.log")
        self.server.broker = broker
        self.server.start()
        self.server.wait_ready(port)
        # What users have seen is read in the background.
        self.server.get("/v1/models/taste/recommend/1?n=3", seconds=15)


class Topic(Scene):
    def __init__(self, setup, attacks, name):
        super().__init__(setup, attacks, [("/v1/status", (200,)), ("/v1/batches?limit=1", (200,))])
        self.name = name

    def pipeline(self, port, broker):
        return TOPIC.format(port=port, broker=broker, name=self.name)

    def launch(self):
        port, broker = free_port(), free_port()
        file = self.setup.work / f"{self.name}.toml"
        file.write_text(self.pipeline(port, broker))
        self.server = Server(self.setup, ["run", file.name], self.setup.work / f"{self.name}.log")
        self.server.broker = broker
        self.server.start()
        self.server.wait_ready(port, "/livez")
        until = time.monotonic() + 10
        while True:
            try:
                return Raw(broker).close()
            except OSError as error:
                if time.monotonic() > until:
                    raise Failed(f"nobody listens at the broker's port: {error!r}") from error
                time.sleep(0.05)

    def recover(self):
        self.kill()
        # What broke it may lie in its topic.
        for folder in [f"{self.name}-store", f"{self.name}-topic"]:
            shutil.rmtree(self.setup.work / folder, ignore_errors=True)
        self.launch()
