/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The workloads with threads.
 */

#include <string.h>
#include "bench.h"

#define MAX_THREADS 8
#define SLOT_COUNT 2048         /* live blocks of a thread */
#define MEDIUM_COUNT 256
#define GROUP 64                /* blocks between two looks at whether to stop */
#define EXCHANGE_COUNT 256
#define EXCHANGE_SLOTS 16
#define RING_COUNT 4096
#define GENERATIONS 20
#define GENERATION_LENGTH (4 * SLOT_COUNT)
#define SPIN_COUNT 200

struct crew
{
    IHostMalloc *malloc;
    HANDLE go;
    LONG ready;
    bool stop;
    char pad[CACHE_LINE];
};

struct worker
{
    struct crew *crew;
    unsigned int index;
    unsigned int count;         /* blocks that were made and freed */
    char pad[CACHE_LINE];
};

static void *slots[MAX_THREADS][SLOT_COUNT];

static bool should_stop(const struct crew *crew)
{
    return __atomic_load_n(&crew->stop, __ATOMIC_RELAXED);
}

static void count_blocks(struct worker *worker, unsigned int count)
{
    __atomic_store_n(&worker->count, worker->count + count, __ATOMIC_RELAXED);
}

static unsigned int count_all(const struct worker *workers, unsigned int worker_count)
{
    unsigned int i, count = 0;

    for (i = 0; i < worker_count; ++i) count += __atomic_load_n(&workers[i].count, __ATOMIC_RELAXED);
    return count;
}

static void wait_for_go(struct crew *crew)
{
    InterlockedIncrement(&crew->ready);
    WaitForSingleObject(crew->go, INFINITE);
}

static double run_crew(const struct settings *settings, IHostMalloc *malloc, LPTHREAD_START_ROUTINE body,
        unsigned int thread_count)
{
    struct crew crew = {.malloc = malloc, .go = CreateEventA(NULL, TRUE, FALSE, NULL)};
    struct worker workers[MAX_THREADS] = {{NULL}};
    HANDLE threads[MAX_THREADS];
    uint64_t start, elapsed;
    unsigned int i;

    for (i = 0; i < thread_count; ++i)
    {
        workers[i].crew = &crew;
        workers[i].index = i;
        if (!(threads[i] = CreateThread(NULL, 0, body, &workers[i], 0, NULL))) fatal("CreateThread failed");
    }
    while (__atomic_load_n(&crew.ready, __ATOMIC_ACQUIRE) < (LONG)thread_count) Sleep(1);

    start = time_ns();
    SetEvent(crew.go);
    /* Where the machine is busy with something else the time may be too short for anything at all. */
    do Sleep(settings->threads_ms); while (!count_all(workers, thread_count));
    __atomic_store_n(&crew.stop, true, __ATOMIC_RELAXED);
    elapsed = time_ns() - start;

    for (i = 0; i < thread_count; ++i)
    {
        WaitForSingleObject(threads[i], INFINITE);
        CloseHandle(threads[i]);
    }
    CloseHandle(crew.go);
    return (double)elapsed / count_all(workers, thread_count);
}

/* ---- larson, medium: each thread replaces blocks of its own, in no order ---- */

static void replace(struct worker *worker, unsigned int slot_count, unsigned int (*size_of)(unsigned int))
{
    IHostMalloc *malloc = worker->crew->malloc;
    void **own = slots[worker->index];
    unsigned int i, random, state = 362436069 + worker->index;

    for (i = 0; i < slot_count; ++i) own[i] = take(malloc, size_of(next_random(&state)));
    wait_for_go(worker->crew);
    while (!should_stop(worker->crew))
    {
        for (i = 0; i < GROUP; ++i)
        {
            random = next_random(&state);
            give(malloc, own[random % slot_count]);
            own[random % slot_count] = take(malloc, size_of(random >> 12));
        }
        count_blocks(worker, GROUP);
    }
    for (i = 0; i < slot_count; ++i) give(malloc, own[i]);
}

static DWORD WINAPI larson_main(void *worker)
{
    replace(worker, SLOT_COUNT, mix_size);
    return 0;
}

static double run_larson(const struct settings *settings, IHostMalloc *malloc, SIZE_T thread_count)
{
    return run_crew(settings, malloc, larson_main, thread_count);
}

static unsigned int medium_size(unsigned int random)
{
    return 1024 + random % (15 * 1024);
}

static DWORD WINAPI medium_main(void *worker)
{
    replace(worker, MEDIUM_COUNT, medium_size);
    return 0;
}

static double run_medium(const struct settings *settings, IHostMalloc *malloc, SIZE_T thread_count)
{
    return run_crew(settings, malloc, medium_main, thread_count);
}

/* ---- prodcons: one thread of two makes blocks, the other frees them ---- */

struct ring
{
    uint32_t made;
    char pad1[CACHE_LINE];
    uint32_t freed;
    char pad2[CACHE_LINE];
    void *blocks[RING_COUNT];
};

static struct ring rings[MAX_THREADS / 2];

static void rest(unsigned int *spins)
{
    if (++*spins % SPIN_COUNT) YieldProcessor();
    else SwitchToThread();
}

static void produce(struct crew *crew, struct ring *ring)
{
    uint32_t made = ring->made;
    unsigned int i, spins = 0;

    while (!should_stop(crew))
    {
        if (made - __atomic_load_n(&ring->freed, __ATOMIC_ACQUIRE) > RING_COUNT - GROUP)
        {
            rest(&spins);
            continue;
        }
        for (i = 0; i < GROUP; ++i, ++made)
            ring->blocks[made % RING_COUNT] = take(crew->malloc, mix_size(made));
        __atomic_store_n(&ring->made, made, __ATOMIC_RELEASE);
    }
}

static void consume(struct worker *worker, struct ring *ring)
{
    struct crew *crew = worker->crew;
    uint32_t freed = ring->freed;
    unsigned int i, spins = 0;

    for (;;)
    {
        if (__atomic_load_n(&ring->made, __ATOMIC_ACQUIRE) == freed)
        {
            if (should_stop(crew)) return;
            rest(&spins);
            continue;
        }
        for (i = 0; i < GROUP; ++i, ++freed) give(crew->malloc, ring->blocks[freed % RING_COUNT]);
        __atomic_store_n(&ring->freed, freed, __ATOMIC_RELEASE);
        count_blocks(worker, GROUP);
    }
}

static DWORD WINAPI prodcons_main(void *context)
{
    struct worker *worker = context;
    struct ring *ring = &rings[worker->index / 2];

    wait_for_go(worker->crew);
    if (worker->index % 2) consume(worker, ring);
    else produce(worker->crew, ring);
    return 0;
}

static double run_prodcons(const struct settings *settings, IHostMalloc *malloc, SIZE_T thread_count)
{
    double ns = run_crew(settings, malloc, prodcons_main, thread_count);
    unsigned int i;

    /* A producer may have gone on when its consumer had stopped. */
    for (i = 0; i < thread_count / 2; ++i)
        for (; rings[i].freed != rings[i].made; ++rings[i].freed)
            give(malloc, rings[i].blocks[rings[i].freed % RING_COUNT]);
    return ns;
}

/* ---- exchange: nearly every block is freed by a thread that did not make it, and nobody waits ---- */

struct exchange
{
    void *blocks[EXCHANGE_COUNT];
};

static struct exchange exchanges[MAX_THREADS + EXCHANGE_SLOTS];
static struct exchange *on_offer[EXCHANGE_SLOTS];

static DWORD WINAPI exchange_main(void *context)
{
    struct worker *worker = context;
    IHostMalloc *malloc = worker->crew->malloc;
    struct exchange *own = &exchanges[worker->index];
    unsigned int i, random, state = 123456789 + worker->index;

    wait_for_go(worker->crew);
    while (!should_stop(worker->crew))
    {
        random = next_random(&state);
        for (i = 0; i < EXCHANGE_COUNT; ++i) own->blocks[i] = take(malloc, mix_size(random + i));
        own = __atomic_exchange_n(&on_offer[(random >> 20) % EXCHANGE_SLOTS], own, __ATOMIC_ACQ_REL);
        for (i = 0; i < EXCHANGE_COUNT && own->blocks[i]; ++i) give(malloc, own->blocks[i]);
        count_blocks(worker, i);
    }
    memset(own, 0, sizeof(*own));
    return 0;
}

static double run_exchange(const struct settings *settings, IHostMalloc *malloc, SIZE_T thread_count)
{
    unsigned int i, j;
    double ns;

    memset(exchanges, 0, sizeof(exchanges));
    for (i = 0; i < EXCHANGE_SLOTS; ++i) on_offer[i] = &exchanges[MAX_THREADS + i];
    ns = run_crew(settings, malloc, exchange_main, thread_count);
    for (i = 0; i < EXCHANGE_SLOTS; ++i)
        for (j = 0; j < EXCHANGE_COUNT && on_offer[i]->blocks[j]; ++j) give(malloc, on_offer[i]->blocks[j]);
    return ns;
}

/* ---- generations: each thread frees what the last one made; the price of a thread is in it ---- */

static DWORD WINAPI generation_main(void *context)
{
    struct worker *worker = context;
    IHostMalloc *malloc = worker->crew->malloc;
    unsigned int i, random, state = 2654435769u + worker->index;

    for (i = 0; i < GENERATION_LENGTH; ++i)
    {
        random = next_random(&state);
        give(malloc, slots[0][random % SLOT_COUNT]);
        slots[0][random % SLOT_COUNT] = take(malloc, mix_size(random >> 12));
    }
    return 0;
}

static double run_generations(const struct settings *settings, IHostMalloc *malloc, SIZE_T thread_count)
{
    struct crew crew = {.malloc = malloc};
    struct worker worker = {.crew = &crew};
    uint64_t start, elapsed;
    unsigned int i;
    HANDLE thread;

    (void)settings;
    for (i = 0; i < SLOT_COUNT; ++i) slots[0][i] = take(malloc, mix_size(i));
    start = time_ns();
    for (worker.index = 0; worker.index < thread_count; ++worker.index)
    {
        thread = CreateThread(NULL, 0, generation_main, &worker, 0, NULL);
        if (!thread) fatal("CreateThread failed");
        WaitForSingleObject(thread, INFINITE);
        CloseHandle(thread);
    }
    elapsed = time_ns() - start;
    for (i = 0; i < SLOT_COUNT; ++i) give(malloc, slots[0][i]);
    return (double)elapsed / (thread_count * GENERATION_LENGTH);
}

const struct workload thread_workloads[] =
{
    {"larson-1", run_larson, 1},
    {"larson-2", run_larson, 2},
    {"larson-4", run_larson, 4},
    {"larson-8", run_larson, 8},
    {"medium-1", run_medium, 1},
    {"medium-2", run_medium, 2},
    {"medium-8", run_medium, 8},
    {"prodcons-2", run_prodcons, 2},
    {"prodcons-8", run_prodcons, 8},
    {"exchange-2", run_exchange, 2},
    {"exchange-4", run_exchange, 4},
    {"generations", run_generations, GENERATIONS},
    {NULL, NULL, 0}
};
