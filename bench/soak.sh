#!/usr/bin/env bash
# Keeps a pipeline of one-second windows with two models under a steady load and looks whether it keeps up with flat memory.
# With `page` the first page is open in Chromium all the while, and what the browser holds is said too.
# usage: soak.sh [minutes] [rows per second] [page]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
minutes=${1:-10}
rate=${2:-10000}
page=${3:-}
if [ "$page" = page ] && [ ! -d "$root/ci/browser/node_modules" ]; then
    echo "npm ci in ci/browser first: the page is opened by selenium-webdriver" >&2
    exit 1
fi
release
machine
rows=$((minutes * 60 * rate))
csv=$(generated bitcoin "$rows")
cat >"$work/soak.toml" <<TOML
name = "soak"
source.path = "$csv"
source.rate = $rate
stream.partitions = 3
batch.window = "1s"
store.url = "file:$work/store"
serve.listen = "127.0.0.1:0"
stream.listen = "127.0.0.1:0"
[[model]]
name = "close"
algorithm = "linear_regression"
features = ["Open", "Volume"]
target = "Close"
train_on = "each"
[[model]]
name = "high"
algorithm = "linear_regression"
features = ["Open"]
target = "High"
train_on = "each"
TOML
started=$(date +%s%N)
"$millstream" run "$work/soak.toml" --exit-when-done 2>"$work/said" &
pid=$!
if [ "$page" = page ]; then
    until url=$(sed -n 's/.*the page and the API: \(http:[^ ]*\).*/\1/p' "$work/said" | head -1) && [ -n "$url" ]; do sleep 0.2; done
    MILLSTREAM=$millstream CHROMEDRIVER=$(command -v chromedriver) \
        node "$(dirname "${BASH_SOURCE[0]}")/../ci/browser/watch.mjs" "$url" $((minutes * 60 - 15)) >"$work/page" 2>&1 &
    watching=$!
fi
: >"$work/memory"
while kill -0 $pid 2>/dev/null; do
    awk '/VmRSS/{print int($2 / 1024)}' "/proc/$pid/status" >>"$work/memory" 2>/dev/null || true
    sleep 5
done
wait $pid || { tail "$work/said" >&2; exit 1; }
seconds=$(awk -v ns=$(($(date +%s%N) - started)) 'BEGIN {printf "%.1f", ns / 1e9}')
if [ "$page" = page ]; then
    wait $watching || { cat "$work/page" >&2; exit 1; }
    echo "the page: seconds, heap in KiB, nodes, listeners, MiB of all of Chromium; after a minute, in the middle, at the end:"
    sed -n "6p;$(($(wc -l <"$work/page") / 2))p;\$p" "$work/page"
fi
batches=$(grep -c 'batch [0-9]* committed' "$work/said")
versions=$(grep -c '@[0-9]* trained on' "$work/said")
"$millstream" batches verify "$work/soak.toml"
early=$(sed -n 12p "$work/memory"); last=$(tail -1 "$work/memory"); peak=$(sort -n "$work/memory" | tail -1)
echo "$rows rows at $rate/s in windows of 1 s: $seconds s for a stream of $((minutes * 60)) s, $batches batches, $versions versions;" \
     "memory after a minute ${early:-?} MiB, at the end $last MiB, peak $peak MiB"
machine
