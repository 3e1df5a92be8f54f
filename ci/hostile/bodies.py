"""Requests whose size is honest and whose work is not: names, values, bodies and headers."""

import json
from concurrent.futures import ThreadPoolExecutor

from harness import Raw, require
from scene import Shop

MANY = 999_000
BAD = (400, 404, 405, 408, 409, 413, 414, 415, 422, 431)


def keys(count, name="k"):
    return "{" + ",".join(f'"{name}{n}":1' for n in range(count)) + "}"


def attacks(scene):
    long_name = "n" * 30_000_000
    posts = {
        "999,000 keys to a model": ("/v1/models/cost/predict", keys(MANY)),
        "999,000 keys to a route": ("/cost", keys(MANY)),
        "999,000 keys to a route of a view": ("/cheap", keys(MANY)),
        "999,000 keys to a query": ("/v1/query", keys(MANY)),
        "999,000 parameters of a query": ("/v1/query", '{"sql":"select 1","params":' + keys(MANY) + "}"),
        "999,000 ratings": ("/new/3", '{"ratings":' + keys(MANY) + "}"),
        "99,000 ratings of unknown items": ("/new/3", '{"ratings":' + keys(99_000) + "}"),
        "a list of 500,000 ratings": ("/new/3", '{"ratings":[' + ",".join(f'{{"item":{n},"rating":3}}' for n in range(500_000)) + "]}"),
        "a row of similar of 999,000 keys": ("/v1/models/near/similar", '{"row":' + keys(MANY) + "}"),
        "999,000 exclusions": ("/v1/models/alike/similar", '{"item":1,"exclude":[' + ",".join(map(str, range(MANY))) + "]}"),
        "999,000 equal keys": ("/cost", "{" + ",".join(['"volume":1'] * MANY) + "}"),
        "a key of 30 MB": ("/cost", json.dumps({long_name: 1})),
        "a key of 30 MB to a model": ("/v1/models/cost/predict", json.dumps({long_name: 1})),
        "a key of 30 MB to a view": ("/cheap", json.dumps({long_name: 1})),
        "a key of 30 MB to a query": ("/v1/query", json.dumps({long_name: 1})),
        "a value of 30 MB": ("/v1/models/cost/predict", json.dumps({"volume": long_name, "rating": 1})),
        "a text of 30 MB": ("/v1/models/alike/similar", json.dumps({"text": "word " * 6_000_000})),
        "a title of 30 MB": ("/v1/models/alike/similar", json.dumps({"title": long_name})),
        "nested lists": ("/v1/models/cost/predict", "[" * 1_000_000),
        "nested objects": ("/cost", '{"a":' * 500_000 + "1" + "}" * 500_000),
        "a number of a million digits": ("/cost", '{"volume":' + "9" * 1_000_000 + ',"rating":1}'),
        "an exponent without end": ("/cost", '{"volume":1e' + "9" * 1000 + ',"rating":1}'),
        "a million empty rows": ("/v1/models/cost/predict", "[" + ",".join(["{}"] * MANY) + "]"),
        "a million nulls": ("/v1/models/cost/predict", "[" + ",".join(["null"] * MANY) + "]"),
        "200,000 good rows": ("/v1/models/cost/predict", "[" + ",".join(['{"volume":1,"rating":2}'] * 200_000) + "]"),
        "half a surrogate": ("/cost", '{"volume":"\\ud800","rating":1}'),
        "no UTF-8": ("/cost", b'{"\xff\xfe":1}'),
        "nothing": ("/cost", ""),
    }
    for name, (path, body) in posts.items():
        yield name, lambda path=path, body=body: post(scene.server, path, body)
    pairs = "&".join(f"k{n}=1" for n in range(9_000))
    facets = "&".join(f"genre=g{n}" for n in range(5_000))
    gets = {
        "9,000 parameters to a model": "/v1/models/cost/predict?" + pairs,
        "9,000 parameters to a view": "/v1/views/cheap?" + pairs,
        "9,000 parameters to the catalogue": "/v1/catalogue?" + pairs,
        "9,000 parameters to recommend": "/v1/models/taste/recommend/1?" + pairs,
        "5,000 facets": "/v1/catalogue?" + facets,
        "10,000 sort columns": "/v1/catalogue?sort=" + ",".join(["year"] * 10_000),
        "10,000 words": "/v1/catalogue?q=" + "+".join(["w"] * 20_000),
        "one word of 60 KB": "/v1/catalogue?q=" + "w" * 60_000,
        "a title of 60 KB": "/v1/models/alike/similar?title=" + "w" * 60_000,
        "a model of 60 KB": "/v1/models/" + "m" * 60_000,
        "20,000 segments": "/v1" + "/a" * 20_000,
        "20,000 slashes": "/" * 40_000,
        "a path of percent signs": "/" + "%41" * 20_000,
        "a bad percent sign": "/v1/models/%zz/predict",
        "a version beyond u64": "/v1/models/cost/versions/99999999999999999999999/predict?volume=1&rating=1",
        "a negative offset": "/v1/catalogue?offset=-1",
        "an offset beyond u64": "/v1/catalogue?offset=99999999999999999999",
        "the largest offset": "/v1/catalogue?offset=18446744073709551615&limit=1000",
        "the largest n": "/v1/models/taste/recommend/1?n=18446744073709551615",
        "rows of a batch beyond u64": "/v1/batches/18446744073709551616/rows",
        "the last batch number": "/v1/batches/18446744073709551615/rows",
        "an offset into a batch": "/v1/batches/1/rows?offset=18446744073709551615",
    }
    for name, path in gets.items():
        yield name, lambda path=path: get(scene.server, path)
    raw = {
        "10,000 headers": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
        "a header of 1 MB": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n",
        "a target of 1 MB": b"GET /" + b"y" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "two lengths": b"POST /cost HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "a length and chunks": b"POST /cost HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "a chunk without end": b"POST /cost HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "a length beyond all": b"POST /cost HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999999999\r\n\r\n{}",
        "no HTTP": b"\x00\x01\x02" * 1000 + b"\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "an upgrade": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    }
    for name, data in raw.items():
        yield name, lambda data=data: send(scene.server, data)
    yield "32 small bodies of many rows for 400 classes", lambda: many_classes(scene.server)
    yield "5,000 requests in one go", lambda: pipelined(scene.server)


def post(server, path, body):
    data = body if isinstance(body, bytes) else body.encode()
    try:
        status, _, said = server.post(path, data, seconds=20)
    except (ConnectionError, BrokenPipeError):
        return "closed"
    require(status in (200, *BAD), f"{status}: {said[:300]}")
    require(status == 200 or len(said) < 5_000, f"{status} with {len(said)} bytes")
    return str(status)


def get(server, path):
    try:
        status, _, said = server.get(path, seconds=5)
    except (ConnectionError, BrokenPipeError):
        return "closed"
    require(status in (200, *BAD), f"{status}: {said[:300]}")
    require(status == 200 or len(said) < 5_000, f"{status} with {len(said)} bytes")
    return str(status)


def send(server, data):
    connection = Raw(server.port, seconds=20)
    connection.send(data)
    status = connection.status()
    connection.close()
    require(status in (None, 200, 503, *BAD) or status == 505, f"status {status}")
    return str(status)


def many_classes(server):
    """A body of 60 KB becomes a million probabilities."""
    body = ("[" + ",".join(['{"price":1,"volume":2}'] * 2_400) + "]").encode()

    def ask(_):
        status, _, said = server.post("/v1/models/which/predict", body, seconds=40)
        require(status in (200, 503), f"{status}: {said[:300]}")
        return status

    with ThreadPoolExecutor(32) as clients:
        answered = list(clients.map(ask, range(32)))
    require(200 in answered, "nobody was answered")
    return f"{answered.count(200)} of 32 answered"


def pipelined(server):
    connection = Raw(server.port, seconds=5)
    connection.send(b"GET /v1/catalogue?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5_000)
    connection.close()


def group(setup):
    return Shop(setup, attacks)
