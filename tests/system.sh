#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# What holds for the host holds with heap=system too: the test programs that deal with blocks, once more. Run
# by make check, which sets the environment.

# shellcheck disable=SC2154 # make check sets builddir and srcdir

MSCOREEHOST=heap=system
export MSCOREEHOST
out=$builddir/tests/system.out
number=0
failures=0

for name in malloc ledger fakeclr threads exit; do
    program=$builddir/tests/$name.exe
    [ -f "$program" ] || program=$program.so
    sh "$srcdir/tests/run-wine.sh" "$program" >"$out"
    status=$?
    number=$((number + 1))
    # The numbers go on; the first line of each program is its own end.
    awk -v name="$name" -v status=$status -v number=$number '
        { line[NR] = $0 }
        /^1\.\./ { plan = substr($0, 4) }
        /^(not )?ok / { seen++ }
        END {
            good = status == 0 && seen && seen == plan
            print (good ? "ok " : "not ok ") number " - " name
            for (i = 1; i <= NR; i++) {
                if (line[i] ~ /^1\.\./) continue
                if (line[i] ~ /^(not )?ok /) sub(/ok [0-9]* -/, "ok " ++number " - " name ":", line[i])
                print line[i]
            }
            if (!good) print "# " name ": status " status ", " seen + 0 " of " plan + 0 " tests"
            exit !good
        }' "$out" || failures=1
    number=$((number + $(grep -cE '^(not )?ok ' "$out")))
done
rm -f "$out"
echo "1..$number"
exit $failures
