#!/usr/bin/env bash
# What a large mixed capture costs, beside a bare libpcap pass and Suricata on the same file, as ratios of
# one run: machines differ and are noisy. Then what flows cost. See benches/README.md.
# Usage: benches/pipeline.sh [CAPTURE]; WEIR is the binary, RUNS how often each is run.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-3}
weir=${WEIR:-target/release/weir}
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

# cost COMMAND...: least wall time of some runs and least processor time, seconds. On a machine that is busy
# with other things the second tells more.
cost() {
    local wall='' cpu='' took TIMEFORMAT='%R %U %S'
    for _ in $(seq "$runs"); do
        took=$({ time "$@" >/dev/null 2>&1; } 2>&1)
        read -r w u s <<<"$took"
        c=$(echo "$u + $s" | bc)
        if [ -z "$wall" ] || [ "$(echo "$w < $wall" | bc)" = 1 ]; then wall=$w; fi
        if [ -z "$cpu" ] || [ "$(echo "$c < $cpu" | bc)" = 1 ]; then cpu=$c; fi
    done
    echo "$wall $cpu"
}

# program NAME: a bench of the capture crate, built; prints its path.
program() {
    cargo bench --quiet --no-run --workspace --bench "$1" --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\/'"$1"'-[^"]*\)".*/\1/p'
}

row() {
    printf '%-44s %8.2f s wall %8.2f s cpu %10.0f packets/s cpu %6.1f x libpcap\n' "$1" "$2" "$3" \
        "$(echo "$packets / $3" | bc -l)" "$(echo "$3 / $bare_cpu" | bc -l)"
}

bare=$(program libpcap_pass)
engine=$(program engine_pass)
packets=$("$bare" "$big" | cut -d' ' -f1)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
read -r bare_wall bare_cpu <<<"$(cost "$bare" "$big")"
echo "$packets packets, $(du -h "$big" | cut -f1)"
row 'bare libpcap pass' "$bare_wall" "$bare_cpu"
row 'capture engine alone' $(cost "$engine" "$big")
row 'capture engine alone, first of two threads' $(cost "$engine" "$big" 2)
plain=(run -C --read "$big" --out "$out" --force --hashes none)
read -r one_wall one_cpu <<<"$(cost $weir "${plain[@]}" --format tsv)"
row 'weir run, TSV, one capture thread' "$one_wall" "$one_cpu"
read -r two_wall two_cpu <<<"$(cost $weir "${plain[@]}" --format tsv --threads 2)"
row 'weir run, TSV, two' "$two_wall" "$two_cpu"
row 'weir run, Parquet, one' $(cost $weir "${plain[@]}" --format parquet)
row 'weir run, TSV, one, all hashes of files' \
    $(cost $weir run -C --read "$big" --out "$out" --force --format tsv)
printf 'two threads against one: %.2f x as fast\n' "$(echo "$one_wall / $two_wall" | bc -l)"
if command -v suricata >/dev/null; then
    other=(-c benches/suricata.yaml --runmode single -k none -S /dev/null -l "$out" -r "$big")
    read -r their_wall their_cpu <<<"$(cost suricata "${other[@]}")"
    row "$(suricata -V | grep -o 'Suricata version [0-9.]*'), one worker" "$their_wall" "$their_cpu"
    printf 'weir against it: %.1f x by wall time, %.1f x by processor time\n' \
        "$(echo "$their_wall / $one_wall" | bc -l)" "$(echo "$their_cpu / $one_cpu" | bc -l)"
else
    echo 'no suricata here: not compared (./dev bench installs it)'
fi
"$(program flows)"
