# Shared by the benchmark scripts: where things are, and the machine they ran on.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/millstream
target=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

machine() {
    echo "machine: $(nproc) cores, $(awk -F: '/model name/{print $2; exit}' /proc/cpuinfo | xargs), load $(cut -d' ' -f1 /proc/loadavg)"
}

# The program that is measured: this tree's, or the one that MILLSTREAM names.
release() {
    millstream=${MILLSTREAM:-}
    [ -z "$millstream" ] || return 0
    cargo build --quiet --release --manifest-path "$root/Cargo.toml" --target-dir "$target" -p millstream
    millstream=$target/release/millstream
}

# serving LOG: waits until a run says there that all is trained and served.
serving() {
    for _ in $(seq 600); do
        ! grep -q 'serving on http' "$1" || return 0
        sleep 0.2
    done
    cat "$1" >&2
    return 1
}

# generated SYSTEM ROWS: the csv of a demo's data of so many rows, kept from run to run. The demo writes all of it before it streams.
generated() {
    local csv=$cache/bench-data/$1-$2.csv demo
    if [ ! -f "$csv" ]; then
        mkdir -p "$cache/bench-data"
        (cd "$work" && exec "$millstream" demo "$1" --rows "$2" --data generate \
            --set serve.listen=127.0.0.1:0 --set stream.listen=127.0.0.1:0 >/dev/null 2>"$work/generated") &
        demo=$!
        while [ ! -f "$work/generate/rows.csv" ]; do
            kill -0 $demo 2>/dev/null || { cat "$work/generated" >&2; return 1; }
            sleep 0.2
        done
        kill $demo && wait $demo 2>/dev/null || true
        mv "$work/generate/rows.csv" "$csv"
        rm -rf "$work/generate"
    fi
    echo "$csv"
}

# free_ports COUNT: ports that nobody listens on now, each another one.
free_ports() {
    python3 -c 'import socket, sys; all = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]; print(*(one.getsockname()[1] for one in all))' "$1"
}

# seconds_of COMMAND…: wall seconds and peak MiB of a command, as "seconds mib".
seconds_of() {
    /usr/bin/env time -f '%e %M' -o "$work/time" "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; return 1; }
    awk '{printf "%s %d\n", $1, $2 / 1024}' "$work/time"
}

median() {
    sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'
}
