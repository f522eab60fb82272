#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# make analyze: gcc's analyzer, and clang's and cppcheck where they are installed, over the product's C files.
# Arguments: the compiler's flags. Each finding is printed; the status is 1 if there was one.

srcdir=${srcdir:-.} host_cpu=${host_cpu:-x86_64} CC=${CC:-$host_cpu-w64-mingw32-gcc}
out=analyze.out
set -- "$@" -I"$srcdir/dlls/monohost"
files=$(find "$srcdir/dlls" "$srcdir/programs" -name '*.c')
: >$out

echo "gcc -fanalyzer"
for file in $files; do
    $CC "$@" -O2 -fanalyzer -c -o /dev/null "$file" 2>>$out
done

if command -v clang >/dev/null; then
    echo "clang --analyze"
    for file in $files; do
        clang --target="$host_cpu-w64-windows-gnu" "$@" --analyze --analyzer-output text \
                -o /dev/null "$file" 2>>$out
    done
fi

if command -v cppcheck >/dev/null; then
    echo cppcheck
    platform=win64
    [ "$host_cpu" = x86_64 ] || platform=win32W
    # shellcheck disable=SC2086 # a list
    cppcheck --quiet --platform=$platform --enable=warning,performance,portability --inline-suppr \
            --suppress=missingInclude -Iinclude $files 2>>$out
fi

cat $out
! grep -qE '(warning|error|performance|portability)( |:)' $out
