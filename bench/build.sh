#!/usr/bin/env bash
# How long a build takes. touched: a page file and a training file, each changed in a warm target, in dev (every test built) and in release;
# the crates that are compiled anew are named. cold: what a fresh clone compiles for `cargo run --release -- demo`, and then waits until it
# serves; the report of --timings is kept. Ends with 1 where a mark is missed.
# usage: build.sh touched|cold
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
# A changed page: its own crate and the binary's are compiled, in dev and in release; nothing below them.
PAGE_CRATES=2
# A fresh clone to the README's first answer, on two cores.
COLD_SECONDS=720

# mark FOUND MOST: sets `verdict`, and remembers a miss.
missed=0
mark() {
    verdict="at most $2: held"
    [ "$1" -le "$2" ] || { verdict="at most $2: MISSED"; missed=1; }
}

one_file() { # pattern
    local found
    mapfile -t found < <(find crates -path "crates/$1")
    [ ${#found[@]} -eq 1 ] || { echo "build.sh: crates/$1 are ${#found[@]} files: name one" >&2; exit 1; }
    echo "${found[0]}"
}

changing=
restore() {
    [ -z "$changing" ] || cp "$work/kept" "$changing"
    changing=
}
trap 'restore; kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

# timed COMMAND…: sets `seconds`, wall and processor; what is said goes to a file.
timed() {
    /usr/bin/env time -f '%e s, %U + %S s of the processor' -o "$work/time" "$@" 2>"$work/said" || { tail "$work/said" >&2; exit 1; }
    seconds=$(cat "$work/time")
}

# changed FILE COMMAND…: sets `seconds` and `compiled`. A first line of its own moves every position in the file, as an edit does.
changed() {
    local file=$1
    shift
    cp "$file" "$work/kept"
    changing=$file
    { echo; cat "$work/kept"; } >"$file"
    timed "$@"
    compiled=$(awk '$1 == "Compiling" {print $2}' "$work/said" | sort -u)
    restore
}

touched() {
    local page training profile
    page=$(one_file '*/src/page/mod.rs') training=$(one_file '*/src/train/trainer.rs')
    local -A build=([dev]="cargo test --workspace --locked --no-run" [release]="cargo build --release --locked")
    for profile in dev release; do
        ${build[$profile]} 2>/dev/null
        changed "$page" ${build[$profile]}
        mark "$(wc -w <<<"$compiled")" $PAGE_CRATES
        echo "$profile, $page: $seconds; crates, $verdict:" $compiled
        ${build[$profile]} 2>/dev/null
        changed "$training" ${build[$profile]}
        echo "$profile, $training: $seconds; crates:" $compiled
        ${build[$profile]} 2>/dev/null
    done
}

cold() {
    local began=$SECONDS
    timed cargo build --release --locked --timings --target-dir "$work/target"
    (cd "$work" && exec target/release/millstream demo --data data --set serve.listen=127.0.0.1:0 --set stream.listen=127.0.0.1:0) >"$work/log" 2>&1 &
    serving "$work/log"
    mkdir -p target/cargo-timings
    cp "$work/target/cargo-timings/cargo-timing.html" target/cargo-timings/cold.html
    mark $((SECONDS - began)) $COLD_SECONDS
    echo "release, nothing built: $seconds; served after $((SECONDS - began)) s ($verdict);" \
         "$(($(stat -c %s "$work/target/release/millstream") >> 20)) MiB; target/cargo-timings/cold.html"
}

machine
case ${1:-touched} in
    touched) touched ;;
    cold) cold ;;
    *) sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
machine
exit $missed
