/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What a program took: a summary at its end, and a time line as a CSV file.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "clrhost.h"

#define CSV_INTERVAL 100        /* milliseconds */

static IMscoreeHostMemory *accounts;
static const char *program;
static bool printing;
static FILE *csv;
static HANDLE csv_stop, csv_thread;
static LARGE_INTEGER begin, frequency;
static volatile LONG ended;

static double seconds(void)
{
    LARGE_INTEGER now;

    QueryPerformanceCounter(&now);
    return (double)(now.QuadPart - begin.QuadPart) / frequency.QuadPart;
}

static bool get_statistics(HOST_MEMORY_STATISTICS *stats)
{
    memset(stats, 0, sizeof(*stats));
    stats->cbSize = sizeof(*stats);
    return accounts && IMscoreeHostMemory_GetStatistics(accounts, stats) == S_OK;
}

static void write_csv_row(void)
{
    HOST_MEMORY_STATISTICS stats;
    unsigned int i;

    if (!get_statistics(&stats)) return;
    {
        const uint64_t columns[] =
        {
            stats.heapLiveBytes, stats.heapCommitted, stats.pagesCommitted, stats.committed,
            stats.peakCommitted, stats.limit, stats.refused[0] + stats.refused[1] + stats.refused[2],
            stats.notifications[eMemoryAvailableLow],
            stats.notifications[eMemoryAvailableNeutral] + stats.notifications[eMemoryAvailableHigh],
        };

        fprintf(csv, "%.3f", seconds());
        for (i = 0; i < ARRAY_SIZE(columns); i++) fprintf(csv, ",%" PRIu64, columns[i]);
        fprintf(csv, "\n");
    }
}

static DWORD WINAPI write_csv(void *arg)
{
    (void)arg;
    do write_csv_row();
    while (WaitForSingleObject(csv_stop, CSV_INTERVAL) == WAIT_TIMEOUT);
    return 0;
}

static void print_bytes(const char *name, uint64_t now, uint64_t peak)
{
    fprintf(stderr, "  %-22s %11.2f MiB %11.2f MiB\n", name, now / 1048576.0, peak / 1048576.0);
}

static void print_count(const char *name, uint64_t now, uint64_t peak)
{
    fprintf(stderr, "  %-22s %11" PRIu64 "     %11" PRIu64 "\n", name, now, peak);
}

static void print_sizes(const struct call_counts *counts)
{
    unsigned int i;

    fprintf(stderr, "  requests by size\n");
    for (i = 0; i < COUNT_SIZES; i++)
    {
        uint64_t size = (uint64_t)1 << i;
        char unit = ' ';

        if (!counts->sizes[i]) continue;
        if (size >= 1048576) size >>= 20, unit = 'M';
        else if (size >= 1024) size >>= 10, unit = 'K';
        fprintf(stderr, i < COUNT_SIZES - 1 ? "    up to %4" PRIu64 "%c %23" PRIu64 "\n"
                : "    over  %4" PRIu64 "%c %23" PRIu64 "\n", i < COUNT_SIZES - 1 ? size : size / 2, unit,
                (uint64_t)counts->sizes[i]);
    }
}

static void print_summary(void)
{
    const struct call_counts *counts = count_get();
    HOST_MEMORY_STATISTICS stats;

    fprintf(stderr, "clrhost: %s, %.2f s\n", program, seconds());
    if (!get_statistics(&stats))
    {
        fprintf(stderr, "  the host keeps no accounts\n");
        return;
    }
    fprintf(stderr, "  %-22s %11s     %11s\n", "", "at the end", "peak");
    print_bytes("committed", stats.committed, stats.peakCommitted);
    print_bytes("  for the heap", stats.heapCommitted, stats.peakHeapCommitted);
    print_bytes("  pages", stats.pagesCommitted, stats.peakPagesCommitted);
    print_bytes("heap blocks, bytes", stats.heapLiveBytes, stats.peakHeapLiveBytes);
    print_count("heap blocks", stats.heapLiveBlocks, stats.peakHeapLiveBlocks);
    print_bytes("address space", stats.pagesReserved, stats.peakPagesReserved);
    if (stats.limit)
        fprintf(stderr, "  %-22s %11.2f MiB, reserves %.2f and %.2f MiB\n", "limit", stats.limit / 1048576.0,
                stats.reserveAppDomain / 1048576.0, stats.reserveProcess / 1048576.0);
    else
        fprintf(stderr, "  %-22s %11s\n", "limit", "none");
    fprintf(stderr, "  %-22s task %" PRIu64 ", app domain %" PRIu64 ", process %" PRIu64 "\n", "refused",
            (uint64_t)stats.refused[0], (uint64_t)stats.refused[1], (uint64_t)stats.refused[2]);
    fprintf(stderr, "  %-22s low %" PRIu64 ", neutral %" PRIu64 ", high %" PRIu64 "\n", "notifications",
            (uint64_t)stats.notifications[eMemoryAvailableLow],
            (uint64_t)stats.notifications[eMemoryAvailableNeutral],
            (uint64_t)stats.notifications[eMemoryAvailableHigh]);
    fprintf(stderr, "  %-22s alloc %" PRIu64 ", zeroed %" PRIu64 ", realloc %" PRIu64 ", free %" PRIu64
            ", foreign %" PRIu64 ", failed %" PRIu64 "\n", "heap calls", (uint64_t)counts->alloc,
            (uint64_t)counts->alloc_zeroed, (uint64_t)counts->realloc, (uint64_t)counts->free,
            (uint64_t)counts->foreign, (uint64_t)counts->failed);
    fprintf(stderr, "  %-22s alloc %" PRIu64 ", free %" PRIu64 ", foreign %" PRIu64 ", protect %" PRIu64
            ", query %" PRIu64 "\n", "page calls", (uint64_t)counts->page_alloc, (uint64_t)counts->page_free,
            (uint64_t)counts->page_foreign, (uint64_t)counts->page_protect, (uint64_t)counts->page_query);
    print_sizes(counts);
}

/* Also run by exit(), which is how a runtime ends the process for Environment.Exit. */
void summary_end(void)
{
    if (InterlockedExchange(&ended, 1)) return;
    if (csv)
    {
        SetEvent(csv_stop);
        WaitForSingleObject(csv_thread, 1000);
        write_csv_row();
        fclose(csv);
    }
    if (printing)
    {
        print_summary();
        fflush(stderr);
    }
}

/* A runtime that is refused what it cannot do without ends with abort(), and that is when one wants to know.
 * */
static void __cdecl on_abort(int number)
{
    (void)number;
    summary_end();
}

void summary_begin(IHostControl *control, const WCHAR *name, bool print, const WCHAR *csv_path)
{
    IHostMemoryManager *memory;

    if (IHostControl_GetHostManager(control, &IID_IHostMemoryManager, (void **)&memory) == S_OK)
    {
        if (FAILED(IHostMemoryManager_QueryInterface(memory, &IID_IMscoreeHostMemory, (void **)&accounts)))
            accounts = NULL;
        IHostMemoryManager_Release(memory);
    }
    program = utf8(name);
    printing = print;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&begin);
    if (csv_path)
    {
        if (!(csv = _wfopen(csv_path, L"wb")))
        {
            complain("cannot write %ls: %s", csv_path, strerror(errno));
        }
        else
        {
            fprintf(csv, "seconds,heap_live,heap_committed,pages_committed,committed,peak_committed,limit,"
                    "refused,low,recovered\n");
            csv_stop = CreateEventW(NULL, TRUE, FALSE, NULL);
            csv_thread = CreateThread(NULL, 0, write_csv, NULL, 0, NULL);
        }
    }
    atexit(summary_end);
    signal(SIGABRT, on_abort);
}
