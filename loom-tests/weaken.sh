#!/usr/bin/env bash
# Shows that the loom models bite: each line of the table below weakens one ordering, or leaves out
# one step, in a copy of the real code, and the named model must then fail.
#
#   loom-tests/weaken.sh            all of them
#   loom-tests/weaken.sh stripe     those whose model's file is `stripe`
#   BRINDLE_WEAKEN_EVERY=4 loom-tests/weaken.sh     every fourth, another set each day
#
# The copy is built in target/weaken, so that a second run is quick.
set -euo pipefail
cd "$(dirname "$0")/.."
only=${1:-}
copy=target/weaken
mkdir -p "$copy"

# model file | source file | text as it is | text as it is weakened
table() {
  cat <<'TABLE'
stripe|src/region/commit.rs|.store(word, Release)|.store(word, crate::sync::Relaxed)
stripe|src/region/commit.rs|.load(Acquire)|.load(crate::sync::Relaxed)
stripe|src/region/stripe.rs|.compare_exchange_weak(current.0, opened.0, AcqRel, Relaxed)|.compare_exchange_weak(current.0, opened.0, Relaxed, Relaxed)
stripe|src/region/stripe.rs|self.wblock(fresh).begin(sequence, seen.opened(), State::Open);|self.wblock(fresh).begin(sequence, None, State::Open);
stripe|src/region/stripe.rs|                    self.pad_rest(got);|
stripe|src/region/stripe.rs|        // Another thread was first. The sequence is lost, which costs nothing.\n        self.release(fresh);|
stripe|src/region/unname.rs|                self.seal(seen);|
stripe|src/region/unname.rs|self.identity().has_shadow && self.wblock(wblock).state() != State::Used|false
tickets|src/shadow/tickets.rs|self.requested.fetch_add(1, AcqRel)|self.requested.fetch_add(1, crate::sync::Relaxed)
tickets|src/shadow/tickets.rs|self.requested.load(Acquire)|self.requested.load(crate::sync::Relaxed)
tickets|src/shadow/tickets.rs|        self.quorum.store(quorum, Relaxed);\n        fence_seq_cst(); // edge E4|        self.quorum.store(quorum, Relaxed);
tickets|src/shadow/tickets.rs|        fence_seq_cst(); // edge E4\n        // ORDERING: Relaxed, edge E4: the fence orders it after `take`.|
index_entry|src/index/entry.rs|Word(self.0.load(Acquire))|Word(self.0.load(crate::sync::Relaxed))
index_entry|src/index/entry.rs|.compare_exchange(from.0, to.0, Release, Relaxed)|.compare_exchange(from.0, to.0, Relaxed, Relaxed)
index_growth|src/index/segment.rs|self.successors.load(Acquire)|self.successors.load(crate::sync::Relaxed)
index_growth|src/index/segment.rs|.compare_exchange(ptr::null_mut(), new, Release, Acquire)|.compare_exchange(ptr::null_mut(), new, crate::sync::Relaxed, Acquire)
index_retire|src/index/directory.rs|.slot(x).load(Acquire)|.slot(x).load(crate::sync::Relaxed)
index_retire|src/index/directory.rs|slot.store(child.as_ptr(), Release)|slot.store(child.as_ptr(), crate::sync::Relaxed)
reclaim|src/sync/epoch/passage.rs|flag.store(true, Release)|flag.store(true, crate::sync::Relaxed)
reclaim|src/sync/epoch/passage.rs|self.0.load(Acquire)|self.0.load(crate::sync::Relaxed)
reclaim|src/region/gate.rs|Stage::Leaving(passage) if passage.is_over())|Stage::Leaving(_))
reclaim|src/region/gate.rs|if barriers.is_durable(ticket)|if true
reclaim|src/region/gate.rs|matches!(inside.stage, Stage::Striking) && is_struck|matches!(inside.stage, Stage::Striking)
reclaim|src/region/wblock.rs|self.dead_rblocks.fetch_add(rblocks, Release)|self.dead_rblocks.fetch_add(rblocks, Relaxed)
reclaim|src/region/wblock.rs|self.dead_rblocks.load(Acquire)|self.dead_rblocks.load(Relaxed)
reclaim|src/shadow/tickets.rs|self.requested.fetch_add(1, AcqRel)|self.requested.fetch_add(1, crate::sync::Relaxed)
reclaim|src/shadow/tickets.rs|self.requested.load(Acquire)|self.requested.load(crate::sync::Relaxed)
reclaim|src/region/reservation.rs|CommitWord::new(key, Sequence(0), self.rblocks, false)|CommitWord::new(key, self.word.sequence(key), self.rblocks, false)
reclaim|src/region/reservation.rs|self.stripes.pad(wblock, rblock, self.rblocks, Padding::Filler);|let _ = (wblock, rblock);
reclaim|src/index/entry.rs|.compare_exchange(from.0, to.0, Release, Relaxed)|.compare_exchange(from.0, to.0, Relaxed, Relaxed)
reclaim|src/index/entry.rs|match self.0.compare_exchange(from.0, to.0, Release, Relaxed) {|match Ok::<u64, u64>(self.0.swap(to.0, Release)).map(drop) {
reclaim|src/index/forgotten.rs|fence(Acquire);|
reclaim|src/region/supply.rs|let free = self.supply.free_count.fetch_update(Acquire, Relaxed, take);|let seen = self.supply.free_count.load(Acquire);\n        let free = match take(seen) {\n            Some(_) => Ok(self.supply.free_count.fetch_sub(1, Acquire)),\n            None => Err(seen),\n        };
reclaim|src/region/supply.rs|let pushed = self.free(self.geometry().home_stripe(wblock)).push(wblock);|self.supply.free_count.fetch_add(1, Release);\n        let pushed = self.free(self.geometry().home_stripe(wblock)).push(wblock);\n        self.supply.free_count.fetch_sub(1, Release);
reclaim|src/index/entry.rs|let _ = self.0.compare_exchange(word.0, word.referenced(true).0, Relaxed, Relaxed);|self.0.store(word.referenced(true).0, Relaxed);
epoch|src/sync/epoch/slot.rs|self.word.store(word + 1, Release);|self.word.store(word + 1, Relaxed);
epoch|src/sync/epoch/slot.rs|            fence_seq_cst();|
epoch|src/sync/epoch/slot.rs|self.word.store(word.wrapping_add(step), Release);|self.word.store(word.wrapping_add(step), Relaxed);
epoch|src/sync/epoch/slot.rs|self.word.load(Acquire)|self.word.load(Relaxed)
epoch|src/sync/epoch/slot.rs|.compare_exchange(false, true, Acquire, Relaxed)|.compare_exchange(false, true, Relaxed, Relaxed)
epoch|src/sync/epoch/steward.rs|slot.session() == Some(*session)|false
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
  rm -rf "$copy/src" "$copy/loom-tests"
  mkdir -p "$copy/loom-tests"
  cp -r Cargo.toml Cargo.lock src "$copy/"
  cp -r loom-tests/Cargo.toml loom-tests/src loom-tests/tests "$copy/loom-tests/"
  # Other members, benches, examples and tests are not copied: the copy does not declare them.
  sed -i -e '/^\[\[bench\]\]/,/^$/d' -e 's/^members = .*/members = ["loom-tests"]/' "$copy/Cargo.toml"
  FROM=$from TO=$to perl -0pi -e '
    my ($from, $to) = @ENV{"FROM", "TO"};
    $from =~ s/\\n/\n/g; $to =~ s/\\n/\n/g;
    $n = s/\Q$from\E/$to/;
    END { exit($n ? 0 : 3) }' "$copy/$file" || { echo "MISSING  $file no longer has: $from"; failed=$((failed + 1)); continue; }
  status=0
  (cd "$copy" && RUSTFLAGS="--cfg loom -A warnings" timeout 300 \
    cargo test --quiet --release -p loom-tests --test "$model" >out.txt 2>&1) || status=$?
  if [ "$status" -eq 0 ]; then
    echo "SURVIVED $model: $file: $from -> $to"
    failed=$((failed + 1))
  elif [ "$status" -eq 124 ] || grep -qE 'test result: FAILED|signal: [0-9]+' "$copy/out.txt"; then
    echo "caught   $model: $file: $from"
    passed=$((passed + 1))
  else
    # No model has run: that it failed says nothing.
    echo "BROKEN   $model: $file: $from -> $to"
    tail -5 "$copy/out.txt"
    failed=$((failed + 1))
  fi
done < <(table)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
