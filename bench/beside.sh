#!/usr/bin/env bash
# Two builds of millstream beside each other: a benchmark by the one and the other in turn, and the median of every number that it
# prints. What does not depend on the build (a peer's numbers) tells how far the machine can be trusted.
# usage: beside.sh OLD NEW ROUNDS BENCHMARK [argument …], such as: beside.sh /tmp/old target/release/millstream 5 http.sh 10
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 4 ] || { sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
old=$(realpath "$1") new=$(realpath "$2") rounds=$3 benchmark=$4
shift 4
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for round in $(seq "$rounds"); do
    for build in old new; do
        echo "round $round, $build" >&2
        MILLSTREAM=${!build} "$folder/$benchmark" "$@" >"$out/$build-$round"
    done
done
python3 - "$out" "$rounds" <<'PY'
import pathlib, re, statistics, sys

folder, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


def numbers(build):
    """Of each line that is printed, without its numbers: the numbers in each place of it, a round each."""
    found = {}
    for round in range(1, rounds + 1):
        for line in (folder / f"{build}-{round}").read_text().splitlines():
            if line.startswith("machine:"):
                continue
            shape = NUMBER.sub("#", line)
            for place, number in enumerate(NUMBER.findall(line)):
                found.setdefault((shape, place), []).append(float(number))
    return found


old, new = numbers("old"), numbers("new")
for key in old:
    if len(old[key]) != rounds or len(new.get(key, ())) != rounds or len(set(old[key] + new[key])) == 1:
        continue
    shape, place = key
    marked = iter(range(shape.count("#")))
    text = re.sub("#", lambda _: "[#]" if next(marked) == place else "#", shape)
    was, now = statistics.median(old[key]), statistics.median(new[key])
    spread = (max(old[key]) - min(old[key])) / was if was else 0
    change = f"{100 * (now / was - 1):+.1f} %" if was else "–"
    print(f"{was:g} -> {now:g} ({change}; old spreads {100 * spread:.0f} %)  {text[:110]}")
PY
