# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Draws the time line that memreplay --csv writes, as OUT.svg and OUT.png:
#
#   gnuplot -e "csv='mcs-self.csv'; out='mcs-self'" memreplay.gp
#
# name='...' puts a name into the heading.

if (!exists("csv") || !exists("out")) {
    print "memreplay.gp: csv and out must be set, with -e"
    exit status 2
}
if (!exists("name")) name = csv

mib = 1048576.0
set datafile separator ","
stats csv every ::1 using 8 name "LIMIT" nooutput
limit = LIMIT_records > 0 ? LIMIT_max / mib : 0

set linetype 1 linecolor rgb "#1f5fa8" linewidth 2
set linetype 2 linecolor rgb "#e08214" linewidth 2
set linetype 3 linecolor rgb "#b2182b" linewidth 1.5 dashtype 2
set linetype 4 linecolor rgb "#9ecae1"
set linetype 5 linecolor rgb "#555555" linewidth 1 dashtype 3
set border 3 linecolor rgb "#444444"
set tics nomirror out
set grid ytics linecolor rgb "#dddddd" linetype 1
set key outside right top reverse Left samplen 2
set lmargin 10
set rmargin 22
set yrange [0:*]
set autoscale xfixmax

do for [kind in "svg png"] {
    if (kind eq "svg") {
        set terminal svg size 1000,640 font "Sans,13" background "#ffffff" noenhanced
    } else {
        set terminal pngcairo size 1000,640 font "Sans,10" background "#ffffff" noenhanced
    }
    set output out.".".kind
    set multiplot layout 2,1 title name.": memory of the runtime under the host"
    unset xlabel
    set ylabel "MiB, all"
    plot csv every ::1 using 1:($7/mib) with lines linetype 5 title "highest so far", \
        "" every ::1 using 1:($6/mib) with lines linetype 1 title "committed", \
        "" every ::1 using 1:($5/mib) with filledcurves y1=0 linetype 4 fillstyle solid 0.5 noborder \
            title "of it pages", \
        (limit > 0 ? limit : NaN) with lines linetype 3 title (limit > 0 ? "limit" : "")
    set xlabel "seconds"
    set ylabel "MiB, heap"
    plot csv every ::1 using 1:($4/mib) with lines linetype 1 title "committed", \
        "" every ::1 using 1:($3/mib) with lines linetype 2 title "live"
    unset multiplot
    set output
}
