# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Reads the figures of run.sh (round,workload,allocator,ns and workload,allocator,live,committed,resident),
# prints tables, and writes a CSV file and one for the picture. A ratio is taken within each round, then the
# median.

function median(list, n,    i, j, x) {
    for (i = 2; i <= n; i++) {
        x = list[i]
        for (j = i - 1; j && list[j] > x; j--) list[j + 1] = list[j]
        list[j + 1] = x
    }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

function median_ns(work, who,    r, n, list) {
    for (r = 1; r <= rounds; r++) if ((r, work, who) in ns) list[++n] = ns[r, work, who]
    return n ? median(list, n) : 0
}

function least_ns(work, who,    r, least) {
    for (r = 1; r <= rounds; r++)
        if ((r, work, who) in ns && (!least || ns[r, work, who] < least)) least = ns[r, work, who]
    return least
}

function over_host(work, who,    r, n, list) {
    for (r = 1; r <= rounds; r++)
        if ((r, work, who) in ns && ns[r, work, "host"]) list[++n] = ns[r, work, who] / ns[r, work, "host"]
    return n ? median(list, n) : 0
}

function group_of(work) {
    if (work ~ /^debug/) return ""
    if (work ~ /^replay/) return "replay"
    if (work ~ /^large/) return "large"
    if (work ~ /^medium/) return "medium"
    return work ~ /^(pair|ring|batch)|-1$/ ? "small, one thread" : "small, threads"
}

function number(x) {
    if (!x) return "-"
    if (x >= 10000) return sprintf("%.0f k", x / 1000)
    return sprintf(x >= 1000 ? "%.0f" : "%.1f", x)
}

function ratio(x) { return x ? sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : "%.2f", x) : "-" }

function over_live(what, work, who) {
    return live[work, who] ? ratio(what[work, who] / live[work, who]) : "-"
}

function mib(x) { return sprintf("%.1f", x / 1048576) }

function head(title,    k) {
    printf "\n%-18s", title
    for (k = 1; k <= count; k++) printf " %9s", who[k]
    printf "\n"
}

BEGIN { count = split(allocators, who, " ") }

FILENAME == "rounds.csv" {
    ns[$1, $2, $3] = $4
    if (!($2 in seen)) work[++works] = $2
    seen[$2]
    next
}
{
    live[$1, $2] = $3
    committed[$1, $2] = $4
    resident[$1, $2] = $5
    if ($1 ~ /^replay/) next
    if (!($1 in loaded)) step[++steps] = $1
    loaded[$1] = $3
}

END {
    print "host: mscoreehost.dll with everything switched on: each pointer checked, each byte counted, a limit."
    print "heap: HeapAlloc on a HeapCreate heap. The others check nothing, count nothing, know no limit, and have no"
    print "COM call of their own: they are behind the same table of methods here. floor: that call and no allocator."

    print "\nNanoseconds for one Alloc and one Free (replay: for one event); median of " rounds " rounds"
    head("")
    for (w = 1; w <= works; w++) {
        printf "%-18s", work[w]
        for (k = 1; k <= count; k++) printf " %9s", number(median_ns(work[w], who[k]))
        printf "\n"
    }

    print "\nHow many times as long as the host they take; median of the ratios of each round"
    count--
    head("")
    print "workload,allocator,median_ns,least_ns,over_host" >csv
    printf "workload" >plot
    for (k = 1; k <= count; k++) printf " %s", who[k] >plot
    printf "\n" >plot
    for (w = 1; w <= works; w++) {
        printf "%-18s", work[w]
        printf "%s", work[w] >plot
        group = group_of(work[w])
        for (k = 1; k <= count; k++) {
            q = over_host(work[w], who[k])
            printf " %9s", ratio(q)
            m = median_ns(work[w], who[k])
            printf " %s", m ? m : "NaN" >plot
            if (m) printf "%s,%s,%.2f,%.2f,%.4f\n", work[w], who[k], m, least_ns(work[w], who[k]), q >csv
            if (q && group) {
                logs[group, k] += log(q)
                n[group, k]++
            }
            if (q && group ~ /^small/) {
                logs["small", k] += log(q)
                n["small", k]++
            }
        }
        printf "\n"
        printf "\n" >plot
    }
    print "geometric means"
    groups = split("small|small, one thread|small, threads|medium|large|replay", group_name, "|")
    for (g = 1; g <= groups; g++) {
        group = group_name[g]
        if (!n[group, 1]) continue
        printf "%-18s", group
        for (k = 1; k <= count; k++) printf " %9s", n[group, k] ? ratio(exp(logs[group, k] / n[group, k])) : "-"
        printf "\n"
    }

    for (w = 1; w <= works; w++) if ((work[w], "host") in live) replays = replays " " work[w]
    if (replays) {
        print "\nMost memory over most live bytes in a replay on one thread: resident, then committed (not known of"
        print "libraries of Linux), then committed by the host's own count with the threads as recorded"
        head("")
        replay_count = split(replays, replay, " ")
        for (w = 1; w <= replay_count; w++) {
            printf "%-18s", replay[w]
            for (k = 1; k <= count; k++) printf " %9s", over_live(resident, replay[w], who[k])
            printf "\n%-18s", ""
            for (k = 1; k <= count; k++) printf " %9s", over_live(committed, replay[w], who[k])
            printf "\n%-18s %9s\n", "", over_live(committed, replay[w] "-threads", "host")
        }
    }
    if (steps) {
        print "\nMiB resident for a load of small blocks"
        printf "%-18s %9s", "", "live"
        for (k = 1; k <= count; k++) printf " %9s", who[k]
        printf "\n"
        for (s = 1; s <= steps; s++) {
            name = step[s]
            sub(/^memory-/, "", name)
            printf "%-18s %9s", name, mib(loaded[step[s]])
            for (k = 1; k <= count; k++) printf " %9s", mib(resident[step[s], who[k]])
            printf "\n"
        }
    }
}
