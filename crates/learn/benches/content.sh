#!/usr/bin/env bash
# Runs the content bench and scikit-learn on the same texts in one go, and prints how many times faster we are.
# usage: content.sh [case ...]; the Python environment and the texts are kept where run.sh keeps its own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/millstream
venv=$cache/bench-venv
data=$cache/bench-data
mkdir -p "$data"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -c 'import sklearn' 2>/dev/null || "$venv/bin/pip" install --quiet 'scikit-learn==1.9.1' numpy
cd "$here/.."
cargo run --quiet --release --package millstream-learn --example content_bench \
    ${CARGO_TARGET_DIR:+--target-dir "$CARGO_TARGET_DIR"} -- "$data" "$@" | tee "$data/content_ours.jsonl" >&2
"$venv/bin/python" "$here/content_peers.py" "$data" "$@" | tee "$data/content_peers.jsonl" >&2
"$venv/bin/python" - "$data" <<'PYTHON'
import json, sys
lines = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/content_{name}.jsonl")]
ours = {line["case"]: line for line in lines("ours")}
print(f"{'case':<20} {'ours s':>10} {'quality':>11}  {'peer':<14} {'peer s':>10} {'quality':>11} {'ratio':>7}")
for peer in lines("peers"):
    own = ours[peer["case"]]
    ratio = peer["seconds"] / own["seconds"]
    print(f"{peer['case']:<20} {own['seconds']:10.6f} {own['quality']:11.4f}  {peer['peer']:<14} "
          f"{peer['seconds']:10.6f} {peer['quality']:11.4f} {ratio:6.1f}x")
PYTHON
