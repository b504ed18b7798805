#!/usr/bin/env bash
# Opens and checks so many crash states, spread over the shapes of tests/crash_sim.rs.
#
#   tests/crash_states.sh             210,000: what a CI run does
#   tests/crash_states.sh 5000000     some hours
#   BRINDLE_SEED=1000 tests/crash_states.sh 5000000     others than last time
#
# A failure prints the run and how to replay it. Each test counts the states that it opened.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
states=${1:-210000}
# Five shapes; with more than this for one, it goes on with other runs. A round is kept small, so
# that a failure is soon seen and what a process holds does not grow.
ROUND=500000
seed=${BRINDLE_SEED:-1}
opened=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
while [[ $opened -lt $states ]]; do
  left=$((states - opened))
  round=$((left < ROUND ? left : ROUND))
  BRINDLE_SEED=$seed BRINDLE_CRASH_STATES=$(((round + 4) / 5)) \
    cargo test --test crash_sim -- a_power_cut_at_any a_power_cut_loses --nocapture | tee "$out"
  more=$(sed -n 's/^\(test .* \.\.\. \)\?\([0-9]*\) crash states, .*/\2/p' "$out" |
    awk '{ sum += $1 } END { print sum + 0 }')
  opened=$((opened + more))
  last=$(sed -n 's/.* crash states, seeds [0-9]* to \([0-9]*\),.*/\1/p' "$out" | sort -n | tail -1)
  echo "$opened states opened, of $states; up to seed $last"
  seed=$((last + 1))
done
