/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What the files of bench.exe share. Those with workloads are compiled twice, see sysv.h: all that is
 * declared here for them then has another name.
 */

#ifndef BENCH_H
#define BENCH_H

#define COBJMACROS
#define CONST_VTABLE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <windows.h>
#include "mscoreehost.h"

#ifdef SYSV_CALLS
#define bench_check bench_check_sysv
#define bench_memory bench_memory_sysv
#define bench_run bench_run_sysv
#define large_workloads large_workloads_sysv
#define open_malloc open_malloc_sysv
#define thread_workloads thread_workloads_sysv
#endif

#define ARRAY_SIZE(x) (sizeof(x) / sizeof(*(x)))
#define CACHE_LINE 64

struct settings
{
    HMODULE dll;                /* exports CreateHostControl, as mscoreehost.dll does */
    double least_ns;            /* a measurement on one thread goes on for so long */
    DWORD threads_ms;           /* and one with several */
};

void fatal(const char *what) __attribute__((noreturn));

/* ---- workloads ---- */

/* Returns nanoseconds for one Alloc and one Free, of all threads together. */
typedef double (*workload_fn)(const struct settings *settings, IHostMalloc *malloc, SIZE_T param);

struct workload
{
    const char *name;
    workload_fn run;
    SIZE_T param;
};

/* The last one of each has no name. */
extern const struct workload large_workloads[];
extern const struct workload thread_workloads[];

/* A malloc of the DLL, got as a runtime gets one. */
IHostMalloc *open_malloc(const struct settings *settings);

/* Tells the name of a workload, by its number; runs it repeat times, on a malloc of its own, into ns. False:
 * there is none of this number. */
bool bench_run(const struct settings *settings, unsigned int index, const char **name, unsigned int repeat,
        double *ns);

/* Is it an allocator at all? */
void bench_check(const struct settings *settings);

/* Prints memory taken, step by step, for a load of so many bytes. */
void bench_memory(const struct settings *settings, SIZE_T load);

/* ---- bench.c ---- */

#define MIX_COUNT 8192

/* Sizes as native code asks for them: 8 bytes to 32 KiB, half of them at most 48 bytes, one in 70 above 1
 * KiB, 150 bytes on average. */
extern unsigned int mix[MIX_COUNT];

static inline unsigned int mix_size(unsigned int i)
{
    return mix[i % MIX_COUNT];
}

/* Marsaglia's xorshift: good enough, and next to nothing beside what is measured. */
static inline unsigned int next_random(unsigned int *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

uint64_t time_ns(void);

/* ---- calls that are measured ---- */

static inline void *take(IHostMalloc *malloc, SIZE_T size)
{
    void *mem;

    if (IHostMalloc_Alloc(malloc, size, eTaskCritical, &mem) != S_OK) fatal("Alloc failed");
    *(volatile char *)mem = 1;
    return mem;
}

static inline void give(IHostMalloc *malloc, void *mem)
{
    if (IHostMalloc_Free(malloc, mem) != S_OK) fatal("Free failed");
}

#endif
