#!/usr/bin/env python3
"""What clients get while everything around the server goes wrong: for SECONDS, versions come, aliases move and roll back, corrupt
versions appear, the store vanishes and comes back, broker, ingest and trainer are killed and started again, keys expire. No answer but
the owed one: a prediction is that of the version it names, by the rule that the rows were made of; 401 is for keys that are none, 503
for what must be read from a store that is away. Afterwards every row is in one batch and every process has ended well.

usage: load.py BINARY [SECONDS (60)] [SEED]
"""

import collections
import http.client
import json
import math
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

CLIENTS = 6
ROWS_A_SECOND = 250
BATCH_ROWS = 1000
# A key holds for two looks at the file, a second each; a machine of CI is slow.
KEY_GRACE = 5
# After the store is back: what was asked before may still be under way.
STORE_GRACE = 5
END_SECONDS = 60
FAULTS_SHOWN = 20


def row(number):
    """The rule: batch n has y = 1000 n + 2 a + 3 b, so a version is known by what it answers, and by the batch that it is of."""
    a, b = number % 97, number * 31 % 89
    return a, b, 1000 * (number // BATCH_ROWS + 1) + 2 * a + 3 * b


# Each must have happened, or the run has shown less than it says.
DISTURBANCES = ["broker killed", "ingest killed", "train killed", "replay killed", "corrupt version", "store away"]


class Told:
    """Answers by what was asked, the times of predictions, and what was not owed."""

    def __init__(self):
        self.lock, self.counts, self.faults = threading.Lock(), collections.Counter(), []
        self.times, self.moved = [], []
        # Of each version that may be asked, the batch that it is of.
        self.batches, self.corrupt, self.is_moved = {}, set(), False

    def versions(self):
        return list(self.batches)

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def guarded(self, ended, what, *arguments):
        """A thread that dies has shown nothing."""

        def run():
            try:
                what(*arguments)
            except BaseException as error:
                self.fault(f"{what.__name__}: {error!r}")
                ended.set()

        return threading.Thread(target=run)

    def fault(self, text):
        with self.lock:
            self.faults.append(text)
            if len(self.faults) <= FAULTS_SHOWN:
                print(f"NOT OWED: {time.strftime('%T')} {text}", flush=True)


class Pipeline:
    def __init__(self, binary, folder, seconds):
        self.binary, self.folder, self.children = binary, folder, {}
        self.is_away, self.back_at = False, 0.0
        rows = int(ROWS_A_SECOND * (seconds + 10)) // BATCH_ROWS * BATCH_ROWS
        with open(folder / "rows.csv", "w") as file:
            file.write("a,b,y\n")
            file.writelines("%d,%d,%d\n" % row(number) for number in range(rows))
        self.rows = rows
        (folder / "load.toml").write_text(f"""name = "load"
[source]
path = "rows.csv"
rate = {ROWS_A_SECOND}
[stream]
data = "topic"
"session.timeout.ms" = 6000
[batch]
rows = {BATCH_ROWS}
[store]
url = "file:store"
[serve]
listen = "127.0.0.1:0"
keys = "keys.txt"
read = "keys"
[[model]]
name = "rule"
algorithm = "linear_regression"
train_on = "each"
features = ["a", "b"]
target = "y"
""")
        self.keys, self.lines = {}, {}
        for name, scopes in [("mover", "read,write"), ("lasting", "read")]:
            self.add_key(name, scopes)

    def command(self, *arguments):
        return [str(self.binary), *arguments]

    def add_key(self, name, scopes):
        told = subprocess.run(self.command("keys", "new", name, "--scope", scopes), capture_output=True, text=True, check=True).stdout
        self.keys[name] = next(word for line in told.splitlines() for word in line.split() if word.startswith("ms_"))
        self.lines[name] = next(line for line in told.splitlines() if line.strip().startswith(f"{name} ")).strip()
        self.write_keys()

    def end_key(self, name):
        del self.lines[name]
        self.write_keys()

    def write_keys(self):
        new = self.folder / "keys.new"
        new.write_text("".join(f"{line}\n" for line in self.lines.values()))
        new.rename(self.folder / "keys.txt")

    def start(self, stage, *arguments):
        with open(self.folder / f"{stage}.log", "ab") as log:
            self.children[stage] = subprocess.Popen(
                self.command(*arguments), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start_stage(self, stage):
        if stage == "broker":
            self.start(stage, "broker", "--listen", self.address, "--data", "topic")
        elif stage == "serve":
            self.start(stage, "serve", "load.toml")
        else:
            self.start(stage, stage, "load.toml", "--set", f"stream.bootstrap.servers={self.address}")

    def log(self, stage):
        return (self.folder / f"{stage}.log").read_text(errors="replace")

    def begin(self):
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        for stage in ["broker", "replay", "ingest", "train", "serve"]:
            self.start_stage(stage)
        self.wait("the server listens", lambda: re.search(r"the page and the API: http://([0-9.:]+)", self.log("serve")))
        self.host = re.search(r"the page and the API: http://([0-9.:]+)", self.log("serve")).group(1)

    def wait(self, what, ask, seconds=END_SECONDS):
        end = time.monotonic() + seconds
        while not (found := ask()):
            if time.monotonic() > end:
                raise SystemExit(f"{what}: not within {seconds} s\n" + "".join(self.log(stage)[-800:] for stage in self.children))
            time.sleep(0.1)
        return found

    def kill(self, stage):
        self.children[stage].kill()
        self.children[stage].wait()

    def may_be_away(self):
        return self.is_away or time.monotonic() < self.back_at + STORE_GRACE

    def stop(self):
        for child in self.children.values():
            if child.poll() is None:
                child.kill()


class Client:
    """One connection, kept; `ask` answers status, headers and the body as JSON."""

    def __init__(self, pipeline):
        self.pipeline, self.connection = pipeline, None

    def ask(self, method, path, key=None, body=None):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.pipeline.host, timeout=30)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except OSError:
            self.connection = None
            raise
        if answer.getheader("connection") == "close":
            self.connection = None
        return answer.status, answer.headers, json.loads(text) if text else None


def is_owed(told, version, a, b, prediction):
    # Exact up to rounding: the rule is linear, and nothing is regularised. A number that is corrupt is passed over by the trainer.
    batch = told.batches.get(version)
    if batch is None:
        # Served before it was listed to us; whoever sees it next holds it to the list.
        batch = round((prediction - 2 * a - 3 * b) / 1000)
    return math.isclose(prediction, 1000 * batch + 2 * a + 3 * b, abs_tol=1e-3)


def client(pipeline, told, seed, ended):
    chance, client = random.Random(seed), Client(pipeline)
    lasting = pipeline.keys["lasting"]
    while not ended.is_set():
        kind = chance.choices(["champion", "number", "refused", "nobody", "list", "away"], [60, 20, 6, 4, 8, 2])[0]
        a, b = chance.randrange(97), chance.randrange(89)
        began = time.monotonic()
        was_away = pipeline.may_be_away()
        try:
            if kind == "champion":
                status, headers, body = client.ask("GET", f"/v1/models/rule/predict?a={a}&b={b}", lasting)
                told.times.append((began, time.monotonic() - began))
                right = status == 200 and is_owed(told, body["version"], a, b, body["prediction"])
                right = right and headers["x-model-version"] == f"rule@{body['version']}"
            elif kind == "number":
                version = chance.choice(told.versions())
                status, headers, body = client.ask("POST", f"/v1/models/rule/versions/{version}/predict", lasting, {"a": a, "b": b})
                right = status == 200 and body["version"] == version and is_owed(told, version, a, b, body["prediction"])
                # An older version is read on demand.
                right = right or (status == 503 and headers["retry-after"] and (was_away or pipeline.may_be_away()))
            elif kind == "refused":
                status, _, body = client.ask("POST", "/v1/models/rule/predict", lasting, chance.choice([{"a": 1}, {"a": "x", "b": 2}, {"a": 1, "b": 2, "c": 3}]))
                right = status == 422 and body["error"]["code"] and body["error"]["field"]
            elif kind == "nobody":
                key = chance.choice([None, "ms_nobody", pipeline.keys["lasting"][:-1]])
                status, _, body = client.ask("GET", f"/v1/models/rule/predict?a={a}&b={b}", key)
                right = status == 401
            elif kind == "list":
                path = chance.choice(["/v1/models", "/v1/batches", "/v1/status", "/v1/models/rule", "/v1/models/rule/aliases/champion"])
                status, _, body = client.ask("GET", path, lasting)
                right = status == 200 or (path.endswith("champion") and status == 404 and not told.is_moved)
                right = right or (path.endswith("champion") and status == 503 and (was_away or pipeline.may_be_away()))
            else:
                status, _, body = client.ask("GET", "/v1/models/nothing/predict?a=1", lasting)
                right = status == 404
        except (OSError, http.client.HTTPException) as error:
            told.fault(f"{kind}: no answer: {error!r}")
            continue
        told.count(f"{kind} {status}")
        if not right:
            told.fault(f"{kind}: {status} {json.dumps(body)[:300]} (store away: {was_away})")


def key_that_ends(pipeline, told, ended):
    """A key of its own, again and again: good until it is taken out of the file, none soon after."""
    client, number = Client(pipeline), 0
    while not ended.is_set():
        number += 1
        name = f"guest{number}"
        pipeline.add_key(name, "read")
        key = pipeline.keys[name]
        ask = lambda: client.ask("GET", "/v1/models/rule/predict?a=1&b=2", key)[0]
        pipeline.wait("a new key is good", lambda: ask() == 200, KEY_GRACE * 4)
        for _ in range(50):
            if (status := ask()) != 200:
                told.fault(f"a good key: {status}")
        pipeline.end_key(name)
        end = time.monotonic() + KEY_GRACE
        while (status := ask()) == 200 and time.monotonic() < end:
            time.sleep(0.05)
        told.count(f"expired key {status}")
        for _ in range(20):
            if (status := ask()) != 401:
                told.fault(f"a key that ended {KEY_GRACE} s ago: {status}")


def move_aliases(pipeline, told, seed, ended):
    """Promotes and rolls back; what it moved answers the next request."""
    chance, client, mover = random.Random(seed), Client(pipeline), pipeline.keys["mover"]
    stack = []
    while not ended.wait(chance.uniform(0.05, 0.4)):
        was_away = pipeline.may_be_away()
        if stack and chance.random() < 0.4:
            what, (status, headers, body) = "rollback", client.ask("POST", "/v1/models/rule/rollback", mover, {"alias": "champion"})
        else:
            version = chance.choice(told.versions())
            what, (status, headers, body) = "promote", client.ask("PUT", "/v1/models/rule/aliases/champion", mover, {"version": version})
        told.count(f"{what} {status}")
        if status == 503 and headers["retry-after"] and (was_away or pipeline.may_be_away()):
            continue
        if what == "rollback" and status == 409 and len(set(stack)) < 2:
            continue
        if status != 200:
            told.fault(f"{what}: {status} {json.dumps(body)[:300]} (store away: {was_away})")
            continue
        told.is_moved = True
        told.moved.append(time.monotonic())
        if what == "promote":
            if not stack or stack[-1] != body["version"]:
                stack.append(body["version"])
        else:
            stack.pop()
            if not stack or stack[-1] != body["version"]:
                told.fault(f"rollback: version {body['version']}, promoted before were {stack[-3:]}")
        status, _, now = client.ask("GET", "/v1/models/rule/predict?a=1&b=2", mover)
        if status != 200 or now["version"] != body["version"]:
            told.fault(f"after {what} of {body['version']}: {status} {json.dumps(now)[:200]}")


def plant_corrupt(pipeline, told, chance):
    """A version as it would lie there after a disk has lied: its arrays, or its record, are not what they were."""
    pipeline.kill("train")
    models = pipeline.folder / "store" / "models" / "rule"
    newest = max(int(name.name) for name in models.iterdir() if (name / "model.json").exists())
    copy = models / f"{newest + 1:06}"
    if not copy.exists():
        staged = pipeline.folder / "staged"
        shutil.copytree(models / f"{newest:06}", staged)
        victim = staged / chance.choice(["model.json", "model.safetensors"])
        text = bytearray(victim.read_bytes())
        text[len(text) // 2] ^= 0xFF
        victim.write_bytes(text)
        staged.rename(copy)
        told.corrupt.add(newest + 1)
        told.count("corrupt version")
    pipeline.start_stage("train")


def disturb(pipeline, told, chance, ended):
    # It goes round: each kind comes, first the one that ends with the source, then in an order of chance.
    kinds = ["replay", "store", "broker", "corrupt", "ingest", "train"]
    while True:
        for kind in kinds:
            if ended.wait(chance.uniform(1.5, 3)):
                return
            if kind == "corrupt":
                plant_corrupt(pipeline, told, chance)
            elif kind == "store":
                pipeline.is_away = True
                (pipeline.folder / "store").rename(pipeline.folder / "store.away")
                ended.wait(chance.uniform(1, 4))
                if (pipeline.folder / "store").exists():
                    # Who starts meanwhile makes the folder, and tries whether it can be written to.
                    there = [str(path) for path in (pipeline.folder / "store").rglob("*") if path.is_file()]
                    if there:
                        told.fault(f"something was written into the place of a store that is away: {there[:5]}")
                    shutil.rmtree(pipeline.folder / "store")
                (pipeline.folder / "store.away").rename(pipeline.folder / "store")
                pipeline.back_at, pipeline.is_away = time.monotonic(), False
                told.count("store away")
            elif pipeline.children[kind].poll() is None:
                pipeline.kill(kind)
                ended.wait(chance.uniform(0, 2))
                pipeline.start_stage(kind)
                told.count(f"{kind} killed")
        chance.shuffle(kinds)


def keep_running(pipeline, told, ended):
    """Who ends by itself is started again, and counted: the server never does, and the replay does well at its end."""
    while not ended.wait(0.5):
        for stage, child in list(pipeline.children.items()):
            if child.poll() is None or child.returncode < 0 or (stage == "replay" and (child.returncode == 0 or pipeline.is_away)):
                continue
            told.count(f"{stage} ended by itself with {child.returncode}")
            if stage == "serve":
                told.fault(f"the server ended with {child.returncode}: {pipeline.log('serve')[-500:]}")
                ended.set()
            elif pipeline.children[stage] is child:
                pipeline.start_stage(stage)


def learn_versions(pipeline, told, ended):
    """Asks each number once it is listed: a corrupt one is never listed."""
    client = Client(pipeline)
    while not ended.wait(0.3):
        status, _, body = client.ask("GET", "/v1/models/rule/versions?limit=1000", pipeline.keys["lasting"])
        # Of versions that are not in memory the list reads the store.
        if status == 503 and pipeline.may_be_away():
            continue
        if status != 200:
            told.fault(f"versions: {status} {json.dumps(body)[:300]}")
            continue
        for version in body["versions"]:
            told.batches[version["version"]] = version["batches"][0]
        if listed := told.corrupt & set(told.batches):
            told.fault(f"corrupt versions are served: {listed}")


def end(pipeline, told):
    """The stream to its end, undisturbed; then every row is in one batch, and all processes end with 0."""
    for stage in ["broker", "replay", "ingest", "train"]:
        if pipeline.children[stage].poll() not in (None, 0):
            pipeline.start_stage(stage)
    client, wanted = Client(pipeline), pipeline.rows // BATCH_ROWS
    pipeline.wait(
        f"{wanted} batches", lambda: client.ask("GET", "/v1/batches", pipeline.keys["lasting"])[2]["total"] == wanted, 60 + pipeline.rows / ROWS_A_SECOND
    )
    for stage in ["serve", "train", "ingest", "broker"]:
        child = pipeline.children[stage]
        child.send_signal(signal.SIGTERM)
        code = child.wait(timeout=END_SECONDS)
        if code != 0:
            told.fault(f"{stage} ended with {code}: {pipeline.log(stage)[-500:]}")
    verified = subprocess.run(pipeline.command("batches", "verify", "load.toml"), cwd=pipeline.folder, capture_output=True, text=True)
    if verified.returncode != 0:
        told.fault(f"batches verify: {verified.returncode} {verified.stdout[-500:]} {verified.stderr[-500:]}")
    rows = sum(json.loads(path.read_text())["rows"] for path in (pipeline.folder / "store" / "batches").rglob("*.json") if "manifest" in path.name)
    if rows != pipeline.rows:
        told.fault(f"{rows} rows in batches, {pipeline.rows} were sent")


def percentile(times, share):
    times = sorted(times)
    return 1000 * times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")


def main():
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    binary = pathlib.Path(sys.argv[1]).resolve()
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 31)
    print(f"seed {seed}, {seconds:.0f} s", flush=True)
    chance, told, ended = random.Random(seed), Told(), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(binary, pathlib.Path(folder), seconds)
        try:
            pipeline.begin()
            ready = Client(pipeline)
            pipeline.wait("a version is served", lambda: ready.ask("GET", "/readyz")[0] == 200)
            threads = [told.guarded(ended, learn_versions, pipeline, told, ended)]
            threads[0].start()
            pipeline.wait("a version is known", lambda: told.batches)
            threads += [told.guarded(ended, client, pipeline, told, seed + i, ended) for i in range(CLIENTS)]
            threads += [told.guarded(ended, key_that_ends, pipeline, told, ended)]
            threads += [told.guarded(ended, move_aliases, pipeline, told, seed, ended)]
            threads += [told.guarded(ended, disturb, pipeline, told, chance, ended)]
            threads += [told.guarded(ended, keep_running, pipeline, told, ended)]
            for thread in threads[1:]:
                thread.start()
            until = time.monotonic() + seconds
            # A slow machine is given more time for each kind.
            while not ended.wait(1):
                left = [kind for kind in DISTURBANCES if not told.counts[kind]]
                if time.monotonic() > until + (3 * seconds if left else 0):
                    break
            ended.set()
            for thread in threads:
                thread.join()
            missing = [kind for kind in DISTURBANCES if not told.counts[kind]]
            if missing:
                told.fault(f"never happened: {missing}")
            if not told.faults:
                end(pipeline, told)
        finally:
            pipeline.stop()
            if keep := os.environ.get("MILLSTREAM_KEEP"):
                shutil.copytree(folder, keep, dirs_exist_ok=True)
    for what, count in sorted(told.counts.items()):
        print(f"{count:8}  {what}")
    near = [took for began, took in told.times if any(0 <= began - moved < 0.1 for moved in told.moved)]
    every = [took for _, took in told.times]
    print(f"predictions of the champion: p50 {percentile(every, 0.5):.2f} ms, p99 {percentile(every, 0.99):.2f} ms; "
          f"within 100 ms after it moved: p99 {percentile(near, 0.99):.2f} ms of {len(near)}")
    print(f"{len(told.batches)} versions; {len(told.faults)} answers that were not owed")
    sys.exit(1 if told.faults else 0)


main()
