#!/usr/bin/env bash
# Compares the recommender's hold-out quality with Spark MLlib's (where pyspark and Java are) and implicit's on the same
# splits of a csv of ratings (user, item, rating, time): the mean of three seeds. `search` looks for the best parameters,
# `warm` shows what beginning with an earlier version saves, `lists` how lists rank beside popularity.
# usage: als_quality.sh RATINGS.csv [search | warm | lists]; PYTHON names another interpreter than the environment of run.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ratings=$(realpath "$1")
python=${PYTHON:-${XDG_CACHE_HOME:-$HOME/.cache}/millstream/bench-venv/bin/python}
ours() {
    (cd "$here/.." && cargo run --quiet --release --package millstream-learn --example als_quality \
        ${CARGO_TARGET_DIR:+--target-dir "$CARGO_TARGET_DIR"} -- "$ratings" "$@")
}
if [ -n "${2:-}" ]; then
    ours "$2"
    exit
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ours split "$folder"
{
    ours compare
    SPARK_LOCAL_IP=127.0.0.1 "$python" "$here/als_quality.py" "$folder"
} | "$python" -c '
import json, sys
lines = sorted((json.loads(line) for line in sys.stdin), key=lambda line: (line["case"], line["who"] != "millstream"))
for line in lines:
    print("{case:<42} {who:<20} {measure:<8} {value:.5f}".format(**line))
'
