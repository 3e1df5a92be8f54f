#!/usr/bin/env bash
# Views over HTTP: a filtered top-5 over a million rows, asked for the first time, asked with values nobody asked before, and asked
# again; beside DuckDB over the same Parquet parts inside a Python process, without HTTP.
# usage: views.sh [rows] [times]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rows=${1:-1000000} times=${2:-50} port=$(free_ports 1)
release
venv=$cache/views-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import duckdb' 2>/dev/null || "$venv/bin/pip" install --quiet duckdb
cd "$work"
awk -v rows="$rows" 'BEGIN {
    srand(1); print "id,category,price,rating,name"
    for (row = 0; row < rows; row++)
        printf "%d,c%d,%.2f,%.1f,product %d\n", row, int(rand() * 20), 1 + rand() * 999, 1 + int(rand() * 41) / 10, row
}' >rows.csv
cat >bench.toml <<TOML
name = "bench"
source.path = "rows.csv"
schema.columns = { id = "int64" }
batch.parts = 4
stream.listen = "127.0.0.1:0"
[[view]]
name = "near"
sql = """
select id, name, price, rating from batches
where price between \$target * 0.9 and \$target * 1.1 and category = \$category
order by rating desc, id limit 5"""
params = { target = "float64", category = { type = "utf8", default = "c3" } }
[serve]
listen = "127.0.0.1:$port"
TOML
cat >ask.py <<'PY'
import glob, http.client, json, sys, time
import duckdb
port, times = map(int, sys.argv[1:])
connection = http.client.HTTPConnection("127.0.0.1", port)
def ask(target):
    began = time.perf_counter()
    connection.request("GET", f"/v1/views/near?target={target}")
    answer = connection.getresponse()
    body = json.loads(answer.read())
    if answer.status != 200:
        sys.exit(body)
    return 1000 * (time.perf_counter() - began), body["rows"]
def duck(target):
    began = time.perf_counter()
    found = duckdb.execute(
        "select id, name, price, rating from read_parquet(?) where price between ? * 0.9 and ? * 1.1 and category = 'c3' "
        "order by rating desc, id limit 5", [parts, target, target]).fetchall()
    return 1000 * (time.perf_counter() - began), found
def line(name, measured):
    measured = sorted(measured)
    at = lambda share: measured[min(len(measured) - 1, int(share * len(measured)))]
    print(f"{name}: median {at(0.5):.2f} ms, 95th percentile {at(0.95):.2f} ms, worst {measured[-1]:.2f} ms")
parts = glob.glob("millstream-data/batches/*/*.parquet")
print(f"the very first: {ask(100)[0]:.1f} ms")
line("new values", [ask(101 + number)[0] for number in range(times)])
line("repeated", [ask(100)[0] for _ in range(times)])
duck(100)
line("DuckDB, new values", [duck(101 + number)[0] for number in range(times)])
for number in range(5):
    ours, theirs = ask(101 + number)[1], duck(101 + number)[1]
    if [(row["id"], row["price"]) for row in ours] != [(row[0], row[2]) for row in theirs]:
        sys.exit(f"the answers differ: {ours} {theirs}")
PY
"$millstream" run bench.toml >run.log 2>&1 &
serving run.log
machine
echo "$rows rows in 4 parts, $times questions each"
"$venv/bin/python" ask.py "$port" "$times"
