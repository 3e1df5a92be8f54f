#!/usr/bin/env bash
# The way of the rows: csv → topic → Parquet batches, beside a bare librdkafka producer and consumer that move ready-made
# payloads through the same broker; then the whole run with every model of the example.
# usage: pipeline.sh [rows] [rounds]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rows=${1:-7000000}
rounds=${2:-3}
release
cargo build --quiet --release --manifest-path "$root/Cargo.toml" --target-dir "$target" -p millstream-broker --example broker_bench
machine
csv=$(generated bitcoin "$rows")
cat >"$work/ingest.toml" <<TOML
name = "bench"
source.path = "$csv"
batch.parts = 3
serve.listen = "127.0.0.1:0"
stream.listen = "127.0.0.1:0"
TOML
: >"$work/bare"; : >"$work/ingest"; : >"$work/run"
for round in $(seq "$rounds"); do
    "$target/release/examples/broker_bench" "$rows" "$work/bare-$round" >"$work/bare.json"
    python3 - "$work/bare.json" >>"$work/bare" <<'PY'
import json, sys
line = json.loads(open(sys.argv[1]).read().splitlines()[-1])
print(line["seconds_in"] + line["seconds_out"])
PY
    rm -rf "$work/bare-$round"
    seconds_of "$millstream" run "$work/ingest.toml" --exit-when-done --set store.url="file:$work/store" >>"$work/ingest"
    rm -rf "$work/store"
    seconds_of "$millstream" run "$root/examples/bitcoin.toml" --exit-when-done --set source.path="$csv" \
        --set store.url="file:$work/store" --set serve.listen=127.0.0.1:0 --set stream.listen=127.0.0.1:0 >>"$work/run"
    rm -rf "$work/store"
    echo "round $round: bare $(tail -1 "$work/bare") s; ingest $(tail -1 "$work/ingest") (s, MiB); whole run $(tail -1 "$work/run") (s, MiB)"
done
bare=$(median <"$work/bare"); ingest=$(median <"$work/ingest"); run=$(median <"$work/run")
echo "$rows rows, medians of $rounds: bare producer then consumer $bare s; csv to batches $ingest s" \
     "($(awk -v a="$ingest" -v b="$bare" 'BEGIN {printf "%.2f", a / b}')x); the whole run with all models $run s"
machine
