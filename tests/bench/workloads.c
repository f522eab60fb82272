/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The workloads with small blocks on one thread, the list of all, and how a workload gets its malloc.
 */

#include <string.h>
#include "bench.h"

#define ROUND 4096              /* blocks between two looks at the clock */
#define RING_COUNT 1024
#define BATCH_COUNT 100000

static void *batch[BATCH_COUNT];
static unsigned int batch_order[BATCH_COUNT];

/* A block is freed before the next one is made. */
static double run_pair(const struct settings *settings, IHostMalloc *malloc, SIZE_T size)
{
    uint64_t start, elapsed, count = 0;
    unsigned int i;

    for (i = 0; i < 256; ++i) give(malloc, take(malloc, size));
    start = time_ns();
    do
    {
        for (i = 0; i < ROUND; ++i) give(malloc, take(malloc, size));
        count += ROUND;
    } while ((elapsed = time_ns() - start) < settings->least_ns);
    return (double)elapsed / count;
}

static double run_pair_mix(const struct settings *settings, IHostMalloc *malloc, SIZE_T param)
{
    uint64_t start, elapsed, count = 0;
    unsigned int i;

    (void)param;
    for (i = 0; i < MIX_COUNT; ++i) give(malloc, take(malloc, mix[i]));
    start = time_ns();
    do
    {
        for (i = 0; i < ROUND; ++i) give(malloc, take(malloc, mix_size(count + i)));
        count += ROUND;
    } while ((elapsed = time_ns() - start) < settings->least_ns);
    return (double)elapsed / count;
}

/* A thousand live blocks; the oldest one makes room for the next. */
static double run_ring(const struct settings *settings, IHostMalloc *malloc, SIZE_T size)
{
    static void *ring[RING_COUNT];
    uint64_t start, elapsed, count = 0;
    unsigned int i;

    for (i = 0; i < RING_COUNT; ++i) ring[i] = take(malloc, size);
    start = time_ns();
    do
    {
        for (i = 0; i < RING_COUNT; ++i)
        {
            give(malloc, ring[i]);
            ring[i] = take(malloc, size);
        }
        count += RING_COUNT;
    } while ((elapsed = time_ns() - start) < settings->least_ns);
    for (i = 0; i < RING_COUNT; ++i) give(malloc, ring[i]);
    return (double)elapsed / count;
}

static inline void *take_debug(IHostMalloc *malloc, SIZE_T size, int line)
{
    static char file[] = __FILE__;
    void *mem;

    if (IHostMalloc_DebugAlloc(malloc, size, eTaskCritical, file, line, &mem) != S_OK)
        fatal("DebugAlloc failed");
    *(volatile char *)mem = 1;
    return mem;
}

/* The same with DebugAlloc: what the record costs. */
static double run_debug(const struct settings *settings, IHostMalloc *malloc, SIZE_T size)
{
    static void *ring[RING_COUNT];
    uint64_t start, elapsed, count = 0;
    unsigned int i;

    for (i = 0; i < RING_COUNT; ++i) ring[i] = take_debug(malloc, size, i);
    start = time_ns();
    do
    {
        for (i = 0; i < RING_COUNT; ++i)
        {
            give(malloc, ring[i]);
            ring[i] = take_debug(malloc, size, i);
        }
        count += RING_COUNT;
    } while ((elapsed = time_ns() - start) < settings->least_ns);
    for (i = 0; i < RING_COUNT; ++i) give(malloc, ring[i]);
    return (double)elapsed / count;
}

enum order
{
    ORDER_LIFO,
    ORDER_FIFO,
    ORDER_RANDOM
};

static void make_order(enum order order)
{
    unsigned int i, j, swap, state = 88675123;

    for (i = 0; i < BATCH_COUNT; ++i) batch_order[i] = order == ORDER_LIFO ? BATCH_COUNT - 1 - i : i;
    if (order != ORDER_RANDOM) return;
    for (i = BATCH_COUNT - 1; i; --i)
    {
        j = next_random(&state) % (i + 1);
        swap = batch_order[i];
        batch_order[i] = batch_order[j];
        batch_order[j] = swap;
    }
}

/* Many blocks are made, then all of them are freed. The first time is to warm up. */
static double run_batch(const struct settings *settings, IHostMalloc *malloc, SIZE_T order)
{
    uint64_t start = 0, elapsed = 0, count = 0;
    bool warm = false;
    unsigned int i;

    make_order(order);
    do
    {
        for (i = 0; i < BATCH_COUNT; ++i) batch[i] = take(malloc, mix_size(i));
        for (i = 0; i < BATCH_COUNT; ++i) give(malloc, batch[batch_order[i]]);
        if (warm)
        {
            elapsed = time_ns() - start;
            count += BATCH_COUNT;
        }
        else start = time_ns();
        warm = true;
    } while (elapsed < settings->least_ns);
    return (double)elapsed / count;
}

static const struct workload small_workloads[] =
{
    {"pair-16", run_pair, 16},
    {"pair-64", run_pair, 64},
    {"pair-256", run_pair, 256},
    {"pair-1024", run_pair, 1024},
    {"pair-4096", run_pair, 4096},
    {"pair-mix", run_pair_mix, 0},
    {"ring-64", run_ring, 64},
    {"debug-64", run_debug, 64},
    {"batch-lifo", run_batch, ORDER_LIFO},
    {"batch-fifo", run_batch, ORDER_FIFO},
    {"batch-rand", run_batch, ORDER_RANDOM},
    {NULL, NULL, 0}
};

/* ---- all of them ---- */

IHostMalloc *open_malloc(const struct settings *settings)
{
    typedef HRESULT (WINAPI *create_host_control_fn)(const HOST_CONTROL_OPTIONS *, REFIID, void **);

    create_host_control_fn create_host_control;
    IHostMemoryManager *manager;
    IHostControl *control;
    IHostMalloc *malloc;

    create_host_control = (create_host_control_fn)(void *)GetProcAddress(settings->dll, "CreateHostControl");
    if (!create_host_control) fatal("the DLL has no CreateHostControl");
    if (create_host_control(NULL, &IID_IHostControl, (void **)&control) != S_OK)
        fatal("CreateHostControl failed");
    if (IHostControl_GetHostManager(control, &IID_IHostMemoryManager, (void **)&manager) != S_OK)
        fatal("GetHostManager failed");
    if (IHostMemoryManager_CreateMalloc(manager, MALLOC_THREADSAFE, &malloc) != S_OK)
        fatal("CreateMalloc failed");
    IHostMemoryManager_Release(manager);
    IHostControl_Release(control);
    return malloc;
}

/* All measurements are on one malloc, as a runtime has one from its start to its end: the allocators of Linux
 * serve the process, and would alone be warm from the second on. */
bool bench_run(const struct settings *settings, unsigned int index, const char **name, unsigned int repeat,
        double *ns)
{
    static const struct workload *const all[] = {small_workloads, thread_workloads, large_workloads};
    const struct workload *workload;
    IHostMalloc *malloc;
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(all); ++i)
    {
        for (workload = all[i]; workload->name && index; ++workload) --index;
        if (workload->name) break;
    }
    if (i == ARRAY_SIZE(all)) return false;

    *name = workload->name;
    if (!repeat) return true;
    malloc = open_malloc(settings);
    while (repeat--) *ns++ = workload->run(settings, malloc, workload->param);
    IHostMalloc_Release(malloc);
    return true;
}

static bool is_filled(const unsigned char *mem, SIZE_T size, unsigned char value)
{
    while (size && *mem == value)
    {
        ++mem;
        --size;
    }
    return !size;
}

/* Not the tests of an allocator: this keeps what is none from being measured as one. */
void bench_check(const struct settings *settings)
{
    IHostMalloc *malloc = open_malloc(settings);
    unsigned int i, round;

    for (round = 0; round < 2; ++round)
    {
        for (i = 0; i < MIX_COUNT; ++i)
        {
            batch[i] = take(malloc, mix[i]);
            if ((UINT_PTR)batch[i] % MEMORY_ALLOCATION_ALIGNMENT) fatal("a block is not aligned");
            memset(batch[i], i, mix[i]);
        }
        for (i = 0; i < MIX_COUNT; ++i)
        {
            if (!is_filled(batch[i], mix[i], i)) fatal("blocks overlap");
            give(malloc, batch[i]);
        }
    }
    IHostMalloc_Release(malloc);
}
