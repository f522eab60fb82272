/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Low, Neutral and High: when, how often, on which thread, and when no more. The machine's load is
 * simulated through IMscoreeHostMemory, so nothing here depends on how full the machine is.
 */

#include "fakeclr.h"

/* Long enough for the host's thread to look many times at the poll interval of these tests. */
#define QUIET 400
#define SOON 5000

struct pressure
{
    struct host host;
    struct callback callback;
    ICLRMemoryNotificationCallback *iface;
};

static int setup(void **state)
{
    static struct pressure pressure;
    const HOST_CONTROL_OPTIONS options = {.cbSize = sizeof(options), .dwPollInterval = 10};

    test_begin();
    host_open(&pressure.host, &options);
    pressure.iface = callback_init(&pressure.callback);
    assert_hr(IMscoreeHostMemory_SimulateMemoryLoad(pressure.host.accounts, 50, 0x10000000), S_OK);
    *state = &pressure;
    return 0;
}

static int teardown(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, NULL), S_OK);
    assert_int_equal(pressure->callback.inside, 0);
    assert_int_equal(pressure->callback.count[0], 0);
    assert_verdict(&pressure->callback.verdict);
    assert_refcount(pressure->iface, 1);
    host_close(&pressure->host);
    return 0;
}

#define pressure_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static void subscribe(struct pressure *pressure)
{
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, pressure->iface),
            S_OK);
}

static void simulate(struct pressure *pressure, DWORD load)
{
    assert_hr(IMscoreeHostMemory_SimulateMemoryLoad(pressure->host.accounts, load, 0x10000000), S_OK);
}

/* Makes the host see a runtime that has started. */
static void start_runtime(struct pressure *pressure)
{
    void *mem = alloc_pages(&pressure->host, NULL, PAGE, MEM_COMMIT, PAGE_READWRITE);

    assert_hr(IHostMemoryManager_VirtualFree(pressure->host.memory, mem, 0, MEM_RELEASE), S_OK);
}

static bool hears(struct pressure *pressure, EMemoryAvailable what, LONG count)
{
    return wait_until(pressure->callback.count[what] >= count, SOON);
}

static void assert_heard(struct pressure *pressure, LONG low, LONG neutral, LONG high)
{
    assert_int_equal(pressure->callback.count[eMemoryAvailableLow], low);
    assert_int_equal(pressure->callback.count[eMemoryAvailableNeutral], neutral);
    assert_int_equal(pressure->callback.count[eMemoryAvailableHigh], high);
    assert_int_equal(pressure->callback.count[0], 0);
}

/* ---- registration ---- */

static void test_register_keeps_a_reference(void **state)
{
    struct pressure *pressure = *state;
    struct callback other;
    ICLRMemoryNotificationCallback *iface = callback_init(&other);

    test_begin();
    subscribe(pressure);
    assert_refcount(pressure->iface, 2);
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, iface), S_OK);
    assert_refcount(pressure->iface, 1);
    assert_refcount(iface, 2);
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, NULL), S_OK);
    assert_refcount(iface, 1);
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, NULL), S_OK);
    assert_int_equal(other.calls, 0);
    assert_int_equal(pressure->callback.calls, 0);
}

static void test_never_on_the_registering_thread(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    simulate(pressure, 99);
    subscribe(pressure);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    assert_int_not_equal(pressure->callback.thread, GetCurrentThreadId());
}

static void test_replaced_callback_hears_no_more(void **state)
{
    struct pressure *pressure = *state;
    struct callback other;
    ICLRMemoryNotificationCallback *iface = callback_init(&other);

    test_begin();
    subscribe(pressure);
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, iface), S_OK);
    simulate(pressure, 99);
    assert_true(wait_until(other.count[eMemoryAvailableLow], SOON));
    simulate(pressure, 10);
    assert_true(wait_until(other.count[eMemoryAvailableHigh], SOON));
    assert_int_equal(pressure->callback.calls, 0);
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, NULL), S_OK);
    assert_refcount(iface, 1);
}

static void slow_call(struct callback *callback)
{
    SetEvent(callback->context);
    Sleep(500);
}

static void test_unregister_waits_for_a_call(void **state)
{
    struct pressure *pressure = *state;
    HANDLE called = CreateEventW(NULL, TRUE, FALSE, NULL);

    test_begin();
    pressure->callback.on_call = slow_call;
    pressure->callback.context = called;
    subscribe(pressure);
    simulate(pressure, 99);
    assert_int_equal(WaitForSingleObject(called, SOON), WAIT_OBJECT_0);
    assert_int_equal(pressure->callback.inside, 1);
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, NULL), S_OK);
    assert_int_equal(pressure->callback.inside, 0);
    assert_int_equal(pressure->callback.calls, 1);
    assert_refcount(pressure->iface, 1);
    CloseHandle(called);
}

static void unregistering_call(struct callback *callback)
{
    struct pressure *pressure = callback->context;

    expect(&callback->verdict,
            IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, NULL) == S_OK);
}

static void test_unregister_inside_a_call(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    pressure->callback.on_call = unregistering_call;
    pressure->callback.context = pressure;
    subscribe(pressure);
    simulate(pressure, 99);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    simulate(pressure, 10);
    Sleep(QUIET);
    assert_heard(pressure, 1, 0, 0);
    assert_verdict(&pressure->callback.verdict);
    assert_true(wait_until(get_refcount((IUnknown *)pressure->iface) == 1, SOON));
}

static void test_register_again_after_unregister(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    subscribe(pressure);
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(pressure->host.memory, NULL), S_OK);
    simulate(pressure, 99);
    Sleep(QUIET);
    assert_int_equal(pressure->callback.calls, 0);
    subscribe(pressure);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
}

/* What the runtime may do while it is told: allocate (its stress log does), free, ask for the load, take
 * pages. */
static void busy_call(struct callback *callback)
{
    struct pressure *pressure = callback->context;
    struct host *host = &pressure->host;
    SIZE_T available;
    DWORD load;
    void *mem;

    expect(&callback->verdict, IHostMalloc_Alloc(host->malloc, 100, eTaskCritical, &mem) == S_OK);
    expect(&callback->verdict, IHostMalloc_Free(host->malloc, mem) == S_OK);
    expect(&callback->verdict, IHostMalloc_Alloc(host->malloc, 0x100000, eTaskCritical, &mem) == S_OK);
    expect(&callback->verdict, IHostMalloc_Free(host->malloc, mem) == S_OK);
    expect(&callback->verdict, IHostMemoryManager_VirtualAlloc(host->memory, NULL, PAGE, MEM_COMMIT,
            PAGE_READWRITE, eTaskCritical, &mem) == S_OK);
    expect(&callback->verdict, IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_RELEASE) == S_OK);
    expect(&callback->verdict, IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available) == S_OK);
    expect(&callback->verdict, IMscoreeHostMemory_Trim(host->accounts, NULL) == S_OK);
}

static void test_runtime_allocates_inside_a_call(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    host_open_malloc(&pressure->host, MALLOC_THREADSAFE);
    pressure->callback.on_call = busy_call;
    pressure->callback.context = pressure;
    subscribe(pressure);
    simulate(pressure, 99);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    simulate(pressure, 10);
    assert_true(hears(pressure, eMemoryAvailableHigh, 1));
    assert_verdict(&pressure->callback.verdict);
}

static void test_control_ends_notifications(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    subscribe(pressure);
    assert_int_equal(IHostControl_Release(pressure->host.control), 0);
    pressure->host.control = NULL;
    assert_refcount(pressure->iface, 1);
    simulate(pressure, 99);
    Sleep(QUIET);
    assert_int_equal(pressure->callback.calls, 0);
}

static void test_control_waits_for_a_call(void **state)
{
    struct pressure *pressure = *state;
    HANDLE called = CreateEventW(NULL, TRUE, FALSE, NULL);

    test_begin();
    pressure->callback.on_call = slow_call;
    pressure->callback.context = called;
    subscribe(pressure);
    simulate(pressure, 99);
    assert_int_equal(WaitForSingleObject(called, SOON), WAIT_OBJECT_0);
    assert_int_equal(IHostControl_Release(pressure->host.control), 0);
    pressure->host.control = NULL;
    assert_int_equal(pressure->callback.inside, 0);
    assert_int_equal(pressure->callback.calls, 1);
    CloseHandle(called);
}

static void test_no_notifications_option(void **state)
{
    struct pressure *pressure = *state;
    const HOST_CONTROL_OPTIONS options =
    {
        .cbSize = sizeof(options), .dwPollInterval = 10, .dwFlags = HOST_CONTROL_NO_NOTIFICATIONS,
    };

    test_begin();
    host_close(&pressure->host);
    host_open(&pressure->host, &options);
    subscribe(pressure);
    simulate(pressure, 100);
    Sleep(QUIET);
    assert_int_equal(pressure->callback.calls, 0);
}

/* ---- when ---- */

static void test_low_and_neutral_with_hysteresis(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    start_runtime(pressure);
    subscribe(pressure);
    simulate(pressure, 89);
    Sleep(QUIET);
    assert_heard(pressure, 0, 0, 0);
    simulate(pressure, 90);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    simulate(pressure, 89);
    Sleep(QUIET);
    simulate(pressure, 85);
    Sleep(QUIET);
    assert_heard(pressure, 1, 0, 0);
    simulate(pressure, 84);
    assert_true(hears(pressure, eMemoryAvailableNeutral, 1));
    simulate(pressure, 89);
    Sleep(QUIET);
    simulate(pressure, 70);
    Sleep(QUIET);
    simulate(pressure, 10);
    Sleep(QUIET);
    assert_heard(pressure, 1, 1, 0);
}

static void test_recovery_by_load(void **state)
{
    static const struct
    {
        DWORD load;
        EMemoryAvailable what;
    }
    rows[] =
    {
        {84, eMemoryAvailableNeutral},
        {70, eMemoryAvailableNeutral},
        {69, eMemoryAvailableHigh},
        {0, eMemoryAvailableHigh},
    };
    struct pressure *pressure = *state;
    unsigned int i;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        /* A new host each: the next Low of the same one is ten seconds away. */
        teardown(state);
        setup(state);
        start_runtime(pressure);
        subscribe(pressure);
        simulate(pressure, 100);
        assert_true(hears(pressure, eMemoryAvailableLow, 1));
        simulate(pressure, rows[i].load);
        assert_true(hears(pressure, rows[i].what, 1));
        Sleep(QUIET);
        assert_int_equal(pressure->callback.calls, 2);
        assert_int_equal(get_statistics(&pressure->host).notifications[eMemoryAvailableLow], 1);
        assert_int_equal(get_statistics(&pressure->host).notifications[rows[i].what], 1);
    }
}

static void test_no_recovery_without_low(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    subscribe(pressure);
    simulate(pressure, 88);
    Sleep(QUIET);
    simulate(pressure, 10);
    Sleep(QUIET);
    assert_int_equal(pressure->callback.calls, 0);
}

static void test_loads_of_the_options(void **state)
{
    struct pressure *pressure = *state;
    const HOST_CONTROL_OPTIONS options =
    {
        .cbSize = sizeof(options), .dwPollInterval = 10, .dwLowLoad = 60, .dwNeutralLoad = 40,
                .dwHighLoad = 20,
    };

    test_begin();
    host_close(&pressure->host);
    host_open(&pressure->host, &options);
    start_runtime(pressure);
    simulate(pressure, 59);
    subscribe(pressure);
    Sleep(QUIET);
    assert_heard(pressure, 0, 0, 0);
    simulate(pressure, 60);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    simulate(pressure, 40);
    Sleep(QUIET);
    assert_heard(pressure, 1, 0, 0);
    simulate(pressure, 20);
    assert_true(hears(pressure, eMemoryAvailableNeutral, 1));
    assert_heard(pressure, 1, 1, 0);
}

/* The limit without reserves, so that a hundredth of it is a page. */
static void test_low_from_the_limit(void **state)
{
    struct pressure *pressure = *state;
    struct host *host = &pressure->host;
    SIZE_T available;
    DWORD load;
    char *mem;

    test_begin();
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 100 * PAGE, 0, 0), S_OK);
    mem = alloc_pages(host, NULL, 100 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    alloc_pages(host, mem, 89 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    subscribe(pressure);
    Sleep(QUIET);
    assert_heard(pressure, 0, 0, 0);
    alloc_pages(host, mem, 90 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
    assert_int_equal(load, 90);
    assert_int_equal(available, 10 * PAGE);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem + 85 * PAGE, 5 * PAGE, MEM_DECOMMIT), S_OK);
    Sleep(QUIET);
    assert_heard(pressure, 1, 0, 0);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem + 84 * PAGE, PAGE, MEM_DECOMMIT), S_OK);
    assert_true(hears(pressure, eMemoryAvailableNeutral, 1));
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_DECOMMIT), S_OK);
    Sleep(QUIET);
    assert_heard(pressure, 1, 1, 0);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_RELEASE), S_OK);
}

/* What the runtime is told it must find confirmed when it asks. */
static void test_load_agrees_with_low(void **state)
{
    struct pressure *pressure = *state;
    struct host *host = &pressure->host;
    SIZE_T available;
    DWORD load;
    void *mem;

    test_begin();
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 100 * PAGE, HOST_RESERVE_DEFAULT,
            HOST_RESERVE_DEFAULT), S_OK);
    subscribe(pressure);
    assert_hr(IHostMemoryManager_VirtualAlloc(host->memory, NULL, 95 * PAGE, MEM_COMMIT, PAGE_READWRITE,
            eTaskCritical, &mem), S_OK);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
    assert_in_range(load, 90, 100);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_RELEASE), S_OK);
    assert_true(hears(pressure, eMemoryAvailableHigh, 1));
    assert_hr(IHostMemoryManager_GetMemoryLoad(host->memory, &load, &available), S_OK);
    assert_int_equal(load, 50);
}

static void test_low_when_a_limit_is_lowered(void **state)
{
    struct pressure *pressure = *state;
    struct host *host = &pressure->host;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 100 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    subscribe(pressure);
    Sleep(QUIET);
    assert_heard(pressure, 0, 0, 0);
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 100 * PAGE, 0, 0), S_OK);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    assert_hr(IMscoreeHostMemory_SetLimit(host->accounts, 0, 0, 0), S_OK);
    assert_true(hears(pressure, eMemoryAvailableHigh, 1));
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_RELEASE), S_OK);
}

/* ---- how often ---- */

/* A runtime that has not started yet ignores what it is told, so it is told again when it has: when a request
 * comes that is not eProcessCritical. That one is repeated at once, and once only. */
static void test_low_before_the_start_is_repeated(void **state)
{
    static const bool by_pages[] = {false, true};
    struct pressure *pressure = *state;
    unsigned int i;
    void *mem, *kept;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(by_pages); i++)
    {
        teardown(state);
        setup(state);
        host_open_malloc(&pressure->host, MALLOC_THREADSAFE);
        subscribe(pressure);
        assert_hr(IHostMalloc_Alloc(pressure->host.malloc, 16, eProcessCritical, &kept), S_OK);
        simulate(pressure, 99);
        assert_true(hears(pressure, eMemoryAvailableLow, 1));
        assert_hr(IHostMalloc_Alloc(pressure->host.malloc, 16, eProcessCritical, &mem), S_OK);
        assert_hr(IHostMalloc_Free(pressure->host.malloc, mem), S_OK);
        Sleep(QUIET);
        assert_heard(pressure, 1, 0, 0);

        if (by_pages[i]) start_runtime(pressure);
        else assert_hr(IHostMalloc_Free(pressure->host.malloc, alloc(&pressure->host, 16)), S_OK);
        assert_true(hears(pressure, eMemoryAvailableLow, 2));
        start_runtime(pressure);
        assert_hr(IHostMalloc_Free(pressure->host.malloc, alloc(&pressure->host, 16)), S_OK);
        Sleep(QUIET);
        assert_heard(pressure, 2, 0, 0);
        simulate(pressure, 80);
        assert_true(hears(pressure, eMemoryAvailableNeutral, 1));
        Sleep(QUIET);
        assert_heard(pressure, 2, 1, 0);
    }
}

static void test_low_after_the_start_is_not_repeated_at_once(void **state)
{
    struct pressure *pressure = *state;

    test_begin();
    start_runtime(pressure);
    subscribe(pressure);
    simulate(pressure, 99);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    start_runtime(pressure);
    Sleep(2000);
    assert_heard(pressure, 1, 0, 0);
}

/* Pressure for 20 s with the start of the runtime in the midst of it, which is the worst case: never more
 * than three. */
static void test_low_is_bounded(void **state)
{
    struct pressure *pressure = *state;
    DWORD start;

    test_begin();
    subscribe(pressure);
    start = GetTickCount();
    simulate(pressure, 99);
    assert_true(hears(pressure, eMemoryAvailableLow, 1));
    start_runtime(pressure);
    while (GetTickCount() - start < 19800)
    {
        Sleep(50);
        /* Requests that go on, and a load that changes without getting better. */
        start_runtime(pressure);
        simulate(pressure, 91 + (GetTickCount() / 100) % 9);
    }
    assert_in_range(pressure->callback.count[eMemoryAvailableLow], 2, 3);
    assert_int_equal(pressure->callback.count[eMemoryAvailableNeutral], 0);
    assert_int_equal(pressure->callback.count[eMemoryAvailableHigh], 0);
    simulate(pressure, 10);
    assert_true(hears(pressure, eMemoryAvailableHigh, 1));
}

/* A load that swings about the mark: the same bound holds, and each Low has its end. */
static void test_swinging_load(void **state)
{
    struct pressure *pressure = *state;
    DWORD start = GetTickCount();
    LONG low, ends;

    test_begin();
    start_runtime(pressure);
    subscribe(pressure);
    while (GetTickCount() - start < 12000)
    {
        simulate(pressure, 95);
        Sleep(60);
        simulate(pressure, 50);
        Sleep(60);
    }
    Sleep(QUIET);
    low = pressure->callback.count[eMemoryAvailableLow];
    ends = pressure->callback.count[eMemoryAvailableHigh];
    assert_int_equal(low, 2);
    assert_int_equal(ends, low);
    assert_int_equal(pressure->callback.count[eMemoryAvailableNeutral], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        pressure_test(test_register_keeps_a_reference),
        pressure_test(test_never_on_the_registering_thread),
        pressure_test(test_replaced_callback_hears_no_more),
        pressure_test(test_unregister_waits_for_a_call),
        pressure_test(test_unregister_inside_a_call),
        pressure_test(test_register_again_after_unregister),
        pressure_test(test_runtime_allocates_inside_a_call),
        pressure_test(test_control_ends_notifications),
        pressure_test(test_control_waits_for_a_call),
        pressure_test(test_no_notifications_option),
        pressure_test(test_low_and_neutral_with_hysteresis),
        pressure_test(test_recovery_by_load),
        pressure_test(test_no_recovery_without_low),
        pressure_test(test_loads_of_the_options),
        pressure_test(test_low_from_the_limit),
        pressure_test(test_load_agrees_with_low),
        pressure_test(test_low_when_a_limit_is_lowered),
        pressure_test(test_low_before_the_start_is_repeated),
        pressure_test(test_low_after_the_start_is_not_repeated_at_once),
        pressure_test(test_low_is_bounded),
        pressure_test(test_swinging_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
