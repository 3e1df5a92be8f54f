#!/usr/bin/env bash
# Fuzzes the broker's codec path: run.sh [seconds for each target] [target ...]. Needs no cargo-fuzz and no nightly: the
# same flags on the pinned compiler, let through by RUSTC_BOOTSTRAP. A failing input is left in artifacts/ and its path said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(requests batches segments)
host=$(rustc -vV | sed -n 's/^host: //p')

# Coverage for libFuzzer and the address sanitizer, in our code and that of every codec in Rust.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
coverage+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="$coverage --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Zsanitizer=address"
cargo build --release --target "$host" --bins

# Folders of inputs are made and removed by the thousand: in memory where there is such a place.
[ -w /dev/shm ] && export TMPDIR=/dev/shm
for target in "${targets[@]}"; do
    echo "== $target, $seconds s"
    mkdir -p "corpus/$target" "artifacts/$target"
    MILLSTREAM_FUZZ_SEEDS="corpus/$target" "target/$host/release/$target" "corpus/$target" -max_total_time="$seconds" -timeout=20 \
        -rss_limit_mb=2048 -max_len=4096 -artifact_prefix="artifacts/$target/" -print_final_stats=1 -verbosity=0
done
