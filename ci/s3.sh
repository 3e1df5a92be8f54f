#!/usr/bin/env bash
# A real S3 server for tests: MinIO, built from source as a Go module, with its data in a folder and one bucket.
# usage: s3.sh start|stop|restart|kill FOLDER   start prints the variables that tests read (also in FOLDER/environment)
#        s3.sh binary                           the server, built where it is missing
#        s3.sh check FOLDER                     proves on the running server what the store rests on: of several creates of one
#                                               key exactly one succeeds, also at the same moment
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=v0.0.0-20260212201848-7aac2a2c5b7c
BUCKET=millstream-test
USER_NAME=tester
PASSWORD=tester-secret
REGION=us-east-1

build() { # folder
    needs go "install Go 1.24 or newer (https://go.dev/dl)"
    echo "building MinIO, once; about 5 minutes on two cores" >&2
    CGO_ENABLED=0 GOBIN=$1 GOFLAGS="${GOFLAGS:-}" nice -n 10 go install -trimpath -ldflags "-s -w" "github.com/minio/minio@$version" >&2
}

binary() {
    local home
    home=$(kept "minio-$version" build)
    echo "$home/minio"
}

prepare() { # folder
    local port
    rm -rf "$1/data"
    mkdir -p "$1/data"
    free_port port
    cat >"$1/environment.new" <<ENVIRONMENT
MILLSTREAM_TEST_S3=s3://$BUCKET
AWS_ENDPOINT_URL=http://127.0.0.1:$port
AWS_ACCESS_KEY_ID=$USER_NAME
AWS_SECRET_ACCESS_KEY=$PASSWORD
AWS_REGION=$REGION
AWS_ALLOW_HTTP=true
ENVIRONMENT
    mv "$1/environment.new" "$1/environment"
}

endpoint() { # folder
    sed -n 's/^AWS_ENDPOINT_URL=//p' "$1/environment"
}

# The status of a signed request. The header is given because curl before 8 leaves it out of the signature.
request() { # curl's arguments…
    curl --header "x-amz-content-sha256: UNSIGNED-PAYLOAD" --silent --output /dev/null --write-out '%{http_code}\n' --aws-sigv4 "aws:amz:$REGION:s3" \
        --user "$USER_NAME:$PASSWORD" "$@"
}

# 409: the bucket is there already.
bucket_is_there() { # folder
    case $(request --request PUT "$(endpoint "$1")/$BUCKET") in 200 | 409) ;; *) return 1 ;; esac
}

start() { # folder
    local folder=$1 program
    program=$(binary)
    needs curl "install it (Debian: apt-get install curl)"
    [ -f "$folder/environment" ] || prepare "$folder"
    if ! is_running "$folder"; then
        # The console is not wanted: a port of its own, on loopback.
        launch "$folder" env MINIO_ROOT_USER="$USER_NAME" MINIO_ROOT_PASSWORD="$PASSWORD" MINIO_BROWSER=off \
            MINIO_UPDATE=off MINIO_REGION="$REGION" \
            "$program" server --quiet --address "$(endpoint "$folder" | cut -d / -f 3)" "$folder/data"
    fi
    wait_until "$folder" bucket_is_there "$folder"
    cat "$folder/environment"
}

create() { # url
    request --request PUT --header "If-None-Match: *" --data-binary "$RANDOM" "$1"
}

expect() { # what, found, expected
    [ "$2" = "$3" ] || fail "$1: $2, expected $3"
}

check() { # folder
    local url round
    url=$(endpoint "$1")/$BUCKET/check-$$-$RANDOM
    expect "the first create" "$(create "$url")" 200
    expect "the second create of the same key" "$(create "$url")" 412
    for round in $(seq 20); do
        for _ in $(seq 16); do create "$url-$round" & done >"$1/answers"
        wait
        expect "creates that succeeded of 16 at the same moment" "$(grep -c 200 "$1/answers")" 1
        # 409: another request for the key is under way; the store takes it for "unknown" and reads the key back.
        expect "other answers than 200, 412 and 409" "$(grep -vcE '^(200|412|409)$' "$1/answers" || true)" 0
        sort "$1/answers"
    done | sort | uniq -c | awk '{ printf "%s%s × %s", (NR > 1 ? ", " : ""), $1, $2 } END { print " over 20 keys" }'
    [ "${PIPESTATUS[0]}" -eq 0 ] || exit 1
    rm -f "$1/answers"
}

case ${1:-} in
    binary) binary ;;
    check) check "$(folder_of "${2:-}")" ;;
    *) command_of_service "${1:-}" "${2:-}" ;;
esac
