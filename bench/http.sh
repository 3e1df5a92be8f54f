#!/usr/bin/env bash
# Predictions over HTTP beside Flask with the same kind of model fitted by scikit-learn on the same rows; wrk, 16 connections.
# usage: http.sh [seconds]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
seconds=${1:-10} port=$(free_port) peer_port=$(free_port)
command -v wrk >/dev/null || { echo "wrk is needed: apt-get install wrk" >&2; exit 1; }
release
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
OMP_NUM_THREADS=1 "$venv/bin/python" peer.py data/rows.csv $peer_port >peer.log 2>&1 &
echo 'wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"; wrk.body = "{\"Open\":20000.0,\"Volume\":25.0}"' >post.lua
body='{"Open":20000.0,"Volume":25.0}'
for url in $port/v1/models/forest/predict $peer_port/forest; do
    for _ in $(seq 240); do
        curl -sf -o /dev/null -H 'content-type: application/json' -d "$body" "http://127.0.0.1:$url" && break; sleep .25
    done
done
per_second() {
    wrk -t1 -c16 -d1s -s post.lua "http://127.0.0.1:$1" >/dev/null
    wrk -t1 -c16 -d"${seconds}s" --latency -s post.lua "http://127.0.0.1:$1" >wrk.txt
    ! grep -q 'Non-2xx' wrk.txt || { cat wrk.txt >&2; exit 1; }
    awk '/Requests\/sec/ {print $2}' wrk.txt
}
machine
for model in linear forest; do
    peer=$(per_second "$peer_port/$model")
    ours=$(per_second "$port/v1/models/$model/predict")
    p50=$(awk '$1 == "50%" {print $2}' wrk.txt)
    echo "$model: millstream $ours req/s (p50 $p50), Flask $peer req/s:" \
         "$(awk -v a="$ours" -v b="$peer" 'BEGIN {printf "%.1f", a / b}')x"
done
machine
