#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# A real runtime on the host, as TAP: the battery and Debian's own programs under clrhost on both builds of
# Mono, every call of the module counted, programs that meet a limit, somebody else's host, Wine's own
# mscoree.dll, mistakes. On i686 mistakes alone: the runtimes are for x86_64.
# Needs the runtimes of build-runtime.sh and skips everything where they are not in the cache.

srcdir=${srcdir:-.} builddir=${builddir:-.}
clr=$srcdir/tests/clr
count=0 failed=0
work=$(mktemp -d "$builddir/tests/clr/work.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
trap 'exit 99' HUP INT TERM

ok()
{
    count=$((count + 1))
    echo "ok $count - $1"
}

not_ok()
{
    count=$((count + 1)) failed=$((failed + 1))
    echo "not ok $count - $1"
    sed 's/^/# /' "$work/out" "$work/err" 2>/dev/null | head -n 40
}

# check NAME COMMAND...: the command's status is the test's.
check()
{
    name=$1
    shift
    if "$@"; then ok "$name"; else not_ok "$name"; fi
}

runtimes=$("$clr/build-runtime.sh" --path) || {
    echo "1..0 # SKIP no runtime in the cache; ./bootstrap clr makes it"
    exit 0
}

win()
{
    printf 'Z:%s' "$1" | tr / '\134'
}

wine_program=$srcdir/tests/run-wine.sh
export builddir

# clrhost ARGUMENT...: output in $work/out and $work/err, status in $status.
clrhost()
{
    "$wine_program" "$builddir/programs/clrhost/clrhost.exe" "$@" >"$work/out" 2>"$work/err.crlf"
    status=$?
    tr -d '\r' <"$work/err.crlf" >"$work/err"
}

embed()
{
    "$wine_program" "$builddir/tests/clr/embed.exe" "$@" >"$work/out" 2>"$work/err.crlf"
    status=$?
    tr -d '\r' <"$work/err.crlf" >"$work/err"
}

says()
{
    grep -q -- "$1" "$work/out" "$work/err"
}

for program in hello battery limits
do
    mcs -out:"$work/$program.exe" -nowarn:219,414 "$clr/$program.cs" >"$work/mcs.out" 2>&1 || {
        cat "$work/mcs.out" >&2
        echo "Bail out! mcs does not compile $program.cs"
        exit 1
    }
done
mono_programs=/usr/lib/mono/4.5
gendarme='/usr/lib/gendarme/gendarme.exe --quiet --severity all --confidence all'

# Mistakes: a message each. On every processor; the runtime is not needed, or for another one.
mistakes()
{
    clrhost "$work/none.exe"
    check 'no such program' says 'none.exe cannot be opened'
    clrhost "$builddir/programs/clrhost/clrhost.exe"
    check 'a native program' says "is a native program for $1, not a managed one"
    clrhost "$clr/hello.cs"
    check 'a file that is no program' says 'hello.cs is not a program file'
    clrhost --runtime "$work" "$work/hello.exe"
    check 'a folder without a runtime' says 'there is no Mono runtime in'
    mkdir -p "$work/wrong/bin"
    cp "$builddir/dlls/mscoreehost/mscoreehost.dll" "$work/wrong/bin/$2"
    clrhost --runtime "$work/wrong" "$work/hello.exe"
    check 'a DLL that is not Mono' says 'is not Mono'
    clrhost --limit 12Q "$work/hello.exe"
    check 'a wrong size' test "$status" = 125
    clrhost --runtime "$work/wrong" --host limit=x "$work/hello.exe"
    check 'a wrong option of the host' says 'the host does not take its options'
    (
        unset MSCOREEHOST_RUNTIME
        clrhost "$work/hello.exe"
        says 'no runtime: there is no Wine Mono in this prefix'
    )
    check 'no runtime at all' test $? = 0
    embed errors kernel32.dll
    check 'a module that is not Mono, and a runtime without one' test "$status" = 0
}

case ${CC:-} in
i686*)
    mistakes i686 libmono-2.0-x86.dll
    mkdir -p "$work/runtime/bin"
    cp "$runtimes/flagged/bin/libmono-2.0-x86_64.dll" "$work/runtime/bin"
    clrhost --runtime "$work/runtime" "$work/hello.exe"
    check 'a runtime for the other processor' says 'is for x86_64, and this clrhost is for i686'
    echo "1..$count"
    [ $failed = 0 ]
    exit
    ;;
esac

# What the programs say without the host, to compare with.
export MSCOREEHOST_RUNTIME="$runtimes/flagged"
clrhost --no-host "$mono_programs/ikdasm.exe" "$work/hello.exe"
cp "$work/out" "$work/ikdasm.expected"
# shellcheck disable=SC2086 # arguments, here and below
clrhost --no-host $gendarme "$work/hello.exe"
sed 1d "$work/out" >"$work/gendarme.expected"      # the first line has the time in it
gendarme_status=$status

for build in flagged stock
do
    export MSCOREEHOST_RUNTIME="$runtimes/$build"
    mono=$(win "$MSCOREEHOST_RUNTIME/bin/libmono-2.0-x86_64.dll")

    clrhost "$work/hello.exe" a 'b c' 'd"e'
    check "$build: hello, its arguments and exit code" \
        test "$status $(cat "$work/out")" = '7 hello a|b c|d"e'

    rm -f "$work/made.exe"
    clrhost "$mono_programs/mcs.exe" -out:"$work/made.exe" "$clr/battery.cs"
    check "$build: mcs" test "$status" = 0 -a -s "$work/made.exe"

    clrhost "$mono_programs/ikdasm.exe" "$work/hello.exe"
    check "$build: ikdasm" cmp -s "$work/out" "$work/ikdasm.expected"

    # shellcheck disable=SC2086
    clrhost $gendarme "$work/hello.exe"
    sed 1d "$work/out" >"$work/gendarme.out"
    check "$build: gendarme" test "$status $(cat "$work/gendarme.out")" = \
        "$gendarme_status $(cat "$work/gendarme.expected")"

    clrhost "$work/battery.exe"
    cp "$work/out" "$work/battery.out"
    while read -r result number dash group
    do
        case $result in
        ok) ok "$build: battery, $group" ;;
        not) not_ok "$build: battery, $dash $group" ;;
        esac
    done <"$work/battery.out"
    check "$build: battery, all groups and the exit code" \
        test "$status $(grep -c '^ok' "$work/battery.out")" = "0 $(sed -n 's/^1\.\.//p' "$work/battery.out")"

    for program in "$work/hello.exe" "$mono_programs/mcs.exe" "${gendarme%% *}" "$work/battery.exe"
    do
        case $program in
        *mcs.exe) set -- -out:"$(win "$work/made.exe")" "$(win "$clr/battery.cs")" ;;
        *gendarme.exe) set -- --quiet --severity all --confidence all "$(win "$work/hello.exe")" ;;
        *) set -- ;;
        esac
        embed count "$mono" "$(win "$program")" "$@"
        check "$build: coverage of $(basename "$program" .exe)" says 'coverage: complete'
        grep '^coverage' "$work/err" | sed 's/^/# /'
    done
    embed plain "$mono" "$(win "$work/battery.exe")"
    check "$build: battery on somebody else's host" test "$status" = 0
    check "$build: which is given nothing that is not its own" says 'foreign 0, below process-critical 0'
    embed late "$mono" "$(win "$work/hello.exe")"
    check "$build: a runtime that has been started is refused" test "$status" = 0
    embed errors "$mono"
    check "$build: answers to mistakes" test "$status" = 0
done

# Limits. Exit codes: 3 is Mono's own end when a malloc fails.
export MSCOREEHOST_RUNTIME="$runtimes/flagged"

# peak_within MEGABYTES: the commit was never above.
peak_within()
{
    awk -v limit="$1" '/^  committed / { peak = $4 } END { exit !(peak > 0 && peak <= limit) }' "$work/err"
}

# peak_from MEGABYTES: it has been there.
peak_from()
{
    awk -v limit="$1" '/^  committed / { peak = $4 } END { exit !(peak >= limit) }' "$work/err"
}

says_both()
{
    says "$1" && says "$2"
}

# Here low memory is told while the runtime starts, when it cannot collect yet.
good=0
for i in 1 2 3 4 5 6 7 8 9 10
do
    clrhost --limit 36M "$work/hello.exe" $i
    [ "$(cat "$work/out")" != "hello $i" ] || good=$((good + 1))
done
check 'low memory while the runtime starts' test $good = 10

clrhost --limit 128M --summary "$work/limits.exe" churn 10240 48
check '10 GiB of garbage through 128 MiB' test "$status" = 0
check 'the commit stays within the limit' peak_within 128
check 'low memory and its end are told' \
    grep -qE 'low [1-9][0-9]*, (neutral [1-9]|neutral 0, high [1-9])' "$work/err"
sed -n 's/^  \(committed  \|refused\|notif\)/# \1/p' "$work/err"
for build in flagged stock
do
    export MSCOREEHOST_RUNTIME="$runtimes/$build"
    clrhost --limit 128M --summary "$work/limits.exe" hoard
    check "$build: OutOfMemoryException at the limit, and the program goes on" test "$status" = 0
    check "$build: at nine tenths of it or above" peak_from 115.2
    check "$build: the commit stays within the limit then too" peak_within 128
    sed 's/^hoard/# &/' "$work/out"
done

# Garbage that holds memory of the runtime's own: without notifications nothing collects it, and the process
# ends when the runtime's malloc is refused the last of the limit. Without a limit it passes.
export MSCOREEHOST_RUNTIME="$runtimes/flagged"
low='low=55,neutral=50,high=45'
clrhost --limit 48M --summary --host $low "$work/limits.exe" native 34000 800
check 'notifications save a program whose garbage holds memory of the runtime' test "$status" = 0
check 'by Low, and before anything was refused' says_both 'refused .* process 0$' 'notifications  *low [1-9]'
clrhost --limit 48M --summary --host $low,notify=off "$work/limits.exe" native 34000 800
check 'which ends without them' test "$status" != 0
check 'where the runtime is out of memory' \
    says '[Cc]ould not allocate\|Failed to allocate\|OutOfMemoryException'
check 'at the limit' peak_from 47
check 'and within it' peak_within 48
check 'and nothing was told' says 'notifications  *low 0, neutral 0, high 0'
clrhost --summary --host notify=off "$work/limits.exe" native 34000 100000
check 'and does not without a limit' test "$status" = 0

mistakes x86_64 libmono-2.0-x86_64.dll

# Wine's own mscoree.dll looks for the runtime in the prefix, and for assemblies beside the program.
WINEPREFIX=${WINEPREFIX:-$builddir/wineprefix}
place=$WINEPREFIX/drive_c/windows/mono
mkdir -p "$place"
ln -sfn "$runtimes/flagged" "$place/mono-2.0"
mkdir -p "$work/wine"
cp "$work/hello.exe" "$builddir/tests/clr/embed.exe" "$runtimes"/flagged/lib/mono/4.5/System*.dll "$work/wine"
(
    WINEDLLOVERRIDES='mshtml=;winedbg.exe=d'
    export WINEDLLOVERRIDES
    unset MSCOREEHOST_RUNTIME
    "$wine_program" "$work/wine/embed.exe" wine "$(win "$work/wine/hello.exe")" Hello.Program there
) >"$work/out" 2>"$work/err"
status=$?
check "Wine's own mscoree.dll and AttachHostControl" test "$status $(cat "$work/out")" = '90 hello there'
(
    unset MSCOREEHOST_RUNTIME
    clrhost "$work/hello.exe" x
    says 'hello x'
)
check 'the Wine Mono of the prefix is found' test $? = 0
rm -f "$place/mono-2.0"

echo "1..$count"
[ $failed = 0 ]
