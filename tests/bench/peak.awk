# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Two files of samples of host.c, of the same replay: with nothing behind it, which is the memory of
# memreplay itself, and with an allocator. Prints the peak of what was live, and the peaks of what the
# second has more than the first.

FNR == 1 { next }
FNR == NR {
    committed[$1] = $2
    resident[$1] = $3
    next
}
$1 in committed {
    if ($2 - committed[$1] > most_committed) most_committed = $2 - committed[$1]
    if ($3 - resident[$1] > most_resident) most_resident = $3 - resident[$1]
}
END { print what, live, most_committed + 0, most_resident + 0 }
