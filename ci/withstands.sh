#!/usr/bin/env bash
# The README's main command to its end, then what its binary must withstand: hostile requests and files, readers of other languages, files of 60
# dialects, clients of the Open Inference Protocol, clients while everything around the server goes wrong, and every page in Chromium. Prints what each part took.
#
# usage: withstands.sh BINARY
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -eq 1 ] && [ -x "$1" ] || { echo "usage: withstands.sh BINARY (cargo build --release first)" >&2; exit 2; }
binary=$(realpath "$1")
data=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$data"' EXIT

part() { # its name
    [ -z "${began:-}" ] || echo "-- $((SECONDS - began)) s"
    began=$SECONDS
    [ $# -eq 0 ] || { echo; echo "-- $1"; }
}

part "the README's main command, and each system's, to its end"
free=(--set serve.listen=127.0.0.1:0 --set stream.listen=127.0.0.1:0)
"$binary" demo --data "$data/demo" --exit-when-done "${free[@]}"
for system in movielens products movies houses; do
    "$binary" demo $system --data "$data/$system" --exit-when-done "${free[@]}"
done

part "nothing that a client, a peer or a file sends can stop it"
"$root/ci/hostile.sh" "$binary"

part "no answer but the owed one while brokers, trainers, stores, versions and keys come and go"
"$root/ci/load.py" "$binary" 30

part "a version opens in Python in one line; pandas and DuckDB read batches of every format as they lie"
python3 -m venv "$data/venv" && "$data/venv/bin/pip" install --quiet numpy safetensors pandas pyarrow duckdb polars 'tritonclient[http,grpc]' grpcio-tools mlflow-skinny requests scipy \
    schemathesis openapi-spec-validator
"$data/venv/bin/python" -c "import safetensors.numpy as s; print(s.load_file('$data/demo/store/models/range/000001/model.safetensors'))"
for format in parquet csv jsonl; do
    "$binary" demo --data "$data/demo-$format" --rows 3000 --exit-when-done --set batch.format=$format "${free[@]}"
    find "$data/demo-$format/store/batches" -name 'part-*' | "$data/venv/bin/python" "$root/ci/read_parts.py"
done

part "files of 60 dialects are read as DuckDB and polars read them, or as ci/readers.py says why not"
"$data/venv/bin/python" "$root/ci/readers.py" "$binary"

part "tritonclient asks the Open Inference Protocol and MLflow's client its own, and both get the numbers of /v1; schemathesis asks all of it"
for system in bitcoin movielens movies houses; do
    "$binary" demo $system --rows 6000 --data "$data/oip-$system" "${free[@]}" >"$data/oip.log" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        ! grep -q 'until stopped' "$data/oip.log" || break
        kill -0 $server || { cat "$data/oip.log"; exit 1; }
        sleep 1
    done
    url=$(grep -o 'serving on http://[0-9.:]*' "$data/oip.log" | sed 's/serving on //')
    "$data/venv/bin/python" "$root/ci/oip.py" "$url"
    # A recommender predicts no rows.
    [ $system = movielens ] || "$data/venv/bin/python" "$root/ci/mlflow.py" "$url"
    "$data/venv/bin/python" "$root/ci/openapi.py" "$url" 5
    kill $server
    wait $server
done

part "every page in Chromium: without an error, by keyboard, in the dark, on a phone, without JavaScript, live, of hostile data"
"$root/ci/browser.sh" "$binary"
part
