#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Measures the host against other allocators, round by round, and makes tables, CSV and a picture of it.
#
#   run.sh [--rounds N] [--quick] [--only PATTERN] [--trace FILE[.xz]]... [--allocators "NAME..."]
#
# builddir: the build folder. WINE, WINESERVER, WINEPREFIX: as for run-wine.sh.

set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 1
top=$here/../..
builddir=${builddir:-$(pwd)}
WINEPREFIX=${WINEPREFIX:-$builddir/wineprefix}
# A jemalloc that was not made for it finds no room for its thread-local state otherwise.
GLIBC_TUNABLES=glibc.rtld.optional_static_tls=16384
export builddir WINEPREFIX GLIBC_TUNABLES
out=$builddir/bench
programs=$builddir/tests/bench

rounds=7 least=6 threads=25 repeat=3 memory=64
only='*'
traces=''
allocators=''

die()
{
    echo "bench: $*" >&2
    exit 1
}

while [ $# != 0 ]; do
    case $1 in
    --quick) rounds=3 least=2 threads=10 repeat=1 memory=16 ;;
    --rounds | --only | --trace | --allocators)
        [ $# -gt 1 ] || die "$1 needs a value"
        case $1 in
        --rounds) rounds=$2 ;;
        --only) only=$2 ;;
        --trace)
            [ -f "$2" ] || die "there is no $2"
            traces="$traces $(cd "$(dirname "$2")" && pwd)/$(basename "$2")"
            ;;
        --allocators) allocators=$2 ;;
        esac
        shift
        ;;
    *)
        die "unknown option $1; there are" \
            '--rounds N, --quick, --only PATTERN, --trace FILE, --allocators "NAME..."'
        ;;
    esac
    shift
done
case $rounds in '' | *[!0-9]* | 0) die "--rounds needs a number" ;; esac

run()
{
    "$top/tests/run-wine.sh" "$@" 2>>"$out/messages.log"
}

# The DLL in which an allocator is.
dll_of()
{
    case $1 in
    host) echo "$builddir/dlls/mscoreehost/mscoreehost.dll" ;;
    floor | heap | msvcrt) echo "$programs/windows.dll" ;;
    *) echo "$programs/linux.dll.so" ;;
    esac
}

is_linux()
{
    case $1 in floor | heap | host | msvcrt) return 1 ;; esac
}

bench()
{
    BENCH_ALLOCATOR=$1
    export BENCH_ALLOCATOR
    shift
    if is_linux "$BENCH_ALLOCATOR"; then set -- --sysv "$@"; fi
    run "$programs/bench.exe" "$@"
}

replay()
{
    BENCH_ALLOCATOR=$1
    export BENCH_ALLOCATOR
    shift
    if is_linux "$BENCH_ALLOCATOR"; then run "$programs/memreplay-sysv.exe" "$@"
    else run "$programs/memreplay.exe" "$@"
    fi
}

stop()
{
    "$top/tests/run-wine.sh" --kill
    rm -f "$out"/*.trace.new
}

if [ -t 2 ]; then
    progress() { printf '\r%-72s\r' "$*" >&2; }
else
    progress() { :; }
fi

mkdir -p "$out" || exit 1
cd "$out" || exit 1
rm -f messages.log
: >rounds.csv
: >memory.csv
trap stop EXIT
trap 'exit 130' HUP INT TERM
"$top/tests/run-wine.sh" --prefix || exit 1
# Else each of a thousand processes would wait for a server to start.
${WINESERVER:-wineserver} -p >/dev/null 2>&1

# ---- what there is ----

if [ -z "$allocators" ]; then
    allocators="host heap msvcrt"
    [ ! -f "$programs/linux.dll.so" ] || allocators="$allocators mimalloc jemalloc tcmalloc glibc"
fi
found=
for allocator in $allocators; do
    if bench "$allocator" --check --ms 1 --repeat 1 "$(dll_of "$allocator")" pair-64 >/dev/null; then
        found="$found $allocator"
    else
        echo "bench: $allocator cannot be measured; $out/messages.log says why" >&2
    fi
done
case " $found " in *' host '*) ;; *) die "the host itself cannot be measured" ;; esac
allocators=$found
timed="$allocators floor"

[ -n "$traces" ] || traces="$top/tests/data/startup.trace.xz $top/tests/data/mcs-self.trace.xz"
works=
for work in $(bench floor --list); do
    # shellcheck disable=SC2254 # a pattern
    case $work in $only) works="$works $work" ;; esac
done
for trace in $traces; do
    name=$(basename "$trace" .xz)
    name=${name%.trace}
    # shellcheck disable=SC2254
    case replay-$name in $only) ;; *) continue ;; esac
    case $trace in
    *.xz)
        [ -f "$name.trace" ] || { xz -dc "$trace" >"$name.trace.new" && mv "$name.trace.new" "$name.trace"; }
        ;;
    *) cmp -s "$trace" "$name.trace" || cp "$trace" "$name.trace" ;;
    esac || die "cannot read $trace"
    works="$works replay-$name"
done
[ -n "$works" ] || die "no workload is called $only"

# ---- time ----

# rotated N: the allocators, the N-th first, so that none always comes after the same other one
rotated()
{
    # shellcheck disable=SC2086 # a list
    set -- "$1" $timed
    n=$(($1 % ($# - 1)))
    shift
    while [ $n -gt 0 ]; do
        first=$1
        shift
        set -- "$@" "$first"
        n=$((n - 1))
    done
    echo "$@"
}

measure()
{
    case $1 in
    replay-*)
        replay "$2" --no-fill --repeat "$repeat" --dll "$(dll_of "$2")" "${1#replay-}.trace" |
            sed -n 's/^time .* s, \([0-9.]*\) ns per event.*/\1/p'
        ;;
    *)
        bench "$2" --ms "$least" --threads-ms "$threads" --repeat "$repeat" "$(dll_of "$2")" "$1" |
            cut -d ' ' -f 2
        ;;
    esac
}

# shellcheck disable=SC2086 # lists, here and below
set -- $works
total=$((rounds * $#)) done=0 started=$(date +%s)
round=0
while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    for work in $works; do
        left=
        [ $done = 0 ] || left=", $(((total - done) * ($(date +%s) - started) / done / 60 + 1)) min left"
        progress "round $round of $rounds, $work$left"
        for allocator in $(rotated $round); do
            ns=$(measure "$work" "$allocator")
            case $ns in
            [0-9]*) echo "$round,$work,$allocator,$ns" >>rounds.csv ;;
            *) echo "bench: $work with $allocator gave no figure; $out/messages.log says why" >&2 ;;
            esac
        done
        done=$((done + 1))
    done
    [ -t 2 ] || echo "round $round of $rounds done" >&2
done
progress ''

# ---- memory ----

# On one thread, so that every replay does the same: a thread under Wine takes 2 MiB, more than many a heap.
for work in $works; do
    case $work in replay-*) ;; *) continue ;; esac
    trace=${work#replay-}.trace
    live=$(sed -n '/^#/!q; s/^# peak-live-bytes: //p' "$trace")
    [ -n "$live" ] || continue
    for allocator in floor $allocators; do
        progress "memory, $work, $allocator"
        dll=$(dll_of "$allocator")
        # Ours too is looked at by the one that samples.
        [ "$allocator" != host ] || dll=$programs/windows.dll
        BENCH_SAMPLES=$work-$allocator.csv
        export BENCH_SAMPLES
        rm -f "$BENCH_SAMPLES"
        replay "$allocator" --no-fill --threads one --quiet --dll "$dll" "$trace"
        unset BENCH_SAMPLES
        [ "$allocator" = floor ] || [ ! -f "$work-$allocator.csv" ] ||
            awk -F , -v OFS=, -v what="$work,$allocator" -v live="$live" -f "$here/peak.awk" \
                "$work-floor.csv" "$work-$allocator.csv" >>memory.csv
    done
    # With the threads as recorded it has to be believed; its tests see to that.
    replay host --no-fill --dll "$(dll_of host)" "$trace" |
        awk -v OFS=, -v what="$work-threads,host" '
            /^peak live bytes/ { live = $4 }
            /^peak heap committed/ { print what, live, $4, "" }' >>memory.csv
done
if [ "$only" = '*' ] || [ "$only" = memory ]; then
    for allocator in $allocators; do
        progress "memory, $allocator"
        bench "$allocator" --memory "$memory" "$(dll_of "$allocator")" |
            sed "s/ /,/g; s/^/memory-/; s/\$/,$allocator/"
    done | awk -F , -v OFS=, '{ print $1, $5, $2, $3, $4 }' >>memory.csv
fi
# What a library of Linux maps itself, Wine does not know of.
awk -F , -v OFS=, '$2 !~ /^(host|heap|msvcrt)$/ { $4 = "" } { print }' memory.csv >memory.new &&
    mv memory.new memory.csv
progress ''

# ---- results ----

awk -F , -v allocators="$timed" -v rounds="$rounds" -v csv=bench.csv -v plot=bench.dat -f "$here/table.awk" \
    rounds.csv memory.csv 2>>messages.log || die "no table could be made; see $out/messages.log"
echo
echo "All figures: $out/bench.csv, each round: rounds.csv, memory: memory.csv"
if command -v gnuplot >/dev/null; then
    gnuplot -e "dat='bench.dat'; out='bench'" "$here/bench.gp" && echo "Picture: $out/bench.svg and bench.png"
fi
