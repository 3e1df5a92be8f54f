#!/usr/bin/env bash
# Runs our bench and the peers on the same data in one go, and prints how many times faster we are.
# usage: run.sh [case ...]; the Python environment and the data are kept under ${XDG_CACHE_HOME:-~/.cache}/millstream. Spark
# takes part where pyspark and Java are; PYTHON names another interpreter, which has them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/millstream
venv=$cache/bench-venv
data=$cache/bench-data
mkdir -p "$data"
if [ -z "${PYTHON:-}" ]; then
    if [ ! -x "$venv/bin/python" ]; then
        python3 -m venv "$venv"
    fi
    "$venv/bin/python" -c 'import implicit, lightgbm, sklearn' 2>/dev/null ||
        "$venv/bin/pip" install --quiet 'scikit-learn==1.9.1' 'lightgbm==4.7.0' 'implicit==0.7.3' numpy
fi
python=${PYTHON:-$venv/bin/python}
cd "$here/.."
cargo run --quiet --release --package millstream-learn --example learn_bench \
    ${CARGO_TARGET_DIR:+--target-dir "$CARGO_TARGET_DIR"} -- "$data" "$@" | tee "$data/ours.jsonl" >&2
SPARK_LOCAL_IP=127.0.0.1 "$python" "$here/peers.py" "$data" "$@" | tee "$data/peers.jsonl" >&2
"$python" - "$data" <<'PYTHON'
import json, sys
lines = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}.jsonl")]
ours = {line["case"]: line for line in lines("ours")}
print(f"{'case':<20} {'ours s':>8} {'quality':>9}  {'peer':<28} {'peer s':>8} {'quality':>9} {'ratio':>7}")
for peer in lines("peers"):
    own = ours[peer["case"]]
    ratio = peer["seconds"] / own["seconds"]
    print(f"{peer['case']:<20} {own['seconds']:8.4f} {own['quality']:9.5f}  {peer['peer']:<28} "
          f"{peer['seconds']:8.4f} {peer['quality']:9.5f} {ratio:6.1f}x")
PYTHON
