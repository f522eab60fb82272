#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# A real runtime on the host, as TAP: the battery and Debian's own programs under clrhost on both builds of
# Mono, every call of the module counted, programs that meet a limit, somebody else's host, Wine's own
# mscoree.dll, mistakes.
# Needs the runtimes of build-runtime.sh and skips everything where they are not in the cache.

srcdir=${srcdir:-.} builddir=${builddir:-.}
clr=$srcdir/tests/clr
count=0 failed=0
work=$(mktemp -d) || exit 99
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

case ${CC:-} in
i686*)
    echo "1..0 # SKIP the runtimes are for x86_64"
    exit 0
    ;;
esac
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
    "$wine_program" "$builddir/programs/clrhost/clrhost.exe" "$@" >"$work/out" 2>"$work/err"
    status=$?
}

embed()
{
    "$wine_program" "$builddir/tests/clr/embed.exe" "$@" >"$work/out" 2>"$work/err"
    status=$?
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

# What the programs say without the host, to compare with.
export MSCOREEHOST_RUNTIME="$runtimes/flagged"
clrhost --no-host "$mono_programs/ikdasm.exe" "$work/hello.exe"
cp "$work/out" "$work/ikdasm.expected"
clrhost --no-host /usr/lib/gendarme/gendarme.exe --quiet --severity all --confidence all "$work/hello.exe"
cp "$work/out" "$work/gendarme.expected"
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

    clrhost /usr/lib/gendarme/gendarme.exe --quiet --severity all --confidence all "$work/hello.exe"
    check "$build: gendarme" test "$status" = "$gendarme_status" -a "$(wc -l <"$work/out")" = \
        "$(wc -l <"$work/gendarme.expected")"

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

    for program in hello battery
    do
        embed count "$mono" "$(win "$work/$program.exe")"
        check "$build: coverage of $program" says 'coverage: complete'
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

clrhost --limit 128M --summary "$work/limits.exe" churn 10240 48
check '10 GiB of garbage through 128 MiB' test "$status" = 0
check 'the commit stays within the limit' peak_within 128
check 'low memory and its end are told' \
    grep -qE 'low [1-9][0-9]*, (neutral [1-9]|neutral 0, high [1-9])' "$work/err"
sed -n 's/^  \(committed  \|refused\|notif\)/# \1/p' "$work/err"
clrhost --limit 128M --summary "$work/limits.exe" hoard
check 'OutOfMemoryException at the limit, and the program goes on' test "$status" = 0
check 'the commit stays within the limit then too' peak_within 128
clrhost --limit 48M --summary "$work/limits.exe" native 36000
check 'notifications save a program whose garbage holds memory of the runtime' test "$status" = 0
clrhost --limit 48M --summary --host notify=off "$work/limits.exe" native 36000
check 'which ends without them' test "$status" != 0

# Mistakes: a message each.
clrhost "$work/none.exe"
check 'no such program' says 'none.exe cannot be opened'
clrhost "$builddir/programs/clrhost/clrhost.exe"
check 'a native program' says 'is a native program for x86_64, not a managed one'
clrhost --runtime "$work" "$work/hello.exe"
check 'a folder without a runtime' says 'there is no Mono runtime in'
mkdir -p "$work/wrong/bin"
cp "$builddir/dlls/mscoreehost/mscoreehost.dll" "$work/wrong/bin/libmono-2.0-x86_64.dll"
clrhost --runtime "$work/wrong" "$work/hello.exe"
check 'a DLL that is not Mono' says 'is not Mono'
clrhost --limit 12Q "$work/hello.exe"
check 'a wrong size' test "$status" = 125
clrhost --host limit=x "$work/hello.exe"
check 'a wrong option of the host' says 'the host does not take its options'
(
    unset MSCOREEHOST_RUNTIME
    clrhost "$work/hello.exe"
    says 'no runtime: there is no Wine Mono in this prefix'
)
check 'no runtime at all' test $? = 0

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
