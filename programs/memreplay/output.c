/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The table at the end of a replay, and the time line as a CSV file.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "memreplay.h"

#define UNKNOWN UINT64_MAX

static void print_cell(uint64_t value)
{
    if (value == UNKNOWN) printf(" %15s", "-");
    else printf(" %15" PRIu64, value);
}

/* What the host says, what memreplay counted, what the trace recorded. */
static void print_row(const char *name, uint64_t host, uint64_t counted, uint64_t recorded)
{
    printf("%-26s", name);
    print_cell(host);
    print_cell(counted);
    print_cell(recorded);
    printf("\n");
}

static int compare_seconds(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void print_time(const struct trace *trace, const double *seconds, unsigned int passes)
{
    double sorted[MAX_PASSES];

    memcpy(sorted, seconds, passes * sizeof(*sorted));
    qsort(sorted, passes, sizeof(*sorted), compare_seconds);
    printf("%-26s %13.3f s, %.1f ns per event", "time", sorted[passes / 2],
            sorted[passes / 2] * 1e9 / trace->event_count);
    if (passes > 1) printf(" (median of %u; %.3f s to %.3f s)", passes, sorted[0], sorted[passes - 1]);
    printf("\n");
}

void output_table(const struct trace *trace, const struct replay_options *options,
        const struct replay_result *result, const double *seconds, unsigned int passes, uint64_t wrong)
{
    const HOST_MEMORY_STATISTICS *stats = &result->stats;
    const struct tally *tally = &result->tally;
    bool known = result->has_stats;
    static const char *const levels[] = {"refused, task", "refused, app domain", "refused, process"};
    unsigned int i;

    printf("%s: %lu events of %lu threads, ", trace->name[0] ? trace->name : trace->file, trace->event_count,
            trace->thread_count);
    if (options->one_thread) printf("replayed on one\n");
    else printf("at most %lu at a time\n", trace->thread_overlap);
    print_time(trace, seconds, passes);

    printf("%-26s %15s %15s %15s\n", "", "host", "counted", "recorded");
#define HOST(field) (known ? (uint64_t)stats->field : UNKNOWN)
    print_row("peak live blocks", HOST(peakHeapLiveBlocks), UNKNOWN, trace->peak_live_blocks);
    print_row("peak live bytes", HOST(peakHeapLiveBytes), UNKNOWN, trace->peak_live_bytes);
    print_row("peak heap committed", HOST(peakHeapCommitted), UNKNOWN, UNKNOWN);
    print_row("peak pages committed", HOST(peakPagesCommitted), UNKNOWN, trace->peak_committed);
    print_row("peak committed", HOST(peakCommitted), UNKNOWN, UNKNOWN);
    if (known && !stats->limit) printf("%-26s %15s\n", "limit", "none");
    else print_row("limit", HOST(limit), UNKNOWN, UNKNOWN);
    for (i = 0; i < ARRAY_SIZE(levels); ++i) print_row(levels[i], HOST(refused[i]), tally->refused[i], 0);
    print_row("events skipped", UNKNOWN, tally->skipped, 0);
    print_row("left: blocks", HOST(heapLiveBlocks), tally->live_blocks, trace->leaked_blocks);
    print_row("left: bytes", HOST(heapLiveBytes), tally->live_bytes, trace->leaked_bytes);
    print_row("left: regions", HOST(pageRegions), tally->regions, trace->leaked_regions);
    print_row("left: pages committed", HOST(pagesCommitted), tally->pages_committed, trace->leaked_committed);
#undef HOST
    if (wrong) printf("%-26s %15" PRIu64 "\n", "WRONG", wrong);
    else printf("%-26s %15s\n", "wrong", "nothing");
}

static int compare_samples(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;

    return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

/* A host that keeps no accounts has empty fields where only it could know. */
enum status output_csv(const WCHAR *path, const struct replay_result *result)
{
    const struct sample *sample = result->samples, *end = sample + result->sample_count;
    bool good;
    FILE *file;

    if (!(file = _wfopen(path, L"wb")))
    {
        complain("cannot write %ls: %s", path, strerror(errno));
        return STATUS_SYSTEM;
    }
    qsort(result->samples, result->sample_count, sizeof(*sample), compare_samples);
    fprintf(file, "seconds,events,heap_live,heap_committed,pages_committed,committed,peak_committed,limit\n");
    for (; sample < end; ++sample)
    {
        const HOST_MEMORY_STATISTICS *stats = &sample->stats;

        fprintf(file, "%.6f,%" PRIu64 ",", sample->seconds, sample->events);
        if (result->has_stats)
            fprintf(file, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n",
                    (uint64_t)stats->heapLiveBytes, (uint64_t)stats->heapCommitted,
                    (uint64_t)stats->pagesCommitted, (uint64_t)stats->committed,
                    (uint64_t)stats->peakCommitted, (uint64_t)stats->limit);
        else
            fprintf(file, "%" PRId64 ",,%" PRId64 ",,,\n", sample->tally.live_bytes,
                    sample->tally.pages_committed);
    }
    good = !ferror(file);
    if (fclose(file)) good = false;
    if (good) return STATUS_FINE;
    complain("cannot write %ls: %s", path, strerror(errno));
    return STATUS_SYSTEM;
}
