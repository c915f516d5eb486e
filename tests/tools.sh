#!/usr/bin/env bash
# The only installer of the tree: `tests/tools.sh NAME…` with NAME one of ffmpeg iproute2 kubo cargo-deny.
# Every step may be repeated, prints what it does, and fails with one line that says what is missing.
# Built tools are kept in ${ARTDAG_CACHE:-~/.cache/artdag}; `tools.sh --path` prints the folder to put on PATH.
set -euo pipefail

KUBO_VERSION=v0.43.0
CARGO_DENY_VERSION=0.20.2

CACHE="${ARTDAG_CACHE:-${HOME:-/root}/.cache/artdag}"
BIN="$CACHE/bin"

say() { echo "tools: $*" >&2; }
fail() { say "$*"; return 1; }

# Two callers may ask for one tool at the same time: the second waits and finds it built.
locked() {
  local name=$1; shift
  mkdir -p "$CACHE"
  (
    flock 9
    "$@"
  ) 9>"$CACHE/$name.lock"
}

stamped() { [[ -x "$BIN/$1" && "$(cat "$BIN/$1.version" 2>/dev/null)" == "$2" ]]; }

apt_package() {
  local command=$1 package=$2
  if command -v "$command" >/dev/null; then say "$package: $(command -v "$command")"; return; fi
  command -v apt-get >/dev/null || { fail "$package is missing and there is no apt-get: install it by hand"; return; }
  local sudo=""
  if [[ "$(id -u)" != 0 ]]; then
    command -v sudo >/dev/null || { fail "$package is missing: run 'apt-get install -y $package' as root"; return; }
    sudo="sudo -n"
  fi
  say "$package: apt-get install"
  if ! DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "$package" >"$CACHE/apt-$package.log" 2>&1; then
    # The package list of a fresh image is often empty or old.
    { $sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "$package"; } \
      >>"$CACHE/apt-$package.log" 2>&1 || { fail "$package could not be installed, see $CACHE/apt-$package.log"; return; }
  fi
  command -v "$command" >/dev/null || fail "$package was installed but brought no '$command'"
}

# `go install PKG@VERSION` first asks for the list of all versions (to look for a deprecation notice), which a
# module proxy may refuse; a module of our own that requires the one version needs no list.
kubo() {
  if stamped ipfs "$KUBO_VERSION"; then say "kubo $KUBO_VERSION: $BIN/ipfs"; return; fi
  command -v go >/dev/null || { fail "kubo needs go to build: install go 1.26 or newer"; return; }
  local module="$CACHE/kubo-module"
  say "kubo $KUBO_VERSION: building (some minutes), log in $CACHE/kubo.log"
  rm -rf "$module"; mkdir -p "$module" "$BIN"
  printf 'module artdag.local/kubo\n\ngo 1.26\n\nrequire github.com/ipfs/kubo %s\n' "$KUBO_VERSION" >"$module/go.mod"
  printf '//go:build tools\n\npackage tools\n\nimport _ "github.com/ipfs/kubo/cmd/ipfs/kubo"\n' >"$module/tools.go"
  (
    cd "$module"
    export GOFLAGS=-mod=mod GOTOOLCHAIN=local
    nice -n 19 go build -trimpath -ldflags '-s -w' -o "$BIN/ipfs.new" github.com/ipfs/kubo/cmd/ipfs
  ) >"$CACHE/kubo.log" 2>&1 || { fail "kubo did not build: $(tail -n 1 "$CACHE/kubo.log")"; return; }
  mv "$BIN/ipfs.new" "$BIN/ipfs"
  echo "$KUBO_VERSION" >"$BIN/ipfs.version"
  rm -rf "$module"
  say "kubo $KUBO_VERSION: $("$BIN/ipfs" version)"
}

cargo_deny() {
  if stamped cargo-deny "$CARGO_DENY_VERSION"; then say "cargo-deny $CARGO_DENY_VERSION: $BIN/cargo-deny"; return; fi
  command -v cargo >/dev/null || { fail "cargo-deny needs cargo to build"; return; }
  say "cargo-deny $CARGO_DENY_VERSION: building (some minutes), log in $CACHE/cargo-deny.log"
  mkdir -p "$BIN"
  # Its own target folder, so that it never waits for the lock of the workspace's.
  nice -n 19 cargo install --locked --quiet --version "$CARGO_DENY_VERSION" --root "$CACHE/cargo-deny" \
      --target-dir "$CACHE/cargo-deny/target" cargo-deny >"$CACHE/cargo-deny.log" 2>&1 \
    || { fail "cargo-deny did not build: $(tail -n 1 "$CACHE/cargo-deny.log")"; return; }
  cp "$CACHE/cargo-deny/bin/cargo-deny" "$BIN/cargo-deny"
  echo "$CARGO_DENY_VERSION" >"$BIN/cargo-deny.version"
  rm -rf "$CACHE/cargo-deny"
  say "cargo-deny $CARGO_DENY_VERSION: $BIN/cargo-deny"
}

tool() {
  case "$1" in
    ffmpeg) locked apt apt_package ffmpeg ffmpeg ;;
    iproute2) locked apt apt_package ip iproute2 ;;
    kubo) locked kubo kubo ;;
    cargo-deny) locked cargo-deny cargo_deny ;;
    *) fail "unknown tool '$1': write one of ffmpeg iproute2 kubo cargo-deny" ;;
  esac
}

if [[ $# == 0 ]]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
if [[ "$1" == --path ]]; then echo "$BIN"; exit 0; fi
status=0
for name in "$@"; do tool "$name" || status=1; done
exit $status
