"""Connections that take and do not give, and pages of other sites."""

import time

from harness import Raw, require
from scene import Shop

HEAD = b"Host: localhost\r\n"
POST = b"POST /v1/models/cost/predict HTTP/1.1\r\n" + HEAD + b"content-type: application/json\r\n"
# While places run out, only these must be answered by all means.
VITAL = [("/readyz", (200,)), ("/metrics", (200,))]


def holding(scene, count, first, receive_buffer=None, then=None):
    """Holds many connections and looks whether the server is well meanwhile, and afterwards."""
    held = []
    try:
        for _ in range(count):
            try:
                connection = Raw(scene.server.port, seconds=5, receive_buffer=receive_buffer)
            except OSError:
                break
            connection.send(first)
            held.append(connection)
        until = time.monotonic() + 4
        while time.monotonic() < until:
            if then:
                for connection in held:
                    connection.send(then)
            scene.server.check_alive(VITAL)
            time.sleep(0.2)
        return f"{len(held)} held"
    finally:
        for connection in held:
            connection.close()


def attack_connections(scene):
    large = b"GET /v1/catalogue?limit=1000 HTTP/1.1\r\n" + HEAD + b"\r\n"
    yield "2,000 that say nothing", lambda: holding(scene, 2000, b"")
    yield "2,000 with half a head", lambda: holding(scene, 2000, b"GET / HTTP/1.1\r\n" + HEAD, then=b"x: y\r\n")
    yield "2,000 with 60 KB of a head", lambda: holding(scene, 2000, b"GET / HTTP/1.1\r\n" + HEAD + b"x: " + b"y" * 60_000)
    yield "1,024 that never read", lambda: holding(scene, 1024, large * 20, receive_buffer=2048)
    yield "1,024 event streams that never read", lambda: holding(
        scene, 1024, b"GET /v1/events HTTP/1.1\r\n" + HEAD + b"\r\n", receive_buffer=2048
    )
    yield "8 slow large bodies", lambda: slow_bodies(scene, 8)
    yield "600 half bodies of 60 KB", lambda: holding(scene, 600, POST + b"content-length: 65000\r\n\r\n" + b" " * 60_000)
    yield "600 half bodies of 1 MB", lambda: holding(scene, 600, POST + b"content-length: 1100000\r\n\r\n" + b" " * 1_000_000)
    yield "10,000 opened and closed", lambda: opened_and_closed(scene)
    yield "all is well afterwards", lambda: well_soon(scene)


def slow_bodies(scene, count):
    held = [Raw(scene.server.port, seconds=5) for _ in range(count)]
    try:
        for connection in held:
            connection.send(POST + b"content-length: 30000000\r\n\r\n[")
        started = time.monotonic()
        body = b"[" + b",".join([b'{"volume":1,"rating":2}'] * 60_000) + b"]"
        until = started + 30
        while True:
            for connection in held:
                connection.send(b" ")
            status = scene.server.post("/v1/models/cost/predict", body, seconds=30)[0]
            if status == 200:
                return f"an honest large body after {time.monotonic() - started:.1f} s"
            require(status in (429, 503) and time.monotonic() < until, f"an honest large body: {status}")
            time.sleep(0.5)
    finally:
        for connection in held:
            connection.close()


def opened_and_closed(scene):
    for _ in range(10_000):
        Raw(scene.server.port, seconds=5).close()


def well_soon(scene):
    until = time.monotonic() + 10
    while True:
        try:
            return scene.server.check_alive(Shop.HONEST)
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def connections(setup):
    return Shop(setup, attack_connections, VITAL)


ROW = {"volume": 3, "rating": 4}


def attack_sites(scene):
    def refused(method, path, headers, body=None, expected=(400, 403, 415, 421)):
        status, given, said = scene.server.request(method, path, body=body, headers=headers)
        require(status in expected, f"{status}: {said[:200]}")
        require("access-control-allow-origin" not in given, "another site may read the answer")
        return str(status)

    def allowed(method, path, headers, body=None):
        status, given, said = scene.server.request(method, path, body=body, headers=headers)
        require(status == 200, f"{status}: {said[:200]}")
        require(given.get("access-control-allow-origin") != "*", "every site may read the answer")

    evil, port = {"origin": "https://evil.example"}, scene.server.port
    for path in ["/v1/batches/1/rows", "/v1/models/taste/history/1", "/v1/catalogue", "/v1/status", "/v1/events", "/cost?volume=1&rating=2", "/openapi.json"]:
        yield f"another site reads {path}", lambda path=path: refused("GET", path, {**evil, "host": "localhost"})
    yield "another site posts", lambda: refused("POST", "/cost", {**evil, "host": "localhost"}, ROW)
    yield "another site asks SQL", lambda: refused("POST", "/v1/query", {**evil, "host": "localhost"}, {"sql": "select 1"})
    yield "a site called null", lambda: refused("GET", "/v1/catalogue", {"origin": "null", "host": "localhost"})
    yield "another port of this host", lambda: refused("GET", "/v1/catalogue", {"origin": "http://localhost:1", "host": f"localhost:{port}"})
    yield "a preflight of another site", lambda: refused("OPTIONS", "/cost", {**evil, "host": "localhost", "access-control-request-method": "POST"}, expected=(200, 204, 403))
    for host in ["evil.example", "localhost.evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "a" * 5000]:
        yield f"a host called {host[:40]!r}", lambda host=host: refused("GET", "/v1/catalogue", {"host": host})
    for path in ["/livez", "/readyz", "/metrics"]:
        yield f"{path} by any name", lambda path=path: allowed("GET", path, {"host": "evil.example"})
    for host in ["localhost", f"localhost:{port}", "127.0.0.1", f"127.0.0.1:{port}", "[::1]", "192.0.2.7:99", "LOCALHOST"]:
        yield f"a host called {host}", lambda host=host: allowed("GET", "/v1/catalogue?limit=1", {"host": host})
    yield "the same site", lambda: allowed("POST", "/cost", {"origin": f"http://localhost:{port}", "host": f"localhost:{port}"}, ROW)
    yield "a form", lambda: refused("POST", "/cost", {"host": "localhost", "content-type": "application/x-www-form-urlencoded"}, b"volume=1&rating=2")
    yield "a plain text", lambda: refused("POST", "/cost", {"host": "localhost", "content-type": "text/plain"}, b'{"volume":1,"rating":2}')


def sites(setup):
    return Shop(setup, attack_sites, [("/v1/catalogue?limit=1", (200,))])
