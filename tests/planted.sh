#!/usr/bin/env bash
# Shows that the tests bite: puts each planted bug of src/planted.rs back in, and the test that is
# to catch it must then fail. A bug that survives, or that is in no line of the table, fails the run.
#
#   tests/planted.sh                  all of them
#   tests/planted.sh skip-sync        this one
#
# One build, with the feature `planted-bugs`; the environment names the bug. Orderings that are
# weakened, a publication that is `Relaxed` among them, show on few machines: they are planted in the
# loom models, by loom-tests/weaken.sh. Fewer crash states than elsewhere: a bug that takes more
# than these to show is one that the suite only seldom finds, and that is for the table to mend.
#
# bug | test file | test
table() {
  cat <<'TABLE'
skip-sync|crash_sim|a_power_cut_at_any_event_loses_nothing_durable
ack-before-sync|crash_sim|a_power_cut_at_any_event_loses_nothing_durable
ack-before-completion|crash_sim|a_power_cut_at_any_event_loses_nothing_durable
ack-before-move|bad_places|what_lies_in_a_bad_place_is_durable_elsewhere_before_it_is_acknowledged
ignore-short-write|faults|operations_that_are_short_late_or_interrupted_cost_nothing
trust-retried-sync|faults|what_a_barrier_acknowledged_outlives_failed_writes_and_syncs
seal-without-completion|crash_sim|what_is_flushed_beside_a_writer_that_was_stopped_is_whole_after_a_power_cut
free-before-barrier|crash_reclaim|a_power_cut_brings_nothing_back_while_records_are_moved
free-without-strike|crash_evict|what_was_evicted_does_not_come_back_with_a_power_cut
reuse-before-epoch|reclaim|what_a_reader_holds_is_not_written_over_however_long_reclaim_goes_on
checksum-without-head|damage|any_flipped_bit_is_found_and_hurts_nothing_else
trust-value|damage|any_flipped_bit_is_found_and_hurts_nothing_else
stop-at-bad-record|damage|any_flipped_bit_is_found_and_hurts_nothing_else
stop-at-bad-wblock|damage|damage_in_a_header_of_both_copies_costs_one_wblock_and_says_so
take-foreign-wblock|damage|wblocks_in_the_wrong_place_are_foreign
ignore-census|damage|a_zeroed_sector_hurts_only_what_it_held
fall-back-to-older|damage|any_flipped_bit_is_found_and_hurts_nothing_else
take-last-met|crash_reclaim|a_power_cut_brings_nothing_back_over_several_stripes
drop-tombstone-early|raid|what_has_expired_keeps_its_tombstone_until_every_later_run_knows
raid-past-quarantine|raid|a_copy_in_quarantine_keeps_its_tombstone
raid-past-damage|raid|a_wblock_that_was_misread_once_brings_nothing_back
raid-by-clock|raid|what_has_expired_keeps_its_tombstone_until_every_later_run_knows
floor-before-superblock|crash_reclaim|a_power_cut_brings_nothing_back_over_several_stripes
end-without-tombstone|crash_evict|what_was_evicted_does_not_come_back_with_a_power_cut
forget-the-forgotten|crash_reclaim|a_power_cut_brings_nothing_back_over_what_was_forgotten
stay-clean|crash_sim|a_power_cut_at_any_event_loses_nothing_durable
reuse-sequences|crash_sim|a_power_cut_at_any_event_loses_nothing_durable
no-lock|io_files|other_processes_are_refused_until_the_owner_is_gone
TABLE
}

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
only=${1:-}
# A test that a bug makes hang has not caught it.
SECONDS_MAX=120

# Every bug of the file has a line.
listed=$(table | cut -d'|' -f1 | sort)
known=$(sed -n 's/^    [A-Za-z]* = "\(.*\)",$/\1/p' src/planted.rs | sort)
if [[ $listed != "$known" ]]; then
  echo "the table and src/planted.rs differ:" >&2
  diff <(echo "$listed") <(echo "$known") >&2 || true
  exit 1
fi

targets=()
for file in $(table | cut -d'|' -f2 | sort -u); do
  targets+=(--test "$file")
done
build=(cargo test --features planted-bugs "${targets[@]}")
"${build[@]}" --no-run
executables=$("${build[@]}" --no-run 2>&1 | sed -n 's/.*Executable tests\/\([a-z_]*\)\.rs (\(.*\))/\1 \2/p')

# Whether `$3` of the file `$2` fails with the bug `$1`.
try() {
  local bug=$1 file=$2 test=$3 executable out status=0 start=$SECONDS
  executable=$(awk -v file="$file" '$1 == file { print $2 }' <<<"$executables")
  out=$(BRINDLE_PLANT=$bug BRINDLE_CRASH_STATES=2000 RUST_BACKTRACE=0 \
    timeout "$SECONDS_MAX" "$executable" --exact "$test" 2>&1) || status=$?
  if [[ $status -eq 101 ]] && grep -q "^test $test ... FAILED" <<<"$out"; then
    echo "caught    $bug: $file: $test, $((SECONDS - start)) s"
  else
    echo "SURVIVED  $bug: $file: $test (status $status)"
  fi
}
export -f try
export SECONDS_MAX executables

# On every core: a test has one thread at most that works hard.
found=$(while IFS='|' read -r bug file test; do
  [[ -z $only || $only == "$bug" ]] || continue
  printf '%s\0%s\0%s\0' "$bug" "$file" "$test"
done < <(table) | xargs -0 -r -n 3 -P "$(nproc)" bash -c 'try "$@"' try)
echo "$found"
caught=$(grep -c '^caught ' <<<"$found" || true)
survived=$(grep -c '^SURVIVED ' <<<"$found" || true)
echo "$caught caught, $survived survived"
[[ $survived -eq 0 && $caught -gt 0 ]]
