#!/usr/bin/env python3
"""A running server through PyPI's tritonclient, as KServe and Triton users ask it: metadata, readiness, inference by JSON, by binary data and
by gRPC, and through what protoc generates from docs/inference.proto; each answer compared with /v1's. usage: oip.py URL; needs
tritonclient[http,grpc] and grpcio-tools. Any model with predict or estimate is asked; ends with 1 when an answer differs or no model could
be asked."""

import json
import pathlib
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import grpc
import grpc_tools.protoc
import numpy
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

url = sys.argv[1].rstrip("/")
address = url.split("://", 1)[-1]
client = triton.InferenceServerClient(address)
grpc_client = triton_grpc.InferenceServerClient(address)


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


class Generated:
    """A client generated from docs/inference.proto, which sends tensors as typed contents. In a pool of its own: tritonclient has messages of the same
    names."""

    FIELDS = {"BOOL": "bool", "INT32": "int", "INT64": "int64", "UINT8": "uint", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}

    def __init__(self):
        docs = pathlib.Path(__file__).resolve().parent.parent / "docs"
        with tempfile.NamedTemporaryFile() as compiled:
            arguments = ["protoc", f"-I{docs}", f"--descriptor_set_out={compiled.name}", str(docs / "inference.proto")]
            assert grpc_tools.protoc.main(arguments) == 0
            files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read())
        pool = descriptor_pool.DescriptorPool()
        [file] = files.file
        pool.Add(file)
        self.service = pool.FindServiceByName("inference.GRPCInferenceService")
        self.channel = grpc.insecure_channel(address)

    def call(self, method, fields, metadata=()):
        """The answer, and the metadata that came with it."""
        described = self.service.FindMethodByName(method)
        request = message_factory.GetMessageClass(described.input_type)(**fields)
        answer = message_factory.GetMessageClass(described.output_type)
        ask = self.channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}", request_serializer=lambda one: one.SerializeToString(), response_deserializer=answer.FromString
        )
        answer, call = ask.with_call(request, metadata=metadata, timeout=60)
        return answer, dict(call.initial_metadata())

    def input(self, name, datatype, values, shape=None):
        values = [value.encode() if isinstance(value, str) else value for value in values]
        return {"name": name, "datatype": datatype, "shape": shape or [len(values)], "contents": {f"{self.FIELDS[datatype]}_contents": values}}

    def infer(self, model, version, inputs, names):
        fields = {"model_name": model, "model_version": version, "id": "7", "inputs": inputs, "outputs": [{"name": name} for name in names]}
        answer, metadata = self.call("ModelInfer", fields, [("x-request-id", "from-oip")])
        assert (answer.model_name, answer.model_version, answer.id) == (model, version, "7"), answer
        assert metadata["x-model-version"] == f"{model}@{version}" and metadata["x-request-id"] == "from-oip", metadata
        assert not answer.raw_output_contents, "contents are answered by contents"
        texts = lambda values: [value.decode() if isinstance(value, bytes) else value for value in values]
        return {one.name: texts(getattr(one.contents, f"{self.FIELDS[one.datatype]}_contents")) for one in answer.outputs}

    def refused(self, method, fields, code, *words):
        try:
            self.call(method, fields)
        except grpc.RpcError as error:
            assert error.code() == code and all(word in error.details() for word in words), f"{method}: {error.code()} {error.details()}"
        else:
            raise SystemExit(f"{method} {fields} is answered")


def infer_grpc(model, version, inputs, names):
    wanted = [triton_grpc.InferRequestedOutput(name) for name in names]
    result = grpc_client.infer(model, inputs, model_version=version, outputs=wanted, request_id="7")
    assert (result.get_response().id, result.get_response().model_version) == ("7", version)
    return {name: plain(result.as_numpy(name)) for name in names}


def raw(name, datatype, values):
    values = numpy.array(values, dtype=triton_to_np_dtype(datatype))
    one = triton_grpc.InferInput(name, list(values.shape), datatype)
    one.set_data_from_numpy(values)
    return one


def check_grpc(model, version, columns, outputs, expected):
    """`columns`: name, datatype, values."""
    found = infer_grpc(model, version, [raw(*column) for column in columns], outputs)
    assert found == expected, f"{model}@{version} by gRPC: {found} is not {expected}"
    found = generated.infer(model, version, [generated.input(*column) for column in columns], outputs)
    assert found == expected, f"{model}@{version} by gRPC and contents: {found} is not {expected}"


def check_metadata(name, version, metadata):
    """By gRPC it is what it is by REST, but for parameters, which the message has not."""
    found = grpc_client.get_model_metadata(name, version, as_json=True)
    tensors = lambda of: [(one["name"], one["datatype"], [int(length) for length in one["shape"]]) for one in of]
    for tensor in ("inputs", "outputs"):
        assert tensors(found.get(tensor, [])) == tensors(metadata[tensor]), (found, metadata)
    assert (found["name"], found["versions"], found["platform"]) == tuple(metadata[key] for key in ("name", "versions", "platform")), found


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
    check_grpc(name, version, [(one["name"], one["datatype"], [row[one["name"]] for row in rows]) for one in metadata["inputs"]], outputs, expected)
    if all(one["datatype"] in ("FP64", "INT64") for one in metadata["inputs"]):
        table = [[row[one["name"]] for one in metadata["inputs"]] for row in rows]
        found = infer(name, version, [tensor("input", "FP64", table, True)], outputs, True)
        assert found == expected, f"{name}@{version} by one tensor"
        found = infer_grpc(name, version, [raw("input", "FP64", table)], outputs)
        assert found == expected, f"{name}@{version} by one tensor and gRPC"
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
    columns = [(one["name"], one["datatype"], list(column)) for one, column in zip(metadata["inputs"], zip(*pairs))]
    check_grpc(name, version, columns, ["prediction"], {"prediction": expected})
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
generated = Generated()
by_grpc = grpc_client.get_server_metadata()
assert (by_grpc.name, by_grpc.version, list(by_grpc.extensions)) == (server["name"], server["version"], server["extensions"]), by_grpc
assert grpc_client.is_server_live() and grpc_client.is_server_ready()
code = grpc.StatusCode
for method in ("ModelReady", "ModelMetadata"):
    generated.refused(method, {"name": "nobody"}, code.NOT_FOUND, "there is no model nobody")
    generated.refused(method, {}, code.INVALID_ARGUMENT, "name: is missing")
generated.refused("ModelInfer", {"model_name": "nobody"}, code.NOT_FOUND, "there is no model nobody")
try:
    grpc_client.get_model_config("nobody")
    raise SystemExit("a method that is not there is answered")
except InferenceServerException as error:
    assert error.status() == "StatusCode.UNIMPLEMENTED", error
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
    check_metadata(name, version, metadata)
    assert grpc_client.is_model_ready(name) and grpc_client.is_model_ready(name, version), name
    pairs = [one["name"] for one in metadata["inputs"]] == ["user", "item"]
    n = (check_pairs if pairs else check_rows)(name, version, metadata)
    print(f"{name}@{version}: {n} {'pairs' if pairs else 'rows'}, by JSON, binary data and gRPC")
    try:
        client.infer(name, [tensor("no such column", "FP64", [1.0], True)])
        raise SystemExit(f"{name} takes a tensor that it does not know")
    except InferenceServerException as error:
        assert error.status() == "422" and "no such column" in error.message(), error
    try:
        grpc_client.infer(name, [raw("no such column", "FP64", [1.0])])
        raise SystemExit(f"{name} takes a tensor that it does not know by gRPC")
    except InferenceServerException as error:
        assert error.status() == "StatusCode.INVALID_ARGUMENT" and "no such column" in error.message(), error
    first = metadata["inputs"][0]
    values = ["a"] if first["datatype"] == "BYTES" else [True] if first["datatype"] == "BOOL" else [1]
    for one, words in [
        (generated.input(first["name"], first["datatype"], values, [2]), ["1 elements", "2"]),
        (generated.input(first["name"], first["datatype"], values, [1 << 60]), ["rows in one request"]),
        (generated.input(first["name"], first["datatype"], values, [-1]), ["-1"]),
        ({**generated.input(first["name"], first["datatype"], values), "datatype": "FP16"}, ["FP16"]),
        ({**generated.input(first["name"], "UINT64", [1]), "datatype": "INT32"}, ["uint64_contents", "int_contents"]),
    ]:
        is_large = one["shape"] == [1 << 60]
        generated.refused("ModelInfer", {"model_name": name, "inputs": [one]}, code.RESOURCE_EXHAUSTED if is_large else code.INVALID_ARGUMENT, *words)
    asked += 1
assert asked, "no model could be asked"
