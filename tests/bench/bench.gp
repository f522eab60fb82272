# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Draws the figures of run.sh. dat: the file, out: the picture's name without its ending.

stats dat skip 1 using 0 nooutput
rows = STATS_records
columns = int(system("head -n 1 '".dat."' | wc -w"))
name(i) = system(sprintf("head -n 1 '%s' | cut -d ' ' -f %d", dat, i))

set title "One Alloc and one Free through IHostMalloc, ns; left is better" font ",13"
set logscale x
set format x "%.0f"
set xtics 10
set grid xtics mxtics ytics lc rgb "#dddddd"
set yrange [rows - 0.5 : -0.5]
set ytics scale 0
set key outside right top Left reverse spacing 1.3
set border 3
set tics nomirror
array color[8] = ["#000000", "#d62728", "#ff9896", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#7f7f7f"]
array mark[8] = [7, 5, 4, 9, 11, 13, 15, 1]
height = 130 + 22 * rows

plots = 0
do for [ending in "svg png"] {
    if (ending eq "svg") { set terminal svg size 900, height font "sans,11" }
    else { set terminal pngcairo size 900, height font "sans,11" }
    set output out.".".ending
    plot for [i = columns : 2 : -1] dat skip 1 using i : 0 : ytic(1) title name(i) with points \
        pt mark[i - 1] ps (i == 2 ? 1.5 : 1) lc rgb color[i - 1]
}
