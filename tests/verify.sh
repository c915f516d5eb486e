#!/usr/bin/env bash
# Checks everything, in the order in which a mistake is cheapest to find. Installs what is missing where it can
# (tests/tools.sh), prints the minutes of each stage, and ends with what was skipped and why.
#
#   VERIFY_REQUIRE=all   a skip is a failure, but for what no machine without an internet can check
#   VERIFY_LONG=1        thousands of simulation seeds instead of twenty
set -uo pipefail
cd "$(dirname "$0")/.."

LONG="${VERIFY_LONG:-}"
REQUIRE="${VERIFY_REQUIRE:-}"
TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
PATH="$(bash tests/tools.sh --path):$PATH"
export PATH CARGO_TARGET_DIR="$TARGET" CARGO_TERM_COLOR=never
# A stage that hangs must not hang the whole check; the longest takes minutes.
STAGE_LIMIT="${VERIFY_STAGE_LIMIT:-25m}"
[[ -n "$LONG" ]] && STAGE_LIMIT=10h

SCRATCH="$(mktemp -d)"
export ARTDAG_SKIPS="$SCRATCH/skips" # tests append "name: reason" here
: >"$ARTDAG_SKIPS"
# Background installers have children of their own; each runs in its own process group.
installers=()
cleanup() {
  for pid in "${installers[@]}"; do kill -- "-$pid" 2>/dev/null; done
  rm -rf "$SCRATCH"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

passed=0 failed=0 failures=()
STARTED=$SECONDS

# The counts of a stage are those of its tests; a stage without tests counts as one.
count() {
  local name=$1 code=$2 log=$3 good bad
  good=$(sed -n 's/^test result: .* \([0-9]*\) passed;.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
  bad=$(sed -n 's/^test result: .* \([0-9]*\) failed;.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
  if [[ $code == 0 ]]; then
    passed=$((passed + (good > 0 ? good : 1)))
  else
    passed=$((passed + good)) failed=$((failed + (bad > 0 ? bad : 1)))
    failures+=("$name: exit code $code$([[ $code == 124 ]] && echo " (longer than $STAGE_LIMIT)")")
  fi
}

stage() {
  local name=$1 began=$SECONDS log="$SCRATCH/$1.log" code
  shift
  echo "=== $name"
  timeout --kill-after=10s "$STAGE_LIMIT" "$@" 2>&1 | tee "$log"
  code=${PIPESTATUS[0]}
  count "$name" "$code" "$log"
  awk -v name="$name" -v code="$code" -v s=$((SECONDS - began)) -v t=$((SECONDS - STARTED)) \
    'BEGIN {printf "=== %s: %s, %.1f min (%.1f min so far)\n\n", name, code == 0 ? "ok" : "FAILED", s / 60, t / 60}'
  return "$code"
}

skip() { echo "$1: $2" >>"$ARTDAG_SKIPS"; printf '!!! SKIPPED %s: %s\n\n' "$1" "$2"; }

tidy() { rustc --edition 2024 --test -o "$SCRATCH/tidy" tests/tidy.rs && "$SCRATCH/tidy"; }

install() {
  local name=$1
  set -m # a process group of its own
  bash tests/tools.sh "$name" >"$SCRATCH/install-$name" 2>&1 &
  set +m
  installers+=($!)
  eval "installer_${name//-/_}=$!"
}

# Waits for an installer started above; without the tool the stage that needs it is a skip.
installed() {
  local name=$1 variable="installer_${1//-/_}"
  if wait "${!variable}"; then cat "$SCRATCH/install-$name"; return; fi
  skip "$name" "$(tail -n 1 "$SCRATCH/install-$name")"
  return 1
}

deny() {
  cargo deny --offline --all-features check --hide-inclusion-graph bans licenses sources
}

advisories() {
  if timeout 60 cargo deny fetch db >"$SCRATCH/fetch" 2>&1; then
    stage advisories cargo deny --offline check --hide-inclusion-graph advisories
  else
    skip advisories "the RustSec database cannot be reached from here"
  fi
}

simulate() { "$TARGET/release/sim" --seeds "$([[ -n "$LONG" ]] && echo 5000 || echo 20)"; }

report() {
  local line skipped=0 allowed='^(advisories|container image):'
  echo "=== result after $(((SECONDS - STARTED + 59) / 60)) min"
  while IFS= read -r line; do
    skipped=$((skipped + 1))
    echo "skipped  $line"
    if [[ "$REQUIRE" == all && ! "$line" =~ $allowed ]]; then
      failed=$((failed + 1))
      failures+=("skipped although VERIFY_REQUIRE=all: $line")
    fi
  done < <(sort -u "$ARTDAG_SKIPS")
  for line in "${failures[@]}"; do echo "failed   $line"; done
  echo "verify: $passed passed, $failed failed, $skipped skipped"
  [[ $failed == 0 ]]
}

export -f tidy deny simulate
export SCRATCH TARGET LONG

stage fmt cargo fmt --all --check
stage tidy bash -c tidy

# Small ones first: the others need the processor, which the build below wants too.
for name in ffmpeg iproute2 cargo-deny kubo; do install "$name"; done

stage clippy cargo clippy --release --locked --workspace --all-targets --quiet -- -D warnings
if stage build cargo build --release --locked --workspace --all-targets; then
  installed ffmpeg
  installed iproute2
  # The tests on real processes have stages of their own.
  stage tests cargo test --release --locked --workspace --quiet -- --skip on_real_processes:: --skip with_kubo:: --skip one_command::
  if installed cargo-deny; then
    stage deny bash -c deny
    advisories
  fi
  stage sim bash -c simulate
  stage cluster cargo test --release --locked --workspace --test cluster
  if installed kubo; then stage interop cargo test --release --locked --workspace --test interop; fi
  stage demo cargo test --release --locked --workspace --test demo
fi
report
