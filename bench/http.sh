#!/usr/bin/env bash
# Predictions over HTTP, one row a request from 16 connections: beside Flask with the same kind of model fitted by scikit-learn on the same rows, and
# beside a bare axum handler that parses and answers the same JSON (bench/bare). Then 1,000 rows a request, and how long answers take at a quarter
# of the most requests, while nothing and while a forest is trained for each batch of a stream. Needs wrk, and Go for vegeta.
# usage: http.sh [seconds]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
seconds=${1:-10}
read -r port peer_port bare_port busy_port <<<"$(free_ports 4)"
command -v wrk >/dev/null || { echo "wrk is needed: apt-get install wrk" >&2; exit 1; }
command -v go >/dev/null || { echo "Go is needed, for vegeta: apt-get install golang" >&2; exit 1; }
release
vegeta=$cache/bin/vegeta
[ -x "$vegeta" ] || GOBIN=$cache/bin go install github.com/tsenart/vegeta/v12@v12.12.0
cargo build --quiet --release --locked --manifest-path "$root/bench/bare/Cargo.toml" --target-dir "$target/bare"
venv=$cache/http-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import flask, sklearn' 2>/dev/null || "$venv/bin/pip" install --quiet flask scikit-learn numpy
cd "$work"
cat >peer.py <<'PY'
import csv, logging, sys
import numpy as np
from flask import Flask, jsonify, request
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
rows = list(csv.DictReader(open(sys.argv[1])))[:100_000]
column = lambda name: np.array([float(row[name]) for row in rows])
features = np.column_stack([column("Open"), column("Volume")])
linear = LinearRegression().fit(features, column("High") - column("Low"))
forest = RandomForestRegressor(n_estimators=20, max_depth=8, n_jobs=1, random_state=1).fit(features, column("High"))
app = Flask(__name__)
def answer(model):
    row = request.get_json()
    return jsonify(prediction=float(model.predict(np.array([[row["Open"], row["Volume"]]]))[0]))
app.add_url_rule("/linear", "linear", lambda: answer(linear), methods=["POST"])
app.add_url_rule("/forest", "forest", lambda: answer(forest), methods=["POST"])
logging.getLogger("werkzeug").setLevel(logging.ERROR)
app.run(host="127.0.0.1", port=int(sys.argv[2]), threaded=True)
PY
cat >bench.toml <<'TOML'
name = "bench"
source.path = "data/rows.csv"
batch.parts = 1
[[model]]
name = "linear"
algorithm = "linear_regression"
features = ["Open", "Volume"]
target = "High - Low"
[[model]]
name = "forest"
algorithm = "random_forest"
features = ["Open", "Volume"]
target = "High"
params = { trees = 20, max_depth = 8 }
TOML
"$millstream" demo --rows 100000 --data data --exit-when-done --set serve.listen=127.0.0.1:0 --set stream.listen=127.0.0.1:0 2>/dev/null
"$millstream" run bench.toml --set serve.listen=127.0.0.1:$port --set stream.listen=127.0.0.1:0 2>ours.log &
"$target/bare/release/bare" $bare_port &
OMP_NUM_THREADS=1 "$venv/bin/python" peer.py data/rows.csv $peer_port >peer.log 2>&1 &
echo 'wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"; wrk.body = "{\"Open\":20000.0,\"Volume\":25.0}"' >post.lua
body='{"Open":20000.0,"Volume":25.0}'
for url in $port/v1/models/forest/predict $peer_port/forest; do
    for _ in $(seq 240); do
        curl -sf -o /dev/null -H 'content-type: application/json' -d "$body" "http://127.0.0.1:$url" && break; sleep .25
    done
done
per_second() { # url, script
    wrk -t1 -c16 -d1s -s "${2:-post.lua}" "http://127.0.0.1:$1" >/dev/null
    wrk -t1 -c16 -d"${seconds}s" --latency -s "${2:-post.lua}" "http://127.0.0.1:$1" >wrk.txt
    ! grep -q 'Non-2xx' wrk.txt || { cat wrk.txt >&2; exit 1; }
    awk '/Requests\/sec/ {print $2}' wrk.txt
}
percentile() { awk -v which="$1" '$1 == which {print $2}' wrk.txt; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }
machine
for model in linear forest; do
    peer=$(per_second "$peer_port/$model")
    ours=$(per_second "$port/v1/models/$model/predict")
    echo "$model: millstream $ours req/s (p50 $(percentile 50%), p99 $(percentile 99%)), Flask $peer req/s: $(ratio "$ours" "$peer")x"
done
: >ours; : >bare
for round in 1 2 3; do
    per_second "$bare_port/linear" >>bare; bare99=$(percentile 99%)
    per_second "$port/v1/models/linear/predict" >>ours
    echo "round $round: millstream $(tail -1 ours) req/s (p99 $(percentile 99%)), bare axum $(tail -1 bare) req/s (p99 $bare99)"
done
ours=$(median <ours) bare=$(median <bare)
echo "linear: medians of 3: millstream $ours req/s, bare axum $bare req/s: $(ratio "$ours" "$bare")x"

cat >rows.lua <<'LUA'
local rows = {}
for row = 1, 1000 do rows[row] = string.format('{"Open":%d.5,"Volume":%d.25}', 20000 + row, row % 50) end
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"; wrk.body = "[" .. table.concat(rows, ",") .. "]"
LUA
for model in linear forest; do
    echo "$model, 1,000 rows a request: $(per_second "$port/v1/models/$model/predict" rows.lua | awk '{printf "%.0f", $1 * 1000}') rows/s (p99 $(percentile 99%))"
done

sed -e 's/batch.parts = 1/batch.rows = 20000/' -e '/^source.path/a source.rate = 20000' -e 's/trees = 20, max_depth = 8/trees = 100/' \
    -e 's/name = "bench"/name = "busy"/' bench.toml >busy.toml
sed -i "s#data/rows.csv#$(generated bitcoin 2000000)#" busy.toml
becomes_busy() {
    "$millstream" run busy.toml --set serve.listen=127.0.0.1:$busy_port --set stream.listen=127.0.0.1:0 --set store.url=file:busy/store 2>busy.log &
    for _ in $(seq 240); do curl -sf -o /dev/null "http://127.0.0.1:$busy_port/v2/models/linear/ready" && break; sleep .25; done
}
: >busy.log
quarter=$(awk -v a="$ours" 'BEGIN {printf "%d", a / 4}')
echo "$body" >row.json
for which in "$port:nothing is trained" "$busy_port:a forest of 100 trees is trained for each 20,000 rows, 20,000 a second"; do
    [ "${which%%:*}" != "$busy_port" ] || becomes_busy
    trained=$(grep -c 'forest@.* trained on' busy.log || true)
    echo "POST http://127.0.0.1:${which%%:*}/v1/models/linear/predict" | "$vegeta" attack -rate "$quarter" -duration "${seconds}s" -connections 16 \
        -max-workers 64 -body row.json -header 'content-type: application/json' | "$vegeta" report -type json >rate.json
    python3 - rate.json "$quarter" "${which#*:}" $(($(grep -c 'forest@.* trained on' busy.log || true) - trained)) <<'PY'
import json, sys
report, wanted, what, trained = json.load(open(sys.argv[1])), *sys.argv[2:]
ms = {name: report["latencies"][name] / 1e6 for name in ("50th", "95th", "99th", "max")}
print(f"at {wanted} req/s ({report['rate']:.0f} sent, {100 * report['success']:.2f} % answered) while {what} ({trained} ended): "
      + ", ".join(f"{name} {value:.2f} ms" for name, value in ms.items()))
PY
done
machine
