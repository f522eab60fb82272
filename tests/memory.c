/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * IHostMemoryManager without its page calls, and IMscoreeHostMemory.
 */

#include "test.h"

#define MIB ((ULONGLONG)1 << 20)

static void test_query_interface(void **state)
{
    struct host *host = *state;
    IUnknown *from_memory, *from_accounts;

    test_begin();
    assert_interface(host->memory, &IID_IUnknown, true);
    assert_interface(host->memory, &IID_IHostMemoryManager, true);
    assert_interface(host->memory, &IID_IMscoreeHostMemory, true);
    assert_interface(host->accounts, &IID_IHostMemoryManager, true);
    assert_interface(host->memory, &IID_IHostMalloc, false);
    assert_interface(host->memory, &IID_IHostControl, false);
    assert_interface(host->memory, &IID_IMscoreeHostMalloc, false);
    assert_hr(IHostMemoryManager_QueryInterface(host->memory, &IID_IUnknown, NULL), E_POINTER);

    IHostMemoryManager_QueryInterface(host->memory, &IID_IUnknown, (void **)&from_memory);
    IMscoreeHostMemory_QueryInterface(host->accounts, &IID_IUnknown, (void **)&from_accounts);
    assert_ptr_equal(from_memory, from_accounts);
    IUnknown_Release(from_memory);
    IUnknown_Release(from_accounts);
}

/* ---- CreateMalloc ---- */

static void test_create_malloc(void **state)
{
    struct host *host = *state;
    IHostMalloc *malloc, *other;
    DWORD type;
    void *mem;

    test_begin();
    for (type = 0; type <= (MALLOC_THREADSAFE | MALLOC_EXECUTABLE); type++)
    {
        malloc = other = POISON;
        assert_hr(IHostMemoryManager_CreateMalloc(host->memory, type, &malloc), S_OK);
        assert_hr(IHostMemoryManager_CreateMalloc(host->memory, type, &other), S_OK);
        assert_ptr_not_equal(malloc, other);
        assert_refcount(malloc, 1);
        assert_hr(IHostMalloc_Alloc(malloc, 100, eTaskCritical, &mem), S_OK);
        memset(mem, 1, 100);
        assert_hr(IHostMalloc_Free(malloc, mem), S_OK);
        assert_int_equal(IHostMalloc_Release(malloc), 0);
        assert_int_equal(IHostMalloc_Release(other), 0);
    }
}

static void test_create_malloc_unknown_type(void **state)
{
    static const DWORD types[] = {4, 5, 7, 8, 0x80, 0x80000000, 0xffffffff};
    struct host *host = *state;
    IHostMalloc *malloc;
    unsigned int i;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(types); i++)
    {
        malloc = POISON;
        assert_hr(IHostMemoryManager_CreateMalloc(host->memory, types[i], &malloc), E_INVALIDARG);
        assert_null(malloc);
    }
}

static void test_create_malloc_without_out(void **state)
{
    struct host *host = *state;

    test_begin();
    assert_hr(IHostMemoryManager_CreateMalloc(host->memory, MALLOC_THREADSAFE, NULL), E_POINTER);
    assert_hr(IHostMemoryManager_CreateMalloc(host->memory, 0x80, NULL), E_POINTER);
}

/* Every heap of a process can be listed; a malloc adds one at most, and its last Release takes it away. */
static void test_malloc_leaves_no_heap(void **state)
{
    struct host *host = *state;
    IHostMalloc *mallocs[8];
    DWORD before, during;
    unsigned int i;
    HANDLE heaps[1];
    void *mem;

    test_begin();
    before = GetProcessHeaps(1, heaps);
    for (i = 0; i < ARRAY_SIZE(mallocs); i++)
    {
        assert_hr(IHostMemoryManager_CreateMalloc(host->memory, i % 4, &mallocs[i]), S_OK);
        assert_hr(IHostMalloc_Alloc(mallocs[i], 1000, eTaskCritical, &mem), S_OK);
    }
    during = GetProcessHeaps(1, heaps);
    assert_in_range(during, before, before + ARRAY_SIZE(mallocs));
    for (i = 0; i < ARRAY_SIZE(mallocs); i++) IHostMalloc_Release(mallocs[i]);
    assert_int_equal(GetProcessHeaps(1, heaps), before);
}

/* ---- GetMemoryLoad ---- */

static void test_load_of_the_machine(void **state)
{
    struct host *host = *state;
    MEMORYSTATUSEX status = {.dwLength = sizeof(status)};
    DWORD load = 0xdead;
    SIZE_T available = 0;

    test_begin();
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
    GlobalMemoryStatusEx(&status);
    assert_in_range(load, 0, 100);
    /* Others use the machine meanwhile. */
    assert_true(load + 10 >= status.dwMemoryLoad && load <= status.dwMemoryLoad + 10);
    assert_true(available > 0);
    if (status.ullAvailPhys < (SIZE_T)-1 / 2)
        assert_true(available / 2 < status.ullAvailPhys && available * 2 > status.ullAvailPhys);
}

static void test_load_without_out(void **state)
{
    struct host *host = *state;
    SIZE_T available = 0xdead;
    DWORD load = 0xdead;

    test_begin();
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, NULL, &available), E_POINTER);
    assert_int_equal(available, 0);
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, NULL), E_POINTER);
    assert_int_equal(load, 0);
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, NULL, NULL), E_POINTER);
}

static void test_load_simulated(void **state)
{
    static const struct
    {
        DWORD load;
        SIZE_T available;
    }
    rows[] = {{0, 0x7fff0000}, {50, 0x10000000}, {89, 1}, {95, 0x123456}, {100, 0}};
    struct host *host = *state;
    HOST_MEMORY_STATISTICS statistics;
    unsigned int i;
    SIZE_T available;
    DWORD load;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        load = available = 0xdead;
        assert_hr(IMscoreeHostMemory_SimulateMemoryLoad(host->accounts, rows[i].load, rows[i].available),
                S_OK);
        assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
        assert_int_equal(load, rows[i].load);
        assert_int_equal(available, rows[i].available);
        statistics = get_statistics(host);
        assert_int_equal(statistics.dwMemoryLoad, rows[i].load);
        assert_equal_64(statistics.availableBytes, rows[i].available);
    }

    /* The end of it: the machine's own. 0 bytes are what the simulation said last. */
    assert_hr(IMscoreeHostMemory_SimulateMemoryLoad(host->accounts, 101, 0), S_OK);
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
    assert_in_range(load, 0, 100);
    assert_true(available > 0);
}

static void test_load_of_the_limit(void **state)
{
    struct host *host = *state;
    SIZE_T available;
    unsigned int i;
    DWORD load;
    char *mem;

    test_begin();
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 200 * PAGE, 0, 0), S_OK);
    assert_hr(IMscoreeHostMemory_SimulateMemoryLoad(host->accounts, 30, 1000 * PAGE), S_OK);
    mem = alloc_pages(host, NULL, 200 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    for (i = 0; i <= 200; i++)
    {
        if (i) alloc_pages(host, mem, i * PAGE, MEM_COMMIT, PAGE_READWRITE);
        load = available = 0xdead;
        assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
        assert_int_equal(load, i / 2 > 30 ? i / 2 : 30);
        assert_int_equal(available, (200 - i) * PAGE);
    }
    /* The machine is the tighter one. */
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_DECOMMIT), S_OK);
    assert_hr(IMscoreeHostMemory_SimulateMemoryLoad(host->accounts, 80, 3 * PAGE), S_OK);
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
    assert_int_equal(load, 80);
    assert_int_equal(available, 3 * PAGE);

    /* A limit lowered below what is committed. */
    alloc_pages(host, mem, 100 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 50 * PAGE, 0, 0), S_OK);
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
    assert_int_equal(load, 100);
    assert_int_equal(available, 0);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_RELEASE), S_OK);
}

/* ---- address space ---- */

static void test_needs_with_nothing_to_give(void **state)
{
    static const struct
    {
        UINT_PTR address;
        SIZE_T size;
    }
    rows[] = {{0, 0}, {0, 0x10000}, {0, (SIZE_T)-1}, {0x18000000, 0}, {0x18000000, 0x1000}};
    struct host *host = *state;
    unsigned int i;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SetLastError(ERROR_INVALID_ADDRESS);
        assert_hr(IHostMemoryManager_NeedsVirtualAddressSpace(host->memory, (void *)rows[i].address,
                rows[i].size), E_OUTOFMEMORY);
        assert_last_error(ERROR_INVALID_ADDRESS);
    }
}

/* S_OK makes the runtime try again, so it must mean that something was given back. */
static void test_needs_tells_the_truth(void **state)
{
    struct host *host = *state;
    static void *mem[4000];
    ULONGLONG before, after;
    unsigned int i;
    HRESULT hr;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(mem); i++) mem[i] = alloc(host, 4000);
    for (i = 0; i < ARRAY_SIZE(mem); i++) assert_hr(IHostMalloc_Free(host->malloc, mem[i]), S_OK);
    before = get_statistics(host).heapCommitted;
    SetLastError(0xabcd);
    hr = IHostMemoryManager_NeedsVirtualAddressSpace(host->memory, NULL, 0x10000);
    assert_last_error(0xabcd);
    after = get_statistics(host).heapCommitted;
    if (after < before) assert_hr(hr, S_OK);
    else assert_hr(hr, E_OUTOFMEMORY);
    assert_true(after < 4 * MIB);
    assert_hr(IHostMemoryManager_NeedsVirtualAddressSpace(host->memory, NULL, 0x10000), E_OUTOFMEMORY);
}

static void test_acquired_and_released(void **state)
{
    struct host *host = *state;
    char *first = (char *)(UINT_PTR)0x10000000, *second = (char *)(UINT_PTR)0x20000000;

    test_begin();
    SetLastError(0xabcd);
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host->memory, first, 0x30000), S_OK);
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host->memory, second, 0x1000), S_OK);
    assert_equal_64(get_statistics(host).views, 2);
    assert_equal_64(get_statistics(host).viewBytes, 0x31000);
    assert_equal_64(get_statistics(host).committed, 0);

    /* The same address again before the first one's end is told: two views for a while. */
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host->memory, first, 0x50000), S_OK);
    assert_equal_64(get_statistics(host).views, 3);
    assert_equal_64(get_statistics(host).viewBytes, 0x81000);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, first), S_OK);
    assert_equal_64(get_statistics(host).views, 2);
    assert_equal_64(get_statistics(host).viewBytes, 0x51000);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, first), S_OK);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, second), S_OK);
    assert_equal_64(get_statistics(host).views, 0);
    assert_equal_64(get_statistics(host).viewBytes, 0);

    /* Once more than they came. */
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, first), S_OK);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, second), S_OK);
    assert_equal_64(get_statistics(host).views, 0);
    assert_equal_64(get_statistics(host).viewBytes, 0);
    assert_last_error(0xabcd);
}

static void test_released_unknown(void **state)
{
    struct host *host = *state;

    test_begin();
    SetLastError(0xabcd);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, (void *)(UINT_PTR)0x10000000),
            S_OK);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, NULL), S_OK);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, (void *)(UINT_PTR)-1), S_OK);
    assert_last_error(0xabcd);
    assert_equal_64(get_statistics(host).views, 0);
    assert_equal_64(get_statistics(host).viewBytes, 0);
}

static void test_acquired_of_unknown_size(void **state)
{
    struct host *host = *state;
    HANDLE mapping;
    char *view;

    test_begin();
    mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0x30000, NULL);
    assert_non_null(mapping);
    view = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0);
    assert_non_null(view);
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host->memory, view, 0), S_OK);
    assert_equal_64(get_statistics(host).views, 1);
    assert_equal_64(get_statistics(host).viewBytes, 0x30000);
    UnmapViewOfFile(view);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, view), S_OK);
    assert_equal_64(get_statistics(host).views, 0);
    assert_equal_64(get_statistics(host).viewBytes, 0);
    CloseHandle(mapping);

    /* Where nothing is mapped at all. */
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host->memory, NULL, 0), S_OK);
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host->memory, (void *)(UINT_PTR)-0x10000, 0),
            S_OK);
    assert_equal_64(get_statistics(host).viewBytes, 0);
}

static void test_many_views(void **state)
{
    struct host *host = *state;
    unsigned int i;

    test_begin();
    for (i = 1; i <= 1000; i++)
        IHostMemoryManager_AcquiredVirtualAddressSpace(host->memory, (void *)(UINT_PTR)(i * 0x10000), i);
    assert_equal_64(get_statistics(host).views, 1000);
    assert_equal_64(get_statistics(host).viewBytes, 1000 * 1001 / 2);
    for (i = 1000; i; i--)
        IHostMemoryManager_ReleasedVirtualAddressSpace(host->memory, (void *)(UINT_PTR)(i * 0x10000));
    assert_equal_64(get_statistics(host).views, 0);
    assert_equal_64(get_statistics(host).viewBytes, 0);
}

/* ---- accounts and limit ---- */

static void test_statistics_of_a_new_host(void **state)
{
    struct host *host = *state;
    HOST_MEMORY_STATISTICS statistics;

    test_begin();
    statistics = get_statistics(host);
    assert_int_equal(statistics.cbSize, sizeof(statistics));
    assert_in_range(statistics.dwMemoryLoad, 0, 100);
    assert_true(statistics.availableBytes > 0);
    assert_bytes(&statistics.limit, 0, sizeof(statistics) - offsetof(HOST_MEMORY_STATISTICS, limit));
}

static void test_statistics_sizes(void **state)
{
    struct host *host = *state;
    HOST_MEMORY_STATISTICS statistics;

    test_begin();
    assert_hr(IMscoreeHostMemory_GetStatistics(host->accounts, NULL), E_POINTER);
    memset(&statistics, 0xcc, sizeof(statistics));
    statistics.cbSize = 0;
    assert_hr(IMscoreeHostMemory_GetStatistics(host->accounts, &statistics), E_INVALIDARG);
    statistics.cbSize = 7;
    assert_hr(IMscoreeHostMemory_GetStatistics(host->accounts, &statistics), E_INVALIDARG);
    assert_bytes(&statistics.dwMemoryLoad, 0xcc, sizeof(statistics) - sizeof(DWORD));

    /* A program made for an older version has a shorter struct. */
    statistics.cbSize = 8;
    assert_hr(IMscoreeHostMemory_GetStatistics(host->accounts, &statistics), S_OK);
    assert_in_range(statistics.dwMemoryLoad, 0, 100);
    assert_bytes(&statistics.availableBytes, 0xcc, sizeof(statistics) - 8);
    statistics.cbSize = offsetof(HOST_MEMORY_STATISTICS, notifications);
    assert_hr(IMscoreeHostMemory_GetStatistics(host->accounts, &statistics), S_OK);
    assert_equal_64(statistics.committed, 0);
    assert_bytes(statistics.notifications, 0xcc, sizeof(statistics.notifications));
}

static void test_limit(void **state)
{
    struct host *host = *state;
    ULONGLONG limit = 1, appdomain = 1, process = 1;
    HOST_MEMORY_STATISTICS statistics;

    test_begin();
    assert_hr(IMscoreeHostMemory_GetLimit(host->accounts, &limit, &appdomain, &process), S_OK);
    assert_equal_64(limit, 0);
    assert_equal_64(appdomain, 0);
    assert_equal_64(process, 0);

    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 64 * MIB, 3 * MIB, 5 * MIB), S_OK);
    assert_hr(IMscoreeHostMemory_GetLimit(host->accounts, &limit, &appdomain, &process), S_OK);
    assert_equal_64(limit, 64 * MIB);
    assert_equal_64(appdomain, 3 * MIB);
    assert_equal_64(process, 5 * MIB);
    assert_hr(IMscoreeHostMemory_GetLimit(host->accounts, NULL, NULL, NULL), S_OK);
    limit = 0;
    assert_hr(IMscoreeHostMemory_GetLimit(host->accounts, &limit, NULL, NULL), S_OK);
    assert_equal_64(limit, 64 * MIB);
    statistics = get_statistics(host);
    assert_equal_64(statistics.limit, 64 * MIB);
    assert_equal_64(statistics.reserveAppDomain, 3 * MIB);
    assert_equal_64(statistics.reserveProcess, 5 * MIB);

    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 64 * MIB, HOST_RESERVE_DEFAULT,
            HOST_RESERVE_DEFAULT), S_OK);
    assert_hr(IMscoreeHostMemory_GetLimit(host->accounts, &limit, &appdomain, &process), S_OK);
    assert_equal_64(limit, 64 * MIB);
    assert_equal_64(appdomain, 1 * MIB);
    assert_equal_64(process, 2 * MIB);

    /* Whole pages. */
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, MIB + 1000, HOST_RESERVE_DEFAULT,
            HOST_RESERVE_DEFAULT), S_OK);
    assert_hr(IMscoreeHostMemory_GetLimit(host->accounts, &limit, &appdomain, &process), S_OK);
    assert_equal_64(limit, MIB + 1000);
    assert_equal_64(appdomain, 4 * PAGE);
    assert_equal_64(process, 8 * PAGE);

    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 0, HOST_RESERVE_DEFAULT, HOST_RESERVE_DEFAULT),
            S_OK);
    assert_hr(IMscoreeHostMemory_GetLimit(host->accounts, &limit, NULL, NULL), S_OK);
    assert_equal_64(limit, 0);
}

static void test_limit_out_of_range(void **state)
{
    static const struct
    {
        ULONGLONG limit, appdomain, process;
    }
    rows[] =
    {
        {MIB, MIB + 1, 0},
        {MIB, 0, MIB + 1},
        {MIB, MIB / 2, MIB / 2 + 1},
        {MIB, 1, MIB},
        {MIB, (ULONGLONG)1 << 63, (ULONGLONG)1 << 63},
        {MIB, HOST_RESERVE_DEFAULT - 1, 2},
        {~(ULONGLONG)0, 0, 0},
#ifndef _WIN64
        {(ULONGLONG)1 << 32, 0, 0},
        {(ULONGLONG)1 << 40, 0, 0},
#endif
    };
    struct host *host = *state;
    ULONGLONG limit, appdomain, process;
    unsigned int i;

    test_begin();
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 7 * MIB, MIB, 2 * MIB), S_OK);
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, rows[i].limit, rows[i].appdomain,
                rows[i].process), E_INVALIDARG);
        assert_hr(IMscoreeHostMemory_GetLimit(host->accounts, &limit, &appdomain, &process), S_OK);
        assert_equal_64(limit, 7 * MIB);
        assert_equal_64(appdomain, MIB);
        assert_equal_64(process, 2 * MIB);
    }
    /* The whole of it as reserve is odd and allowed. */
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, MIB, MIB / 2, MIB / 2), S_OK);
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, MIB, 0, MIB), S_OK);
}

static void test_trim(void **state)
{
    struct host *host = *state;
    ULONGLONG before, after, given = 0xdead;
    static void *mem[4000];
    unsigned int i;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(mem); i++) mem[i] = alloc(host, 4000);
    for (i = 0; i < ARRAY_SIZE(mem); i++) assert_hr(IHostMalloc_Free(host->malloc, mem[i]), S_OK);
    before = get_statistics(host).heapCommitted;
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, &given), S_OK);
    after = get_statistics(host).heapCommitted;
    assert_equal_64(before - after, given);
    assert_true(after < 4 * MIB);
    given = 0xdead;
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, &given), S_OK);
    assert_equal_64(given, 0);
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, NULL), S_OK);
}

static void test_trim_keeps_what_is_used(void **state)
{
    struct host *host = *state;
    static unsigned char *mem[2000];
    unsigned int i;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(mem); i++)
    {
        mem[i] = alloc(host, 500);
        memset(mem[i], (int)i, 500);
    }
    for (i = 0; i < ARRAY_SIZE(mem); i++)
        if (i % 3) assert_hr(IHostMalloc_Free(host->malloc, mem[i]), S_OK);
    assert_hr(IMscoreeHostMemory_Trim(host->accounts, NULL), S_OK);
    for (i = 0; i < ARRAY_SIZE(mem); i += 3)
    {
        assert_bytes(mem[i], (unsigned char)i, 500);
        assert_hr(IHostMalloc_Free(host->malloc, mem[i]), S_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        pages_test(test_query_interface),
        pages_test(test_create_malloc),
        pages_test(test_create_malloc_unknown_type),
        pages_test(test_create_malloc_without_out),
        pages_test(test_malloc_leaves_no_heap),
        pages_test(test_load_of_the_machine),
        pages_test(test_load_without_out),
        pages_test(test_load_simulated),
        pages_test(test_load_of_the_limit),
        pages_test(test_needs_with_nothing_to_give),
        host_test(test_needs_tells_the_truth),
        pages_test(test_acquired_and_released),
        pages_test(test_released_unknown),
        pages_test(test_acquired_of_unknown_size),
        pages_test(test_many_views),
        pages_test(test_statistics_of_a_new_host),
        pages_test(test_statistics_sizes),
        pages_test(test_limit),
        pages_test(test_limit_out_of_range),
        host_test(test_trim),
        host_test(test_trim_keeps_what_is_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
