/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The same objects from many threads at once: contents, counts, and blocks that another thread frees.
 */

#include "test.h"

#define THREADS 16
#define MANY 64
#define SLOTS 256
#define ROUNDS 20000

/* A block tells its size and address at its start; every byte behind that is the mark's lowest. */
struct tag
{
    SIZE_T size;
    ULONG_PTR mark;
};

/* Shared between the threads: a block put here is freed by whoever takes it out. */
static void *volatile exchange[SLOTS];

struct worker
{
    struct host *host;
    unsigned int seed;
    unsigned int rounds;
    bool all_sizes;
    struct verdict verdict;
};

static SIZE_T choose_size(struct worker *worker)
{
    unsigned int dice = next_random(&worker->seed) % 100;

    if (dice < 60) return sizeof(struct tag) + next_random(&worker->seed) % 64;
    if (dice < 90) return sizeof(struct tag) + next_random(&worker->seed) % 2048;
    if (dice < 99 || !worker->all_sizes) return sizeof(struct tag) + next_random(&worker->seed) % 0x8000;
    return sizeof(struct tag) + next_random(&worker->seed) % 0x200000;
}

static ULONG_PTR mark_of(const void *mem, SIZE_T size)
{
    return (ULONG_PTR)mem ^ (ULONG_PTR)size ^ (ULONG_PTR)0x5a5a5a5a;
}

static void *new_block(struct worker *worker)
{
    EMemoryCriticalLevel level = (EMemoryCriticalLevel)(next_random(&worker->seed) % 3);
    SIZE_T size = choose_size(worker);
    struct tag *tag = NULL;
    HRESULT hr;

    if (next_random(&worker->seed) % 8)
        hr = IHostMalloc_Alloc(worker->host->malloc, size, level, (void **)&tag);
    else
        hr = IHostMalloc_DebugAlloc(worker->host->malloc, size, level, (char *)__FILE__, __LINE__,
        (void **)&tag);
    expect(&worker->verdict, hr == S_OK && tag);
    if (!tag) return NULL;
    expect(&worker->verdict, !((UINT_PTR)tag % MEMORY_ALLOCATION_ALIGNMENT));
    tag->size = size;
    tag->mark = mark_of(tag, size);
    memset(tag + 1, (unsigned char)tag->mark, size - sizeof(*tag));
    return tag;
}

static void end_block(struct worker *worker, void *mem)
{
    struct tag *tag = mem;
    SIZE_T size = tag->size, i;
    const unsigned char *bytes = mem;

    expect(&worker->verdict, tag->mark == mark_of(tag, size));
    if (tag->mark != mark_of(tag, size)) return;
    for (i = sizeof(*tag); i < size && bytes[i] == (unsigned char)tag->mark; i++)
        ;
    expect(&worker->verdict, i == size);
    expect(&worker->verdict, IHostMalloc_Free(worker->host->malloc, mem) == S_OK);
}

static DWORD WINAPI swap_blocks(void *arg)
{
    struct worker *worker = arg;
    unsigned int i;

    for (i = 0; i < worker->rounds; i++)
    {
        void *mem = new_block(worker), *old;

        if (!mem) break;
        old = InterlockedExchangePointer((void **)&exchange[next_random(&worker->seed) % SLOTS], mem);
        if (old) end_block(worker, old);
    }
    return 0;
}

static void finish(struct host *host, struct worker *workers, unsigned int count)
{
    HOST_MEMORY_STATISTICS stats;
    unsigned int i;

    for (i = 0; i < count; i++) assert_verdict(&workers[i].verdict);
    for (i = 0; i < SLOTS; i++)
    {
        void *mem = InterlockedExchangePointer((void **)&exchange[i], NULL);

        if (mem) end_block(&workers[0], mem);
    }
    assert_verdict(&workers[0].verdict);
    stats = get_statistics(host);
    assert_equal_64(stats.heapLiveBlocks, 0);
    assert_equal_64(stats.heapLiveBytes, 0);
    assert_equal_64(stats.invalidFrees, 0);
}

static void test_exchange(void **state)
{
    static struct worker workers[THREADS];
    struct host *host = *state;
    unsigned int i;

    test_begin();
    for (i = 0; i < THREADS; i++) workers[i] = (struct worker){.host = host, .seed = i + 1, .rounds = ROUNDS};
    run_threads(workers, swap_blocks);
    finish(host, workers, THREADS);
}

static void test_many_threads_all_sizes(void **state)
{
    static struct worker workers[MANY];
    struct host *host = *state;
    unsigned int i;

    test_begin();
    for (i = 0; i < MANY; i++)
        workers[i] = (struct worker){.host = host, .seed = 1000 + i, .rounds = ROUNDS / 16,
        .all_sizes = true};
    run_threads(workers, swap_blocks);
    finish(host, workers, MANY);
}

/* Threads that come and go, one generation after the other, each freeing what the last ones left. */
static void test_generations(void **state)
{
    static struct worker workers[8];
    struct host *host = *state;
    unsigned int i, generation;

    test_begin();
    for (generation = 0; generation < 40; generation++)
    {
        for (i = 0; i < ARRAY_SIZE(workers); i++)
        {
            workers[i].host = host;
            workers[i].seed = generation * 8 + i + 1;
            workers[i].rounds = 300;
        }
        run_threads(workers, swap_blocks);
        for (i = 0; i < ARRAY_SIZE(workers); i++) assert_verdict(&workers[i].verdict);
    }
    finish(host, workers, ARRAY_SIZE(workers));
}

/* Counts are exact whenever no call is under way, whoever made and freed the blocks. */
struct holder
{
    struct host *host;
    void *blocks[100];
    bool free;
    struct verdict verdict;
};

static DWORD WINAPI hold(void *arg)
{
    struct holder *holder = arg;
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(holder->blocks); i++)
    {
        if (holder->free) expect(&holder->verdict, IHostMalloc_Free(holder->host->malloc,
                holder->blocks[i]) == S_OK);
        else expect(&holder->verdict, IHostMalloc_Alloc(holder->host->malloc, 10 + i, eTaskCritical,
                &holder->blocks[i]) == S_OK);
    }
    return 0;
}

static void test_exact_counts(void **state)
{
    static struct holder holders[THREADS];
    struct host *host = *state;
    HOST_MEMORY_STATISTICS stats;
    unsigned int i;

    test_begin();
    memset(holders, 0, sizeof(holders));
    for (i = 0; i < THREADS; i++) holders[i].host = host;
    run_threads(holders, hold);
    stats = get_statistics(host);
    assert_equal_64(stats.heapLiveBlocks, THREADS * 100);
    assert_equal_64(stats.heapLiveBytes, THREADS * (100 * 10 + 99 * 100 / 2));
    assert_true(stats.heapCommitted >= stats.heapLiveBytes);

    /* Other threads free them, all but the last one's. */
    for (i = 0; i < THREADS; i++) holders[i].free = true;
    for (i = 0; i + 1 < THREADS; i++) join_thread(start_thread(hold, &holders[i]));
    stats = get_statistics(host);
    assert_equal_64(stats.heapLiveBlocks, 100);
    assert_equal_64(stats.heapLiveBytes, 100 * 10 + 99 * 100 / 2);
    join_thread(start_thread(hold, &holders[THREADS - 1]));
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
    for (i = 0; i < THREADS; i++) assert_verdict(&holders[i].verdict);
}

/* Two threads free the same block at the same moment: one succeeds, the other is told. */
struct racer
{
    struct host *host;
    volatile LONG *turn;
    void *volatile *block;
    LONG freed;
    LONG refused;
};

#define RACES 5000

static DWORD WINAPI race(void *arg)
{
    struct racer *racer = arg;
    LONG i;
    HRESULT hr;

    for (i = 1; i <= RACES; i++)
    {
        while (*racer->turn < i) YieldProcessor();
        hr = IHostMalloc_Free(racer->host->malloc, *racer->block);
        if (hr == S_OK) racer->freed++;
        else if (hr == HOST_E_INVALIDOPERATION) racer->refused++;
        InterlockedIncrement(racer->turn + 1);
    }
    return 0;
}

static void test_double_free_at_once(void **state)
{
    static volatile LONG turn[2];
    static void *volatile block;
    struct host *host = *state;
    struct racer racers[2] = {{0}};
    HANDLE threads[2];
    unsigned int i;
    LONG j;

    test_begin();
    turn[0] = turn[1] = 0;
    for (i = 0; i < 2; i++)
    {
        racers[i] = (struct racer){.host = host, .turn = turn, .block = &block};
        threads[i] = start_thread(race, &racers[i]);
    }
    for (j = 1; j <= RACES; j++)
    {
        block = alloc(host, 64);
        InterlockedExchange(&turn[0], j);
        while (turn[1] < 2 * j) SwitchToThread();
    }
    for (i = 0; i < 2; i++) join_thread(threads[i]);
    assert_int_equal(racers[0].freed + racers[1].freed, RACES);
    assert_int_equal(racers[0].refused + racers[1].refused, RACES);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

struct asker
{
    struct host *host;
    struct verdict verdict;
};

static DWORD WINAPI ask(void *arg)
{
    struct asker *asker = arg;
    unsigned int i;

    for (i = 0; i < 5000; i++)
    {
        IHostMemoryManager *memory = POISON;
        void *other = POISON;

        expect(&asker->verdict, IHostControl_GetHostManager(asker->host->control, &IID_IHostMemoryManager,
                (void **)&memory) == S_OK);
        expect(&asker->verdict, memory == asker->host->memory);
        if (memory == asker->host->memory) IHostMemoryManager_Release(memory);
        expect(&asker->verdict, IHostControl_GetHostManager(asker->host->control, &IID_IHostMalloc,
                &other) == E_NOINTERFACE);
        expect(&asker->verdict, !other);
    }
    return 0;
}

static void test_get_host_manager(void **state)
{
    static struct asker askers[THREADS];
    struct host *host = *state;
    unsigned int i;
    ULONG before;

    test_begin();
    before = get_refcount((IUnknown *)host->memory);
    for (i = 0; i < THREADS; i++) askers[i] = (struct asker){.host = host};
    run_threads(askers, ask);
    for (i = 0; i < THREADS; i++) assert_verdict(&askers[i].verdict);
    assert_refcount(host->memory, before);
}

static DWORD WINAPI make_and_drop(void *arg)
{
    struct asker *asker = arg;
    unsigned int i, j;

    for (i = 0; i < 100; i++)
    {
        IHostMalloc *malloc = NULL;
        void *mem;

        expect(&asker->verdict, IHostMemoryManager_CreateMalloc(asker->host->memory, MALLOC_THREADSAFE,
                &malloc) == S_OK);
        if (!malloc) return 0;
        /* Half of them go with the heap. */
        for (j = 0; j < 20; j++)
        {
            expect(&asker->verdict, IHostMalloc_Alloc(malloc, 100 * j, eTaskCritical, &mem) == S_OK);
            if (j % 2) expect(&asker->verdict, IHostMalloc_Free(malloc, mem) == S_OK);
        }
        expect(&asker->verdict, !IHostMalloc_Release(malloc));
    }
    return 0;
}

static void test_mallocs_come_and_go(void **state)
{
    static struct asker askers[8];
    struct host *host = *state;
    HOST_MEMORY_STATISTICS before, after;
    unsigned int i;

    test_begin();
    before = get_statistics(host);
    for (i = 0; i < ARRAY_SIZE(askers); i++) askers[i] = (struct asker){.host = host};
    run_threads(askers, make_and_drop);
    for (i = 0; i < ARRAY_SIZE(askers); i++) assert_verdict(&askers[i].verdict);
    after = get_statistics(host);
    assert_equal_64(after.heapCommitted, before.heapCommitted);
    assert_equal_64(after.heapLiveBlocks, before.heapLiveBlocks);
}

static DWORD WINAPI fill_and_trim(void *arg)
{
    struct asker *asker = arg;
    static const SIZE_T sizes[] = {24, 600, 3000, 20000, 100000};
    IMscoreeHostMalloc *blocks = NULL;
    IHostMalloc *malloc = NULL;
    void *mem[400];
    unsigned int i, j;

    expect(&asker->verdict, IHostMemoryManager_CreateMalloc(asker->host->memory, MALLOC_THREADSAFE,
            &malloc) == S_OK);
    if (!malloc) return 0;
    expect(&asker->verdict, IHostMalloc_QueryInterface(malloc, &IID_IMscoreeHostMalloc,
            (void **)&blocks) == S_OK);
    for (i = 0; i < 100; i++)
    {
        for (j = 0; j < ARRAY_SIZE(mem); j++)
        {
            SIZE_T size = sizes[j % ARRAY_SIZE(sizes)];

            expect(&asker->verdict, IHostMalloc_Alloc(malloc, size, eTaskCritical, &mem[j]) == S_OK);
            memset(mem[j], (unsigned char)j, size);
        }
        for (j = 0; j < ARRAY_SIZE(mem); j++)
        {
            expect(&asker->verdict, has_bytes(mem[j], (unsigned char)j, sizes[j % ARRAY_SIZE(sizes)]));
            expect(&asker->verdict, IHostMalloc_Free(malloc, mem[j]) == S_OK);
        }
        IMscoreeHostMemory_Trim(asker->host->accounts, NULL);
    }
    IMscoreeHostMalloc_Release(blocks);
    expect(&asker->verdict, !IHostMalloc_Release(malloc));
    return 0;
}

/* Several mallocs give memory back at one moment, and each other's. */
static void test_mallocs_give_back_at_once(void **state)
{
    static struct asker askers[4];
    struct host *host = *state;
    HOST_MEMORY_STATISTICS before;
    unsigned int i;

    test_begin();
    before = get_statistics(host);
    for (i = 0; i < ARRAY_SIZE(askers); i++) askers[i] = (struct asker){.host = host};
    run_threads(askers, fill_and_trim);
    for (i = 0; i < ARRAY_SIZE(askers); i++) assert_verdict(&askers[i].verdict);
    assert_equal_64(get_statistics(host).heapCommitted, before.heapCommitted);
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        host_test(test_exchange),
        host_test(test_many_threads_all_sizes),
        host_test(test_generations),
        host_test(test_exact_counts),
        host_test(test_double_free_at_once),
        host_test(test_get_host_manager),
        host_test(test_mallocs_come_and_go),
        host_test(test_mallocs_give_back_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
