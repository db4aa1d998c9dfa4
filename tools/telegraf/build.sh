#!/usr/bin/env bash
# Finds or builds the Telegraf that `make bench-collector` compares with, from its Go module, with the four plugins that it needs. The
# last line on stdout is the path of the binary; progress and complaints go to stderr.
#
#   bash tools/telegraf/build.sh
#
# TELEGRAF names a binary to use instead. Otherwise the binary is kept outside the checkout, in
# ${XDG_CACHE_HOME:-~/.cache}/scrapewatch/telegraf-VERSION/, which may be deleted at any time. The benchmark alone needs it.
set -euo pipefail
exec 3>&1 1>&2

version=1.37.2 # bench/_telegraf.py reads it here

if [[ -n ${TELEGRAF-} ]]; then
    command -v "$TELEGRAF" >&3 || { echo "TELEGRAF=$TELEGRAF is not a program that can be run"; exit 1; }
    exit
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/scrapewatch/telegraf-$version
binary=$cache/telegraf
[[ -x $binary ]] && { echo "$binary" >&3; exit; }

command -v go >/dev/null || { echo "To build Telegraf $version, install Go (https://go.dev/dl/), or set TELEGRAF to a binary."; exit 1; }

# Telegraf's own builder of small binaries leaves plugins out by such tags, too. Go checks what it fetches against its public log of
# hashes, since no go.mod of ours pins them: `go install` of a version takes that version's own.
tags=custom,inputs.http_listener_v2,outputs.influxdb_v2,parsers.json_v2,serializers.influx

echo "Building Telegraf $version: about two minutes on two cores, once for this machine."
mkdir -p "$cache"
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
GOBIN=$work CGO_ENABLED=0 nice go install -p 1 -trimpath -tags "$tags" \
    -ldflags "-s -w -X github.com/influxdata/telegraf/internal.Version=$version" "github.com/influxdata/telegraf/cmd/telegraf@v$version"
"$work/telegraf" --version
mv "$work/telegraf" "$binary"
echo "$binary" >&3
