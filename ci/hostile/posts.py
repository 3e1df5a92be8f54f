"""Rows for the topic by `POST /v1/records`, and questions whose answers are kept (`serve.log`): large, crooked, and many at once."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from bodies import BAD, MANY, keys
from harness import require
from scene import Topic

RECORDS = "/v1/records"
ID = "idempotency-key"
# What a busy broker or store may say, by which the client sends again.
LATER = (503,)


class Posts(Topic):
    """The same with all answers kept, and large batches."""

    def launch(self):
        super().launch()
        # The topic is there a moment after the broker.
        until = time.monotonic() + 20
        while send(self, '{"x":0}')[0] != 200:
            require(time.monotonic() < until, "no row is taken")
            time.sleep(0.1)
        self.taken = 1

    def pipeline(self, port, broker):
        text = super().pipeline(port, broker).replace("batch.rows = 50\n", "batch.rows = 50_000\n")
        return text.replace("serve.listen", "serve.log = { share = 1.0 }\nserve.listen", 1)


def attacks(scene):
    long_text = "n" * 30_000_000
    bodies = {
        "an honest row": ('{"x":1.5}', 1),
        "100,000 honest rows": ("[" + ",".join(['{"x":2}'] * 100_000) + "]", 100_000),
        "200,000 rows": ("[" + ",".join(['{"x":2}'] * 200_000) + "]", 0),
        "a million empty rows": ("[" + ",".join(["{}"] * MANY) + "]", 0),
        "a million nulls": ("[" + ",".join(["null"] * MANY) + "]", 0),
        "999,000 keys": (keys(MANY), 0),
        "999,000 equal keys": ("{" + ",".join(['"x":1'] * MANY) + "}", 0),
        "a key of 30 MB": (json.dumps({long_text: 1}), 0),
        "a value of 30 MB": (json.dumps({"x": long_text}), 0),
        "a number of a million digits": ('{"x":' + "9" * 1_000_000 + "}", 0),
        "an exponent without end": ('{"x":1e' + "9" * 1000 + "}", 0),
        "nested lists": ("[" * 1_000_000, 0),
        "nested objects": ('{"x":' * 500_000 + "1" + "}" * 500_000, 0),
        "a good row behind 99,998 and a bad one": ("[" + ",".join(['{"x":2}'] * 99_998) + ',{"y":2}]', 0),
        "no UTF-8": (b'{"x":"\xff\xfe"}', 0),
        "columns of ours": ('{"x":1,"_offset":7,"_partition":9}', 0),
        "nothing": ("", 0),
    }
    for name, (body, rows) in bodies.items():
        yield name, lambda body=body, rows=rows: post(scene, body, rows)
    ids = {
        "an id of 60 KB": "i" * 60_000,
        "an id of nothing": "",
        "an id that is a path": "../../../../etc/passwd",
        "an id that is a key of the store": "000001.json",
        "an id of blanks": "a b",
    }
    for name, said in ids.items():
        yield name, lambda said=said: post(scene, '{"x":3}', 1 if name_is_good(said) else 0, {ID: said})
    yield "32 times the same id at once", lambda: same_id(scene)
    yield "the same id with other rows", lambda: other_rows(scene)
    yield "400 ids at once", lambda: many_ids(scene)
    yield "32 bodies of 100,000 rows at once", lambda: large_at_once(scene)
    yield "a version of the rows", lambda: scene.server.wait_ready(scene.server.port)
    yield "a question of 30 MB whose answer is kept", lambda: ask(scene, json.dumps({"x": long_text}))
    yield "100,000 rows whose answers are kept", lambda: ask(scene, "[" + ",".join(['{"x":2}'] * 100_000) + "]")
    yield "400 questions at once whose answers are kept", lambda: many_questions(scene)
    yield "what was acknowledged is counted", lambda: counted(scene)


def name_is_good(said):
    return 0 < len(said) <= 255 and said.isprintable() and " " not in said


def send(scene, body, headers=None, seconds=60):
    data = body if isinstance(body, bytes) else body.encode()
    try:
        status, _, said = scene.server.request("POST", RECORDS, data, headers=headers or {}, seconds=seconds)
    except (ConnectionError, BrokenPipeError):
        return None, {}
    require(status in (200, *BAD, *LATER), f"{status}: {said[:300]}")
    require(status == 200 or len(said) < 5_000, f"{status} with {len(said)} bytes")
    return status, json.loads(said) if status == 200 else {}


def post(scene, body, rows, headers=None):
    """`rows`: how many have to be taken; 0: it has to be refused."""
    until = time.monotonic() + 20
    while (status := send(scene, body, headers)[0]) in LATER and time.monotonic() < until:
        time.sleep(0.5)
    require((status == 200) == (rows > 0), f"{status}, and {rows} rows were to be taken")
    scene.taken += rows
    return str(status)


def same_id(scene):
    with ThreadPoolExecutor(32) as clients:
        found = list(clients.map(lambda _: send(scene, '[{"x":1},{"x":2}]', {ID: "one"}), range(32)))
    answers = {json.dumps(said, sort_keys=True) for status, said in found if status == 200}
    require(len(answers) == 1, f"{len(answers)} answers to one id: {sorted(answers)[:3]}")
    scene.taken += 2
    return f"{sum(status == 200 for status, _ in found)} of 32 acknowledged"


def other_rows(scene):
    status, _ = send(scene, '[{"x":1},{"x":3}]', {ID: "one"})
    require(status in (409, 422), f"{status}: one id, two kinds of rows")
    return str(status)


def many_ids(scene):
    with ThreadPoolExecutor(64) as clients:
        found = list(clients.map(lambda n: send(scene, '{"x":4}', {ID: f"id-{n}"})[0], range(400)))
    taken = found.count(200)
    require(taken > 0, "nobody was acknowledged")
    scene.taken += taken
    return f"{taken} of 400 acknowledged"


def large_at_once(scene):
    body = "[" + ",".join(['{"x":2}'] * 100_000) + "]"
    with ThreadPoolExecutor(32) as clients:
        found = list(clients.map(lambda _: send(scene, body, seconds=120)[0], range(32)))
    require(200 in found, "nobody was acknowledged")
    scene.taken += 100_000 * found.count(200)
    return f"{found.count(200)} of 32 acknowledged"


def ask(scene, body):
    try:
        status, _, said = scene.server.post("/v1/models/level/predict", body.encode(), seconds=30)
    except (ConnectionError, BrokenPipeError):
        return "closed"
    require(status in (200, *BAD), f"{status}: {said[:300]}")
    return str(status)


def many_questions(scene):
    with ThreadPoolExecutor(64) as clients:
        found = list(clients.map(lambda n: ask(scene, json.dumps({"x": n})), range(400)))
    require(found.count("200") == 400, f"{found.count('200')} of 400 answered")
    return "all answered"


def counted(scene):
    lines = scene.server.get("/metrics")[2].decode().splitlines()
    found = [float(line.split()[1]) for line in lines if line.startswith("millstream_posted_rows_total")]
    require(sum(found) == scene.taken, f"{sum(found)} rows are counted, {scene.taken} were acknowledged")
    return f"{scene.taken} rows"


def group(setup):
    return Posts(setup, attacks, "posts")
