#!/usr/bin/env bash
# The whole pipeline's rate on a large mixed capture, beside a bare libpcap pass over the same file, as
# ratios of one run: machines differ and are noisy. Usage: benches/pipeline.sh [CAPTURE]
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-3}
weir=target/release/weir
big=${1:-target/bench.pcap}

if [ ! -s "$big" ]; then
    if [ -d ../shared/mixer ] && [ -d ../shared/conformance/cases ]; then
        echo "making $big out of the conformance captures (../shared/mixer)"
        cargo build --release --quiet --manifest-path ../shared/mixer/Cargo.toml --target-dir target/mixer
        target/mixer/release/mixer "$big" 1 "${REPLICAS:-40}" 120 20000 ../shared/conformance/cases/*/trace.pcap
    else
        echo "making $big out of tests/traces/mixed.pcap (no ../shared/mixer here)"
        python3 benches/grow.py tests/traces/mixed.pcap "$big" 250
    fi
fi
# Read it once, so that every run finds it in memory.
cat "$big" >/dev/null

# best COMMAND...: the least wall time of some runs, seconds.
best() {
    local least='' began took
    for _ in $(seq "$runs"); do
        began=$(date +%s.%N)
        "$@" >/dev/null 2>&1
        took=$(echo "$(date +%s.%N) - $began" | bc)
        if [ -z "$least" ] || [ "$(echo "$took < $least" | bc)" = 1 ]; then least=$took; fi
    done
    echo "$least"
}

bare_line=$(cargo bench --quiet -p weir-capture --bench libpcap_pass -- "$PWD/$big" | grep packets)
packets=${bare_line%% *}
bare=$(for _ in $(seq "$runs"); do
    cargo bench --quiet -p weir-capture --bench libpcap_pass -- "$PWD/$big" | grep -o '[0-9.]* s$'
done | sort -n | head -1 | cut -d' ' -f1)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# Zeek's base scripts hash no file, so that the first three rows do not either.
tsv=$(best $weir run -C --read "$big" --out "$out" --format tsv --force --hashes none)
two=$(best $weir run -C --read "$big" --out "$out" --format tsv --force --hashes none --threads 2)
parquet=$(best $weir run -C --read "$big" --out "$out" --format parquet --force --hashes none)
hashed=$(best $weir run -C --read "$big" --out "$out" --format tsv --force)

row() { printf '%-34s %8.2f s %10.0f packets/s %6.1f x libpcap\n' "$1" "$2" "$(echo "$packets / $2" | bc)" "$(echo "$2 / $bare" | bc -l)"; }
echo "$packets packets, $(du -h "$big" | cut -f1)"
row 'bare libpcap pass' "$bare"
row 'weir run, TSV, one capture thread' "$tsv"
row 'weir run, TSV, two' "$two"
row 'weir run, Parquet, one' "$parquet"
row 'weir run, TSV, one, all hashes' "$hashed"
