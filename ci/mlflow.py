#!/usr/bin/env python3
"""A running server through MLflow's own client of its scoring protocol, as those ask it who move from an MLflow server: data frames, arrays
and dictionaries, each answer compared with /v1's. usage: mlflow.py URL; needs mlflow-skinny, pandas and requests. Every model with predict
is asked; ends with 1 when an answer differs or no model could be asked."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

# This file has the name of the package.
sys.path = [place for place in sys.path if place != sys.path[0]]

import pandas
import requests
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

url = sys.argv[1].rstrip("/")
address = urllib.parse.urlsplit(url)
client = ScoringServerClient(address.hostname, address.port)
client.wait_server_ready()
assert client.get_version()


def v1(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v1/{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def invoke(model, data, params=None):
    """As the client does, of one model of several."""
    client.url_prefix = f"{url}/v1/models/{model}"
    return client.invoke(data, params).get_predictions(predictions_format="ndarray").tolist()


asked = 0
for model in v1("models")["models"]:
    name, inputs = model["name"], model["inputs"] or []
    newest = v1("batches")["batches"][-1]["batch"]
    rows = v1(f"batches/{newest}/rows?limit=200")["rows"]
    names = [one["name"] for one in inputs]
    rows = [row for row in ({column: row.get(column) for column in names} for row in rows) if None not in row.values()]
    if not names or not rows:
        continue
    try:
        predictions = v1(f"models/{name}/predict", rows)["predictions"]
    except urllib.error.HTTPError:
        continue
    expected = [one["cluster"] if isinstance(one, dict) else one for one in predictions]
    frame = pandas.DataFrame(rows, columns=names)
    assert invoke(name, frame) == expected, name
    assert invoke(name, frame[names[::-1]], {"unused": 1}) == expected, f"{name}: columns in another order"
    if all(one["type"] == "float64" for one in inputs):
        assert invoke(name, frame.to_numpy()) == expected, f"{name}: an array"
    # The client sends a dictionary of arrays as pairs of them; what its documentation shows is this.
    body = {"inputs": {column: frame[column].tolist() for column in names}}
    answer = requests.post(f"{url}/invocations?model={name}", json=body)
    assert answer.json() == {"predictions": expected}, answer.text
    answer = requests.post(f"{url}/invocations?model={name}", json={"dataframe_records": rows})
    assert answer.json() == {"predictions": expected}, answer.text
    refused = requests.post(f"{url}/invocations?model={name}", json={"inputs": {"no such column": [1]}})
    assert refused.status_code == 422 and refused.json()["error_code"] == "INVALID_PARAMETER_VALUE", refused.text
    print(f"{name}: {len(rows)} rows, as a data frame, by columns and as an array")
    asked += 1
assert asked, "no model could be asked"
