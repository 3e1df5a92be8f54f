#!/usr/bin/env bash
# What a batch costs when there are many: batches of 100 rows, two linear models that train on each, beside one measured fsync of the
# same disk; then `cumulative`, which grows; then a server that starts on that store, until it answers.
# usage: versions.sh [batches] [batches of cumulative]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
batches=${1:-10000}
cumulative=${2:-$((batches / 10))}
release
machine
rows() {
    awk -v n="$1" 'BEGIN {
        srand(7); print "minute,open,close"
        for (i = 0; i < n; i++) { open = 100 + 20 * rand(); printf "%d,%.4f,%.4f\n", i, open, open + 3 * (rand() - 0.5) }
    }' >"$work/rows.csv"
}
pipeline() {
    cat >"$work/versions.toml" <<TOML
name = "versions"
source.path = "$work/rows.csv"
batch.rows = 100
store.url = "file:$work/store"
serve.listen = "127.0.0.1:$(free_ports 1)"
stream.listen = "127.0.0.1:0"
[[model]]
name = "close"
algorithm = "linear_regression"
features = ["open", "minute"]
target = "close"
train_on = "$1"
[[model]]
name = "gain"
algorithm = "linear_regression"
features = ["open"]
target = "close - open"
train_on = "$1"
TOML
}
# trained TOML BATCHES: runs it, and prints what a batch took and held, at first and at last.
trained() {
    rm -rf "$work/store"
    "$millstream" run "$1" --exit-when-done 2>"$work/said" &
    pid=$!
    : >"$work/memory"
    while kill -0 $pid 2>/dev/null; do
        held=$(awk '/VmRSS/{print $2}' "/proc/$pid/status" 2>/dev/null) || true
        # Of all threads, in hundredths of a second.
        busy=$(awk '{print $14 + $15}' "/proc/$pid/stat" 2>/dev/null) || true
        echo "$(date +%s%3N) ${held:-0} ${busy:-0}" >>"$work/memory"
        sleep 0.5
    done
    wait $pid || { tail "$work/said" >&2; exit 1; }
    python3 - "$work" "$2" <<'PY'
import glob, json, os, statistics, sys, time
work, batches = sys.argv[1], int(sys.argv[2])
trained = []
for number in range(1, batches + 1):
    with open(f"{work}/store/models/gain/{number:06}/model.json") as file:
        trained.append(json.load(file)["trained_at_ms"])
files = sum(len(names) for _, _, names in os.walk(f"{work}/store"))
memory = [tuple(map(int, line.split())) for line in open(f"{work}/memory")]
memory = [sample for sample in memory if sample[1]]
def at(ms):
    return min(memory, key=lambda sample: abs(sample[0] - ms))
def held(ms):
    return at(ms)[1]
def busy(begin, end):
    return (at(end)[2] - at(begin)[2]) * 10
def fsync():
    path = f"{work}/store/fsync-{time.monotonic_ns()}"
    begun = time.perf_counter()
    with open(path, "wb") as file:
        file.write(b"x" * 1000)
        file.flush()
        os.fsync(file.fileno())
    took = time.perf_counter() - begun
    os.unlink(path)
    return took * 1000
one_fsync = statistics.median(fsync() for _ in range(200))
part = max(2, batches // 10)
first = (trained[part - 1] - trained[0]) / (part - 1)
last = (trained[-1] - trained[-part]) / (part - 1)
busy_first, busy_last = busy(trained[0], trained[part - 1]) / part, busy(trained[-part], trained[-1]) / part
grown = (held(trained[-1]) - held(trained[part - 1])) / (batches - part)
print(f"{batches} batches, {files / batches:.1f} files each (fsync {one_fsync:.2f} ms): "
      f"{first:.1f} ms a batch in the first tenth, {last:.1f} ms in the last "
      f"(of a processor {busy_first:.1f} and {busy_last:.1f} ms); "
      f"memory {held(trained[part - 1]) // 1024} MiB after a tenth, {held(trained[-1]) // 1024} MiB at the end, {grown:.2f} KiB a batch with its two versions")
PY
}
rows $((cumulative * 100))
pipeline cumulative
echo -n "cumulative: "
trained "$work/versions.toml" "$cumulative"
rows $((batches * 100))
pipeline each
echo -n "each: "
trained "$work/versions.toml" "$batches"
url=$(sed -n 's/^serve.listen = "\(.*\)"/http:\/\/\1/p' "$work/versions.toml")
for round in 1 2 3; do
    started=$(date +%s%N)
    "$millstream" serve "$work/versions.toml" >/dev/null 2>"$work/said" &
    pid=$!
    for _ in $(seq 3000); do
        ! curl -fso /dev/null "$url/v1/models/gain/predict?open=100" || break
        kill -0 $pid 2>/dev/null || { cat "$work/said" >&2; exit 1; }
        sleep 0.01
    done
    echo "restart $round: the first answer after $(($(date +%s%N) / 1000000 - started / 1000000)) ms"
    kill $pid
    wait $pid || true
done
machine
