#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Runs one program under Wine, as a test: quietly, with an end in sight, with output for Unix tools.
#
#   run-wine.sh PROGRAM [ARGUMENT...]
#   run-wine.sh --prefix      makes the Wine prefix, once and for all
#   run-wine.sh --kill        ends what still runs in it
#
# WINE, WINESERVER: the commands (wine, wineserver). builddir: the build folder (.). WINEPREFIX: the prefix
# (wineprefix in the build folder). RUN_TIMEOUT: seconds (300). RUN_INPUT: what the program reads (/dev/null).

unset DISPLAY WAYLAND_DISPLAY
builddir=${builddir:-$(pwd)}
dlls="Z:$builddir/dlls/mscoreehost;Z:$builddir/dlls/monohost"
WINEPREFIX=${WINEPREFIX:-$builddir/wineprefix}
WINEDEBUG=${WINEDEBUG:--all}
WINEDLLOVERRIDES=${WINEDLLOVERRIDES:-mscoree,mshtml=;winedbg.exe=d}
WINEPATH=$(printf '%s' "$dlls" | tr / '\134')
CMOCKA_MESSAGE_OUTPUT=${CMOCKA_MESSAGE_OUTPUT:-TAP}
export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES WINEPATH CMOCKA_MESSAGE_OUTPUT

case $1 in
--kill)
    ${WINESERVER:-wineserver} -k >/dev/null 2>&1
    exit 0
    ;;
--prefix)
    [ -f "$WINEPREFIX/system.reg" ] && exit 0
    mkdir -p "$WINEPREFIX"
    # shellcheck disable=SC2086 # WINE may have arguments
    timeout -k 10 300 ${WINE:-wine} wineboot --init </dev/null >"$WINEPREFIX/wineboot.log" 2>&1 &&
        timeout -k 10 60 ${WINESERVER:-wineserver} -w
    [ -f "$WINEPREFIX/system.reg" ] && exit 0
    cat "$WINEPREFIX/wineboot.log" >&2
    echo "run-wine.sh: Wine makes no prefix in $WINEPREFIX; try: ${WINE:-wine} wineboot --init" >&2
    exit 99
    ;;
esac

# cmocka writes a skipped test as "not ok", which the TAP driver would count as a failure.
out=$(mktemp) || exit 99
trap 'rm -f "$out"' EXIT
trap 'exit 99' HUP INT TERM
# shellcheck disable=SC2086 # WINE may have arguments
timeout -k 10 "${RUN_TIMEOUT:-300}" ${WINE:-wine} "$@" <"${RUN_INPUT:-/dev/null}" >"$out"
status=$?
tr -d '\r' <"$out" | sed 's/^not ok \([0-9]*\) # SKIP/ok \1 # SKIP/'
if [ $status = 124 ] || [ $status = 137 ]; then
    echo "# no end within ${RUN_TIMEOUT:-300} seconds"
    ${WINESERVER:-wineserver} -k >/dev/null 2>&1
fi
exit $status
