/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What the files of memreplay share: a trace in memory, the host under test, one replay.
 */

#ifndef MEMREPLAY_H
#define MEMREPLAY_H

#define COBJMACROS
#define CONST_VTABLE
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <inttypes.h>
#include <stdio.h>
#include <windows.h>
#include "mscoreehost.h"

#define ARRAY_SIZE(x) (sizeof(x) / sizeof(*(x)))
#define PRINTF_LIKE(format_at, args_at) \
        __attribute__((format(__MINGW_PRINTF_FORMAT, format_at, args_at)))
#define TRACE_PAGE 4096

/* How the program ends. */
enum status
{
    STATUS_FINE = 0,
    STATUS_WRONG = 1,           /* the host did something it must not */
    STATUS_USAGE = 2,           /* the command line or the trace */
    STATUS_SYSTEM = 3           /* no host, or the system refused memreplay itself something */
};

/* Prints "memreplay: " and the message to standard error. */
void complain(const char *format, ...) PRINTF_LIKE(1, 2);

/* The same, then what the system says about the error. */
void complain_system(DWORD error, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts the text in place of the one before, on the terminal; an empty one clears it. */
void show_progress(const char *format, ...) PRINTF_LIKE(1, 2);

/* ---- the trace ---- */

enum event_kind
{
    EVENT_ALLOC,
    EVENT_ALLOC_ZEROED,
    EVENT_REALLOC,
    EVENT_FREE,
    EVENT_PAGES
};

/* The events that belong together on two threads are known when the trace has been read, so only they pay for
 * a hand-over when it is replayed. */
#define EVENT_HANDS_OVER 0x1    /* another thread waits for what this event makes */
#define EVENT_TAKES_OVER 0x2    /* this event needs what another thread makes */

/* Millions of these must fit into a 32-bit process: sizes are kept with the blocks, page events apart. */
struct event
{
    BYTE kind;
    BYTE flags;
    WORD thread;
    DWORD id; /* the block that is born, or freed; for EVENT_PAGES an index of page_events */
    DWORD old;                  /* EVENT_REALLOC: the block that dies, 0 for none */
};

struct block
{
    SIZE_T size;
    void *mem;                  /* written by the replay */
};

enum page_action
{
    PAGES_RESERVE,
    PAGES_RESERVE_COMMIT,
    PAGES_COMMIT,
    PAGES_PROTECT,
    PAGES_STAMP,                /* pages that must still be zero are marked at both ends */
    PAGES_CHECK,                /* the marks must be there */
    PAGES_DECOMMIT,
    PAGES_RELEASE
};

enum page_prot
{
    PROT_NONE,
    PROT_RW,
    PROT_RX,
    PROT_RWX
};

/* A page event of the trace is a few steps, each one call of the host or one look at the pages. */
struct page_step
{
    BYTE action;
    BYTE prot;                  /* of RESERVE_COMMIT, COMMIT, PROTECT */
    BYTE old_prot;              /* of PROTECT */
    SIZE_T offset;
    SIZE_T size;
    SIZE_T committed;           /* bytes that become committed, or DECOMMIT and RELEASE: cease to be */
};

struct page_event
{
    DWORD region;
    DWORD step_first;
    DWORD step_count;
    DWORD previous;             /* the event of this region before this one; only with EVENT_TAKES_OVER */
    void *gate;                 /* written by the replay */
};

struct region
{
    SIZE_T size;
    DWORD last_step_first;      /* of a region that the trace never releases: how memreplay does */
    DWORD last_step_count;

    char *base; /* the rest is written by the replay, one event of the region after the other */
    SIZE_T committed;
    bool damaged;               /* part of it was refused */
};

struct thread_span
{
    DWORD first, last;          /* events, in the order of the trace */
    DWORD count;
};

struct trace
{
    char *file;                 /* as messages call it, UTF-8 */
    char name[64];              /* as the header has it, else empty */

    struct event *events;       /* as recorded, until a replay sorts them */
    bool by_thread;
    struct thread_span *spans;
    struct block *blocks;       /* element 0 is not used */
    struct region *regions;     /* nor here */
    struct page_event *page_events;
    struct page_step *steps;
    DWORD event_count, block_count, region_count, page_event_count, step_count;
    DWORD thread_count, thread_overlap;

    /* as recorded, all of live blocks and of regions */
    uint64_t peak_live_bytes, peak_live_blocks, peak_mapped, peak_committed;
    uint64_t leaked_blocks, leaked_bytes, leaked_regions, leaked_committed;
    uint64_t peak_total;        /* live and committed bytes together */

    /* The same order on one thread, with the reallocation of a host that has none: the new block is born
     * before the old one dies. */
    uint64_t replay_peak_bytes, replay_peak_blocks;
};

enum status trace_read(const WCHAR *path, bool progress, struct trace *trace);

/* ---- the host ---- */

struct host_options
{
    const WCHAR *dll;           /* NULL: mscoreehost.dll where Windows finds it */
    bool com;
    uint64_t limit;             /* 0: none */
};

struct host
{
    IHostControl *control;
    IHostMemoryManager *manager;
    IHostMalloc *malloc;
    IMscoreeHostMemory *accounts;   /* NULL for a host that is not ours */
};

enum status host_open(const struct host_options *options, struct host *host);
void host_close(struct host *host);
bool host_statistics(const struct host *host, HOST_MEMORY_STATISTICS *stats);

/* ---- a replay ---- */

/* What memreplay itself counted, to hold against what the host says. */
struct tally
{
    int64_t live_blocks;
    int64_t live_bytes;
    int64_t regions;
    int64_t pages_committed;
    uint64_t refused[3];        /* by EMemoryCriticalLevel */
    uint64_t skipped;           /* events of blocks or regions that had been refused */
};

struct sample
{
    double seconds;
    uint64_t events;
    struct tally tally;
    HOST_MEMORY_STATISTICS stats;
};

struct replay_options
{
    bool one_thread;
    bool fill;
    bool progress;
    bool sample;
    EMemoryCriticalLevel level;
};

struct replay_result
{
    double seconds;
    bool has_stats;
    HOST_MEMORY_STATISTICS stats;   /* when the last event was done and nothing had been cleaned up */
    struct tally tally;
    uint64_t wrong; /* things the host must not do; each was complained about, up to a number */
    struct sample *samples;
    DWORD sample_count;
};

enum status replay_run(struct trace *trace, const struct host *host, const struct replay_options *options,
        struct replay_result *result);

/* ---- output ---- */

#define MAX_PASSES 1000

/* The result is that of the last pass, the rest of all of them. */
void output_table(const struct trace *trace, const struct replay_options *options,
        const struct replay_result *result, const double *seconds, unsigned int passes, uint64_t wrong);
enum status output_csv(const WCHAR *path, const struct replay_result *result);

#endif
