/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The limit: where exactly it lies for each critical level, what is charged and credited, and that no
 * number of threads gets past it.
 */

#include "test.h"

#define THREADS 8

static HRESULT commit(struct host *host, char *address, SIZE_T size, EMemoryCriticalLevel level)
{
    void *mem = POISON;
    HRESULT hr = IHostMemoryManager_VirtualAlloc(host->memory, address, size, MEM_COMMIT, PAGE_READWRITE,
            level, &mem);

    if (hr == S_OK) assert_ptr_equal(mem, address);
    else assert_null(mem);
    return hr;
}

static void assert_refused(struct host *host, char *address, SIZE_T size, EMemoryCriticalLevel level)
{
    SetLastError(0);
    assert_hr(commit(host, address, size, level), E_OUTOFMEMORY);
    assert_last_error(ERROR_COMMITMENT_LIMIT);
}

static void set_limit(struct host *host, ULONGLONG limit, ULONGLONG appdomain, ULONGLONG process)
{
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, limit, appdomain, process), S_OK);
}

static ULONGLONG committed(struct host *host)
{
    return get_statistics(host).committed;
}

static void release_pages(struct host *host, char *mem)
{
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_RELEASE), S_OK);
}

/* ---- where the limit lies ---- */

static void test_limit_by_level(void **state)
{
    static const struct
    {
        EMemoryCriticalLevel level;
        SIZE_T pages;
    }
    rows[] =
    {
        {eTaskCritical, 85},
        {eAppDomainCritical, 90},
        {eProcessCritical, 100},
        {(EMemoryCriticalLevel)3, 85},
        {(EMemoryCriticalLevel)-1, 85},
    };
    struct host *host = *state;
    ULONGLONG refused;
    unsigned int i;
    char *mem;

    test_begin();
    set_limit(host, 100 * PAGE, 5 * PAGE, 10 * PAGE);
    mem = alloc_pages(host, NULL, 200 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SIZE_T limit = rows[i].pages * PAGE;
        unsigned int counted = rows[i].level <= eProcessCritical ? rows[i].level : eTaskCritical;

        refused = get_statistics(host).refused[counted];
        assert_refused(host, mem, limit + PAGE, rows[i].level);
        assert_refused(host, mem, limit + 1, rows[i].level);
        assert_equal_64(committed(host), 0);
        assert_equal_64(get_statistics(host).refused[counted], refused + 2);

        assert_hr(commit(host, mem, limit, rows[i].level), S_OK);
        assert_equal_64(committed(host), limit);
        assert_refused(host, mem + limit, 1, rows[i].level);
        assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_DECOMMIT), S_OK);

        assert_hr(commit(host, mem, limit - PAGE, rows[i].level), S_OK);
        assert_hr(commit(host, mem + limit - PAGE, 1, rows[i].level), S_OK);
        assert_equal_64(committed(host), limit);
        assert_refused(host, mem + limit, 1, rows[i].level);
        assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_DECOMMIT), S_OK);
    }
    assert_equal_64(get_statistics(host).refused[eAppDomainCritical], 4);
    assert_equal_64(get_statistics(host).refused[eProcessCritical], 4);
    assert_equal_64(get_statistics(host).peakCommitted, 100 * PAGE);
    release_pages(host, mem);
}

/* Each reserve is there for the higher levels when the lower have taken all of theirs. */
static void test_reserves(void **state)
{
    struct host *host = *state;
    char *mem;

    test_begin();
    set_limit(host, 100 * PAGE, 5 * PAGE, 10 * PAGE);
    mem = alloc_pages(host, NULL, 200 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    assert_hr(commit(host, mem, 85 * PAGE, eTaskCritical), S_OK);
    assert_refused(host, mem + 85 * PAGE, PAGE, eTaskCritical);
    assert_refused(host, mem + 85 * PAGE, 6 * PAGE, eAppDomainCritical);
    assert_hr(commit(host, mem + 85 * PAGE, 5 * PAGE, eAppDomainCritical), S_OK);
    assert_refused(host, mem + 90 * PAGE, PAGE, eTaskCritical);
    assert_refused(host, mem + 90 * PAGE, PAGE, eAppDomainCritical);
    assert_refused(host, mem + 90 * PAGE, 11 * PAGE, eProcessCritical);
    assert_hr(commit(host, mem + 90 * PAGE, 10 * PAGE, eProcessCritical), S_OK);
    assert_refused(host, mem + 100 * PAGE, PAGE, eProcessCritical);
    assert_equal_64(committed(host), 100 * PAGE);

    /* What is given back is first the reserve again. */
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 15 * PAGE, MEM_DECOMMIT), S_OK);
    assert_refused(host, mem, PAGE, eTaskCritical);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem + 15 * PAGE, PAGE, MEM_DECOMMIT), S_OK);
    assert_hr(commit(host, mem, PAGE, eTaskCritical), S_OK);
    assert_refused(host, mem + PAGE, PAGE, eTaskCritical);
    release_pages(host, mem);
}

static void test_limit_that_is_not_whole_pages(void **state)
{
    struct host *host = *state;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    set_limit(host, 4 * PAGE - 1, 0, 0);
    assert_refused(host, mem, 4 * PAGE, eProcessCritical);
    assert_hr(commit(host, mem, 3 * PAGE, eProcessCritical), S_OK);
    assert_refused(host, mem + 3 * PAGE, 1, eProcessCritical);
    set_limit(host, 4 * PAGE, 0, 0);
    assert_hr(commit(host, mem + 3 * PAGE, 1, eProcessCritical), S_OK);
    set_limit(host, 5 * PAGE - 1, 0, 0);
    assert_refused(host, mem + 4 * PAGE, 1, eProcessCritical);
    release_pages(host, mem);
}

static void test_reserve_space_is_free(void **state)
{
    struct host *host = *state;
    char *mem;

    test_begin();
    set_limit(host, 4 * PAGE, 0, 0);
    mem = alloc_pages(host, NULL, 0x10000000, MEM_RESERVE, PAGE_READWRITE);
    assert_equal_64(committed(host), 0);
    assert_equal_64(get_statistics(host).pagesReserved, 0x10000000);
    assert_hr(commit(host, mem + 0x8000000, 4 * PAGE, eTaskCritical), S_OK);
    assert_refused(host, mem, 1, eTaskCritical);
    release_pages(host, mem);
    assert_equal_64(committed(host), 0);
}

/* What is committed already is charged once, so committing it again is granted at the limit too. */
static void test_commit_again_at_the_limit(void **state)
{
    struct host *host = *state;
    char *mem;

    test_begin();
    set_limit(host, 10 * PAGE, 0, 0);
    mem = alloc_pages(host, NULL, 0x20000, MEM_RESERVE, PAGE_READWRITE);
    assert_hr(commit(host, mem, 10 * PAGE, eTaskCritical), S_OK);
    memset(mem, 5, 10 * PAGE);
    assert_hr(commit(host, mem, 10 * PAGE, eTaskCritical), S_OK);
    assert_hr(commit(host, mem + 3 * PAGE, 7 * PAGE, eTaskCritical), S_OK);
    /* One new page among ten old ones is one too many: nothing of it happens. */
    assert_refused(host, mem, 11 * PAGE, eProcessCritical);
    assert_equal_64(committed(host), 10 * PAGE);
    assert_bytes(mem, 5, 10 * PAGE);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem + 4 * PAGE, PAGE, MEM_DECOMMIT), S_OK);
    assert_hr(commit(host, mem, 10 * PAGE, eTaskCritical), S_OK);
    assert_bytes(mem + 4 * PAGE, 0, PAGE);
    assert_bytes(mem, 5, 4 * PAGE);
    release_pages(host, mem);
}

/* A call that the system refuses costs nothing. */
static void test_failed_call_is_not_charged(void **state)
{
    struct host *host = *state;
    void *mem = POISON;
    char *region;

    test_begin();
    set_limit(host, 16 * PAGE, 0, 0);
    region = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    assert_int_not_equal(IHostMemoryManager_VirtualAlloc(host->memory, region, 4 * PAGE, MEM_COMMIT, 0x12345,
            eTaskCritical, &mem), S_OK);
    assert_null(mem);
    assert_int_not_equal(IHostMemoryManager_VirtualAlloc(host->memory, region, 4 * PAGE,
            MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &mem), S_OK);
    assert_null(mem);
    assert_equal_64(committed(host), 0);
    assert_hr(commit(host, region, 16 * PAGE, eTaskCritical), S_OK);
    release_pages(host, region);
}

static void test_lowered_limit(void **state)
{
    struct host *host = *state;
    char *mem;

    test_begin();
    set_limit(host, 20 * PAGE, 0, 0);
    mem = alloc_pages(host, NULL, 0x20000, MEM_RESERVE, PAGE_READWRITE);
    assert_hr(commit(host, mem, 20 * PAGE, eTaskCritical), S_OK);
    memset(mem, 1, 20 * PAGE);
    set_limit(host, 10 * PAGE, 0, 0);
    assert_equal_64(committed(host), 20 * PAGE);
    assert_bytes(mem, 1, 20 * PAGE);
    assert_refused(host, mem + 20 * PAGE, 1, eProcessCritical);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 10 * PAGE, MEM_DECOMMIT), S_OK);
    assert_refused(host, mem, 1, eProcessCritical);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem + 10 * PAGE, PAGE, MEM_DECOMMIT), S_OK);
    assert_hr(commit(host, mem, 1, eTaskCritical), S_OK);
    set_limit(host, 0, 0, 0);
    assert_hr(commit(host, mem, 0x20000, eTaskCritical), S_OK);
    release_pages(host, mem);
}

/* ---- heaps ---- */

static void test_heap_is_charged(void **state)
{
    struct host *host = *state;
    HOST_MEMORY_STATISTICS statistics;
    void *mem;

    test_begin();
    mem = alloc(host, 0x100000);
    statistics = get_statistics(host);
    assert_true(statistics.heapCommitted >= 0x100000);
    assert_equal_64(statistics.committed, statistics.heapCommitted);
    assert_hr(IHostMalloc_Free(host->malloc, mem), S_OK);
}

/* Blocks of every size until the limit stops them; then each level finds what is kept for it. */
static void test_heap_over_limit(void **state)
{
    static const SIZE_T sizes[] = {16, 200, 3000, 20000, 100000, 1000000};
    struct host *host = *state;
    HOST_MEMORY_STATISTICS statistics;
    ULONGLONG limit = 0x1000000;
    EMemoryCriticalLevel level;
    unsigned int i;
    HRESULT hr;
    void *mem;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        IHostMalloc *malloc;
        SIZE_T granted[3] = {0, 0, 0};

        assert_hr(IHostMemoryManager_CreateMalloc(host->memory, MALLOC_THREADSAFE, &malloc), S_OK);
        set_limit(host, limit, 0x200000, 0x400000);
        for (level = eTaskCritical; level <= eProcessCritical; level++)
        {
            mem = POISON;
            while ((hr = IHostMalloc_Alloc(malloc, sizes[i], level, &mem)) == S_OK)
            {
                memset(mem, 0x77, sizes[i]);
                granted[level] += sizes[i];
                mem = POISON;
            }
            assert_hr(hr, E_OUTOFMEMORY);
            assert_null(mem);
            statistics = get_statistics(host);
            assert_true(statistics.committed <= limit - (level < eProcessCritical ? 0x400000 : 0)
                    - (level < eAppDomainCritical ? 0x200000 : 0));
            assert_true(statistics.refused[level] > 0);
        }
        /* A quarter is enough to show that there was something: chunks and headers take their part. */
        assert_true(granted[eTaskCritical] >= 0xa00000 / 4);
        assert_true(granted[eAppDomainCritical] >= 0x200000 / 4);
        assert_true(granted[eProcessCritical] >= 0x400000 / 4);
        assert_true(get_statistics(host).peakCommitted <= limit);
        assert_int_equal(IHostMalloc_Release(malloc), 0);
        set_limit(host, 0, 0, 0);
    }
}

/* The heap holds a piece of memory for small blocks: no limit stands between it and them. */
static void test_block_that_fits_is_never_refused(void **state)
{
    struct host *host = *state;
    unsigned int i;
    void *mem[64];
    char *pages;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(mem); i++) mem[i] = alloc(host, 32);
    set_limit(host, committed(host) + 4 * PAGE, 0, 0);
    pages = alloc_pages(host, NULL, 4 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    assert_equal_64(committed(host), get_statistics(host).limit);
    for (i = 0; i < ARRAY_SIZE(mem) / 2; i++) assert_hr(IHostMalloc_Free(host->malloc, mem[i]), S_OK);
    for (i = 0; i < ARRAY_SIZE(mem) / 2; i++) mem[i] = alloc(host, 32);
    assert_equal_64(get_statistics(host).refused[eTaskCritical], 0);
    for (i = 0; i < ARRAY_SIZE(mem); i++) assert_hr(IHostMalloc_Free(host->malloc, mem[i]), S_OK);
    release_pages(host, pages);
}

/* Memory that a heap holds and does not use goes back before a request is refused. */
static void test_unused_heap_makes_room(void **state)
{
    static const SIZE_T sizes[] = {100, 3000, 40000, 500000};
    struct host *host = *state;
    static void *mem[0x400000 / 100];
    unsigned int i, j, count;
    void *large;
    char *pages;

    test_begin();
    set_limit(host, 0x800000, 0, 0);
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        count = 0x400000 / sizes[i];
        for (j = 0; j < count; j++) mem[j] = alloc(host, sizes[i]);
        assert_true(get_statistics(host).heapCommitted >= (ULONGLONG)count * sizes[i]);
        for (j = 0; j < count; j++) assert_hr(IHostMalloc_Free(host->malloc, mem[j]), S_OK);
        pages = alloc_pages(host, NULL, 0x600000, MEM_COMMIT, PAGE_READWRITE);
        release_pages(host, pages);
        large = alloc(host, 0x600000);
        assert_hr(IHostMalloc_Free(host->malloc, large), S_OK);
    }
    assert_true(get_statistics(host).peakCommitted <= 0x800000);
    assert_equal_64(get_statistics(host).refused[eTaskCritical], 0);
}

static void test_create_malloc_at_the_limit(void **state)
{
    struct host *host = *state;
    IHostMalloc *malloc = POISON;
    HRESULT hr;
    char *mem;

    test_begin();
    set_limit(host, 4 * PAGE, 0, 0);
    mem = alloc_pages(host, NULL, 4 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    hr = IHostMemoryManager_CreateMalloc(host->memory, MALLOC_THREADSAFE, &malloc);
    if (hr == S_OK)
    {
        void *block = POISON;

        assert_hr(IHostMalloc_Alloc(malloc, 100, eProcessCritical, &block), E_OUTOFMEMORY);
        assert_null(block);
        assert_int_equal(IHostMalloc_Release(malloc), 0);
    }
    else
    {
        assert_hr(hr, E_OUTOFMEMORY);
        assert_null(malloc);
    }
    assert_equal_64(committed(host), 4 * PAGE);
    release_pages(host, mem);
}

/* ---- threads ---- */

struct sampler
{
    struct host *host;
    ULONGLONG limit;
    volatile LONG stop;
    volatile LONG samples;
    struct verdict verdict;
};

static DWORD WINAPI sampler_thread(void *param)
{
    struct sampler *sampler = param;
    HOST_MEMORY_STATISTICS statistics = {.cbSize = sizeof(statistics)};

    while (!sampler->stop)
    {
        expect(&sampler->verdict, IMscoreeHostMemory_GetStatistics(sampler->host->accounts,
                &statistics) == S_OK);
        expect(&sampler->verdict, statistics.committed <= sampler->limit);
        expect(&sampler->verdict, statistics.peakCommitted <= sampler->limit);
        InterlockedIncrement(&sampler->samples);
    }
    return 0;
}

struct worker
{
    struct host *host;
    char *region;               /* shared by all, of region_pages */
    unsigned int region_pages;
    unsigned int seed;
    unsigned int granted, refused;
    struct verdict verdict;
};

/* Commits and decommits at random, all workers in the same pages. */
static DWORD WINAPI page_worker(void *param)
{
    struct worker *worker = param;
    unsigned int i;

    for (i = 0; i < 4000; i++)
    {
        unsigned int first = next_random(&worker->seed) % worker->region_pages;
        unsigned int count = 1 + next_random(&worker->seed) % 16;
        char *mem = worker->region + first * PAGE;
        void *out = POISON;
        HRESULT hr;

        if (count > worker->region_pages - first) count = worker->region_pages - first;
        if (next_random(&worker->seed) & 1)
        {
            hr = IHostMemoryManager_VirtualAlloc(worker->host->memory, mem, count * PAGE, MEM_COMMIT,
                    PAGE_READWRITE, (EMemoryCriticalLevel)(i % 3), &out);
            if (hr == S_OK) worker->granted++;
            else worker->refused++;
            expect(&worker->verdict, hr == S_OK ? out == mem : hr == E_OUTOFMEMORY && !out);
        }
        else
            expect(&worker->verdict, IHostMemoryManager_VirtualFree(worker->host->memory, mem, count * PAGE,
                    MEM_DECOMMIT) == S_OK);
    }
    return 0;
}

static ULONGLONG really_committed(char *region, SIZE_T size)
{
    MEMORY_BASIC_INFORMATION info;
    ULONGLONG sum = 0;
    char *p;

    for (p = region; p < region + size; p += info.RegionSize)
    {
        VirtualQuery(p, &info, sizeof(info));
        if (info.State == MEM_COMMIT) sum += info.RegionSize;
    }
    return sum;
}

static void test_overlapping_commits_from_threads(void **state)
{
    struct host *host = *state;
    struct worker workers[THREADS];
    struct sampler sampler = {host, 700 * PAGE, 0, 0, {0}};
    unsigned int i, granted = 0, refused = 0;
    HANDLE thread;
    char *region;

    test_begin();
    set_limit(host, 700 * PAGE, 20 * PAGE, 50 * PAGE);
    region = alloc_pages(host, NULL, 1600 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    memset(workers, 0, sizeof(workers));
    for (i = 0; i < THREADS; i++)
    {
        workers[i].host = host;
        workers[i].region = region;
        workers[i].region_pages = 1600;
        workers[i].seed = i + 1;
    }
    thread = start_thread(sampler_thread, &sampler);
    run_threads(workers, page_worker);
    InterlockedExchange(&sampler.stop, 1);
    join_thread(thread);

    assert_verdict(&sampler.verdict);
    assert_true(sampler.samples > 0);
    for (i = 0; i < THREADS; i++)
    {
        assert_verdict(&workers[i].verdict);
        granted += workers[i].granted;
        refused += workers[i].refused;
    }
    assert_true(granted > 0);
    assert_true(refused > 0);
    assert_true(get_statistics(host).peakCommitted <= 700 * PAGE);
    assert_true(get_statistics(host).peakCommitted > 600 * PAGE);
    assert_equal_64(committed(host), really_committed(region, 1600 * PAGE));
    release_pages(host, region);
    assert_equal_64(committed(host), 0);
}

/* Heaps and pages against one limit. */
static DWORD WINAPI mixed_worker(void *param)
{
    struct worker *worker = param;
    void *blocks[64] = {0}, *pages[8] = {0}, *out;
    unsigned int i, n;
    HRESULT hr;

    for (i = 0; i < 3000; i++)
    {
        unsigned int random = next_random(&worker->seed);

        if (random % 8)
        {
            SIZE_T size = random % 16 == 1 ? 200000 : random % 5000;

            n = random / 64 % ARRAY_SIZE(blocks);
            if (blocks[n])
                expect(&worker->verdict, IHostMalloc_Free(worker->host->malloc, blocks[n]) == S_OK);
            hr = IHostMalloc_Alloc(worker->host->malloc, size, (EMemoryCriticalLevel)(i % 3), &blocks[n]);
            expect(&worker->verdict, hr == S_OK ? blocks[n] != NULL : hr == E_OUTOFMEMORY && !blocks[n]);
            if (blocks[n]) memset(blocks[n], (int)i, size);
        }
        else
        {
            n = random / 64 % ARRAY_SIZE(pages);
            if (pages[n])
                expect(&worker->verdict, IHostMemoryManager_VirtualFree(worker->host->memory, pages[n], 0,
                        MEM_RELEASE) == S_OK);
            out = POISON;
            hr = IHostMemoryManager_VirtualAlloc(worker->host->memory, NULL, (1 + random / 1024 % 32) * PAGE,
                    MEM_COMMIT, PAGE_READWRITE, (EMemoryCriticalLevel)(i % 3), &out);
            expect(&worker->verdict, hr == S_OK ? out != NULL && out != POISON : hr == E_OUTOFMEMORY && !out);
            pages[n] = hr == S_OK ? out : NULL;
        }
        if (hr == S_OK) worker->granted++;
        else worker->refused++;
    }
    for (n = 0; n < ARRAY_SIZE(blocks); n++)
        expect(&worker->verdict, IHostMalloc_Free(worker->host->malloc, blocks[n]) == S_OK);
    for (n = 0; n < ARRAY_SIZE(pages); n++)
        if (pages[n])
            expect(&worker->verdict, IHostMemoryManager_VirtualFree(worker->host->memory, pages[n], 0,
                    MEM_RELEASE) == S_OK);
    return 0;
}

static void test_heaps_and_pages_from_threads(void **state)
{
    struct host *host = *state;
    struct worker workers[THREADS];
    ULONGLONG limit = 0x800000;
    struct sampler sampler = {host, limit, 0, 0, {0}};
    unsigned int i, granted = 0, refused = 0;
    HOST_MEMORY_STATISTICS statistics;
    HANDLE thread;

    test_begin();
    set_limit(host, limit, limit / 64, limit / 32);
    memset(workers, 0, sizeof(workers));
    for (i = 0; i < THREADS; i++)
    {
        workers[i].host = host;
        workers[i].seed = 100 + i;
    }
    thread = start_thread(sampler_thread, &sampler);
    run_threads(workers, mixed_worker);
    InterlockedExchange(&sampler.stop, 1);
    join_thread(thread);

    assert_verdict(&sampler.verdict);
    for (i = 0; i < THREADS; i++)
    {
        assert_verdict(&workers[i].verdict);
        granted += workers[i].granted;
        refused += workers[i].refused;
    }
    assert_true(granted > 0);
    assert_true(refused > 0);
    statistics = get_statistics(host);
    assert_true(statistics.peakCommitted <= limit);
    assert_equal_64(statistics.pagesCommitted, 0);
    assert_equal_64(statistics.pageRegions, 0);
    assert_equal_64(statistics.heapLiveBlocks, 0);
    assert_equal_64(statistics.heapLiveBytes, 0);
    assert_equal_64(statistics.committed, statistics.heapCommitted);
    assert_equal_64(statistics.refused[0] + statistics.refused[1] + statistics.refused[2], refused);
}

/* Threads race for the last page: exactly one gets it, in each of many rounds. */
struct racer
{
    struct host *host;
    char *page;
    volatile LONG *go;
    HRESULT hr;
};

static DWORD WINAPI racer_thread(void *param)
{
    struct racer *racer = param;
    void *out;

    InterlockedDecrement(racer->go);
    while (*racer->go > 0) YieldProcessor();
    racer->hr = IHostMemoryManager_VirtualAlloc(racer->host->memory, racer->page, PAGE, MEM_COMMIT,
            PAGE_READWRITE, eTaskCritical, &out);
    return 0;
}

static void test_race_for_the_last_page(void **state)
{
    struct host *host = *state;
    struct racer racers[THREADS];
    unsigned int i, round, winners;
    volatile LONG go;
    char *region;

    test_begin();
    set_limit(host, 4 * PAGE, 0, 0);
    region = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    for (round = 0; round < 50; round++)
    {
        assert_hr(commit(host, region, 3 * PAGE, eTaskCritical), S_OK);
        go = THREADS;
        for (i = 0; i < THREADS; i++)
        {
            racers[i].host = host;
            racers[i].page = region + (4 + i) * PAGE;
            racers[i].go = &go;
            racers[i].hr = E_UNEXPECTED;
        }
        run_threads(racers, racer_thread);
        for (i = winners = 0; i < THREADS; i++)
        {
            if (racers[i].hr == S_OK) winners++;
            else assert_hr(racers[i].hr, E_OUTOFMEMORY);
        }
        assert_int_equal(winners, 1);
        assert_equal_64(committed(host), 4 * PAGE);
        assert_hr(IHostMemoryManager_VirtualFree(host->memory, region, 0, MEM_DECOMMIT), S_OK);
    }
    assert_equal_64(get_statistics(host).peakCommitted, 4 * PAGE);
    release_pages(host, region);
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        pages_test(test_limit_by_level),
        pages_test(test_reserves),
        pages_test(test_limit_that_is_not_whole_pages),
        pages_test(test_reserve_space_is_free),
        pages_test(test_commit_again_at_the_limit),
        pages_test(test_failed_call_is_not_charged),
        pages_test(test_lowered_limit),
        host_test(test_heap_is_charged),
        pages_test(test_heap_over_limit),
        host_test(test_block_that_fits_is_never_refused),
        host_test(test_unused_heap_makes_room),
        pages_test(test_create_malloc_at_the_limit),
        pages_test(test_overlapping_commits_from_threads),
        host_test(test_heaps_and_pages_from_threads),
        pages_test(test_race_for_the_last_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
