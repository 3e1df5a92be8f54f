#!/usr/bin/env bash
# A real Spark for tests: a standalone cluster of a master and two workers on loopback, from the wheel of PyPI, small in memory.
# usage: spark.sh start|stop FOLDER       start prints the variables that tests read (also in FOLDER/environment)
#        spark.sh environment             those of a Spark without a cluster, which is fetched where it is missing
#        (SPARK_WORKER_MEMORY is what a worker may give to executors: 1g)
#        spark.sh kill FOLDER NAME        ends master, worker-1 or worker-2 at once, as a machine that fails
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=4.0.1
numpy=2.2.6
# Spark's Hadoop, and an SDK whose parts hadoop-aws takes as well as its bundle of 600 MB.
hadoop=3.4.1
awssdk=2.35.0
WORKERS="worker-1 worker-2"

fetch_venv() { # folder
    echo "fetching Spark $version, once; 430 MB" >&2
    venv_of "$1" "pyspark==$version" "numpy==$numpy"
}

venv() {
    needs java "install a JDK 17 (Debian: apt-get install default-jdk-headless)"
    kept "spark-$version" fetch_venv
}

spark_home() { # venv
    echo "$1"/lib/python3*/site-packages/pyspark
}

# What Spark has itself is left out.
fetch_jars() { # folder
    jars_of "$1" -DexcludeGroupIds=io.netty,org.slf4j,commons-codec,commons-logging,org.apache.httpcomponents <<XML
<dependency>
  <groupId>org.apache.hadoop</groupId><artifactId>hadoop-aws</artifactId><version>$hadoop</version>
  <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
</dependency>
<dependency><groupId>software.amazon.awssdk</groupId><artifactId>s3-transfer-manager</artifactId><version>$awssdk</version></dependency>
<dependency><groupId>software.amazon.awssdk</groupId><artifactId>sts</artifactId><version>$awssdk</version></dependency>
XML
}

# The folder of the jars with which Spark reads and writes s3a://.
jars() {
    local home
    home=$(kept "hadoop-aws-$hadoop" fetch_jars)
    echo "$home/lib"
}

environment() {
    local home
    home=$(venv)
    echo "MILLSTREAM_SPARK=$(printf %q "$(spark_home "$home")")"
    echo "MILLSTREAM_SPARK_PYTHON=$(printf %q "$home/bin/python")"
}

# One process of the cluster, in a folder of its own; the folder in its command line tells it from others, from its first moment on.
start_one() { # folder, class, arguments…
    local folder=$1 class=$2
    shift 2
    if ! is_running "$folder"; then
        mkdir -p "$folder"
        : >"$folder/log"
        : >"$folder/properties"
        SPARK_LOCAL_IP=127.0.0.1 SPARK_DAEMON_MEMORY=256m SPARK_WORKER_DIR=$folder/work SPARK_LOCAL_DIRS=$folder/local \
            SPARK_DAEMON_JAVA_OPTS="-XX:+UseSerialGC -XX:TieredStopAtLevel=1" \
            launch "$folder" "$spark/bin/spark-class" "$class" --properties-file "$folder/properties" "$@"
    fi
}

says() { # folder, text
    grep -qF "$2" "$1/log"
}

start() { # folder
    local folder=$1 spark port ui name
    # Before anything that may fetch: a function in $(…) would hide why it failed.
    venv >/dev/null
    jars >/dev/null
    spark=$(spark_home "$(venv)")
    if [ ! -f "$folder/environment" ]; then
        free_port port
        environment >"$folder/environment.new"
        echo "MILLSTREAM_SPARK_MASTER=spark://127.0.0.1:$port" >>"$folder/environment.new"
        echo "MILLSTREAM_SPARK_FOLDER=$(printf %q "$folder")" >>"$folder/environment.new"
        echo "MILLSTREAM_SPARK_JARS=$(printf %q "$(jars)")" >>"$folder/environment.new"
        mv "$folder/environment.new" "$folder/environment"
    fi
    port=$(sed -n 's/^MILLSTREAM_SPARK_MASTER=.*://p' "$folder/environment")
    free_port ui
    start_one "$folder/master" org.apache.spark.deploy.master.Master --host 127.0.0.1 --port "$port" --webui-port "$ui"
    wait_until "$folder/master" says "$folder/master" "New state: ALIVE"
    for name in $WORKERS; do
        free_port ui
        start_one "$folder/$name" org.apache.spark.deploy.worker.Worker --host 127.0.0.1 --cores 1 --memory "${SPARK_WORKER_MEMORY:-1g}" \
            --webui-port "$ui" "spark://127.0.0.1:$port"
    done
    for name in $WORKERS; do
        wait_until "$folder/$name" says "$folder/$name" "Successfully registered with master"
    done
    cat "$folder/environment"
}

stop() { # folder
    local name
    for name in $WORKERS master; do end "$1/$name" TERM; done
}

case ${1:-} in
    environment) environment ;;
    start) start "$(folder_of "${2:-}")" ;;
    stop) stop "$(folder_of "${2:-}")" ;;
    kill) end "$(folder_of "${2:-}")/${3:?which one?}" KILL ;;
    *) fail "unknown command ${1:-}; start, stop, environment or kill" ;;
esac
