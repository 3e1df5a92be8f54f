#!/usr/bin/env bash
# Fuzzes the targets of a fuzz folder: fuzz.sh FOLDER [seconds for each target] [target ...]. Needs no cargo-fuzz and no nightly: the
# same flags on the pinned compiler, let through by RUSTC_BOOTSTRAP. Begins with the inputs in seeds/, which are kept; what it finds
# on the way goes to corpus/. A failing input is left in artifacts/ and its path said.
set -euo pipefail
# One for all fuzz folders: they share their dependencies.
CARGO_TARGET_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/target/fuzz
export CARGO_TARGET_DIR
cd "$1"
shift
seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi
host=$(rustc -vV | sed -n 's/^host: //p')

# Coverage for libFuzzer and the address sanitizer, in our code and that of every codec in Rust.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
coverage+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="$coverage --cfg fuzzing -Cdebug-assertions -Zsanitizer=address"
cargo build --release --target "$host" --bins

# Folders of inputs are made and removed by the thousand: in memory where there is such a place.
[ -w /dev/shm ] && export TMPDIR=/dev/shm
for target in "${targets[@]}"; do
    echo "== $target, $seconds s"
    mkdir -p "corpus/$target" "artifacts/$target"
    inputs=("corpus/$target")
    [ -d "seeds/$target" ] && inputs+=("seeds/$target")
    MILLSTREAM_FUZZ_SEEDS="corpus/$target" "$CARGO_TARGET_DIR/$host/release/$target" "${inputs[@]}" -max_total_time="$seconds" -timeout=20 \
        -rss_limit_mb=2048 -max_len=8192 -artifact_prefix="artifacts/$target/" -print_final_stats=1 -verbosity=0
done
