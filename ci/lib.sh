# Shared by the scripts that start a real service for tests. To be sourced.
#
# A service lives in a folder of the caller's choosing: its data, its log, its process id and `environment`, the variables that
# tests read. Programs are fetched once into the cache folder, outside the repository.
set -euo pipefail
cache=${MILLSTREAM_CACHE:-$HOME/.cache/millstream}
START_SECONDS=120
STOP_SECONDS=30

fail() { echo "${0##*/}: $*" >&2; exit 1; }

needs() { # program, what to do without it
    command -v "$1" >/dev/null || fail "$1 is missing: $2"
}

# The path of a folder of the cache, which a function fills once, in a folder that it is given. Two who do that at once are in nobody's way.
# The function must fail where a step of it does (`&&`): in `$(…)` nothing else ends it.
kept() { # name, function
    local home=$cache/$1 making=$cache/$1.$$
    if [ ! -d "$home" ]; then
        rm -rf "$making" && mkdir -p "$making"
        "$2" "$making" || { rm -rf "$making"; fail "$1 cannot be fetched"; }
        mv -T "$making" "$home" 2>/dev/null || rm -rf "$making"
    fi
    echo "$home"
}

# The packages of PyPI in a venv.
venv_of() { # folder, arguments of pip install…
    needs python3 "install Python 3 with venv (Debian: apt-get install python3-venv)"
    local folder=$1
    shift
    python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
}

# The jars of Maven, whose dependencies as XML are on standard input, to `lib` in the folder.
jars_of() { # folder, more options of dependency:copy-dependencies…
    needs mvn "install Maven (Debian: apt-get install maven)"
    local folder=$1
    shift
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>millstream</groupId><artifactId>for-tests</artifactId><version>1</version><dependencies>'
        cat
        echo '</dependencies></project>'
    } >"$folder/pom.xml" &&
        mvn --batch-mode --quiet -Dstyle.color=never -f "$folder/pom.xml" dependency:copy-dependencies \
            -DoutputDirectory="$folder/lib" -DincludeScope=runtime "$@" >&2
}

# A port that nobody listens on, below the range that the kernel hands out for outgoing connections, so that it stays free
# while the service is down. `taken` holds the ones given already.
taken=" "
free_port() { # variable
    local candidate
    for _ in $(seq 200); do
        candidate=$((20000 + RANDOM % 12000))
        case $taken in *" $candidate "*) continue ;; esac
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then
            taken="$taken$candidate "
            printf -v "$1" %s "$candidate"
            return
        fi
    done
    fail "no free port between 20000 and 32000"
}

# The service's process, and no other that was given the same number since: it carries the folder in its command line.
is_running() { # folder
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 1
    ps -ww -o command= -p "$pid" 2>/dev/null | grep -qF -- "$1/"
}

# Starts a program that outlives this script, and a Ctrl-C at the tests that ran it.
launch() { # folder, program and arguments…
    local folder=$1 session=()
    shift
    if command -v setsid >/dev/null; then session=(setsid); fi
    nohup ${session[@]+"${session[@]}"} "$@" >>"$folder/log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
}

wait_until() { # folder, command that succeeds once the service answers…
    local folder=$1 until=$((SECONDS + START_SECONDS))
    shift
    until "$@" 2>/dev/null; do
        if ! is_running "$folder"; then
            tail -20 "$folder/log" >&2
            fail "it ended while starting; the whole log: $folder/log"
        fi
        [ $SECONDS -lt $until ] || fail "no answer for $START_SECONDS s; see $folder/log"
        sleep 0.1
    done
}

# Ends the service: politely, or with KILL at once.
end() { # folder, signal
    local pid until=$((SECONDS + STOP_SECONDS))
    is_running "$1" || { rm -f "$1/pid"; return 0; }
    pid=$(cat "$1/pid")
    kill -s "$2" "$pid"
    while is_running "$1"; do
        if [ $SECONDS -ge $until ]; then
            echo "${0##*/}: it did not stop in $STOP_SECONDS s: killed" >&2
            kill -s KILL "$pid" 2>/dev/null || true
        fi
        sleep 0.1
    done
    rm -f "$1/pid"
}

# start FOLDER | stop FOLDER | restart FOLDER | kill FOLDER, for a script that defines `start`.
folder_of() { # argument
    [ -n "${1:-}" ] || fail "which folder? usage: ${0##*/} start|stop|restart|kill FOLDER"
    mkdir -p "$1"
    (cd "$1" && pwd -P)
}

command_of_service() { # command, folder
    local folder
    folder=$(folder_of "${2:-}")
    case $1 in
        start) start "$folder" ;;
        stop) end "$folder" TERM ;;
        restart) end "$folder" TERM; start "$folder" ;;
        kill) end "$folder" KILL ;;
        *) fail "unknown command $1; start, stop, restart or kill" ;;
    esac
}
