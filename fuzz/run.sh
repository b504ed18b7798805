#!/usr/bin/env bash
# Fuzzes every target for so many seconds each, two at a time, from the seeds and what is in
# fuzz/corpus/ since the last run. A finding ends the run with its name; its input is in
# fuzz/artifacts/<target>/. Keep it in fuzz/regressions/<target>/, where a stable `cargo test` tries
# it for ever after.
#
#   fuzz/run.sh 25                  every target, 25 s each
#   fuzz/run.sh 600 wblock open     these only
#
# Needs a nightly compiler and cargo-fuzz; where they cannot be had it says so, and that is all.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-25}
[[ $# -eq 0 ]] || shift
if [[ $# -gt 0 ]]; then
  targets=("$@")
else
  mapfile -t targets < <(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
fi

skip() {
  echo "skipped: ${#targets[@]} fuzz targets: $*"
  exit 0
}

cargo +nightly --version >/dev/null 2>&1 || skip "no nightly compiler"
cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet cargo-fuzz || skip "no cargo-fuzz"

# ASAN does not see into inline assembly: the path without it.
RUSTFLAGS="--cfg portable ${RUSTFLAGS:-}" cargo +nightly fuzz build
host=$(rustc -vV | sed -n 's/^host: //p')
"fuzz/target/$host/release/seeds"

# What epochs have not reclaimed at the end is no leak.
export ASAN_OPTIONS=detect_leaks=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

fuzz_one() {
  local target=$1
  mkdir -p "fuzz/artifacts/$target" "fuzz/corpus/$target"
  "fuzz/target/$host/release/$target" -artifact_prefix="fuzz/artifacts/$target/" \
    "fuzz/corpus/$target" -max_total_time="$seconds" -timeout=20 -max_len=8192 \
    -rss_limit_mb=2048 -detect_leaks=0 -print_final_stats=1 >"$logs/$target" 2>&1
}

failed=()
while [[ ${#targets[@]} -gt 0 ]]; do
  pair=("${targets[@]:0:2}")
  targets=("${targets[@]:2}")
  pids=()
  for target in "${pair[@]}"; do
    fuzz_one "$target" &
    pids+=($!)
  done
  for at in "${!pair[@]}"; do
    target=${pair[$at]}
    if wait "${pids[$at]}"; then
      runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target")
      echo "$target: ${runs:-?} runs in $seconds s, nothing found"
    else
      tail -n 40 "$logs/$target"
      echo "$target: FOUND something: see fuzz/artifacts/$target/"
      failed+=("$target")
    fi
  done
done
[[ ${#failed[@]} -eq 0 ]]
