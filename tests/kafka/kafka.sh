#!/usr/bin/env bash
# A real Apache Kafka broker on this machine, for tests and for trying things out. Data and log go into
# a folder of its own. Commands: see usage().
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
libs=${WEIR_TEST_KAFKA_LIBS:-$root/.kafka/libs}

usage() {
    cat <<'END'
kafka.sh classpath            fetch the broker's jars from Maven Central (once); print their folder
kafka.sh start [DIR] [PORT]   start a broker in the background; return when it answers (default: .kafka/broker 9092)
kafka.sh stop [DIR]           stop it; its data stays for the next start (remove DIR for a fresh one)
kafka.sh serve DIR PORT [CONTROLLER-PORT]
                              run a broker in the foreground; it ends when standard input closes

Set for serve and start:
WEIR_KAFKA_HEAP=512m          memory of the broker
WEIR_KAFKA_PROXIED=IN:OUT     one more listener, on port IN, that says its port is OUT: for a proxy in between
WEIR_KAFKA_NODE=N WEIR_KAFKA_VOTERS=1@127.0.0.1:PORT,2@…
                              one of several brokers, each with all controllers' ports; topics have three copies
                              of which two must have a record before it counts
END
}

fail() {
    echo "kafka: $*" >&2
    exit 1
}

# Leaves a whole folder of jars or none: another process may be doing the same.
classpath() {
    if [ ! -d "$libs" ]; then
        command -v mvn >/dev/null || fail "no jars in $libs, and no maven to fetch them (./dev setup test)"
        echo "kafka: fetching the broker from Maven Central into $libs" >&2
        mkdir -p "$(dirname "$libs")"
        local new
        new=$(mktemp -d "$libs.XXXXXX")
        # A copy of the pom, as the plugin writes beside it.
        cp "$here/pom.xml" "$new/pom.xml"
        mvn -B -q -ntp -f "$new/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
            -DoutputDirectory="$new/jars" 2>&1 | sed 's/\x1b\[[0-9;]*m//g; /^$/d' >&2 # it colours even its silence
        mv -T "$new/jars" "$libs" 2>/dev/null || [ -d "$libs" ] || fail "could not make $libs"
        rm -rf "$new"
    fi
    echo "$libs"
}

answers() { # PORT
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

up() { # DIR PORT
    grep -q 'Kafka Server started' "$1/log" 2>/dev/null && answers "$2"
}

# The first free port after this one.
next_port() { # PORT
    local port=$(($1 + 1))
    while answers "$port"; do port=$((port + 1)); done
    echo "$port"
}

# broker DIR PORT [CONTROLLER-PORT]: formats DIR when it is new, then becomes the broker.
broker() {
    local dir=$1 port=$2 controller=${3:-$(next_port "$2")} jars
    command -v java >/dev/null || fail "no java (./dev setup test)"
    jars=$(classpath)
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    local node=${WEIR_KAFKA_NODE:-1} voters=${WEIR_KAFKA_VOTERS:-1@127.0.0.1:$controller} copies=1 insync=1
    [ -z "${WEIR_KAFKA_VOTERS:-}" ] || copies=3 insync=2
    local proxied='' advertised=''
    if [ -n "${WEIR_KAFKA_PROXIED:-}" ]; then
        proxied="PROXIED://127.0.0.1:${WEIR_KAFKA_PROXIED%:*},"
        advertised=",PROXIED://127.0.0.1:${WEIR_KAFKA_PROXIED#*:}"
    fi
    sed -e "s|@DIR@|$dir|" -e "s|@PORT@|$port|" -e "s|@CONTROLLER@|$controller|" -e "s|@NODE@|$node|" \
        -e "s|@VOTERS@|$voters|" -e "s|@COPIES@|$copies|" -e "s|@INSYNC@|$insync|" \
        -e "s|@PROXIED@|$proxied|" -e "s|@ADVERTISED@|$advertised|" \
        "$here/server.properties" >"$dir/server.properties"
    local java=(java "-Xmx${WEIR_KAFKA_HEAP:-512m}" -XX:+UseSerialGC -cp "$jars/*"
        "-Dlog4j2.configurationFile=file:$here/log4j2.properties")
    if [ ! -e "$dir/data/meta.properties" ]; then
        "${java[@]}" -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format \
            --cluster-id weir-test-cluster-0000 --config "$dir/server.properties" >"$dir/log" 2>&1 ||
            { cat "$dir/log" >&2; fail "could not format $dir"; }
    fi
    exec "${java[@]}" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1
}

# Standard input is a pipe that whoever wanted the broker holds: when it closes, they are gone.
serve() {
    exec 3<&0
    broker "$@" </dev/null 3<&- &
    local child=$!
    exec 2>/dev/null # not a word of the shell's about a job that was killed
    { cat <&3 >/dev/null || true; kill -KILL "$child"; } &
    local status=0
    wait "$child" || status=$?
    return "$status"
}

# Whether the process that `start` noted is still that broker.
running() { # DIR
    [ -s "$1/pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$(cat "$1/pid")/cmdline" | grep -qF "$1"
}

start() {
    local dir=${1:-$root/.kafka/broker} port=${2:-9092}
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if running "$dir"; then
        echo "kafka: already running in $dir"
        return
    fi
    answers "$port" && fail "port $port is taken"
    classpath >/dev/null
    rm -f "$dir/log"
    setsid "$0" broker "$dir" "$port" </dev/null >"$dir/start" 2>&1 &
    local pid=$! tries=600
    echo "$pid" >"$dir/pid"
    until up "$dir" "$port"; do
        if ! kill -0 "$pid" 2>/dev/null || [ $((tries -= 1)) -eq 0 ]; then
            cat "$dir/start" >&2
            tail -n 20 "$dir/log" >&2 || true
            fail "the broker did not start; all it said is in $dir/log"
        fi
        sleep 0.1
    done
    echo "kafka: 127.0.0.1:$port answers (data and log in $dir)"
}

stop() {
    local dir=${1:-$root/.kafka/broker} pid tries=100
    [ ! -d "$dir" ] || dir=$(cd "$dir" && pwd)
    running "$dir" || { echo "kafka: none runs in $dir"; return; }
    pid=$(cat "$dir/pid")
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
        [ $((tries -= 1)) -gt 0 ] || kill -KILL "$pid" 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$dir/pid"
    echo "kafka: stopped"
}

case ${1:-} in
    classpath | start | stop) "$@" ;;
    serve | broker) [ $# -eq 3 ] || [ $# -eq 4 ] || { usage >&2; exit 2; }; "$@" ;;
    help | '') usage ;;
    *) usage >&2; exit 2 ;;
esac
