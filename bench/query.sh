#!/usr/bin/env bash
# SQL of requests, each in a process of its own: `select 1` where one waits (warm: within 20 ms) and where none does and one is begun
# (cold: within 500 ms), beside a sum over all rows. Ends with 1 where either is missed at the 95th percentile.
# usage: query.sh [rows] [times]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rows=${1:-1000000} times=${2:-200} port=$(free_ports 1)
release
cd "$work"
awk -v rows="$rows" 'BEGIN {
    srand(1); print "id,category,price"
    for (row = 0; row < rows; row++) printf "%d,c%d,%.2f\n", row, int(rand() * 20), 1 + rand() * 999
}' >rows.csv
cat >bench.toml <<TOML
name = "bench"
source.path = "rows.csv"
batch.parts = 4
stream.listen = "127.0.0.1:0"
[serve]
listen = "127.0.0.1:$port"
TOML
cat >ask.py <<'PY'
import http.client, json, os, signal, sys, time
server, port, times = map(int, sys.argv[1:])
connection = http.client.HTTPConnection("127.0.0.1", port)
def ask(sql):
    began = time.perf_counter()
    connection.request("POST", "/v1/query", json.dumps({"sql": sql}), {"content-type": "application/json"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    if answer.status != 200:
        sys.exit(f"{sql}: {body}")
    return 1000 * (time.perf_counter() - began)
def children():
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(open(f"/proc/{process}/stat").read().rpartition(") ")[2].split()[1])
            asked = b"query-process" in open(f"/proc/{process}/cmdline", "rb").read()
        except OSError:
            continue
        if parent == server and asked:
            found.append(int(process))
    return found
def cold(sql):
    for child in children():
        os.kill(child, signal.SIGKILL)
    return ask(sql)
def line(name, measured, most=None):
    measured = sorted(measured)
    at = lambda share: measured[min(len(measured) - 1, int(share * len(measured)))]
    held = most is None or at(0.95) <= most
    said = "" if most is None else f" (at most {most} ms: {'held' if held else 'MISSED'})"
    print(f"{name}: median {at(0.5):.2f} ms, 95th percentile {at(0.95):.2f} ms, worst {measured[-1]:.2f} ms{said}")
    return held
print(f"the very first: {ask('select 1 as x'):.1f} ms")
held = [line("select 1, warm", [ask(f"select {n} as x") for n in range(times)], 20)]
held.append(line("select 1, cold", [cold(f"select {n} as x") for n in range(max(times // 10, 20))], 500))
line("sum over all rows, warm", [ask(f"select sum(price) + {n} as x from batches") for n in range(times // 10)])
line("sum over all rows, cold", [cold(f"select sum(price) + {n} as x from batches") for n in range(times // 10)])
sys.exit(0 if all(held) else 1)
PY
"$millstream" run bench.toml >run.log 2>&1 &
server=$!
serving run.log
machine
echo "$rows rows in 4 parts, $times questions"
python3 ask.py "$server" "$port" "$times"
