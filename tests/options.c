/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * HOST_CONTROL_OPTIONS, and the environment variable MSCOREEHOST that has the last word.
 */

#include "fakeclr.h"

#define KIB ((ULONGLONG)1 << 10)
#define MIB ((ULONGLONG)1 << 20)
#define GIB ((ULONGLONG)1 << 30)

/* A host with the environment as it is. */
static void open_host(struct host *host, const HOST_CONTROL_OPTIONS *options)
{
    memset(host, 0, sizeof(*host));
    assert_hr(create_host_control(options, &IID_IHostControl, (void **)&host->control), S_OK);
    assert_hr(IHostControl_GetHostManager(host->control, &IID_IHostMemoryManager, (void **)&host->memory),
            S_OK);
    assert_hr(IHostMemoryManager_QueryInterface(host->memory, &IID_IMscoreeHostMemory,
            (void **)&host->accounts), S_OK);
}

static void assert_invalid(const HOST_CONTROL_OPTIONS *options, unsigned int row)
{
    IHostControl *control = POISON;
    HRESULT hr = create_host_control(options, &IID_IHostControl, (void **)&control);

    if (hr != E_INVALIDARG) print_error("row %u\n", row);
    assert_hr(hr, E_INVALIDARG);
    assert_null(control);
}

static int clear_environment(void **state)
{
    (void)state;
    SetEnvironmentVariableW(L"MSCOREEHOST", NULL);
    return 0;
}

#define options_test(function) cmocka_unit_test_setup_teardown(function, clear_environment, clear_environment)

/* ---- the struct ---- */

static void test_defaults(void **state)
{
    const HOST_CONTROL_OPTIONS options = {.cbSize = sizeof(options)};
    const HOST_CONTROL_OPTIONS *rows[] = {NULL, &options};
    ULONGLONG limit, appdomain, process;
    struct host host;
    unsigned int i;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        open_host(&host, rows[i]);
        limit = appdomain = process = 1;
        assert_hr(IMscoreeHostMemory_GetLimit(host.accounts, &limit, &appdomain, &process), S_OK);
        assert_equal_64(limit, 0);
        assert_equal_64(appdomain, 0);
        assert_equal_64(process, 0);
        host_close(&host);
    }
}

static void test_struct_limit(void **state)
{
    static const struct
    {
        ULONGLONG limit, appdomain, process;
        ULONGLONG expected_appdomain, expected_process;
    }
    rows[] =
    {
        {64 * MIB, 0, 0, MIB, 2 * MIB},
        {64 * MIB, 3 * MIB, 0, 3 * MIB, 2 * MIB},
        {64 * MIB, 0, 5 * MIB, MIB, 5 * MIB},
        {64 * MIB, 3 * MIB, 5 * MIB, 3 * MIB, 5 * MIB},
        {64 * MIB, HOST_RESERVE_DEFAULT, HOST_RESERVE_DEFAULT, MIB, 2 * MIB},
        {MIB, MIB / 2, MIB / 2, MIB / 2, MIB / 2},
        {1, 0, 0, 0, 0},
    };
    ULONGLONG limit, appdomain, process;
    struct host host;
    unsigned int i;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        const HOST_CONTROL_OPTIONS options =
        {
            .cbSize = sizeof(options), .limit = rows[i].limit, .reserveAppDomain = rows[i].appdomain,
            .reserveProcess = rows[i].process,
        };

        open_host(&host, &options);
        assert_hr(IMscoreeHostMemory_GetLimit(host.accounts, &limit, &appdomain, &process), S_OK);
        assert_equal_64(limit, rows[i].limit);
        assert_equal_64(appdomain, rows[i].expected_appdomain);
        assert_equal_64(process, rows[i].expected_process);
        host_close(&host);
    }
}

static void test_struct_out_of_range(void **state)
{
    static const HOST_CONTROL_OPTIONS rows[] =
    {
        {.cbSize = 0},
        {.cbSize = 4},
        {.cbSize = 7},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .dwFlags = 4},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .dwFlags = 0x80000001},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .limit = MIB, .reserveAppDomain = MIB + 1},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .limit = MIB, .reserveProcess = MIB + 1},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .limit = MIB, .reserveAppDomain = MIB / 2,
        .reserveProcess = MIB / 2 + 1},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .limit = ~(ULONGLONG)0},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .dwLowLoad = 101},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .dwNeutralLoad = 91},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .dwHighLoad = 86},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .dwLowLoad = 50, .dwNeutralLoad = 51},
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .dwLowLoad = 50, .dwNeutralLoad = 40, .dwHighLoad = 41},
#ifndef _WIN64
        {.cbSize = sizeof(HOST_CONTROL_OPTIONS), .limit = 4 * GIB},
#endif
    };
    unsigned int i;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++) assert_invalid(&rows[i], i);
}

/* A struct of another version: what an older one lacks is the default, what a later one adds must be 0. */
static void test_struct_of_another_version(void **state)
{
    struct
    {
        HOST_CONTROL_OPTIONS options;
        ULONGLONG later[2];
    }
    longer;
    ULONGLONG limit, process;
    struct host host;

    (void)state;
    test_begin();
    memset(&longer, 0, sizeof(longer));
    longer.options.cbSize = sizeof(longer);
    longer.options.limit = 5 * MIB;
    open_host(&host, &longer.options);
    assert_hr(IMscoreeHostMemory_GetLimit(host.accounts, &limit, NULL, NULL), S_OK);
    assert_equal_64(limit, 5 * MIB);
    host_close(&host);

    longer.later[1] = 1;
    assert_invalid(&longer.options, 0);

    memset(&longer, 0xcc, sizeof(longer));
    longer.options.cbSize = offsetof(HOST_CONTROL_OPTIONS, reserveAppDomain);
    longer.options.dwFlags = 0;
    longer.options.limit = 64 * MIB;
    open_host(&host, &longer.options);
    assert_hr(IMscoreeHostMemory_GetLimit(host.accounts, &limit, NULL, &process), S_OK);
    assert_equal_64(limit, 64 * MIB);
    assert_equal_64(process, 2 * MIB);
    host_close(&host);
}

/* ---- the variable ---- */

static void test_variable_limit(void **state)
{
    static const struct
    {
        const WCHAR *text;
        ULONGLONG limit, appdomain, process;
    }
    rows[] =
    {
        {L"", 0, 0, 0},
        {L"limit=1048576", MIB, 16 * KIB, 32 * KIB},
        {L"limit=65536K", 64 * MIB, MIB, 2 * MIB},
        {L"limit=256M", 256 * MIB, 4 * MIB, 8 * MIB},
        {L"limit=1G", GIB, 16 * MIB, 32 * MIB},
        {L"limit=64M,reserve=8M", 64 * MIB, MIB, 8 * MIB},
        {L"limit=64M,reserve-appdomain=3M", 64 * MIB, 3 * MIB, 2 * MIB},
        {L"reserve-appdomain=300K,reserve=1M,limit=10M", 10 * MIB, 300 * KIB, MIB},
        {L"limit=1M,limit=2M", 2 * MIB, 32 * KIB, 64 * KIB},
        {L"limit=0", 0, 0, 0},
        {L"low=95,neutral=90,high=50,poll=100,notify=on", 0, 0, 0},
        {L"notify=off", 0, 0, 0},
        {L"low=100", 0, 0, 0},
        {L"low=1,neutral=1,high=1", 0, 0, 0},
        {L"poll=1", 0, 0, 0},
    };
    ULONGLONG limit, appdomain, process;
    struct host host;
    unsigned int i;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SetEnvironmentVariableW(L"MSCOREEHOST", rows[i].text);
        open_host(&host, NULL);
        assert_hr(IMscoreeHostMemory_GetLimit(host.accounts, &limit, &appdomain, &process), S_OK);
        if (limit != rows[i].limit || appdomain != rows[i].appdomain || process != rows[i].process)
            print_error("row %u\n", i);
        assert_equal_64(limit, rows[i].limit);
        assert_equal_64(appdomain, rows[i].appdomain);
        assert_equal_64(process, rows[i].process);
        host_close(&host);
    }
}

static void test_variable_out_of_range(void **state)
{
    static const WCHAR *const rows[] =
    {
        L"limt=1M", L"Limit=1M", L"limit", L"limit=", L"=1M", L"=", L"limit =1M", L" limit=1M", L"limit= 1M",
        L"limit=1M ", L"limit=M", L"limit=-1", L"limit=+1", L"limit=0x1000", L"limit=1MB", L"limit=1KK",
        L"limit=1Q",
        L"limit=1.5M", L"limit=one", L"limit=1M;low=90", L"limit=1M,unknown=1", L"unknown=1,limit=1M",
        L"limit=1M,bad",
        L"limit=18446744073709551616", L"limit=18446744073709551615", L"limit=99999999999999999999999999",
        L"limit=17179869184G", L"limit=18014398509481985K", L"limit=1M,reserve=2M",
        L"limit=1M,reserve-appdomain=2M",
        L"limit=1M,reserve=600K,reserve-appdomain=600K", L"reserve=x",
        L"low=0", L"low=101", L"low=90%", L"low=", L"low=-5", L"neutral=0", L"neutral=101", L"neutral=91",
        L"high=101", L"high=86", L"low=50,neutral=60", L"neutral=80,high=81",
        L"poll=0", L"poll=", L"poll=fast", L"poll=1s",
        L"notify=", L"notify=yes", L"notify=1", L"notify=ON", L"notify=onn", L"notify=o",
        L"heap=own", L"heap", L"heap=", L"heap=System", L"heap=systems", L"heap=on", L"heap=host,heap=2",
#ifndef _WIN64
        L"limit=4G", L"limit=16G",
#endif
    };
    IHostControl *control;
    unsigned int i;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SetEnvironmentVariableW(L"MSCOREEHOST", rows[i]);
        assert_invalid(NULL, i);
    }
    SetEnvironmentVariableW(L"MSCOREEHOST", NULL);
    assert_hr(create_host_control(NULL, &IID_IHostControl, (void **)&control), S_OK);
    assert_int_equal(IHostControl_Release(control), 0);
}

static void test_variable_over_struct(void **state)
{
    const HOST_CONTROL_OPTIONS options =
    {
        .cbSize = sizeof(options), .limit = 64 * MIB, .reserveAppDomain = 4 * MIB, .reserveProcess = 5 * MIB,
    };
    ULONGLONG limit, appdomain, process;
    struct host host;

    (void)state;
    test_begin();
    SetEnvironmentVariableW(L"MSCOREEHOST", L"limit=32M,reserve=7M");
    open_host(&host, &options);
    assert_hr(IMscoreeHostMemory_GetLimit(host.accounts, &limit, &appdomain, &process), S_OK);
    assert_equal_64(limit, 32 * MIB);
    assert_equal_64(appdomain, 4 * MIB);
    assert_equal_64(process, 7 * MIB);
    host_close(&host);

    /* Good values apart, which cannot go together. */
    SetEnvironmentVariableW(L"MSCOREEHOST", L"limit=8M");
    assert_invalid(&options, 0);
}

/* A long value is read whole. */
static void test_long_variable(void **state)
{
    static WCHAR text[20000];
    ULONGLONG limit;
    struct host host;
    unsigned int i;

    (void)state;
    test_begin();
    for (i = 0; i + 20 < ARRAY_SIZE(text); i += 9) memcpy(text + i, L"limit=1M,", 9 * sizeof(WCHAR));
    memcpy(text + i, L"limit=3M", 9 * sizeof(WCHAR));
    SetEnvironmentVariableW(L"MSCOREEHOST", text);
    open_host(&host, NULL);
    assert_hr(IMscoreeHostMemory_GetLimit(host.accounts, &limit, NULL, NULL), S_OK);
    assert_equal_64(limit, 3 * MIB);
    host_close(&host);
}

/* ---- what the others do ---- */

static void test_limit_of_the_variable_holds(void **state)
{
    static const WCHAR *const rows[] = {L"limit=4M", L"limit=4096K"};
    struct host host;
    unsigned int i;
    HRESULT hr;
    void *mem;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SetEnvironmentVariableW(L"MSCOREEHOST", rows[i]);
        open_host(&host, NULL);
        host_open_malloc(&host, MALLOC_THREADSAFE);
        while ((hr = IHostMalloc_Alloc(host.malloc, 10000, eProcessCritical, &mem)) == S_OK)
            memset(mem, 1, 10000);
        assert_hr(hr, E_OUTOFMEMORY);
        assert_true(get_statistics(&host).peakCommitted <= 4 * MIB);
        assert_true(get_statistics(&host).heapLiveBytes >= 3 * MIB);
        host_close(&host);
    }
}

/* How many of the process' heaps have a block in use that is mem, of size bytes. In a 32-bit program, whose
 * heaps align to 8 bytes, it may begin 8 bytes before. */
static unsigned int count_system_blocks(const void *mem, SIZE_T size)
{
    DWORD count, heaps, i;
    HANDLE heap[64];
    unsigned int found = 0;

    heaps = GetProcessHeaps(ARRAY_SIZE(heap), heap);
    assert_in_range(heaps, 2, ARRAY_SIZE(heap));
    for (i = 0; i < heaps; i++)
    {
        PROCESS_HEAP_ENTRY entry = {.lpData = NULL};

        assert_true(HeapLock(heap[i]));
        for (count = 0; HeapWalk(heap[i], &entry); count++)
        {
            SIZE_T before = (char *)mem - (char *)entry.lpData;

            if (!(entry.wFlags & PROCESS_HEAP_ENTRY_BUSY)) continue;
            if (before != 0 && (sizeof(void *) == 8 || before != 8)) continue;
            if (HeapSize(heap[i], 0, entry.lpData) != size + before) continue;
            found += HeapValidate(heap[i], 0, entry.lpData);
        }
        assert_true(HeapUnlock(heap[i]));
    }
    return found;
}

static void test_whose_blocks(void **state)
{
    static const struct
    {
        DWORD flags;
        const WCHAR *text;
        unsigned int expected;
    }
    rows[] =
    {
        {0, L"", 0},
        {0, L"heap=host", 0},
        {0, L"heap=system", 1},
        {0, L"limit=64M,heap=system,poll=100", 1},
        {0, L"heap=system,heap=host", 0},
        {HOST_CONTROL_SYSTEM_HEAP, L"", 1},
        {HOST_CONTROL_SYSTEM_HEAP | HOST_CONTROL_NO_NOTIFICATIONS, L"limit=64M", 1},
        {HOST_CONTROL_SYSTEM_HEAP, L"heap=host", 0},
    };
    static const SIZE_T sizes[] = {0, 1, 8, 9, 16, 24, 100, 1000, 5000, 70000, 3000000};
    HOST_CONTROL_OPTIONS options = {.cbSize = sizeof(options)};
    void *mem[ARRAY_SIZE(sizes)];
    struct host host;
    unsigned int i, j, type;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        options.dwFlags = rows[i].flags;
        SetEnvironmentVariableW(L"MSCOREEHOST", rows[i].text);
        for (type = 0; type <= (MALLOC_THREADSAFE | MALLOC_EXECUTABLE); type++)
        {
            open_host(&host, &options);
            host_open_malloc(&host, type);
            for (j = 0; j < ARRAY_SIZE(sizes); j++) mem[j] = alloc(&host, sizes[j]);
            for (j = 0; j < ARRAY_SIZE(sizes); j++)
            {
                if (count_system_blocks(mem[j], sizes[j]) == rows[i].expected) continue;
                fail_msg("row %u, type %u, size %u", i, type, (unsigned int)sizes[j]);
            }
            for (j = 0; j < ARRAY_SIZE(sizes); j++)
            {
                assert_hr(IHostMalloc_Free(host.malloc, mem[j]), S_OK);
                assert_int_equal(count_system_blocks(mem[j], sizes[j]), 0);
            }
            host_close(&host);
        }
    }
}

static void test_notifications_of_the_variable(void **state)
{
    static const struct
    {
        const WCHAR *text;
        DWORD load;
        LONG expected;
    }
    rows[] =
    {
        {L"poll=10", 95, 1},
        {L"poll=10,notify=on", 95, 1},
        {L"poll=10,notify=off", 95, 0},
        {L"poll=10,low=97", 96, 0},
        {L"poll=10,low=60,neutral=50", 60, 1},
        {L"poll=10,low=60,neutral=50", 59, 0},
    };
    const HOST_CONTROL_OPTIONS options = {.cbSize = sizeof(options), .dwPollInterval = 60000};
    ICLRMemoryNotificationCallback *iface;
    struct callback callback;
    struct host host;
    unsigned int i;
    void *mem;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SetEnvironmentVariableW(L"MSCOREEHOST", rows[i].text);
        open_host(&host, &options);
        mem = alloc_pages(&host, NULL, PAGE, MEM_COMMIT, PAGE_READWRITE);
        assert_hr(IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, rows[i].load, 0x100000), S_OK);
        iface = callback_init(&callback);
        assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(host.memory, iface), S_OK);
        if (rows[i].expected)
            assert_true(wait_until(callback.count[eMemoryAvailableLow] == rows[i].expected, 5000));
        else Sleep(300);
        assert_int_equal(callback.calls, rows[i].expected);
        assert_hr(IHostMemoryManager_VirtualFree(host.memory, mem, 0, MEM_RELEASE), S_OK);
        assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(host.memory, NULL), S_OK);
        assert_refcount(iface, 1);
        host_close(&host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        options_test(test_defaults),
        options_test(test_struct_limit),
        options_test(test_struct_out_of_range),
        options_test(test_struct_of_another_version),
        options_test(test_variable_limit),
        options_test(test_variable_out_of_range),
        options_test(test_variable_over_struct),
        options_test(test_long_variable),
        options_test(test_limit_of_the_variable_holds),
        options_test(test_whose_blocks),
        options_test(test_notifications_of_the_variable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
