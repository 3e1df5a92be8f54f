#!/usr/bin/env bash
# An ALSModel as Spark saves it (138,000 users in ten parts, 27,000 items, rank 10) imported into a new store each time: wall seconds and
# peak memory of the command, and the same again where the version is there already.
# usage: import.sh [users] [items] [rank] [rounds]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
users=${1:-138000} items=${2:-27000} rank=${3:-10} rounds=${4:-5}
release
venv=$cache/import-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import pyarrow' 2>/dev/null || "$venv/bin/pip" install --quiet pyarrow
machine
cd "$work"
cat >save.py <<'PY'
import json, os, random, sys
import pyarrow as pa, pyarrow.parquet as pq
users, items, rank = map(int, sys.argv[1:])
chance = random.Random(1)
schema = pa.schema([pa.field("id", pa.int32(), nullable=False), ("features", pa.list_(pa.float32()))])
def save(name, n, parts):
    os.makedirs(f"saved/{name}")
    for part in range(parts):
        # A block has the ids of one remainder.
        ids = list(range(part, 3 * n, 3 * parts))
        vectors = [[chance.gauss(0, 1) for _ in range(rank)] for _ in ids]
        pq.write_table(pa.table([ids, vectors], schema=schema), f"saved/{name}/part-{part:05}-bench-c000.snappy.parquet", compression="snappy")
save("userFactors", users, 10)
save("itemFactors", items, 10)
os.makedirs("saved/metadata")
known = {"predictionCol": "prediction", "blockSize": 4096, "coldStartStrategy": "nan", "itemCol": "item", "userCol": "user"}
says = {"class": "org.apache.spark.ml.recommendation.ALSModel", "timestamp": 1750000000000, "sparkVersion": "4.0.1", "uid": "ALS_bench",
        "paramMap": {}, "defaultParamMap": known, "rank": rank}
with open("saved/metadata/part-00000", "w") as file:
    file.write(json.dumps(says) + "\n")
PY
"$venv/bin/python" save.py "$users" "$items" "$rank"
printf 'name = "bench"\nbatch.rows = 1000\nstore.url = "file:%s/store"\n' "$work" >bench.toml
imported() {
    seconds_of "$millstream" models import bench.toml saved --name films | tee -a "$1"
}
for _ in $(seq "$rounds"); do
    rm -rf store
    imported new >/dev/null
    imported again >/dev/null
done
for which in new again; do
    echo "$which: median $(cut -d' ' -f1 <$which | median) s, $(cut -d' ' -f2 <$which | median) MiB at most, of $rounds rounds ($users users, $items items, rank $rank)"
done
