#!/usr/bin/env bash
# Shows that the shuttle models bite: each line of the table below puts one mistake of logic (no
# weak ordering: shuttle sees none) into a copy of the real code, and the named test file must then
# fail, within CI's number of schedules.
#
#   shuttle-tests/weaken.sh             all of them
#   shuttle-tests/weaken.sh reclaim     those whose test file is `reclaim`
#   BRINDLE_WEAKEN_EVERY=4 shuttle-tests/weaken.sh     every fourth, another set each day
#
# The copy is built in target/weaken-shuttle, so that a second run is quick.
set -euo pipefail
cd "$(dirname "$0")/.."
only=${1:-}
copy=target/weaken-shuttle
mkdir -p "$copy"

# test file | source file | text as it is | text with the mistake
table() {
  cat <<'TABLE'
stripe|src/region/stripe.rs|                if got.position() <= end {\n                    self.pad_rest(got);\n                }|
stripe|src/region/stripe.rs|        // Another thread was first. The sequence is lost, which costs nothing.\n        self.release(fresh);|
stripe|src/region/stripe.rs|self.wblock(fresh).begin(sequence, seen.opened(), State::Open);|self.wblock(fresh).begin(sequence, None, State::Open);
stripe|src/region/stripe.rs|OpenWord(open.fetch_add(u64::from(rblocks), Acquire))|{ let at = open.load(Acquire); open.store(at + u64::from(rblocks), Release); OpenWord(at) }
stripe|src/region/cut.rs|if open.compare_exchange(seen.0, word.0, Relaxed, Relaxed).is_ok() {|open.store(word.0, Relaxed);\n            {
index|src/index/entry.rs|match self.0.compare_exchange(from.0, to.0, Release, Relaxed) {|match Ok::<u64, u64>(self.0.swap(to.0, Release)).map(drop) {
index|src/index/segment.rs|match self.successors.compare_exchange(ptr::null_mut(), new, Release, Acquire) {|match Ok::<_, ()>(self.successors.swap(new, Release)) {
index|src/index/segment.rs|        if word.is_frozen() { self.successors() } else { None }|        None.filter(\|_: &&Successors\| word.is_frozen())
index|src/index/pool.rs|        unsafe { guard.defer_unchecked(reclaim) };|        { let _ = guard; reclaim() };
reclaim|src/region/gate.rs|Stage::Leaving(passage) if passage.is_over())|Stage::Leaving(_))
reclaim|src/region/gate.rs|if barriers.is_durable(ticket)|if true
reclaim|src/region/gate.rs|matches!(inside.stage, Stage::Striking) && is_struck|matches!(inside.stage, Stage::Striking)
reclaim|src/region/gate.rs|stripes.live_rblocks(inside.wblock) == 0|true
reclaim|src/region/reservation.rs|self.stripes.pad(wblock, rblock, self.rblocks, Padding::Filler);|let _ = (wblock, rblock);
reclaim|src/index/forgotten.rs|self.0.fetch_max(version.into(), Release);|self.0.fetch_max(u64::from(version).saturating_sub(1), Release);
epoch|src/sync/epoch/steward.rs|slot.session() == Some(*session)|false
epoch|src/shadow/tickets.rs|        lock(&self.completed).failed = true;\n        self.changed.notify_all();|        lock(&self.completed).failed = true;
epoch|src/shadow/tickets.rs|        drop(completed);\n        self.changed.notify_all();|        drop(completed);\n        self.changed.notify_one();
TABLE
}

every=${BRINDLE_WEAKEN_EVERY:-1}
turn=$(($(date +%s) / 86400))
passed=0
failed=0
while IFS='|' read -r model file from to; do
  [ -z "$only" ] || [ "$only" = "$model" ] || continue
  turn=$((turn + 1))
  [ $((turn % every)) -eq 0 ] || continue
  rm -rf "$copy/src" "$copy/shuttle-tests"
  mkdir -p "$copy/shuttle-tests"
  cp -r Cargo.toml Cargo.lock src "$copy/"
  cp -r shuttle-tests/Cargo.toml shuttle-tests/src shuttle-tests/tests "$copy/shuttle-tests/"
  # Of the workspace only this member is copied; benches are not, nor are they declared there.
  sed -i -e 's/^members = .*/members = ["shuttle-tests"]/' -e '/^\[\[bench\]\]/,/^$/d' \
    "$copy/Cargo.toml"
  FROM=$from TO=$to perl -0pi -e '
    my ($from, $to) = @ENV{"FROM", "TO"};
    $from =~ s/\\n/\n/g; $to =~ s/\\n/\n/g; $to =~ s/\\\|/|/g;
    $n = s/\Q$from\E/$to/;
    END { exit($n ? 0 : 3) }' "$copy/$file" || { echo "MISSING  $file no longer has: $from"; failed=$((failed + 1)); continue; }
  status=0
  (cd "$copy" && RUSTFLAGS="--cfg shuttle -A warnings" RUST_BACKTRACE=0 timeout 300 \
    cargo test --quiet --release -p shuttle-tests --test "$model" >out.txt 2>&1) || status=$?
  if [ "$status" -eq 0 ]; then
    echo "SURVIVED $model: $file: $from -> $to"
    failed=$((failed + 1))
  elif [ "$status" -eq 124 ] || grep -qE 'test result: FAILED|signal: [0-9]+' "$copy/out.txt"; then
    echo "caught   $model: $file: $from"
    passed=$((passed + 1))
  else
    # No test has run: that it failed says nothing.
    echo "BROKEN   $model: $file: $from -> $to"
    tail -5 "$copy/out.txt"
    failed=$((failed + 1))
  fi
done < <(table)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
