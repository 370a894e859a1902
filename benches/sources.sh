#!/usr/bin/env bash
# Forty live sources with all streams on one broker: batch sizes, commits, and what the broker spends on them.
# Usage: benches/sources.sh [CAPTURE]; SOURCES, SECONDS_EACH, PACKETS (what one source sees in five seconds, between two flushes), PORT.
set -euo pipefail
cd "$(dirname "$0")/.."
capture=${1:-target/bench.pcap}
weir=${WEIR:-target/release/weir}
port=${PORT:-19393}
lasts=${SECONDS_EACH:-30}
[ -s "$capture" ] || python3 benches/grow.py tests/traces/mixed.pcap "$capture" 250

work=$(mktemp -d "${TMPDIR:-/tmp}/weir-sources.XXXXXX")
trap 'tests/kafka/kafka.sh stop "$work/broker" >/dev/null; rm -rf "$work"' EXIT
sources=${BENCH:-$(cargo bench --quiet --no-run --workspace --bench many_sources --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/many_sources-[^"]*\)".*/\1/p')}

broker_cpu() { awk -v tick="$(getconf CLK_TCK)" '{ print ($14 + $15) / tick }' "/proc/$(cat "$work/broker/pid")/stat"; }
stored() { du -sk "$work/broker/data" | cut -f1; }

for lanes in ${LANES:-12 4}; do
    for packets in ${PACKETS:-25000 100000}; do
        tests/kafka/kafka.sh start "$work/broker" "$port" >/dev/null
        "$weir" topics create --brokers "127.0.0.1:$port" --prefix bench --partitions "$lanes" --replication 1 >/dev/null
        # A broker that has just started is not yet what it will be.
        "$sources" "127.0.0.1:$port" "$capture" "${SOURCES:-40}" 10 "$packets" >/dev/null
        cpu=$(broker_cpu) kb=$(stored)
        echo "$lanes lanes, $packets packets a flush:"
        "$sources" "127.0.0.1:$port" "$capture" "${SOURCES:-40}" "$lasts" "$packets"
        printf 'broker: %.2f of a core, %.0f kB/s on its disk\n' \
            "$(echo "($(broker_cpu) - $cpu) / $lasts" | bc -l)" "$(echo "($(stored) - $kb) / $lasts" | bc -l)"
        tests/kafka/kafka.sh stop "$work/broker" >/dev/null
        rm -rf "$work/broker"
    done
done
