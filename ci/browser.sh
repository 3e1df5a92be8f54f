#!/usr/bin/env bash
# Every live page in a real Chromium: rules of all pages, keyboard, without JavaScript, hostile data, live changes, weight.
# Installs what is missing (chromium, chromedriver, node's packages), except Node 20.
#
# usage: browser.sh BINARY [FOLDER]               the tests; data is kept in FOLDER, else removed at the end
#        browser.sh screenshots BINARY FOLDER     PNGs of the pages into FOLDER
#        ONLY=NAME browser.sh …                   of the tests `live`, `rules`, or the pages of one system: bitcoin, movies, …, hostile
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
usage() { sed -n 's/^# usage: /usage: /p; s/^#        /       /p' "${BASH_SOURCE[0]}" >&2; exit 2; }

screenshots=
if [ "${1:-}" = screenshots ]; then
    [ $# -eq 3 ] || usage
    screenshots=$(realpath -m "$3")
    shift
fi
[ $# -ge 1 ] && [ $# -le 2 ] || usage
[ -x "$1" ] || { echo "browser.sh: no program at $1: cargo build --release first" >&2; exit 2; }
MILLSTREAM=$(realpath "$1")
export MILLSTREAM
if [ -z "$screenshots" ] && [ $# -eq 2 ]; then
    mkdir -p "$2"
    BROWSER_DATA=$(realpath "$2")
    export BROWSER_DATA
fi

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
command -v npm >/dev/null || missing+=(nodejs npm)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { echo "browser.sh: Node 20 or later is needed, this is $(node --version)" >&2; exit 2; }
CHROMEDRIVER=$(command -v chromedriver)
export CHROMEDRIVER

cd "$root/ci/browser"
# The lock file names no registry: npm's own setting says where packages are from.
if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --omit-lockfile-registry-resolved=true --no-audit --no-fund --loglevel=error
    cp package-lock.json node_modules/.installed
fi

if [ -n "$screenshots" ]; then
    exec node screenshots.mjs "$screenshots"
fi
case ${ONLY:-} in
    '') files=(./*.test.mjs) ;;
    live | rules) files=("./$ONLY.test.mjs") ;;
    *) files=(./pages.test.mjs) ;;
esac
exec node --test --test-concurrency=1 --test-reporter=spec "${files[@]}"
