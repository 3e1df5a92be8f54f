"""The broker's port: memory by every road, and records that cannot be read."""

import json
import struct
import time
import zlib

from harness import Failed, Raw, require
from kafka import CORRUPT, INVALID_RECORD, NONE, TOO_LARGE, UNKNOWN_TOPIC, Kafka, array, batch, data, gzip_of_zeros, honest, i8, i16, i32, i64, record, text, varint
from scene import Topic

TOPIC = "events"
ROWS = 50


class Attacked(Topic):
    """After every attack an honest producer is acknowledged."""

    def launch(self):
        super().launch()
        self.produce(1)

    def after(self):
        super().after()
        self.produce(1)

    def produce(self, count):
        started = time.monotonic()
        while True:
            try:
                client = Kafka(self.server.broker, seconds=2)
                try:
                    code = client.produce(TOPIC, honest([b'{"x": %d}' % n for n in range(count)]))
                finally:
                    client.close()
                if code == UNKNOWN_TOPIC and time.monotonic() - started < 10:
                    # Ingest makes the topic as it starts.
                    time.sleep(0.1)
                    continue
                require(code == NONE, f"an honest producer is told {code}")
                return
            except OSError as error:
                if time.monotonic() - started > 3:
                    raise Failed(f"an honest producer gets no answer: {error!r}") from error
                time.sleep(0.1)

    def batches(self):
        return json.loads(self.server.get("/v1/batches?limit=1", seconds=5)[2])["total"]

    def goes_on(self):
        """Ingest still makes batches."""
        before, until = self.batches(), time.monotonic() + 20
        self.produce(2 * ROWS)
        while self.batches() <= before:
            require(time.monotonic() < until, f"no new batch after {before}; status: {self.server.get('/v1/status')[2][:600]}")
            time.sleep(0.2)
        return f"{self.batches()} batches"


def repeated(scene, key, version, body, times=1):
    """Sends a request so many times, each by a connection of its own that is kept; what is answered does not matter."""
    held = []
    try:
        for n in range(times):
            try:
                client = Kafka(scene.server.broker)
            except OSError:
                break
            held.append(client)
            if not client.write(key, version, body(n) if callable(body) else body):
                continue
            if times == 1:
                try:
                    return f"{len(client.answer())} bytes"
                except OSError:
                    return "closed"
        scene.server.check_alive(scene.honest)
    finally:
        for client in held:
            client.close()


def in_turn(scene, key, version, body, times):
    """The same by one connection, answer by answer; a new one when it is closed."""
    client = Kafka(scene.server.broker)
    for n in range(times):
        try:
            client.ask(key, version, body(n))
        except OSError:
            client.close()
            client = Kafka(scene.server.broker)
    client.close()


def join(group, bytes_, protocols=1, member=""):
    names = array(text(f"p{n}") + data(b"m" * bytes_) for n in range(protocols))
    return text(group) + i32(60_000) + i32(60_000) + text(member) + text("consumer") + names


def commit(group, topic, partitions, metadata):
    entries = array(i32(n) + i64(1) + text(metadata) for n in partitions)
    return text(group) + i32(-1) + text("") + i64(-1) + array([text(topic) + entries])


def attacks(scene):
    scene.goes_on()
    names = [f"t{n}" for n in range(200_000)]
    many = lambda key, version, body: lambda: repeated(scene, key, version, body)
    yield "66 joins of 60 MB", lambda: repeated(scene, 11, 1, lambda n: join(f"g{n}", 60_000_000), 66)
    yield "66 members of 60 MB in one group", lambda: repeated(scene, 11, 1, lambda n: join("one", 60_000_000), 66)
    yield "a join of 100,000 protocols", many(11, 1, join("many", 1, 100_000))
    yield "2,000 groups of one member", lambda: groups(scene, 2000, lambda n: f"group{n}")
    yield "2,000 members of one group", lambda: groups(scene, 2000, lambda n: "crowd")
    yield "commits of 3,000 groups", lambda: in_turn(scene, 8, 2, lambda n: commit(f"c{n}", TOPIC, [0], "m" * 4000), 3000)
    yield "a commit with metadata of 32 KB", many(8, 2, commit("c", TOPIC, [0], "m" * 32_000))
    yield "a commit of 200,000 partitions", many(8, 2, commit("c", TOPIC, range(200_000), "m" * 100))
    yield "commits of 2,000 topics that are none", lambda: in_turn(scene, 8, 2, lambda n: commit("c", f"none{n}", range(100), "m"), 2000)
    yield "configs of one topic 200,000 times", many(32, 1, array([i8(2) + text(TOPIC) + i32(-1)] * 200_000) + i8(1))
    yield "configs of 200,000 topics", many(32, 1, array(i8(2) + text(name) + i32(-1) for name in names) + i8(1))
    yield "200,000 names of one config", many(32, 1, array([i8(2) + text(TOPIC) + array([text("retention.ms")] * 200_000)]) + i8(1))
    yield "metadata of 200,000 topics", many(3, 1, array(map(text, names)))
    yield "metadata of one topic 200,000 times", many(3, 1, array([text(TOPIC)] * 200_000))
    yield "topics with names of 30 KB", many(3, 1, array([text("n" * 30_000)] * 500))
    topic = lambda name, partitions: text(name) + i32(partitions) + i16(1) + i32(0) + i32(0)
    yield "2,000 topics made", many(19, 2, array(topic(f"made{n}", 1) for n in range(2000)) + i32(1000) + i8(0))
    yield "a topic of 2^31-1 partitions", many(19, 2, array([topic("wide", 2**31 - 1)]) + i32(1000) + i8(0))
    yield "more partitions than there can be", many(37, 0, array([text(TOPIC) + i32(2**31 - 1) + i32(-1)]) + i32(1000) + i8(0))
    yield "200,000 groups described", many(15, 0, array(map(text, names)))
    yield "one group described 200,000 times", many(15, 0, array([text("crowd")] * 200_000))
    yield "offsets of 200,000 topics", many(9, 1, text("c") + array(text(name) + array([i32(0)]) for name in names))
    yield "one offset 500,000 times", many(9, 1, text("c") + array([text(TOPIC) + array([i32(0)] * 500_000)]))
    yield "one end 500,000 times", many(2, 1, i32(-1) + array([text(TOPIC) + array([i32(0) + i64(-1)] * 500_000)]))
    yield "records deleted 200,000 times", many(21, 0, array([text(TOPIC) + array([i32(0) + i64(0)] * 200_000)]) + i32(1000))
    yield "200,000 settings", many(33, 0, array([i8(2) + text(TOPIC) + array(text(n) + text("1") for n in names)]) + i8(0))
    fetch = lambda count: i32(-1) + i32(2**31 - 1) + i32(2**31 - 1) + i32(2**31 - 1) + i8(0) + array(
        [text(TOPIC) + array([i32(0) + i64(0) + i32(2**31 - 1)] * count)]
    )
    yield "a fetch of 500,000 partitions", lambda: repeated(scene, 1, 4, lambda n: fetch(500_000), 2)
    yield "200 fetches that wait for ever", lambda: repeated(scene, 1, 4, lambda n: fetch(1), 200)
    yield "600 connections that say nothing", lambda: idle(scene, 600, b"")
    yield "600 that claim 64 MB", lambda: idle(scene, 600, i32(64 << 20) + b"\x00\x03")
    yield "600 that claim 2 GB", lambda: idle(scene, 600, i32(2**31 - 1) + b"\x00\x03")
    yield "8 that send 60 MB of a request", lambda: idle(scene, 8, i32(64 << 20) + i16(3) + i16(1) + i32(1) + bytes(60_000_000))
    yield "1,000 requests whose answers nobody reads", lambda: unread(scene)
    yield "a transaction's id", lambda: transaction(scene)
    yield "partitions of a transaction", many(24, 0, text("tx") + i64(1) + i16(0) + array([text(TOPIC) + array([i32(0)])]))
    yield "a key that is none", many(999, 0, b"")
    yield "a negative count", many(3, 1, i32(-2))
    yield "a count beyond the frame", many(3, 1, i32(2**31 - 1))
    yield "the pipeline goes on", scene.goes_on


def groups(scene, count, name):
    clients = []
    for n in range(count):
        try:
            client = Kafka(scene.server.broker, seconds=2)
            client.write(11, 1, join(name(n), 10_000))
            client.close()
        except OSError:
            clients.append(n)
    return f"{len(clients)} turned away"


def idle(scene, count, first):
    held = []
    try:
        for _ in range(count):
            try:
                connection = Raw(scene.server.broker, seconds=2)
                connection.send(first)
                held.append(connection)
            except OSError:
                break
        scene.after()
        return f"{len(held)} held"
    finally:
        for connection in held:
            connection.close()


def unread(scene):
    body = i16(3) + i16(1) + i32(1) + text("x") + array([text(TOPIC)] * 1000)
    held = []
    for _ in range(100):
        connection = Raw(scene.server.broker, seconds=1, receive_buffer=2048)
        connection.send((i32(len(body)) + body) * 10)
        held.append(connection)
    try:
        scene.after()
    finally:
        for connection in held:
            connection.close()


def transaction(scene):
    client = Kafka(scene.server.broker)
    try:
        answer = client.ask(22, 0, text("tx") + i32(1000))
        code = struct.unpack(">h", answer[4:6])[0]
        require(code not in (NONE, 29, 30, 31, 53), f"the code {code}: no authorization failed, and none at all is no refusal either")
        return f"code {code}"
    except OSError:
        return "closed"
    finally:
        client.close()


def group(setup):
    return Attacked(setup, attacks, "attacked")


# Besides: unsupported version, format for messages, compression.
REFUSED = (CORRUPT, TOO_LARGE, INVALID_RECORD, 35, 43, 76)


def record_attacks(scene):
    scene.goes_on()
    one = record(b'{"x": 1}')
    refused = {
        "noise with a right CRC": batch(bytes(range(256)) * 4, 10),
        "2^31-1 records claimed": batch(one, 2**31 - 1),
        "2^31-1 records claimed, one delta": batch(one, 2**31 - 1, last_delta=0),
        "one record, a delta of 2^31-1": batch(one, 1, last_delta=2**31 - 1),
        "no record": batch(b"", 0, last_delta=0),
        "no record, a delta": batch(b"", 0, last_delta=1000),
        "a negative count": batch(one, -1, last_delta=0),
        "fewer than there are": batch(one + record(b'{"x": 2}', 1), 1),
        "more than there are": batch(one, 2),
        "deltas that go back": batch(record(b'{"x": 1}', 1) + record(b'{"x": 1}', 0), 2),
        "one delta twice": batch(one + one, 2),
        "a delta beyond the last": batch(record(b'{"x": 1}', 5), 1),
        "a negative delta": batch(record(b'{"x": 1}', -5), 1),
        "a record longer than the batch": batch(record(b'{"x": 1}', length=1_000_000), 1),
        "a record of negative length": batch(record(b'{"x": 1}', length=-5), 1),
        "a value longer than its record": batch(varint(12) + i8(0) + varint(0) * 2 + varint(-1) + varint(2**31 - 1) + b"12345", 1),
        "2^31-1 headers": batch(record(b'{"x": 1}', headers=varint(2**31 - 1)), 1),
        "a varint without end": batch(b"\xff" * 100, 1),
        "an unknown codec": batch(one, 1, codec=7),
        "noise as gzip": batch(bytes(range(256)), 1, codec=1),
        "noise as snappy": batch(bytes(range(255, -1, -1)), 1, codec=2),
        "noise as lz4": batch(bytes(range(256)), 1, codec=3),
        "noise as zstd": batch(bytes(range(256)), 1, codec=4),
        "half a gzip": batch(zlib.compress(one * 50, wbits=31)[:20], 1, codec=1),
        "a gzip of fewer": batch(zlib.compress(one, wbits=31), 3, codec=1),
        "an empty gzip": batch(zlib.compress(b"", wbits=31), 1, codec=1),
        "a control batch": batch(one, 1, codec=0x20),
        "a batch of a transaction": batch(one, 1, codec=0x10, producer=1),
        "an old magic": batch(one, 1, magic=1),
        "a magic to come": batch(one, 1, magic=9),
        "a length beyond the bytes": batch(one, 1, length=1_000_000),
        "a negative length": batch(one, 1, length=-1),
        "no batch": b"",
        "a few bytes": b"\x00" * 7,
    }
    for name, bytes_ in refused.items():
        yield name, lambda bytes_=bytes_: produce(scene, bytes_, REFUSED)
    yield "a value of 3 GB in gzip", lambda: bomb(scene, 3 << 30)
    yield "a value of 200 MB in gzip", lambda: bomb(scene, 200 << 20)
    taken = {
        "a value that is no JSON": [b"\x00\xff"],
        "a value that is nested": [b"[" * 100_000 + b"]" * 100_000],
        "objects in objects": [b'{"x":' * 50_000 + b"1" + b"}" * 50_000],
        "a value of 5 MB": [b'{"x": "' + b"y" * 5_000_000 + b'"}'],
        "a number beyond all": [b'{"x": 1e999999}', b'{"x": ' + b"9" * 100_000 + b"}"],
        "100,000 keys": [b"{" + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}"],
        "an empty value": [b""],
        "a list": [b"[1,2]"],
        "half a surrogate": [b'{"x": "\\ud800"}'],
    }
    for name, values in taken.items():
        yield name, lambda values=values: produce(scene, honest(values), (NONE,))
    yield "times at both ends", lambda: [produce(scene, batch(one, 1, time=time_), (NONE, 32, INVALID_RECORD)) for time_ in (-(2**63), -1, 0, 2**63 - 1)] and None
    yield "the pipeline goes on", scene.goes_on


def produce(scene, bytes_, expected):
    client = Kafka(scene.server.broker)
    try:
        code = client.produce(TOPIC, bytes_)
    except (OSError, struct.error):
        require(NONE not in expected, "the connection was closed")
        return "closed"
    finally:
        client.close()
    require(code in expected, f"the code {code}, expected one of {expected}")
    return f"code {code}"


def bomb(scene, total):
    total -= total % (64 << 20)
    head = i8(0) + varint(0) + varint(0) + varint(-1) + varint(total)
    packed = gzip_of_zeros(varint(len(head) + total + 1) + head, total, b"\x00")
    return produce(scene, batch(packed, 1, codec=1), REFUSED)


def records(setup):
    return Attacked(setup, record_attacks, "records")
