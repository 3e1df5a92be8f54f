#!/usr/bin/env bash
# The n best items of a query, ours and the peers' on the same data in one go.
# usage: top_n.sh [case ...]; the Python environment and the data are kept under ${XDG_CACHE_HOME:-~/.cache}/millstream.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/millstream
venv=$cache/top-n-venv
data=$cache/top-n-data
mkdir -p "$data"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -c 'import usearch' 2>/dev/null || "$venv/bin/pip" install --quiet 'usearch==2.26.6' numpy
cd "$here/.."
cargo run --quiet --release --package millstream-learn --example top_n_bench \
    ${CARGO_TARGET_DIR:+--target-dir "$CARGO_TARGET_DIR"} -- "$data" "$@"
"$venv/bin/python" "$here/top_n_peers.py" "$data" "$@"
