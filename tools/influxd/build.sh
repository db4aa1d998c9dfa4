#!/usr/bin/env bash
# Finds or builds the InfluxDB that go.mod pins, for tests. The last line on stdout is the path of the binary; progress and
# complaints go to stderr.
#
#   bash tools/influxd/build.sh              say what is missing
#   bash tools/influxd/build.sh --install    install it (Debian or Ubuntu, as root: for CI)
#
# INFLUXD names a binary to use instead (a path, or a name on PATH). Otherwise the binary is kept outside the checkout, in
# ${XDG_CACHE_HOME:-~/.cache}/scrapewatch/influxd-VERSION/, which holds about 110 MB and may be deleted at any time.
set -euo pipefail
exec 3>&1 1>&2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
install=
case "${1-}" in
    '') ;;
    --install) install=1 ;;
    *) echo "usage: build.sh [--install]"; exit 2 ;;
esac

if [[ -n ${INFLUXD-} ]]; then
    command -v "$INFLUXD" >&3 || { echo "INFLUXD=$INFLUXD is not a program that can be run"; exit 1; }
    exit
fi

version=$(sed -n 's|^[[:space:]]*github.com/influxdata/influxdb/v2 v\([^ ]*\).*|\1|p' "$here/go.mod")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/scrapewatch/influxd-$version
binary=$cache/influxd

finish() { echo "$binary" >&3; exit; }
[[ -x $binary ]] && finish

mkdir -p "$cache"
if command -v flock >/dev/null; then # of two builds at once, the second waits and uses the first one's
    exec 9>"$cache/lock"
    flock --nonblock 9 || { echo "Waiting for another build of influxd $version."; flock 9; }
    [[ -x $binary ]] && finish
    rm -rf "$cache"/build.* # left by one that was killed
fi

# What is needed, each with what to do about it.
missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }

if [[ -n $install ]] && ! { command -v cc && command -v pkg-config; } >/dev/null; then
    apt-get update
    apt-get install -y --no-install-recommends gcc libc6-dev pkg-config
fi
need cc "a C compiler (Debian: apt-get install gcc libc6-dev)"
need pkg-config "pkg-config (Debian: apt-get install pkg-config)"

go_wanted=$(sed -n 's/^go //p' "$here/go.mod")
if ! command -v go >/dev/null; then
    missing+=("Go $go_wanted or newer (https://go.dev/dl/)")
elif ! (cd "$here" && go list -m >/dev/null 2>&1); then
    missing+=("Go $go_wanted or newer (https://go.dev/dl/); this is $(GOTOOLCHAIN=local go version)")
fi

# Flux names an old Rust in its rust-toolchain.toml, which rustup would fetch; any newer one will do.
if command -v rustup >/dev/null; then
    export RUSTUP_TOOLCHAIN=${RUSTUP_TOOLCHAIN:-stable}
    if ! rustup run "$RUSTUP_TOOLCHAIN" cargo --version >/dev/null 2>&1; then
        if [[ -n $install ]]; then
            rustup toolchain install "$RUSTUP_TOOLCHAIN" --profile minimal
        else
            missing+=("a Rust toolchain (rustup toolchain install $RUSTUP_TOOLCHAIN --profile minimal)")
        fi
    fi
elif ! { command -v cargo && command -v rustc; } >/dev/null; then
    missing+=("Rust: cargo and rustc (https://rustup.rs)")
fi

if ((${#missing[@]})); then
    echo "To build influxd $version, install:"
    printf '  - %s\n' "${missing[@]}"
    echo "or set INFLUXD to an influxd 2 binary."
    exit 1
fi

# All that is built on the way goes into a folder of its own: flux's sources are copied into GOCACHE, and a copy cut short
# there would be taken for a whole one by every later build.
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
export GOCACHE=$work/cache
# A newer Rust denies by default what was allowed when flux was written.
export RUSTFLAGS="${RUSTFLAGS-} --cap-lints warn"
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR CARGO_BUILD_TARGET # influxdata's pkg-config looks in the default place

tags=sqlite_foreign_keys,sqlite_json # as upstream builds it, but without `assets`, its web interface
case $(go env GOARCH) in amd64 | s390x) ;; *) tags+=,noasm ;; esac

echo "Building influxd $version: about seven minutes on two cores, once for this machine."
cd "$here"
go build -o "$work/pkg-config" github.com/influxdata/pkg-config
PKG_CONFIG=$work/pkg-config CGO_ENABLED=1 go build -trimpath -tags "$tags" -ldflags "-s -w -X main.version=v$version" \
    -o "$work/influxd" github.com/influxdata/influxdb/v2/cmd/influxd
"$work/influxd" version
mv "$work/influxd" "$binary"
finish
