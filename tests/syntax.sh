#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# The gate of make syntax-check, run in the source folder: no tabs, no trailing blanks, no // comments, no
# line over 110 columns. A helpstring of the IDL may be longer: it cannot be split.

# shellcheck disable=SC2016 # awk's
{
    find dlls include programs tests -name '*.[ch]' -o -name '*.idl' -o -name '*.sh' -o -name '*.gp' \
            -o -name '*.cs'
    ls bootstrap configure.ac .ci/run
} | xargs awk '
    function complain(what)
    {
        printf "%s:%d: %s: %s\n", FILENAME, FNR, what, $0
        wrong = 1
    }
    /\t/ { complain("a tab") }
    /[ \t]$/ { complain("a trailing blank") }
    /(^|[^:"])\/\// && FILENAME ~ /\.([ch]|idl)$/ { complain("a // comment") }
    length > 110 && !/helpstring/ { complain("longer than 110") }
    END {
        if (!wrong) print "syntax-check: nothing to complain about"
        exit wrong
    }'
