#!/usr/bin/env bash
# A real Apache Kafka for tests: one node in KRaft mode, from Maven's jars, with its data in a folder.
# usage: kafka.sh start|stop|restart|kill FOLDER   start prints the variables that tests read (also in FOLDER/environment);
#                                                  a folder that was used before keeps its topics, ports and passwords
#        kafka.sh libs                             the folder of the jars, for Kafka's own tools: java -cp "$(kafka.sh libs)/*" …
#
# Listeners: plain; plain again for a proxy, where the broker tells clients the proxy's address instead of its own, so that
# they stay on it; SASL_SSL with SCRAM-SHA-256 and a certificate of an authority made here; and the controller's.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=4.3.1
slf4j=1.7.36
USER_NAME=tester
PASSWORD=tester-secret

fetch_libs() { # folder
    jars_of "$1" <<XML
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>$slf4j</version></dependency>
XML
}

libs() {
    needs java "install a JDK 17 (Debian: apt-get install default-jdk-headless)"
    local home
    home=$(kept "kafka-$version" fetch_libs)
    echo "$home/lib"
}

# Sets `command` to the start of a command line; the folder in it tells our process from others.
java_of() { # folder
    command=(java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn
        "-Dmillstream.folder=$1/" -cp "$(libs)/*")
}

# An authority of our own and the broker's certificate, for 127.0.0.1 and localhost.
certificates() { # folder
    local tls=$1/tls
    mkdir -p "$tls"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=Millstream test authority" \
        -addext "basicConstraints=critical,CA:true" -addext "keyUsage=critical,keyCertSign" \
        -keyout "$tls/authority.key" -out "$tls/authority.pem"
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$tls/broker.key" -out "$tls/broker.csr"
    openssl x509 -req -in "$tls/broker.csr" -CA "$tls/authority.pem" -CAkey "$tls/authority.key" -CAcreateserial -days 3650 \
        -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$tls/broker.pem"
    # Kafka reads key and chain from one PEM file.
    cat "$tls/broker.key" "$tls/broker.pem" "$tls/authority.pem" >"$tls/broker-store.pem"
}

# Ports, passwords and settings are decided once per folder. `environment` is written last: with it the folder is ready.
prepare() { # folder
    local folder=$1 plain proxied proxy sasl controller
    rm -rf "$folder/data" "$folder/tls"
    free_port plain; free_port proxied; free_port proxy; free_port sasl; free_port controller
    certificates "$folder" 2>"$folder/openssl.log" || { cat "$folder/openssl.log" >&2; fail "openssl failed"; }
    cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAIN://127.0.0.1:$plain,PROXIED://127.0.0.1:$proxied,SECURE://127.0.0.1:$sasl,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAIN://127.0.0.1:$plain,PROXIED://127.0.0.1:$proxy,SECURE://127.0.0.1:$sasl
listener.security.protocol.map=PLAIN:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
log.dirs=$folder/data
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=$folder/tls/broker-store.pem
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
# A broker that was killed may come back at once.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# Small: it shares the machine with the tests.
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
log.segment.delete.delay.ms=1000
PROPERTIES
    local command id
    java_of "$folder"
    # A cluster id is 16 bytes in URL-safe base64 that do not begin with a dash.
    id=A$(openssl rand -hex 16 | cut -c 1-20)A
    "${command[@]}" kafka.tools.StorageTool format -t "$id" -c "$folder/server.properties" \
        --add-scram "SCRAM-SHA-256=[name=$USER_NAME,password=$PASSWORD]" >"$folder/log" 2>&1 ||
        { cat "$folder/log" >&2; fail "the data folder could not be formatted"; }
    cat >"$folder/environment.new" <<ENVIRONMENT
MILLSTREAM_TEST_KAFKA=127.0.0.1:$plain
MILLSTREAM_TEST_KAFKA_FOLDER=$(printf %q "$folder")
MILLSTREAM_TEST_KAFKA_PROXIED=127.0.0.1:$proxied
MILLSTREAM_TEST_KAFKA_PROXY=127.0.0.1:$proxy
MILLSTREAM_TEST_KAFKA_SASL=127.0.0.1:$sasl
MILLSTREAM_TEST_KAFKA_SASL_USER=$USER_NAME
MILLSTREAM_TEST_KAFKA_SASL_PASSWORD=$PASSWORD
MILLSTREAM_TEST_KAFKA_CA=$(printf %q "$folder/tls/authority.pem")
ENVIRONMENT
    mv "$folder/environment.new" "$folder/environment"
}

# A request that every Kafka answers: ApiVersions, version 0, correlation 1, no client id.
answers() { # address
    exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || return 1
    printf '\0\0\0\012\0\022\0\0\0\0\0\001\377\377' >&3
    local length
    length=$(timeout 2 head -c 4 <&3 | wc -c)
    exec 3>&-
    [ "$length" -eq 4 ]
}

start() { # folder
    local folder=$1 address command
    libs >/dev/null
    needs openssl "install it (Debian: apt-get install openssl)"
    [ -f "$folder/environment" ] || prepare "$folder"
    if ! is_running "$folder"; then
        java_of "$folder"
        launch "$folder" "${command[@]}" kafka.Kafka "$folder/server.properties"
    fi
    address=$(. "$folder/environment" && echo "$MILLSTREAM_TEST_KAFKA")
    wait_until "$folder" answers "$address"
    cat "$folder/environment"
}

case ${1:-} in
    libs) libs ;;
    *) command_of_service "${1:-}" "${2:-}" ;;
esac
