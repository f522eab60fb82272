#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# The allocator as a program of this machine, under the compiler's sanitizers. The runs are short; by hand,
# without arguments, they are twenty times as long. Run by make check, which sets the environment.

# shellcheck disable=SC2154 # make check sets builddir

number=0
failures=0

# check SANITIZER NAME TURNS
check()
{
    number=$((number + 1))
    program=$builddir/tests/heap-native-$1
    if [ ! -x "$program" ]; then
        echo "ok $number - $2 # SKIP not to be had of ${CC_FOR_BUILD:-no native compiler}, see config.log"
        return
    fi
    out=$(timeout -k 10 300 "$program" 1 "$3" 2>&1)
    status=$?
    printf '%s\n' "$out" | sed 's/^/# /'
    if [ $status = 0 ] && [ "$out" = 'heap-native: passed' ]; then
        echo "ok $number - $2"
    else
        failures=1
        echo "not ok $number - $2"
        echo "# status $status"
    fi
}

check thread 'the thread sanitizer' 500
check address 'the address and undefined behaviour sanitizers' 1000
echo "1..$number"
exit $failures
