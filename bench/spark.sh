#!/usr/bin/env bash
# The same models of the same batches by three engines: this process, Spark on this machine (local[2]) and a standalone cluster of two workers
# with a core each. Of every training: wall, seconds of the processor and peak memory of all its processes (the cluster's too), and the measure on
# the hold-out. A job of Spark is the whole of it: start, rows written for it, fit, model saved and read.
# usage: spark.sh [ratings, small] [ratings, large] [rows of minutes]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
small=${1:-1000000} large=${2:-20000000} minutes=${3:-7000000}
release
trap '"$root/ci/spark.sh" stop "$work/spark" || true; kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
SPARK_WORKER_MEMORY=4g "$root/ci/spark.sh" start "$work/spark" >/dev/null
set -a; . "$work/spark/environment"; set +a
export SPARK_HOME=$MILLSTREAM_SPARK PYSPARK_PYTHON=$MILLSTREAM_SPARK_PYTHON SPARK_LOCAL_IP=127.0.0.1
cd "$work"
machine

# trained NAME MODEL MEASURE FILE: one model by each engine, on the store that FILE fills.
trained() {
    local name=$1 model=$2 measure=$3 file=$4 engine master
    rm -rf store && "$millstream" run "$file" --exit-when-done >/dev/null 2>&1
    for engine in millstream 'local[2]' cluster; do
        master=$([ "$engine" = cluster ] && echo "$MILLSTREAM_SPARK_MASTER" || echo 'local[2]')
        { cat "$file"; echo "[train.spark]"; echo "master = \"$master\""
          echo 'conf = { "spark.driver.memory" = "6g", "spark.executor.memory" = "3g" }'
          printf '[[model]]\nname = "m"\n%s\n' "$model"
          [ "$engine" = millstream ] || echo 'engine = "spark"'; } >train.toml
        rm -rf store/models store/scratch
        python3 "$root/bench/watch.py" "$([ "$engine" = cluster ] && echo "$work/spark" || echo "$work/none")" "$millstream" train train.toml --exit-when-done >told.json 2>log || { tail -5 log >&2; exit 1; }
        python3 - "$name" "$engine" "$measure" <<'PY'
import json, sys
name, engine, measure = sys.argv[1:]
told, found = json.load(open("told.json")), json.load(open("store/models/m/000001/evaluations/000001.json"))
def number(value):
    if isinstance(value, dict):
        if isinstance(value.get(measure), (int, float)):
            return value[measure]
        return next((n for key, v in value.items() if key != "baseline" for n in [number(v)] if n is not None), None)
print(f"| {name} | {engine} | {told['wall_s']:.1f} | {told['cpu_s']:.1f} | {told['peak_mib']:.0f} | {measure} {number(found):.4f} |")
PY
    done
}

pipeline() { # csv, columns, more
    cat <<TOML
name = "bench"
source.path = "$1"
schema.columns = { $2 }
batch.parts = 1
store.url = "file:$work/store"
serve.listen = "127.0.0.1:0"
stream.listen = "127.0.0.1:0"
TOML
}

echo "| model | engine | wall s | processor s | memory MiB | hold-out |"
echo "|---|---|---|---|---|---|"
als='algorithm = "als"
user = "userId"
item = "movieId"
rating = "rating"
params = { rank = 10, iterations = 10, early_stop = 0 }'
for rows in "$small" "$large"; do
    pipeline "$(generated movielens "$rows")" 'userId = "int64", movieId = "int64", rating = "float64", timestamp = "int64"' >ratings.toml
    trained "als of $rows ratings" "$als" rmse ratings.toml
done
pipeline "$(generated bitcoin "$minutes")" 'Timestamp = "float64"' >minutes.toml
trained "linear regression of $minutes rows" 'algorithm = "linear_regression"
features = ["Open", "Volume"]
target = "Close"' rmse minutes.toml
trained "forest of $minutes rows, 10 trees of depth 8" 'algorithm = "random_forest"
features = ["Open", "Volume"]
target = "High"
params = { trees = 10, max_depth = 8 }' rmse minutes.toml
machine
