#!/usr/bin/env python3
"""A running server through PyPI's tritonclient, as KServe and Triton users ask it: metadata, readiness, inference by JSON and by binary
data, each answer compared with /v1's. usage: oip.py URL; needs tritonclient[http]. Any model with predict or estimate is asked; ends with
1 when an answer differs or no model could be asked."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

url = sys.argv[1].rstrip("/")
client = triton.InferenceServerClient(url.split("://", 1)[-1])


def v1(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v1/{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def tensor(name, datatype, values, binary):
    values = numpy.array(values, dtype=triton_to_np_dtype(datatype))
    one = triton.InferInput(name, list(values.shape), datatype)
    one.set_data_from_numpy(values, binary_data=binary)
    return one


def infer(model, version, inputs, names, binary):
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer(model, inputs, model_version=version, outputs=wanted, request_id="7")
    assert result.get_response()["id"] == "7" and result.get_response()["model_version"] == version, result.get_response()
    return {name: plain(result.as_numpy(name)) for name in names}


def plain(array):
    texts = array.dtype == object
    return [value.decode() if texts and isinstance(value, bytes) else value for value in array.reshape(-1).tolist()]


def rows_for(metadata):
    """Of a model of rows: values of the newest rows that the server has, so that all of them are ones that a model knows."""
    newest = v1("batches")["batches"][-1]["batch"]
    rows = v1(f"batches/{newest}/rows?limit=200")["rows"]
    names = [one["name"] for one in metadata["inputs"]]
    return [row for row in ({name: row.get(name) for name in names} for row in rows) if None not in row.values()]


def check_rows(name, version, metadata):
    rows = rows_for(metadata)
    assert rows, f"{name}: the newest batch has no row with all of its inputs"
    outputs = [one["name"] for one in metadata["outputs"]]
    of_rows = v1(f"models/{name}/versions/{version}/predict", rows)
    predictions = of_rows["predictions"]
    expected = {"prediction": predictions}
    if "distance" in outputs:
        expected = {"prediction": [one["cluster"] for one in predictions], "distance": [one["distance"] for one in predictions]}
    if "probability" in outputs:
        expected["probability"] = [value for row in of_rows["probabilities"] for value in row.values()]
        classes = next(one for one in metadata["outputs"] if one["name"] == "probability")["parameters"]["classes"]
        assert list(of_rows["probabilities"][0]) == classes, classes
    for binary in [False, True]:
        inputs = [
            tensor(one["name"], one["datatype"], [row[one["name"]] for row in rows], binary) for one in metadata["inputs"]
        ]
        found = infer(name, version, inputs, outputs, binary)
        assert found == expected, f"{name}@{version}, binary {binary}: {found} is not {expected}"
    if all(one["datatype"] in ("FP64", "INT64") for one in metadata["inputs"]):
        table = [[row[one["name"]] for one in metadata["inputs"]] for row in rows]
        found = infer(name, version, [tensor("input", "FP64", table, True)], outputs, True)
        assert found == expected, f"{name}@{version} by one tensor"
    # Without outputs the client asks for all of them as binary data.
    result = client.infer(name, inputs, model_version=version)
    assert all(plain(result.as_numpy(one)) == expected[one] for one in outputs)
    return len(rows)


def check_pairs(name, version, metadata):
    """Of a recommender whose ids are columns: users and items of the newest rows."""
    task = v1(f"models/{name}/versions/{version}")
    user, item = task["user"]["expression"], task["item"]["expression"]
    newest = v1("batches")["batches"][-1]["batch"]
    rows = v1(f"batches/{newest}/rows?limit=100")["rows"]
    pairs, expected = [], []
    for row in rows:
        pair = [urllib.parse.quote(str(row[column]), safe="") for column in (user, item)]
        try:
            expected.append(v1(f"models/{name}/versions/{version}/estimate/{pair[0]}/{pair[1]}")["prediction"])
            pairs.append((row[user], row[item]))
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
    assert pairs, f"{name}: no pair of the newest batch is known"
    for binary in [False, True]:
        inputs = [tensor(one["name"], one["datatype"], column, binary) for one, column in zip(metadata["inputs"], zip(*pairs))]
        found = infer(name, version, inputs, ["prediction"], binary)["prediction"]
        assert found == expected, f"{name}@{version}, binary {binary}: {found} is not {expected}"
    return len(pairs)


server = client.get_server_metadata()
assert server["name"] == "millstream" and server["extensions"] == ["binary_tensor_data"], server
assert client.is_server_live() and client.is_server_ready()
assert not client.is_model_ready("nobody")
try:
    client.get_model_metadata("nobody")
    raise SystemExit("a model that is not there has metadata")
except InferenceServerException as error:
    assert "there is no model nobody" in error.message(), error
asked = 0
for model in v1("models")["models"]:
    name = model["name"]
    assert client.is_model_ready(name), name
    metadata = client.get_model_metadata(name)
    if not metadata["inputs"]:
        continue
    version = metadata["versions"][-1]
    assert client.is_model_ready(name, version), name
    metadata = client.get_model_metadata(name, version)
    pairs = [one["name"] for one in metadata["inputs"]] == ["user", "item"]
    n = (check_pairs if pairs else check_rows)(name, version, metadata)
    print(f"{name}@{version}: {n} {'pairs' if pairs else 'rows'}, by JSON and by binary data")
    try:
        client.infer(name, [tensor("no such column", "FP64", [1.0], True)])
        raise SystemExit(f"{name} takes a tensor that it does not know")
    except InferenceServerException as error:
        assert error.status() == "422" and "no such column" in error.message(), error
    asked += 1
assert asked, "no model could be asked"
