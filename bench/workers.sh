#!/usr/bin/env bash
# Ingest from a topic that is full already: one worker on three partitions beside two and three workers, each a process.
# usage: workers.sh [rows]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rows=${1:-7000000}
release
machine
csv=$(generated bitcoin "$rows")
cat >"$work/workers.toml" <<TOML
name = "workers"
source.path = "$csv"
stream.partitions = 3
stream.data = "$work/topic"
batch.rows = 500000
store.url = "file:$work/store"
TOML
"$millstream" broker --listen 127.0.0.1:0 --data "$work/topic" 2>"$work/broker" &
broker=$!
until grep -q "listens on" "$work/broker"; do kill -0 $broker; sleep 0.1; done
"$millstream" replay "$work/workers.toml" 2>/dev/null
cp -r "$work/store" "$work/cut"
for count in 1 2 3; do
    rm -rf "$work/store"
    cp -r "$work/cut" "$work/store"
    started=$(date +%s%N)
    pids=()
    for _ in $(seq $count); do
        "$millstream" ingest "$work/workers.toml" --exit-when-done 2>>"$work/said" &
        pids+=($!)
    done
    wait "${pids[@]}"
    awk -v ns=$(($(date +%s%N) - started)) -v n=$count -v rows="$rows" \
        'BEGIN {printf "%d worker(s): %.1f s, %.2f M rows/s\n", n, ns / 1e9, rows / ns * 1e3}'
done
machine
