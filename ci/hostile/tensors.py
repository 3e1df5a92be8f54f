"""Tensors whose shapes, sizes and lengths lie, in JSON and as binary data behind it."""

import json
import struct

from bodies import BAD, MANY
from harness import require
from scene import Shop

INFER = "/v2/models/cost/infer"
LENGTH = "inference-header-content-length"


def tensor(shape, data=None, datatype="FP64", name="input", **parameters):
    one = {"name": name, "datatype": datatype, "shape": shape}
    return one | ({} if data is None else {"data": data}) | ({"parameters": parameters} if parameters else {})


def asked(*inputs, **more):
    return json.dumps({"inputs": list(inputs)} | more).encode()


def attacks(scene):
    good = asked(tensor([1, 2], [3, 4]))
    bodies = {
        "a shape beyond memory": asked(tensor([2**62, 2**62], [1.0])),
        "a shape beyond u64": asked(tensor([2**70, 2], [1.0])),
        "a negative shape": asked(tensor([-1, 2], [1.0])),
        "a shape of fractions": asked(tensor([0.5, 4], [1.0, 2.0])),
        "100,000 dimensions": asked(tensor([1] * 100_000, [1.0])),
        "no dimension": asked(tensor([], [1.0])),
        "no row": asked(tensor([0, 2], [])),
        "999,000 values for one row": asked(tensor([1, 2], [1] * MANY)),
        "999,000 rows, and values for one": asked(tensor([MANY, 2], [1, 2])),
        "a million nested lists of data": b'{"inputs":[{"name":"input","datatype":"FP64","shape":[1,2],"data":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}]}",
        "200,000 inputs": asked(*[tensor([1], [1])] * 200_000),
        "200,000 outputs": asked(tensor([1, 2], [3, 4]), outputs=[{"name": "prediction"}] * 200_000),
        "999,000 parameters": asked(tensor([1, 2], [3, 4]), parameters={f"k{n}": n for n in range(MANY)}),
        "a name of 30 MB": asked(tensor([1, 2], [3, 4], name="n" * 30_000_000)),
        "a type of 30 MB": asked(tensor([1, 2], [3, 4], datatype="F" * 30_000_000)),
        "an id of 30 MB": asked(tensor([1, 2], [3, 4]), id="i" * 30_000_000),
        "texts for numbers": asked(tensor([1, 2], ["a", "b"])),
        "no object": b"[" * 500_000,
        "binary data that is not there": asked(tensor([1, 2], binary_data_size=16)),
    }
    for name, body in bodies.items():
        yield name, lambda body=body: infer(scene.server, body)
    numbers = struct.pack("<2d", 3, 4)
    binary = {
        "a length beyond u64": (good, {LENGTH: "9" * 30}),
        "a length beyond the body": (good, {LENGTH: str(len(good) + 1)}),
        "a negative length": (good, {LENGTH: "-1"}),
        "no length": (good, {LENGTH: ""}),
        "a length of nothing": (good, {LENGTH: "0"}),
        "a length within a number": (good, {LENGTH: str(len(good) - 3)}),
    }
    for name, size, shape, datatype, data in [
        ("a size beyond u64", 2**70, [1, 2], "FP64", numbers),
        ("a size beyond the body", 2**62, [1, 2], "FP64", numbers),
        ("a negative size", -16, [1, 2], "FP64", numbers),
        ("a size that is no whole value", 15, [1, 2], "FP64", numbers),
        ("binary data for 2^61 rows", 16, [2**61, 2], "FP64", numbers),
        ("binary data that nobody claims", 16, [1, 2], "FP64", numbers * 1000),
        ("NaN and infinity", 16, [1, 2], "FP64", struct.pack("<2d", float("nan"), float("inf"))),
        ("a text of 4 GiB in 8 bytes", 8, [1, 2], "BYTES", struct.pack("<I", 2**32 - 1) + b"text"),
        ("a million texts of no length", 4_000_000, [500_000, 2], "BYTES", b"\0" * 4_000_000),
        ("half a length", 2, [1, 1], "BYTES", b"\1\0"),
        ("no UTF-8", 6, [1, 1], "BYTES", struct.pack("<I", 2) + b"\xff\xfe"),
    ]:
        head = asked(tensor(shape, datatype=datatype, binary_data_size=size))
        binary[name] = (head + data, {LENGTH: str(len(head))})
    for name, (body, headers) in binary.items():
        yield name, lambda body=body, headers=headers: infer(scene.server, body, headers)
    rows = 100_000
    head = asked(tensor([rows, 2], binary_data_size=rows * 16), outputs=[{"name": "prediction", "parameters": {"binary_data": True}}])
    yield "100,000 good rows", lambda: infer(scene.server, head + numbers * rows, {LENGTH: str(len(head))})
    yield "an honest one", lambda: require(scene.server.post(INFER, good)[0] == 200, "an honest tensor is not answered")


def infer(server, body, headers=None):
    given = {"content-type": "application/octet-stream" if headers else "application/json"} | (headers or {})
    try:
        status, _, said = server.request("POST", INFER, body, headers=given, seconds=20)
    except (ConnectionError, BrokenPipeError):
        return "closed"
    require(status in (200, *BAD), f"{status}: {said[:300]}")
    require(status == 200 or len(said) < 5_000, f"{status} with {len(said)} bytes")
    return str(status)


def group(setup):
    return Shop(setup, attacks)
