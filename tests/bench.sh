#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# The benchmark is not timed here, but it has to work: every workload, on the host and on what it is
# compared with, gives a number. Run by make check, which sets the environment.

# shellcheck disable=SC2154 # make check sets builddir and srcdir

programs=$builddir/tests/bench
number=0
failures=0

result()
{
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
        return
    fi
    failures=$((failures + 1))
    echo "not ok $number - $2"
    printf '%s\n' "$out" | sed 's/^/# /'
}

run()
{
    out=$(sh "$srcdir/tests/run-wine.sh" "$@" 2>&1)
}

run "$programs/bench.exe" --list && works=$out && [ "$(printf '%s\n' "$works" | wc -l)" = 30 ]
result $? 'the list of workloads'

# Each workload on a line, with a number above 0.
bench()
{
    name=$1
    shift
    run "$programs/bench.exe" --check --ms 1 --threads-ms 1 --repeat 1 "$@" &&
        [ "$(printf '%s\n' "$out" | cut -d ' ' -f 1)" = "$works" ] &&
        printf '%s\n' "$out" | awk '
            NF != 2 || $2 !~ /^[0-9]+\.[0-9]+$/ || $2 <= 0 { wrong = 1 }
            END { exit wrong }'
    result $? "every workload, $name"
    run "$programs/bench.exe" --memory 1 "$@" &&
        [ "$(printf "%s\n" "$out" | grep -c "^[a-z0-9-]* [0-9]* [0-9-]* [0-9-]*$")" = 7 ]
    result $? "memory, $name"
}

bench host "$builddir/dlls/mscoreehost/mscoreehost.dll"
BENCH_ALLOCATOR=heap
export BENCH_ALLOCATOR
bench heap "$programs/windows.dll"
if [ -f "$programs/linux.dll.so" ]; then
    # The one that needs no package.
    BENCH_ALLOCATOR=glibc
    bench glibc --sysv "$programs/linux.dll.so"
fi

BENCH_ALLOCATOR=nonesuch
run "$programs/bench.exe" "$programs/windows.dll" pair-64
[ $? = 1 ]
result $? 'an unknown allocator is refused'

echo "1..$number"
[ $failures = 0 ]
