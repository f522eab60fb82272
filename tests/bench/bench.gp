# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Draws the figures of run.sh, as OUT.svg and OUT.png: gnuplot -e "dat='bench.dat'; out='bench'" bench.gp

stats dat skip 1 using 0 nooutput
rows = STATS_records
columns = int(system("head -n 1 '".dat."' | wc -w"))
name(i) = system(sprintf("head -n 1 '%s' | cut -d ' ' -f %d", dat, i))

array color[8] = ["#000000", "#d62728", "#ff9896", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#7f7f7f"]
array mark[8] = [7, 5, 4, 9, 11, 13, 15, 1]
height = 110 + 22 * rows

set encoding utf8
set title "One Alloc and one Free through IHostMalloc (replay: one event); left is better"
set logscale x
set xtics ("3 ns" 3, "10 ns" 10, "30 ns" 30, "100 ns" 100, "300 ns" 300, "1 µs" 1e3, "10 µs" 1e4, \
    "100 µs" 1e5, "1 ms" 1e6)
set grid xtics ytics linetype 1 linecolor rgb "#e4e4e4"
set yrange [rows - 0.5 : -0.5]
set tics scale 0
set border 0
set lmargin 18
set rmargin 14
set key outside right top Left reverse invert samplen 1 spacing 1.4

do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 1000, height font "Sans,13" background "#ffffff" noenhanced
    } else {
        set terminal pngcairo size 1000, height font "Sans,10" background "#ffffff" noenhanced
    }
    set output out.".".ending
    plot for [i = columns : 2 : -1] dat skip 1 using i : 0 : ytic(1) title name(i) with points \
        pointtype mark[i - 1] pointsize (i == 2 ? 1.5 : 1) linecolor rgb color[i - 1]
    set output
}
