#!/usr/bin/env bash
# `tests/bench/run.sh NAME…`: ours and the peer in turn, at least 5 pairs; prints a Markdown table for each name and
# writes target/bench/NAME.json. Without a name: the list. BENCH_PAIRS sets another number of pairs.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$(bash tests/tools.sh --path):$PATH"
export PATH
# The whole workspace, as tests/verify.sh builds it, so that nothing is built twice.
cargo build --release --locked --workspace --all-targets --quiet
exec "${CARGO_TARGET_DIR:-target}/release/bench" "$@"
