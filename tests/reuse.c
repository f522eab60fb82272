/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What becomes of freed memory: given back to the system as time goes by, or used again; and wide and large
 * blocks, which have ways of their own, from one thread and from several.
 */

#include "fakeclr.h"

#define MIB ((SIZE_T)0x100000)
#define SLACK_TOP ((SIZE_T)0x1000)      /* larger ones keep their size in a table: wide blocks, */
#define CLASS_TOP ((SIZE_T)0x8000)      /* and still larger ones are large blocks */
#define CUT_TOP ((SIZE_T)0x400000)      /* still larger ones are never cut */

/* ---- fixtures ---- */

static struct callback ear;

static void subscribe(struct host *host)
{
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(host->memory, callback_init(&ear)), S_OK);
}

/* With the thread that tells of pressure, which also sees to what can be given back. */
static int setup_watched(void **state)
{
    host_setup(state);
    subscribe(*state);
    return 0;
}

/* As a host is with notify=off: there is a callback and no thread. */
static int setup_silent(void **state)
{
    static const HOST_CONTROL_OPTIONS options = {.cbSize = sizeof(options),
            .dwFlags = HOST_CONTROL_NO_NOTIFICATIONS};
    static struct host host;

    test_begin();
    host_open(&host, &options);
    host_open_malloc(&host, MALLOC_THREADSAFE);
    subscribe(&host);
    *state = &host;
    return 0;
}

static int teardown_callback(void **state)
{
    struct host *host = *state;

    test_begin();
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(host->memory, NULL), S_OK);
    return host_teardown(state);
}

#define watched_test(function) {#function ", watched", function, setup_watched, teardown_callback, NULL}
#define silent_test(function) {#function ", silent", function, setup_silent, teardown_callback, NULL}

static ULONGLONG committed(struct host *host)
{
    return get_statistics(host).heapCommitted;
}

/* ---- contents ---- */

/* A large block tells its size at its start; each of its pages, and its end, tell where they are. Two blocks
 * that share a page would find out. */
static ULONG_PTR mark_at(const char *at, SIZE_T size)
{
    return (ULONG_PTR)at ^ (size << 7) ^ (ULONG_PTR)0x5a5a5a5a;
}

static void write_marks(char *mem, SIZE_T size)
{
    SIZE_T i;

    for (i = sizeof(SIZE_T); i + sizeof(ULONG_PTR) <= size; i += PAGE)
        *(ULONG_PTR *)(mem + i) = mark_at(mem + i, size);
    memset(mem + size - sizeof(ULONG_PTR), (unsigned char)mark_at(mem, size), sizeof(ULONG_PTR));
    *(SIZE_T *)mem = size;
}

static BOOL has_marks(const char *mem, SIZE_T size)
{
    SIZE_T i, end = size - sizeof(ULONG_PTR);

    if (*(const SIZE_T *)mem != size) return FALSE;
    for (i = sizeof(SIZE_T); i + sizeof(ULONG_PTR) <= end; i += PAGE)
    {
        if (*(const ULONG_PTR *)(mem + i) != mark_at(mem + i, size)) return FALSE;
    }
    return has_bytes(mem + end, (unsigned char)mark_at(mem, size), sizeof(ULONG_PTR));
}

/* From CLASS_TOP to top, each octave as often as the next. */
static SIZE_T large_size(unsigned int *seed, SIZE_T top)
{
    SIZE_T size = CLASS_TOP, octaves = 0;

    while (size << octaves < top) octaves++;
    size <<= next_random(seed) % octaves;
    size += 1 + next_random(seed) % size;
    return size < top ? size : top;
}

static SIZE_T wide_size(unsigned int *seed)
{
    return SLACK_TOP + 1 + next_random(seed) % (CLASS_TOP - SLACK_TOP);
}

static char *new_large(struct host *host, SIZE_T size)
{
    SIZE_T told = 0;
    char *mem = alloc(host, size);

    assert_int_equal((UINT_PTR)mem % MEMORY_ALLOCATION_ALIGNMENT, 0);
    assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, mem, &told), S_OK);
    assert_int_equal(told, size);
    write_marks(mem, size);
    return mem;
}

static void assert_refused(struct host *host, char *mem)
{
    void *out = POISON;
    SIZE_T size = 1;

    assert_hr(IHostMalloc_Free(host->malloc, mem), HOST_E_INVALIDOPERATION);
    assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, mem, &size), HOST_E_INVALIDOPERATION);
    assert_int_equal(size, 0);
    assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, mem, 100, eTaskCritical, &out),
            HOST_E_INVALIDOPERATION);
    assert_null(out);
}

static void free_large(struct host *host, char *mem, SIZE_T size)
{
    assert_true(has_marks(mem, size));
    assert_hr(IHostMalloc_Free(host->malloc, mem), S_OK);
}

#define LITTLE (5 * MIB)

static void assert_all_freed(struct host *host)
{
    HOST_MEMORY_STATISTICS stats = get_statistics(host);
    SIZE_T count = 1;

    assert_equal_64(stats.heapLiveBlocks, 0);
    assert_equal_64(stats.heapLiveBytes, 0);
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 0, NULL, &count), S_OK);
    assert_int_equal(count, 0);
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, NULL), S_OK);
    assert_true(committed(host) < LITTLE);
}

/* ---- given back by time ---- */

#define LOAD (32 * MIB)
#define LARGE_LOAD (16 * MIB)       /* from more than 32 MiB of free large blocks on age is not asked */
#define GIVE_BACK 5000      /* milliseconds; half a second is usual */

enum kind
{
    FEW,            /* of few sizes, to the heap: 65 to 128 bytes */
    MIXED,          /* three quarters of them up to 256 bytes, the others up to CLASS_TOP */
    WIDE,
    LARGE           /* up to CUT_TOP, a few up to twice that */
};

/* There is one: the threads of a test take turns. */
static struct load
{
    struct host *host;
    enum kind kind;
    unsigned int count;
    void *mem[0x70000];
    HANDLE filled, end;
    SIZE_T bytes;                       /* at least */
    bool keep;                          /* the thread that fills leaves it to another to free */
    struct verdict verdict;
}
load;

static SIZE_T load_size(unsigned int *seed)
{
    unsigned int dice = next_random(seed) % 16;

    if (load.kind == LARGE) return large_size(seed, dice ? CUT_TOP : 2 * CUT_TOP);
    if (load.kind == WIDE) return wide_size(seed);
    if (load.kind == FEW) return 65 + next_random(seed) % 64;
    return 1 + next_random(seed) % (dice < 12 ? 256 : dice < 15 ? 2048 : CLASS_TOP);
}

static void fill(void)
{
    unsigned int seed = 1;
    SIZE_T bytes = 0;

    for (load.count = 0; bytes < load.bytes && load.count < ARRAY_SIZE(load.mem); load.count++)
    {
        SIZE_T size = load_size(&seed);
        void *mem = NULL;

        expect(&load.verdict, IHostMalloc_Alloc(load.host->malloc, size, eTaskCritical, &mem) == S_OK);
        expect(&load.verdict, mem != NULL);
        if (!mem) return;
        memset(mem, (unsigned char)load.count, size < PAGE ? size : PAGE);
        load.mem[load.count] = mem;
        bytes += size;
    }
    expect(&load.verdict, bytes >= load.bytes);
}

static void empty(void)
{
    unsigned int seed = 1, i;

    for (i = 0; i < load.count; i++)
    {
        SIZE_T size = load_size(&seed);

        expect(&load.verdict, has_bytes(load.mem[i], (unsigned char)i, size < PAGE ? size : PAGE));
        expect(&load.verdict, IHostMalloc_Free(load.host->malloc, load.mem[i]) == S_OK);
    }
}

static void load_begin(struct host *host, enum kind kind)
{
    load.host = host;
    load.kind = kind;
    load.bytes = kind == LARGE ? LARGE_LOAD : LOAD;
    load.verdict.line = 0;
}

/* What a program does that is not quite idle. */
static void make_calls(struct host *host, unsigned int *seed)
{
    unsigned int i;

    for (i = 0; i < 8; i++)
        assert_hr(IHostMalloc_Free(host->malloc, alloc(host, 1 + next_random(seed) % 256)), S_OK);
}

static void assert_given_back(struct host *host, bool calls)
{
    DWORD start = GetTickCount();
    HOST_MEMORY_STATISTICS stats;
    unsigned int seed = 7;

    assert_verdict(&load.verdict);
    while ((stats = get_statistics(host)).heapCommitted >= LITTLE && GetTickCount() - start < GIVE_BACK)
    {
        if (calls) make_calls(host, &seed);
        Sleep(10);
    }
    if (stats.heapCommitted >= LITTLE)
        fail_msg("0x%x bytes are still committed", (unsigned int)stats.heapCommitted);
    assert_equal_64(stats.committed, stats.heapCommitted);
    assert_true(stats.peakHeapCommitted >= load.bytes);
    assert_equal_64(stats.heapLiveBlocks, 0);
    assert_equal_64(stats.heapLiveBytes, 0);

    /* The heap goes on as before. */
    fill();
    assert_equal_64(get_statistics(host).heapLiveBlocks, load.count);
    empty();
    assert_verdict(&load.verdict);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

static void give_back(struct host *host, enum kind kind, bool calls)
{
    load_begin(host, kind);
    fill();
    assert_true(committed(host) >= load.bytes);
    empty();
    assert_given_back(host, calls);
}

static void test_given_back_while_idle(void **state)
{
    test_begin();
    give_back(*state, FEW, false);
}

/* Of many sizes: a thread that frees and then makes no calls must not keep hold of the span that it took from
 * last, of each. */
static void test_mixed_given_back_while_idle(void **state)
{
    test_begin();
    give_back(*state, MIXED, false);
}

static void test_large_given_back_while_idle(void **state)
{
    test_begin();
    give_back(*state, LARGE, false);
}

static void test_given_back_between_calls(void **state)
{
    test_begin();
    give_back(*state, MIXED, true);
}

static void test_large_given_back_between_calls(void **state)
{
    test_begin();
    give_back(*state, LARGE, true);
}

static DWORD WINAPI fill_and_rest(void *arg)
{
    struct load *mine = arg;

    fill();
    if (!mine->keep) empty();
    SetEvent(mine->filled);
    WaitForSingleObject(mine->end, 120000);
    return 0;
}

/* The thread whose memory it was makes no more calls; this one does. */
static void give_back_for_another(struct host *host, enum kind kind, bool keep)
{
    HANDLE thread;

    load_begin(host, kind);
    load.keep = keep;
    load.filled = CreateEventW(NULL, TRUE, FALSE, NULL);
    load.end = CreateEventW(NULL, TRUE, FALSE, NULL);
    thread = start_thread(fill_and_rest, &load);
    assert_int_equal(WaitForSingleObject(load.filled, 60000), WAIT_OBJECT_0);
    if (keep)
    {
        assert_true(committed(host) >= load.bytes);
        empty();
    }
    assert_given_back(host, true);
    SetEvent(load.end);
    join_thread(thread);
    CloseHandle(load.filled);
    CloseHandle(load.end);
}

static void test_given_back_after_a_thread_that_rests(void **state)
{
    test_begin();
    give_back_for_another(*state, FEW, false);
}

/* It had windows of many wide sizes, each of which would keep a chunk. */
static void test_wide_given_back_after_a_thread_that_rests(void **state)
{
    test_begin();
    give_back_for_another(*state, WIDE, false);
}

static void test_large_given_back_after_a_thread_that_rests(void **state)
{
    test_begin();
    give_back_for_another(*state, LARGE, false);
}

static void test_given_back_by_another_thread(void **state)
{
    test_begin();
    give_back_for_another(*state, FEW, true);
}

static void test_wide_given_back_by_another_thread(void **state)
{
    test_begin();
    give_back_for_another(*state, WIDE, true);
}

static void test_large_given_back_by_another_thread(void **state)
{
    test_begin();
    give_back_for_another(*state, LARGE, true);
}

/* ---- used again ---- */

/* Less than a sweep is worth; but wide blocks that are free need none. */
static void test_wide_used_for_small_ones(void **state)
{
    static void *little[0x10000], *wide[64];
    struct host *host = *state;
    unsigned int count, i;
    ULONGLONG before;

    test_begin();
    for (count = 0; count < 0x8000; count++) little[count] = alloc(host, 100);
    for (i = 0; i < ARRAY_SIZE(wide); i++) wide[i] = alloc(host, 2 * SLACK_TOP);
    before = committed(host);
    for (i = 0; i < ARRAY_SIZE(wide); i++) assert_hr(IHostMalloc_Free(host->malloc, wide[i]), S_OK);
    for (i = 0; i < ARRAY_SIZE(wide) * 64; i++) little[count++] = alloc(host, 100);
    assert_true(committed(host) < before + ARRAY_SIZE(wide) * SLACK_TOP);
    while (count) assert_hr(IHostMalloc_Free(host->malloc, little[--count]), S_OK);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

/* The same of small ones, one size after another, beside much that stays. */
static void test_small_used_for_other_sizes(void **state)
{
    static const SIZE_T sizes[] = {64, 1000, 200, 2000, 100, 400, 3000, 32};
    static void *keep[0x1000], *mem[0x8000];
    struct host *host = *state;
    unsigned int count, i, k;
    ULONGLONG before = 0;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(keep); i++) keep[i] = alloc(host, 1024);
    for (k = 0; k < ARRAY_SIZE(sizes); k++)
    {
        count = (unsigned int)(MIB / 2 / sizes[k]);
        for (i = 0; i < count; i++) mem[i] = alloc(host, sizes[k]);
        if (!k) before = committed(host);
        for (i = 0; i < count; i++) assert_hr(IHostMalloc_Free(host->malloc, mem[i]), S_OK);
    }
    if (committed(host) >= before + MIB)
        fail_msg("0x%x bytes more are committed", (unsigned int)(committed(host) - before));
    for (i = 0; i < ARRAY_SIZE(keep); i++) assert_hr(IHostMalloc_Free(host->malloc, keep[i]), S_OK);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

/* Each of many threads asks a few times for each of many sizes, and rests. Nothing of theirs is live. */
#define RESTING 64

static struct
{
    struct host *host;
    HANDLE done[RESTING], end;
    struct verdict verdict;
} resting;

static DWORD WINAPI ask_and_rest(void *arg)
{
    void *mem[8];
    unsigned int k, i;

    for (k = 1; k <= 32; k++)
    {
        for (i = 0; i < ARRAY_SIZE(mem); i++)
        {
            expect(&resting.verdict, IHostMalloc_Alloc(resting.host->malloc, k * 32, eAppDomainCritical,
                    &mem[i]) == S_OK);
        }
        while (i--) expect(&resting.verdict, IHostMalloc_Free(resting.host->malloc, mem[i]) == S_OK);
    }
    SetEvent(*(HANDLE *)arg);
    WaitForSingleObject(resting.end, 120000);
    return 0;
}

static void join_resting(HANDLE *threads)
{
    unsigned int i;

    SetEvent(resting.end);
    for (i = 0; i < RESTING; i++)
    {
        join_thread(threads[i]);
        CloseHandle(resting.done[i]);
    }
    CloseHandle(resting.end);
}

static void test_little_held_by_threads_that_rest(void **state)
{
    HANDLE threads[RESTING];
    struct host *host = *state;
    ULONGLONG before;
    unsigned int i;

    test_begin();
    resting.host = host;
    resting.end = CreateEventW(NULL, TRUE, FALSE, NULL);
    assert_hr(IHostMalloc_Free(host->malloc, alloc(host, 1)), S_OK);
    before = committed(host);
    for (i = 0; i < RESTING; i++)
    {
        resting.done[i] = CreateEventW(NULL, TRUE, FALSE, NULL);
        threads[i] = start_thread(ask_and_rest, &resting.done[i]);
    }
    for (i = 0; i < RESTING; i++)
        assert_int_equal(WaitForSingleObject(resting.done[i], 60000), WAIT_OBJECT_0);
    if (committed(host) - before >= 4 * MIB)
        fail_msg("0x%x bytes are committed", (unsigned int)(committed(host) - before));
    join_resting(threads);
    assert_verdict(&resting.verdict);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

/* Of wide sizes that it asks for often a thread holds some blocks: nearly half a MiB of these seven sizes.
 * Nothing of that is live, and what is left in the end are the threads' tables. */
#define HELD_BY_ALL (24 * MIB)
#define HELD_BY_NONE MIB

static void ask_often(struct host *host, SIZE_T size, struct verdict *verdict)
{
    unsigned int i;
    void *mem;

    for (i = 0; i < 200; i++)
    {
        mem = NULL;
        expect(verdict, IHostMalloc_Alloc(host->malloc, size, eTaskCritical, &mem) == S_OK);
        expect(verdict, mem && IHostMalloc_Free(host->malloc, mem) == S_OK);
    }
}

static DWORD WINAPI ask_often_and_rest(void *arg)
{
    SIZE_T size;

    for (size = SLACK_TOP + 512; size <= CLASS_TOP; size += SLACK_TOP)
        ask_often(resting.host, size, &resting.verdict);
    SetEvent(*(HANDLE *)arg);
    WaitForSingleObject(resting.end, 120000);
    return 0;
}

/* Threads that rest, or have ended. With a limit that has room for what few of them hold. */
static void give_back_held(struct host *host, bool ended, bool limited)
{
    HANDLE threads[RESTING];
    ULONGLONG before;
    unsigned int i;
    char *mem;

    resting.host = host;
    resting.verdict.line = 0;
    resting.end = CreateEventW(NULL, TRUE, FALSE, NULL);
    assert_hr(IHostMalloc_Free(host->malloc, alloc(host, 1)), S_OK);
    before = committed(host);
    if (limited)
        assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, before + HELD_BY_ALL / 3, 0, 0), S_OK);
    for (i = 0; i < RESTING; i++)
    {
        resting.done[i] = CreateEventW(NULL, TRUE, FALSE, NULL);
        threads[i] = start_thread(ask_often_and_rest, &resting.done[i]);
    }
    for (i = 0; i < RESTING; i++)
        assert_int_equal(WaitForSingleObject(resting.done[i], 60000), WAIT_OBJECT_0);
    if (ended) join_resting(threads);
    if (limited)
    {
        mem = new_large(host, HELD_BY_ALL / 3 - HELD_BY_NONE);
        free_large(host, mem, HELD_BY_ALL / 3 - HELD_BY_NONE);
    }
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, NULL), S_OK);
    if (committed(host) - before >= HELD_BY_NONE)
        fail_msg("0x%x bytes are committed", (unsigned int)(committed(host) - before));
    if (!ended) join_resting(threads);
    assert_verdict(&resting.verdict);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

static void test_wide_held_by_threads_that_rest(void **state)
{
    test_begin();
    give_back_held(*state, false, false);
}

static void test_wide_held_by_threads_that_rest_at_the_limit(void **state)
{
    test_begin();
    give_back_held(*state, false, true);
}

static void test_wide_held_by_threads_that_ended(void **state)
{
    test_begin();
    give_back_held(*state, true, false);
}

static void test_wide_held_by_threads_that_ended_at_the_limit(void **state)
{
    test_begin();
    give_back_held(*state, true, true);
}

/* Threads that ask for wide blocks all at once, again and again. Each keeps its last haul, and rests. */
#define CROWD 4
#define HAUL 64
#define HAULS 1500
#define CROWD_LIMIT (2 * CROWD * HAUL * CLASS_TOP)

struct busy
{
    HANDLE ready;
    unsigned int seed;
    SIZE_T size[HAUL];
    char *mem[HAUL];
};

static DWORD WINAPI haul_and_rest(void *arg)
{
    struct busy *busy = arg;
    unsigned int turn, i;

    for (turn = 0; turn < HAULS; turn++)
    {
        for (i = 0; i < HAUL; i++)
        {
            if (turn)
            {
                expect(&resting.verdict, has_marks(busy->mem[i], busy->size[i]));
                expect(&resting.verdict, IHostMalloc_Free(resting.host->malloc, busy->mem[i]) == S_OK);
            }
            busy->mem[i] = NULL;
            busy->size[i] = wide_size(&busy->seed);
            expect(&resting.verdict, IHostMalloc_Alloc(resting.host->malloc, busy->size[i], eTaskCritical,
                    (void **)&busy->mem[i]) == S_OK);
            if (busy->mem[i]) write_marks(busy->mem[i], busy->size[i]);
        }
    }
    SetEvent(busy->ready);
    WaitForSingleObject(resting.end, 120000);
    return 0;
}

/* What such threads have made room for is not theirs for ever. */
static void test_wide_of_threads_in_a_crowd(void **state)
{
    static struct busy busy[CROWD];
    struct host *host = *state;
    HANDLE threads[CROWD];
    SIZE_T count = 0, size;
    ULONGLONG before;
    unsigned int i, k;

    test_begin();
    resting.host = host;
    resting.verdict.line = 0;
    resting.end = CreateEventW(NULL, TRUE, FALSE, NULL);
    assert_hr(IHostMalloc_Free(host->malloc, alloc(host, 1)), S_OK);
    before = committed(host);
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, before + CROWD_LIMIT, 0, 0), S_OK);
    for (i = 0; i < CROWD; i++)
    {
        busy[i] = (struct busy){.ready = CreateEventW(NULL, TRUE, FALSE, NULL), .seed = 31 + i};
        threads[i] = start_thread(haul_and_rest, &busy[i]);
    }
    for (i = 0; i < CROWD; i++)
        assert_int_equal(WaitForSingleObject(busy[i].ready, 120000), WAIT_OBJECT_0);
    assert_verdict(&resting.verdict);
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 0, NULL, &count), S_OK);
    assert_int_equal(count, CROWD * HAUL);
    for (i = 0; i < CROWD; i++)
    {
        for (k = 0; k < HAUL; k++)
        {
            assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, busy[i].mem[k], &size), S_OK);
            assert_int_equal(size, busy[i].size[k]);
            assert_refused(host, busy[i].mem[k] + MEMORY_ALLOCATION_ALIGNMENT);
            free_large(host, busy[i].mem[k], size);
            assert_refused(host, busy[i].mem[k]);
        }
    }
    size = CROWD_LIMIT - HELD_BY_NONE;
    free_large(host, new_large(host, size), size);
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, NULL), S_OK);
    if (committed(host) - before >= HELD_BY_NONE)
        fail_msg("0x%x bytes are committed", (unsigned int)(committed(host) - before));
    SetEvent(resting.end);
    for (i = 0; i < CROWD; i++)
    {
        join_thread(threads[i]);
        CloseHandle(busy[i].ready);
    }
    CloseHandle(resting.end);
    assert_all_freed(host);
}

#define SLOTS 16
#define ROUND 6

/* Holes that nothing fits in, and what is kept for a while, are as much again. Where nothing is used again
 * there is far more: the heap keeps 32 MiB. */
static void assert_peak(struct host *host, SIZE_T live)
{
    HOST_MEMORY_STATISTICS stats = get_statistics(host);

    if (stats.peakHeapCommitted > 3 * (ULONGLONG)live + 4 * MIB)
        fail_msg("0x%x bytes were committed for 0x%x", (unsigned int)stats.peakHeapCommitted,
                (unsigned int)live);
}

static void test_large_used_again(void **state)
{
    struct host *host = *state;
    unsigned int round, i, seed = 3;
    HOST_MEMORY_STATISTICS stats;
    SIZE_T size[ROUND], live, most = 0;
    char *mem[ROUND];

    test_begin();
    for (round = 0; round < 100; round++)
    {
        for (i = 0, live = 0; i < ROUND; i++)
        {
            size[i] = large_size(&seed, CUT_TOP);
            mem[i] = new_large(host, size[i]);
            live += size[i];
        }
        if (live > most) most = live;
        stats = get_statistics(host);
        assert_equal_64(stats.heapLiveBlocks, ROUND);
        assert_equal_64(stats.heapLiveBytes, live);
        for (i = 0; i < ROUND; i++) free_large(host, mem[i], size[i]);
        for (i = 0; i < ROUND; i++) assert_refused(host, mem[i]);
    }
    assert_peak(host, most);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
    assert_equal_64(get_statistics(host).heapLiveBytes, 0);
}

static void test_large_replaced(void **state)
{
    struct host *host = *state;
    unsigned int turn, i, seed = 5;
    SIZE_T size[SLOTS] = {0};
    char *mem[SLOTS] = {0};

    test_begin();
    for (turn = 0; turn < 2000; turn++)
    {
        i = next_random(&seed) % SLOTS;
        if (mem[i]) free_large(host, mem[i], size[i]);
        size[i] = large_size(&seed, CUT_TOP);
        mem[i] = new_large(host, size[i]);
    }
    for (i = 0; i < SLOTS; i++)
    {
        if (mem[i]) free_large(host, mem[i], size[i]);
    }
    assert_peak(host, (SIZE_T)get_statistics(host).peakHeapLiveBytes);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
    assert_equal_64(get_statistics(host).heapLiveBytes, 0);
}

/* What the heap takes for its own use while blocks that fit are made. */
#define GROWTH (256 * 1024)

/* Pages of one freed block serve many, and become one again, with live blocks before and behind. */
static void test_large_cut_and_merged(void **state)
{
    static const SIZE_T pieces[] = {0x40000, 0x80000, 0x10000, 0x150000, 0xd000, 0x100000, 0x200000};
    struct host *host = *state;
    char *mem[CUT_TOP / 0xd000 + 1], *whole, *before, *behind;
    SIZE_T size[ARRAY_SIZE(mem)], left;
    unsigned int i, j, count;
    ULONGLONG most;

    test_begin();
    before = new_large(host, CUT_TOP);
    whole = new_large(host, CUT_TOP);
    behind = new_large(host, CUT_TOP);
    most = committed(host) + GROWTH;
    for (i = 0; i < ARRAY_SIZE(pieces); i++)
    {
        free_large(host, whole, CUT_TOP);
        for (count = 0, left = CUT_TOP; left; count++)
        {
            size[count] = left < pieces[i] ? left : pieces[i];
            left -= size[count];
            /* Not all whole pages. */
            size[count] -= count;
            mem[count] = new_large(host, size[count]);
        }
        assert_true(committed(host) <= most);
        assert_true(has_marks(before, CUT_TOP));
        assert_true(has_marks(behind, CUT_TOP));
        /* In an order that is neither first first nor last first. */
        for (j = 0; j < count; j += 2) free_large(host, mem[j], size[j]);
        for (j = 1; j < count; j += 2) free_large(host, mem[j], size[j]);
        whole = new_large(host, CUT_TOP);
        assert_true(committed(host) <= most);
        assert_true(has_marks(before, CUT_TOP));
        assert_true(has_marks(behind, CUT_TOP));
    }
    free_large(host, whole, CUT_TOP);
    free_large(host, before, CUT_TOP);
    free_large(host, behind, CUT_TOP);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
    assert_equal_64(get_statistics(host).invalidFrees, 0);
}

/* Two neighbours make room for one of their joint size, while all others are live. */
static void test_large_neighbours_merged(void **state)
{
    const SIZE_T size = CUT_TOP / SLOTS;
    struct host *host = *state;
    char *mem[SLOTS], *sorted[SLOTS], *both;
    unsigned int i, j, pairs = 0;
    ULONGLONG most;

    test_begin();
    both = new_large(host, CUT_TOP);
    most = committed(host) + GROWTH;
    free_large(host, both, CUT_TOP);
    for (i = 0; i < SLOTS; i++)
    {
        mem[i] = new_large(host, size);
        for (j = i; j && sorted[j - 1] > mem[i]; j--) sorted[j] = sorted[j - 1];
        sorted[j] = mem[i];
    }
    assert_true(committed(host) <= most);
    for (i = 0; i + 1 < SLOTS; i++)
    {
        if (sorted[i + 1] != sorted[i] + size) continue;
        pairs++;
        free_large(host, sorted[i + 1], size);
        free_large(host, sorted[i], size);
        both = new_large(host, 2 * size - 5);
        assert_true(committed(host) <= most);
        for (j = 0; j < SLOTS; j++)
        {
            if (j < i || j > i + 1) assert_true(has_marks(sorted[j], size));
        }
        free_large(host, both, 2 * size - 5);
        sorted[i] = new_large(host, size);
        sorted[i + 1] = new_large(host, size);
        assert_true(committed(host) <= most);
        if (sorted[i] > sorted[i + 1])
        {
            both = sorted[i];
            sorted[i] = sorted[i + 1];
            sorted[i + 1] = both;
        }
    }
    assert_true(pairs >= SLOTS / 2);
    for (i = 0; i < SLOTS; i++) free_large(host, sorted[i], size);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

/* Blocks that became small where they lie, and were freed then, are not taken for what they were. */
static void test_large_shrunk_and_freed(void **state)
{
    const SIZE_T size = CUT_TOP / 4, shrunk_size = CLASS_TOP + PAGE;
    struct host *host = *state;
    char *shrunk[8], *mem[32];
    unsigned int i;
    void *out;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(shrunk); i++) shrunk[i] = new_large(host, CUT_TOP);
    for (i = 0; i < ARRAY_SIZE(shrunk); i++)
    {
        assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, shrunk[i], shrunk_size, eTaskCritical, &out),
                S_OK);
        write_marks(out, shrunk_size);
        shrunk[i] = out;
    }
    for (i = 0; i < ARRAY_SIZE(shrunk); i++) free_large(host, shrunk[i], shrunk_size);
    for (i = 0; i < ARRAY_SIZE(mem); i++) mem[i] = new_large(host, size);
    for (i = 0; i < ARRAY_SIZE(mem); i++) free_large(host, mem[i], size);
    assert_all_freed(host);
}

/* Counted right at each size, in the pages of a larger one that has been freed, wherever they come to lie. */
static void resize_large(struct host *host, SIZE_T size, bool grow)
{
    SIZE_T now, told;
    unsigned int i;
    void *out;
    char *mem;

    free_large(host, new_large(host, CUT_TOP), CUT_TOP);
    mem = new_large(host, size);
    for (i = 0; i < 12; i++, size = now)
    {
        now = grow ? size + size / 2 + i : size - size / 3 - i;
        assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, mem, now, eTaskCritical, &out), S_OK);
        mem = out;
        assert_int_equal(*(SIZE_T *)mem, size);
        write_marks(mem, now);
        assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, mem, &told), S_OK);
        assert_int_equal(told, now);
        assert_equal_64(get_statistics(host).heapLiveBytes, now);
        if (i % 4 != 3) continue;
        free_large(host, mem, now);
        assert_equal_64(get_statistics(host).heapLiveBytes, 0);
        assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
        mem = new_large(host, now);
    }
    free_large(host, mem, size);
    assert_all_freed(host);
}

static void test_large_grown_and_shrunk(void **state)
{
    test_begin();
    resize_large(*state, CLASS_TOP + 1, true);
    resize_large(*state, CUT_TOP, false);
}

/* What lies alone is not taken for something much smaller, since the rest would be nobody's. */
static void test_larger_block_not_wasted(void **state)
{
    const SIZE_T size = 6 * CUT_TOP, less = size / 2 + PAGE;
    struct host *host = *state;
    char *mem;

    test_begin();
    free_large(host, new_large(host, size), size);
    mem = new_large(host, less);
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, NULL), S_OK);
    assert_true(committed(host) < less + LITTLE);
    free_large(host, mem, less);
    assert_all_freed(host);
}

/* What a block that is used again has more than is needed now goes to others: to large blocks when they ask
 * for it, to small ones once somebody asks to trim. */
static void test_large_rest_used(void **state)
{
    const SIZE_T part = CUT_TOP / 2 + PAGE, rest = CUT_TOP - part - PAGE;
    struct host *host = *state;
    char *mem, *other, *pieces[CUT_TOP / SLACK_TOP];
    unsigned int i, count = (unsigned int)(rest / 2 / SLACK_TOP);
    ULONGLONG most;

    test_begin();
    free_large(host, new_large(host, CUT_TOP), CUT_TOP);
    most = committed(host) + GROWTH;
    mem = new_large(host, part);
    other = new_large(host, rest);
    assert_true(committed(host) <= most);
    free_large(host, other, rest);
    free_large(host, mem, part);

    mem = new_large(host, CUT_TOP);
    free_large(host, mem, CUT_TOP);
    mem = new_large(host, part);
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, NULL), S_OK);
    for (i = 0; i < count; i++) pieces[i] = alloc(host, SLACK_TOP);
    assert_true(committed(host) <= most);
    assert_true(has_marks(mem, part));
    for (i = 0; i < count; i++) assert_hr(IHostMalloc_Free(host->malloc, pieces[i]), S_OK);
    free_large(host, mem, part);
    assert_all_freed(host);
}

/* A block in the memory of a larger one: nothing but its own start is valid, of neither. */
static void test_large_pointers_refused(void **state)
{
    static const SIZE_T sizes[] = {CLASS_TOP + 1, 0x9000, 0x20000 - 3, 0x100000, CUT_TOP - 1, CUT_TOP,
            CUT_TOP + 1, 2 * CUT_TOP + 12345};
    struct host *host = *state;
    SIZE_T larger, wrong[9];
    unsigned int i, j, turn;
    ULONGLONG refused;
    char *mem, *old;

    test_begin();
    for (turn = 0; turn < 2; turn++)
    {
        for (i = 0; i < ARRAY_SIZE(sizes); i++)
        {
            larger = sizes[i] + sizes[i] / 8;
            old = new_large(host, larger);
            free_large(host, old, larger);
            assert_refused(host, old);
            mem = new_large(host, sizes[i]);
            wrong[0] = 1;
            wrong[1] = 16;
            wrong[2] = PAGE;
            wrong[3] = CLASS_TOP;
            wrong[4] = sizes[i] / 2 & ~(SIZE_T)15;
            wrong[5] = (sizes[i] - 1) & ~(PAGE - 1);
            wrong[6] = sizes[i] - 1;
            wrong[7] = sizes[i];
            wrong[8] = (SIZE_T)-16;
            refused = get_statistics(host).invalidFrees;
            for (j = 0; j < ARRAY_SIZE(wrong); j++) assert_refused(host, mem + wrong[j]);
            if (old != mem) assert_refused(host, old);
            /* A Free and a ReAlloc each. */
            assert_equal_64(get_statistics(host).invalidFrees, refused + 2 * (j + (old != mem)));
            free_large(host, mem, sizes[i]);
            assert_refused(host, mem);
            assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
            assert_equal_64(get_statistics(host).heapLiveBytes, 0);
        }
    }
}

/* ---- wide blocks that a thread holds ---- */

#define TWICE 8
#define TAKEN 24        /* twice that is not yet often */

struct stranger
{
    struct host *host;
    char *freed[TWICE], *taken[TAKEN];
    bool frees;
    struct verdict verdict;
};

/* Frees what is free, and takes some. */
static DWORD WINAPI run_stranger(void *arg)
{
    struct stranger *stranger = arg;
    const SIZE_T size = 2 * SLACK_TOP;
    struct host *host = stranger->host;
    unsigned int i;
    void *mem;

    for (i = 0; stranger->frees && i < TWICE; i++)
        expect(&stranger->verdict,
                IHostMalloc_Free(host->malloc, stranger->freed[i]) == HOST_E_INVALIDOPERATION);
    for (i = 0; i < TAKEN; i++)
    {
        mem = NULL;
        expect(&stranger->verdict, IHostMalloc_Alloc(host->malloc, size, eTaskCritical, &mem) == S_OK);
        if ((stranger->taken[i] = mem)) write_marks(mem, size);
    }
    return 0;
}

/* Blocks of which this thread holds some for its next requests. Freed again they are no one else's, nor its
 * own twice. */
static void free_twice(struct host *host, bool by_a_stranger)
{
    const SIZE_T size = 2 * SLACK_TOP;
    struct stranger stranger = {.host = host, .frees = by_a_stranger};
    char *taken[2 * TAKEN];
    unsigned int i, j;
    SIZE_T count = 1;

    ask_often(host, size, &stranger.verdict);
    for (i = 0; i < TWICE; i++) stranger.freed[i] = new_large(host, size);
    for (i = 0; i < TWICE; i++) free_large(host, stranger.freed[i], size);
    for (i = 0; !by_a_stranger && i < TWICE; i++) assert_refused(host, stranger.freed[i]);
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 0, NULL, &count), S_OK);
    assert_int_equal(count, 0);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
    join_thread(start_thread(run_stranger, &stranger));
    assert_verdict(&stranger.verdict);
    for (i = 0; i < TAKEN; i++)
    {
        taken[i] = new_large(host, size);
        taken[TAKEN + i] = stranger.taken[i];
    }
    assert_equal_64(get_statistics(host).heapLiveBlocks, ARRAY_SIZE(taken));
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 0, NULL, &count), S_OK);
    assert_int_equal(count, ARRAY_SIZE(taken));
    for (i = 0; i < ARRAY_SIZE(taken); i++)
    {
        for (j = 0; j < i; j++) assert_ptr_not_equal(taken[i], taken[j]);
    }
    for (i = 0; i < ARRAY_SIZE(taken); i++) free_large(host, taken[i], size);
    assert_all_freed(host);
}

static void test_wide_freed_twice(void **state)
{
    struct host *host = *state;

    test_begin();
    free_twice(host, false);
    /* A Free and a ReAlloc of each. */
    assert_equal_64(get_statistics(host).invalidFrees, 2 * TWICE);
}

static void test_wide_freed_again_by_another_thread(void **state)
{
    struct host *host = *state;

    test_begin();
    free_twice(host, true);
    assert_equal_64(get_statistics(host).invalidFrees, TWICE);
}

/* ---- large blocks and several threads ---- */

#define WORKERS 4
#define BLOCKS 5000
#define BOX 8

/* Blocks on their way from one thread to the next. */
struct box
{
    void *volatile mem[BOX];
};

struct worker
{
    struct host *host;
    struct box *out, *in;               /* NULL: makes none, frees none */
    bool wide;                          /* blocks to CLASS_TOP, else larger ones */
    unsigned int seed;
    struct verdict verdict;
};

static bool make_one(struct worker *worker, unsigned int made)
{
    SIZE_T top = worker->seed % 64 ? 16 * CLASS_TOP : CUT_TOP;
    SIZE_T size = worker->wide ? wide_size(&worker->seed) : large_size(&worker->seed, top);
    void *mem = NULL;

    expect(&worker->verdict, IHostMalloc_Alloc(worker->host->malloc, size, eTaskCritical, &mem) == S_OK);
    expect(&worker->verdict, mem != NULL);
    if (!mem) return false;
    write_marks(mem, size);
    InterlockedExchangePointer((void **)&worker->out->mem[made % BOX], mem);
    return true;
}

static void free_one(struct worker *worker, char *mem)
{
    SIZE_T size = 0;

    expect(&worker->verdict, IMscoreeHostMalloc_GetSize(worker->host->blocks, mem, &size) == S_OK);
    expect(&worker->verdict, worker->wide == (size <= CLASS_TOP) && has_marks(mem, size));
    expect(&worker->verdict, IHostMalloc_Free(worker->host->malloc, mem) == S_OK);
}

static DWORD WINAPI pass_on(void *arg)
{
    struct worker *worker = arg;
    unsigned int made = worker->out ? 0 : BLOCKS, freed = worker->in ? 0 : BLOCKS;
    DWORD start = GetTickCount();
    bool moved;

    while (made < BLOCKS || freed < BLOCKS)
    {
        moved = false;
        if (made < BLOCKS && !worker->out->mem[made % BOX])
        {
            if (!make_one(worker, made++)) break;
            moved = true;
        }
        if (freed < BLOCKS && worker->in->mem[freed % BOX])
        {
            free_one(worker, InterlockedExchangePointer((void **)&worker->in->mem[freed++ % BOX], NULL));
            moved = true;
        }
        if (moved) continue;
        if (GetTickCount() - start > 60000) break;
        SwitchToThread();
    }
    expect(&worker->verdict, made == BLOCKS && freed == BLOCKS);
    return 0;
}

static void test_large_freed_by_another_thread(void **state)
{
    static struct worker workers[2];
    static struct box box;
    struct host *host = *state;
    unsigned int i;

    test_begin();
    memset(&box, 0, sizeof(box));
    workers[0] = (struct worker){.host = host, .out = &box, .seed = 11};
    workers[1] = (struct worker){.host = host, .in = &box, .seed = 12};
    run_threads(workers, pass_on);
    for (i = 0; i < ARRAY_SIZE(workers); i++) assert_verdict(&workers[i].verdict);
    assert_equal_64(get_statistics(host).invalidFrees, 0);
    assert_all_freed(host);
}

/* Each makes what the next one frees, the last one for the first. */
static void free_in_a_ring(struct host *host, bool wide)
{
    static struct worker workers[WORKERS];
    static struct box boxes[WORKERS];
    unsigned int i;

    memset(boxes, 0, sizeof(boxes));
    for (i = 0; i < WORKERS; i++)
        workers[i] = (struct worker){.host = host, .out = &boxes[i], .in = &boxes[(i + 1) % WORKERS],
        .wide = wide, .seed = 21 + i};
    run_threads(workers, pass_on);
    for (i = 0; i < WORKERS; i++) assert_verdict(&workers[i].verdict);
    assert_equal_64(get_statistics(host).invalidFrees, 0);
    assert_all_freed(host);
}

static void test_wide_freed_in_a_ring(void **state)
{
    test_begin();
    free_in_a_ring(*state, true);
}

static void test_large_freed_in_a_ring(void **state)
{
    test_begin();
    free_in_a_ring(*state, false);
}

/* Two threads free each block of a list at one instant. */
#define RACES 64
#define RACE_TIME 3000  /* milliseconds: where threads wait for a processor there are fewer races */

struct race
{
    IHostMalloc *malloc;
    void *mem[RACES];
    volatile LONG arrived;
    volatile LONG winners[RACES];
    struct verdict verdict;
};

struct racer
{
    struct race *race;
    unsigned int seed;
};

static DWORD WINAPI run_race(void *arg)
{
    struct racer *racer = arg;
    struct race *race = racer->race;
    unsigned int turns, delay;
    HRESULT hr;
    LONG i;

    for (i = 0; i < RACES; i++)
    {
        InterlockedIncrement(&race->arrived);
        for (turns = 0; race->arrived < 2 * (i + 1); turns++)
        {
            if (turns < 2000) YieldProcessor();
            else SwitchToThread();
        }
        /* The one that comes last to the line is late; now and then it is not. */
        for (delay = next_random(&racer->seed) % 64; delay; delay--) __asm__ volatile("" ::: "memory");
        hr = IHostMalloc_Free(race->malloc, race->mem[i]);
        if (hr == S_OK) InterlockedIncrement(&race->winners[i]);
        else expect(&race->verdict, hr == HOST_E_INVALIDOPERATION);
    }
    return 0;
}

/* A malloc of its own each time: in a new one the blocks are their maker's alone to free, until another
 * thread does. */
static void race_in_new_mallocs(struct host *host, SIZE_T least, bool owner)
{
    static struct race race;
    struct racer racers[2] = {{&race, 1}, {&race, 2}};
    DWORD start = GetTickCount();
    unsigned int batch, i;
    HANDLE threads[2];

    for (batch = 0; batch < 120 && GetTickCount() - start < RACE_TIME; batch++)
    {
        memset(&race, 0, sizeof(race));
        assert_hr(IHostMemoryManager_CreateMalloc(host->memory, MALLOC_THREADSAFE, &race.malloc), S_OK);
        for (i = 0; i < RACES; i++)
        {
            assert_hr(IHostMalloc_Alloc(race.malloc, least + i * 256, eTaskCritical, &race.mem[i]), S_OK);
        }
        threads[0] = start_thread(run_race, &racers[0]);
        if (owner) run_race(&racers[1]);
        else
        {
            threads[1] = start_thread(run_race, &racers[1]);
            join_thread(threads[1]);
        }
        join_thread(threads[0]);
        assert_verdict(&race.verdict);
        for (i = 0; i < RACES; i++) assert_int_equal(race.winners[i], 1);
        assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
        assert_equal_64(get_statistics(host).heapLiveBytes, 0);
        assert_equal_64(get_statistics(host).invalidFrees, (batch + 1) * RACES);
        assert_int_equal(IHostMalloc_Release(race.malloc), 0);
    }
}

static void test_large_freed_at_once_by_maker_and_another(void **state)
{
    test_begin();
    race_in_new_mallocs(*state, CLASS_TOP + 1, true);
}

static void test_wide_freed_at_once_by_maker_and_another(void **state)
{
    test_begin();
    race_in_new_mallocs(*state, SLACK_TOP + 1, true);
}

static void test_large_freed_at_once_by_two_others(void **state)
{
    test_begin();
    race_in_new_mallocs(*state, CLASS_TOP + 1, false);
}

/* The same blocks again and again, which by then several threads have freed. */
static void test_large_freed_at_once_again(void **state)
{
    static struct race race;
    struct racer racers[2] = {{&race, 3}, {&race, 4}};
    struct host *host = *state;
    DWORD start = GetTickCount();
    unsigned int batch, i;
    HANDLE thread;

    test_begin();
    for (batch = 0; batch < 100 && GetTickCount() - start < RACE_TIME; batch++)
    {
        memset(&race, 0, sizeof(race));
        race.malloc = host->malloc;
        for (i = 0; i < RACES; i++) race.mem[i] = new_large(host, CLASS_TOP + 1 + i * 512);
        thread = start_thread(run_race, &racers[0]);
        run_race(&racers[1]);
        join_thread(thread);
        assert_verdict(&race.verdict);
        for (i = 0; i < RACES; i++) assert_int_equal(race.winners[i], 1);
        assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
        assert_equal_64(get_statistics(host).heapLiveBytes, 0);
        assert_equal_64(get_statistics(host).invalidFrees, (batch + 1) * RACES);
    }
    assert_all_freed(host);
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        watched_test(test_given_back_while_idle),
        watched_test(test_mixed_given_back_while_idle),
        watched_test(test_large_given_back_while_idle),
        host_test(test_given_back_between_calls),
        silent_test(test_given_back_between_calls),
        watched_test(test_given_back_between_calls),
        host_test(test_large_given_back_between_calls),
        host_test(test_given_back_after_a_thread_that_rests),
        watched_test(test_given_back_after_a_thread_that_rests),
        host_test(test_wide_given_back_after_a_thread_that_rests),
        host_test(test_large_given_back_after_a_thread_that_rests),
        host_test(test_given_back_by_another_thread),
        watched_test(test_wide_given_back_by_another_thread),
        watched_test(test_large_given_back_by_another_thread),
        host_test(test_wide_used_for_small_ones),
        host_test(test_small_used_for_other_sizes),
        host_test(test_little_held_by_threads_that_rest),
        host_test(test_wide_held_by_threads_that_rest),
        host_test(test_wide_held_by_threads_that_rest_at_the_limit),
        host_test(test_wide_held_by_threads_that_ended),
        host_test(test_wide_held_by_threads_that_ended_at_the_limit),
        host_test(test_wide_of_threads_in_a_crowd),
        host_test(test_large_used_again),
        host_test(test_large_replaced),
        host_test(test_large_cut_and_merged),
        host_test(test_large_neighbours_merged),
        host_test(test_large_rest_used),
        host_test(test_larger_block_not_wasted),
        host_test(test_large_grown_and_shrunk),
        host_test(test_large_shrunk_and_freed),
        host_test(test_large_pointers_refused),
        host_test(test_wide_freed_twice),
        host_test(test_wide_freed_again_by_another_thread),
        host_test(test_large_freed_by_another_thread),
        host_test(test_wide_freed_in_a_ring),
        host_test(test_large_freed_in_a_ring),
        host_test(test_wide_freed_at_once_by_maker_and_another),
        host_test(test_large_freed_at_once_by_maker_and_another),
        host_test(test_large_freed_at_once_by_two_others),
        host_test(test_large_freed_at_once_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
