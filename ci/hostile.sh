#!/usr/bin/env bash
# Sends what an attacker would: hostile requests to HTTP, SQL and the broker's port, hostile files to the store and the source. After each, an
# honest request must be answered within a second and the memory of the whole process tree must be under its limit; after each group
# of them SIGTERM must end the process with 0 within ten seconds.
#
# usage: hostile.sh [BINARY [GROUP …]]; the binary runs in a memory cgroup of 2 GiB where one can be made, else its memory is sampled only.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=${1:-$root/target/release/millstream}
shift || true
[ -x "$binary" ] || { echo "hostile.sh: no program at $binary: cargo build --release first" >&2; exit 2; }
limit=$((2 << 30))

group=
for hierarchy in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    folder=$hierarchy/millstream-hostile-$$
    mkdir "$folder" 2>/dev/null || continue
    for file in memory.limit_in_bytes memory.max; do
        if [ -w "$folder/$file" ] && echo "$limit" >"$folder/$file" 2>/dev/null; then
            group=$folder
        fi
    done
    [ -z "$group" ] || break
    rmdir "$folder"
done
work=$(mktemp -d)
trap 'rm -rf "$work"; [ -z "$group" ] || rmdir "$group" 2>/dev/null || true' EXIT
if [ -n "$group" ]; then
    echo "memory: a cgroup of $((limit >> 20)) MiB"
else
    echo "memory: no cgroup can be made here; sampled against $((limit >> 20)) MiB"
fi
ulimit -n 8192 2>/dev/null || true
python3 "$root/ci/hostile/main.py" --binary "$binary" --work "$work" --cgroup "$group" --limit "$limit" "$@"
