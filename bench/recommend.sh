#!/usr/bin/env bash
# The recommender from file to answers: training of a version of rank 64 and its peak memory, how soon it is served again, and top-10
# over HTTP beside Flask with `implicit` fitted on the same rows; wrk, 16 connections, random users.
# usage: recommend.sh [rows] [seconds]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rows=${1:-20000000} seconds=${2:-10}
read -r port peer_port <<<"$(free_ports 2)"
command -v wrk >/dev/null || { echo "wrk is needed: apt-get install wrk" >&2; exit 1; }
release
venv=$cache/recommend-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import flask, implicit, pyarrow' 2>/dev/null || "$venv/bin/pip" install --quiet flask implicit pyarrow
data=$cache/bench-data/ratings-$rows
if [ ! -f "$data/rows.csv" ]; then
    mkdir -p "$data"
    # The demo writes all of its data first; of the stream one small batch is enough here.
    (cd "$work" && "$millstream" demo movielens --rows "$rows" --data generate --exit-when-done --set batch.parts=$((rows / 1000)) \
        --set batch.limit=1 --set serve.listen=127.0.0.1:0 --set stream.listen=127.0.0.1:0 >/dev/null 2>&1)
    mv "$work/generate/movies.csv" "$work/generate/rows.csv" "$data/"
fi
cd "$work"
cat >bench.toml <<TOML
name = "bench"
source.path = "$data/rows.csv"
schema.columns = { userId = "int64", movieId = "int64", rating = "float64", timestamp = "int64" }
batch.parts = 1
train.holdout = 0
serve.listen = "127.0.0.1:$port"
stream.listen = "127.0.0.1:0"
[[model]]
name = "taste"
algorithm = "als"
user = "userId"
item = "movieId"
rating = "rating"
params = { rank = 64, iterations = 5, early_stop = 0 }
[catalogue]
from = "$data/movies.csv"
id = "movieId"
title = "title"
columns = { genre = "string_to_array(genres, '|')" }
TOML
cat >peer.py <<'PY'
import logging, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np, pyarrow.csv as pc, scipy.sparse as sparse
from flask import Flask, jsonify
from implicit.als import AlternatingLeastSquares
table = pc.read_csv(sys.argv[1])
users, items = table["userId"].to_numpy(), table["movieId"].to_numpy()
seen = sparse.csr_matrix((table["rating"].to_numpy().astype(np.float32), (users, items)))
model = AlternatingLeastSquares(factors=64, iterations=1, random_state=1)
model.fit(seen, show_progress=False)
app = Flask(__name__)
@app.get("/recommend/<int:user>")
def recommend(user):
    ids, scores = model.recommend(user, seen[user], N=10)
    return jsonify(items=[{"id": int(i), "score": float(s)} for i, s in zip(ids, scores)])
logging.getLogger("werkzeug").setLevel(logging.ERROR)
app.run(host="127.0.0.1", port=int(sys.argv[2]), threaded=True)
PY
sed '/^\[\[model\]\]/,$d' bench.toml >ingest.toml
"$millstream" run ingest.toml --exit-when-done --set serve.listen=127.0.0.1:0 >/dev/null 2>&1
machine
read -r elapsed mib < <(seconds_of "$millstream" train bench.toml --exit-when-done)
python3 - "$rows" "$elapsed" "$mib" <<'PY'
import json, sys
version = json.load(open("millstream-data/models/taste/000001/model.json"))
rows, elapsed, mib = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
users, items = version["task"]["users"], version["task"]["items"]
factors = (users + items) * 64 * 4 / 2**20
print(f"{rows} ratings of {users} users and {items} items: trained (rank 64, 5 iterations) and measured in {elapsed} s, of which "
      f"{version['training_seconds']:.1f} s to read and fit; peak {mib} MiB = {(mib - factors) * 2**20 / rows / 12:.2f} x 12 bytes a "
      f"rating, beside {factors:.0f} MiB of factors")
PY
started=$(date +%s%N)
"$millstream" serve bench.toml 2>ours.log &
until curl -sf -o /dev/null http://127.0.0.1:$port/readyz; do sleep .01; done
ready=$(($(date +%s%N) - started))
curl -sf -o /dev/null http://127.0.0.1:$port/v1/models/taste/recommend/1
first=$(($(date +%s%N) - started))
echo "serve: ready after $((ready / 1000000)) ms, first list, which waits for what users have seen, after $((first / 1000000)) ms"
OMP_NUM_THREADS=1 "$venv/bin/python" peer.py "$data/rows.csv" "$peer_port" >peer.log 2>&1 &
users=$(curl -sf http://127.0.0.1:$port/v1/models/taste/versions/latest | python3 -c 'import json, sys; print(json.load(sys.stdin)["users"])')
# per_second PORT/PATH: requests per second of random users.
per_second() {
    echo "request = function() return wrk.format('GET', '/${1#*/}/' .. math.random($users)) end" >users.lua
    wrk -t1 -c16 -d1s -s users.lua "http://127.0.0.1:${1%%/*}" >/dev/null
    wrk -t1 -c16 -d"${seconds}s" --latency -s users.lua "http://127.0.0.1:${1%%/*}" >wrk.txt
    ! grep -q 'Non-2xx' wrk.txt || { cat wrk.txt >&2; exit 1; }
    awk '/Requests\/sec/ {print $2}' wrk.txt
}
alone() {
    echo "request = function() return wrk.format('GET', '/${1#*/}/' .. math.random($users)) end" >users.lua
    wrk -t1 -c1 -d"${seconds}s" --latency -s users.lua "http://127.0.0.1:${1%%/*}" | awk '$1 == "50%" {print $2}'
}
ours=$(per_second $port/v1/models/taste/recommend)
p50=$(awk '$1 == "50%" {print $2}' wrk.txt)
echo "top-10: millstream $ours req/s, p50 $p50 with 16 connections, $(alone $port/v1/models/taste/recommend) with one"
until curl -sf -o /dev/null http://127.0.0.1:$peer_port/recommend/1; do sleep 1; done
peer=$(per_second $peer_port/recommend)
echo "top-10: Flask with implicit $peer req/s: $(awk -v a="$ours" -v b="$peer" 'BEGIN {printf "%.1f", a / b}')x"
python3 - "$port" <<'PY'
import json, random, sys, time, urllib.request
random.seed(1)
body = json.dumps({"ratings": {str(random.randint(1, 20000)): random.choice([1, 3, 4.5, 5]) for _ in range(50)}}).encode()
post = lambda: urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/models/taste/recommend", body,
                                      {"content-type": "application/json"})).read()
times = []
for _ in range(200):
    start = time.perf_counter(); post(); times.append(time.perf_counter() - start)
print(f"fold-in of 50 ratings and its top-10 over HTTP, one connection: median {sorted(times)[100] * 1e3:.2f} ms")
PY
machine
