#!/usr/bin/env bash
# What `cargo test --doc` calls instead of rustdoc in CI: rustdoc's lints first, warnings as errors, on the libraries that the tests were
# compiled with, then rustdoc as it was called. (`cargo doc` compiles every dependency once more, for its metadata alone.)
set -euo pipefail
case " $* " in
    *" --test "*)
        documented=()
        skips=
        for argument in "$@"; do
            case $argument in
                --test) ;;
                --test-run-directory | --test-builder) skips=next ;;
                --test-run-directory=* | --test-args=*) ;;
                *) [ -n "$skips" ] || documented+=("$argument"); skips= ;;
            esac
        done
        pages=$(mktemp -d)
        trap 'rm -rf "$pages"' EXIT
        rustdoc "${documented[@]}" -D warnings --out-dir "$pages" >/dev/null
        rm -rf "$pages"
        ;;
esac
exec rustdoc "$@"
