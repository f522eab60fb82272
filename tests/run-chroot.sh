#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Runs a command in a Debian tree of its own: the way to a 32-bit Wine where the system's cannot have one.
#
#   run-chroot.sh TREE COMMAND [ARGUMENT...]
#
# The mounts are in a name space of their own, so they are gone with the last process in it, whatever happens
# here. The folders that srcdir and builddir name show up in the tree under their own names.

tree=$1
srcdir=${srcdir-}
builddir=${builddir-}
shift

if [ "$(id -u)" != 0 ]; then
    exec sudo -n env RUN_CHROOT_USER="$(id -u):$(id -g)" srcdir="$srcdir" builddir="$builddir" \
            WINEPREFIX="$WINEPREFIX" WINEDEBUG="$WINEDEBUG" WINEDLLOVERRIDES="$WINEDLLOVERRIDES" \
            WINEPATH="$WINEPATH" CMOCKA_MESSAGE_OUTPUT="$CMOCKA_MESSAGE_OUTPUT" \
            ${MSCOREEHOST+MSCOREEHOST="$MSCOREEHOST"} "$0" "$tree" "$@"
fi

if [ -z "$RUN_CHROOT_OUTSIDE" ]; then
    RUN_CHROOT_OUTSIDE=$PPID
    export RUN_CHROOT_OUTSIDE
    # Below a chroot that is no mount point nothing can be made private.
    propagation=private
    unshare --mount --propagation private true 2>/dev/null || propagation=unchanged
    exec unshare --mount --propagation $propagation "$0" "$tree" "$@"
fi

inside()
{
    chroot --userspec="${RUN_CHROOT_USER:-0:0}" "$tree" \
            /usr/bin/env HOME=/tmp PATH=/usr/lib/wine:/usr/bin:/bin "$@"
}

# Only for mounts that show up outside after all. They must stay as long as a wineserver does, which opens
# files for the programs of later calls too.
finish()
{
    inside wineserver -w
    for dir in $mounts; do umount -l "$dir"; done
}

mount -t proc proc "$tree/proc" || exit 99
mounts=$tree/proc
if grep -q " $tree/proc " "/proc/$RUN_CHROOT_OUTSIDE/mountinfo"; then
    trap finish EXIT
    trap 'exit 99' HUP INT TERM
fi
for dir in "$srcdir" "$builddir"; do
    if [ -n "$dir" ]; then
        mkdir -p "$tree$dir" && mount --bind "$dir" "$tree$dir" || exit 99
        mounts="$tree$dir $mounts"
    fi
done

dir=$(pwd)
[ -d "$tree$dir" ] || dir=/
# shellcheck disable=SC2016 # for the shell inside
inside sh -c 'cd "$1" && shift && exec "$@"' sh "$dir" "$@"
