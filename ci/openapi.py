"""The document of a server's API is valid OpenAPI 3.1, each of its examples obeys its schema, and so does every answer to the requests that
schemathesis makes of the document, good ones and bad ones: no 5xx, no status, type or body that the document does not allow.

usage: openapi.py URL [generated requests an operation]     needs openapi-spec-validator and schemathesis
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
          "response_headers_conformance", "allow_header_conformance", "unsupported_method"]


def media_of(document):
    """Each media type: where it stands, and what it is."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts = {"body": operation.get("requestBody", {}), **operation["responses"]}
            for name, part in parts.items():
                for media in part.get("content", {}).values():
                    yield f"{method} {path} {name}", media


def main():
    url, examples = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "20"
    document = json.load(urllib.request.urlopen(f"{url}/openapi.json"))
    validate(document)
    n_examples = 0
    for place, media in media_of(document):
        if "example" in media:
            n_examples += 1
            schema = {**media["schema"], "components": document["components"]}
            faults = [fault.message for fault in Draft202012Validator(schema).iter_errors(media["example"])]
            assert not faults, f"{place}: its example does not obey its schema: {faults}"
    assert n_examples > 50, f"only {n_examples} examples"
    print(f"{url}: valid OpenAPI, {n_examples} examples obey their schemas", flush=True)
    command = [pathlib.Path(sys.executable).parent / "schemathesis", "run", f"{url}/openapi.json", "--checks", ",".join(CHECKS),
               # It never ends.
               "--exclude-path", "/v1/events",
               "--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--seed", "1",
               # Python 3.11 cannot parse its own lambdas in two threads at once, as schemathesis does with more workers.
               "--workers", "1", "--continue-on-failure", "--request-timeout", "30", "--no-color", "--warnings", "off"]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # A run that made hardly any request has proved nothing.
    made = re.search(r"^ *(\d+) generated", run.stdout, re.MULTILINE)
    if run.returncode or not made or int(made[1]) < 500:
        print(run.stdout)
        sys.exit(f"{url}: schemathesis failed, or made no requests")
    print(f"{url}: {made[1]} requests by schemathesis, each answered as the document says")


main()
