#!/usr/bin/env bash
# Rows of conn through a real Kafka on this machine, from capture's encoding to published Parquet, beside what
# Kafka's own producer benchmark reaches with records of the same bytes. See benches/README.md.
# Usage: benches/kafka.sh [ROWS]; WEIR is the binary, RUNS how often each is run, PAIRS how often the producer is run with
# and without guarantees, PORT where the broker listens, WARM how many rows a broker has taken before it counts.
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${1:-8000000}
runs=${RUNS:-3}
weir=${WEIR:-target/release/weir}
port=${PORT:-19392}
brokers=127.0.0.1:$port
lanes=4
pairs=${PAIRS:-5}
warm=${WARM:-2000000}

work=$(mktemp -d "${TMPDIR:-/tmp}/weir-kafka.XXXXXX")
trap 'tests/kafka/kafka.sh stop "$work/broker" >/dev/null; rm -rf "$work"' EXIT
flows=${FLOWS:-$(cargo bench --quiet --no-run --workspace --bench kafka_rows --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/kafka_rows-[^"]*\)".*/\1/p')}

topics() { "$weir" topics create --brokers "$brokers" --prefix "$1" --partitions "$lanes" --replication 1 >/dev/null; }

# A broker without anything in it, as what one run leaves must not slow the next, and that has run for a while: a new
# one spends two fifths of its first seconds of work on compiling itself. How soon it is through goes by requests, not by
# bytes: it takes small records.
fresh() {
    tests/kafka/kafka.sh stop "$work/broker" >/dev/null
    rm -rf "$work/broker" "$work/out"
    tests/kafka/kafka.sh start "$work/broker" "$port" >/dev/null
    topics warm
    BENCH_PREFIX=warm BENCH_STEP_ROWS=800 "$flows" "$brokers" raw.conn "$warm" steps >/dev/null
    BENCH_PREFIX=warm BENCH_STEP_ROWS=800 "$flows" "$brokers" log.conn "$warm" bare >/dev/null
    "$weir" node --roles aggregate,sink --brokers "$brokers" --prefix warm --node n1 --sources 1 --format parquet \
        --out "$work/warm" --drain >/dev/null 2>&1
    rm -rf "$work/warm"
    topics bench
}

now() { date +%s.%N; }

# Clock ticks that the broker has used, as seconds.
broker_cpu() {
    local pid
    pid=$(cat "$work/broker/pid")
    awk -v tick="$(getconf CLK_TCK)" '{ print ($14 + $15) / tick }' "/proc/$pid/stat"
}

say() { printf '%-58s %9.2f s %12.0f rows/s   %s\n' "$1" "$2" "$(echo "$rows / $2" | bc -l)" "${3:-}"; }

# best COMMAND...: the least of some runs' figures; the command prints seconds.
best() {
    local least='' took
    for _ in $(seq "$runs"); do
        fresh
        took=$("$@")
        if [ -z "$least" ] || [ "$(echo "$took < $least" | bc)" = 1 ]; then least=$took; fi
    done
    echo "$least"
}

# spent WAY: seconds of the producer alone by the clock, and of processor time, its own and the broker's.
spent() {
    local before own TIMEFORMAT='%U %S'
    before=$(broker_cpu)
    own=$({ time "$flows" "$brokers" log.conn "$rows" "$1" >"$work/sent"; } 2>&1)
    echo "$(cut -d' ' -f1 "$work/sent") $(echo "${own/ /+} + $(broker_cpu) - $before" | bc)"
}

# more NAME: by how many of a hundred the median of these ratios is above one.
more() { sort -n "$work/$1" | sed -n "$(((pairs + 1) / 2))p" | awk '{ print ($1 - 1) * 100 }'; }

# at_work COUNT: waits until so many members have all lanes.
at_work() {
    for _ in $(seq 100); do
        "$weir" status --brokers "$brokers" --prefix bench --json 2>/dev/null | .venv/bin/python -c '
import json, sys
members = json.load(sys.stdin)["members"]
sys.exit(sum(len(m["lanes"]) == int(sys.argv[2]) for m in members) < int(sys.argv[1]))' "$1" "$lanes" 2>/dev/null && return
        sleep 0.2
    done
    echo "the roles are not at work: $(cat "$work/roles")" >&2
    return 1
}

# whole TOPIC ROLES [ROWS]: the producer, and the roles that bring its rows into published files and are at work already.
# What they have not read when it is through a second process reads, which joins the groups anew.
whole() {
    local began roles producer
    "$weir" node --roles "$2" --brokers "$brokers" --prefix bench --node n1 --sources 1 --format parquet \
        --out "$work/out" >"$work/roles" 2>&1 &
    roles=$!
    at_work "$(tr -cd , <<<"$2," | wc -c)"
    began=$(now)
    "$flows" "$brokers" "$1" "${3:-$rows}" steps >"$work/sent" &
    producer=$!
    wait $producer
    kill -TERM $roles
    wait $roles || true
    # What was still to be read.
    "$weir" node --roles "$2" --brokers "$brokers" --prefix bench --node n1 --sources 1 --format parquet \
        --out "$work/out" --drain >"$work/drained" 2>&1 || { cat "$work/drained" >&2; return 1; }
    echo "$(now) - $began" | bc
}

# arrived: that each row is in a published file, once; a rate of rows that are not would be none.
arrived() {
    .venv/bin/python - "$work/out" "$rows" <<'END'
import duckdb, sys
folder, sent = sys.argv[1], int(sys.argv[2])
rows, uids = duckdb.sql(f"select count(*), count(distinct uid) from '{folder}/conn/**/*.parquet'").fetchall()[0]
if (rows, uids) != (sent, sent):
    sys.exit(f"{sent} rows were sent: {rows} are in published files, of {uids} flows")
END
}

# Kafka's tools are in a jar that its broker does not need.
tools=.kafka/tools
if [ ! -d "$tools" ]; then
    for jar in org.apache.kafka:kafka-tools:4.1.2 net.sourceforge.argparse4j:argparse4j:0.7.0; do
        mvn -B -q -ntp dependency:copy -Dartifact="$jar" -DoutputDirectory="$PWD/$tools.new"
    done
    mv -T "$tools.new" "$tools"
fi

fresh
bytes=$("$flows" "$brokers" log.conn "$rows" bare | awk '{ print $7, $5 }')
read -r size records <<<"$bytes"
echo "$rows rows of conn, $lanes lanes, $records records of $size bytes"
perf=$(java -cp "$(tests/kafka/kafka.sh classpath)/*:$tools/*" org.apache.kafka.tools.ProducerPerformance \
    --topic bench.log.conn --num-records $((records * 4)) --record-size "$size" --throughput -1 \
    --producer-props bootstrap.servers="$brokers" acks=all linger.ms=5 max.request.size=8388608 batch.size=1048576 |
    tail -n 1)
echo "Kafka's own producer benchmark on such records: $perf"

# What the guarantees cost: the same rows with and without them in turn, on one broker that has run for a while.
fresh
for pair in $(seq "$pairs"); do
    without=$(spent bare)
    with=$(spent steps)
    read -r wall cpu <<<"$without"
    read -r safe_wall safe_cpu <<<"$with"
    echo "producer alone, pair $pair: $wall s ($cpu s of processor time) at acks=1 without transactions," \
        "$safe_wall s ($safe_cpu s) as weir sends"
    echo "$safe_wall / $wall" | bc -l >>"$work/wall"
    echo "$safe_cpu / $cpu" | bc -l >>"$work/cpu"
done
printf 'guarantees: %.0f %% more by the clock, %.0f %% more processor time (medians of %s pairs)\n' \
    "$(more wall)" "$(more cpu)" "$pairs"

# steady SECONDS FIXED: rows a second without what a hundred thousand rows take.
steady() { echo "without what 100,000 rows take ($2 s): $(echo "($rows - 100000) / ($1 - $2)" | bc) rows/s"; }

direct=$(best whole log.conn sink)
arrived
say 'to published Parquet, through log.conn' "$direct" 'each once'
steady "$direct" "$(best whole log.conn sink 100000)"
through=$(best whole raw.conn aggregate,sink)
arrived
say 'to published Parquet, through aggregate' "$through" 'each once'
steady "$through" "$(best whole raw.conn aggregate,sink 100000)"
