/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The end of a process whose threads are in the midst of calls: ExitProcess kills them wherever they are,
 * with whatever lock they hold, and then another DLL (detach.dll, loaded first and so told last) goes on
 * using the host. Each test starts processes of this same program, which do one kind of work.
 */

#include "fakeclr.h"

#define WORKERS 4
#define RUNS 10
#define EXIT_CODE 100           /* and the number of the run */
#define SECONDS_TO_END 20       /* far below one, but on a machine that is overrun */

/* What child and parent share. */
struct result
{
    volatile LONG working;      /* workers that have made a round */
    volatile DWORD exit_called; /* GetTickCount */
    volatile LONG detached;     /* by detach.dll: 1 Free, 2 Alloc, 4 VirtualFree were S_OK, 8 the end */
};

static const WCHAR result_name[] = L"mscoreehost-exit-result";

/* ---- the child ---- */

static struct host host;
static struct result *result;
static DWORD exit_code;

static void work_blocks(unsigned int *seed)
{
    unsigned int i;
    void *mem[16];

    for (i = 0; i < ARRAY_SIZE(mem); i++)
    {
        SIZE_T size = next_random(seed) % 4 ? next_random(seed) % 2000 : next_random(seed) % 0x40000;

        if (next_random(seed) % 8) IHostMalloc_Alloc(host.malloc, size, eTaskCritical, &mem[i]);
        else IHostMalloc_DebugAlloc(host.malloc, size, eTaskCritical, NULL, 1, &mem[i]);
    }
    for (i = 0; i < ARRAY_SIZE(mem); i++) IHostMalloc_Free(host.malloc, mem[i]);
}

static void work_pages(unsigned int *seed)
{
    SIZE_T size = (1 + next_random(seed) % 64) * PAGE;
    void *mem, *out;

    if (IHostMemoryManager_VirtualAlloc(host.memory, NULL, size, MEM_RESERVE, PAGE_READWRITE, eTaskCritical,
            &mem) != S_OK) return;
    IHostMemoryManager_VirtualAlloc(host.memory, mem, size, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &out);
    IHostMemoryManager_VirtualFree(host.memory, mem, PAGE, MEM_DECOMMIT);
    IHostMemoryManager_VirtualFree(host.memory, mem, 0, MEM_RELEASE);
}

static void work_accounts(unsigned int *seed)
{
    HOST_MEMORY_STATISTICS statistics = {.cbSize = sizeof(statistics)};
    SIZE_T count;

    work_blocks(seed);
    IMscoreeHostMemory_GetStatistics(host.accounts, &statistics);
    IMscoreeHostMalloc_GetBlocks(host.blocks, 0, NULL, &count);
    IMscoreeHostMemory_Trim(host.accounts, NULL);
    IMscoreeHostMemory_SetLimit(host.accounts, 0, 0, 0);
}

static void work_mallocs(unsigned int *seed)
{
    IHostMalloc *malloc;
    void *mem;

    if (IHostMemoryManager_CreateMalloc(host.memory, next_random(seed) % 4, &malloc) != S_OK) return;
    IHostMalloc_Alloc(malloc, next_random(seed) % 0x20000, eTaskCritical, &mem);
    IHostMalloc_Release(malloc);
}

static void work_views(unsigned int *seed)
{
    void *base = (void *)(UINT_PTR)(next_random(seed) % 16 * GRANULARITY);

    IHostMemoryManager_AcquiredVirtualAddressSpace(host.memory, base, PAGE);
    IHostMemoryManager_NeedsVirtualAddressSpace(host.memory, NULL, 0);
    IHostMemoryManager_ReleasedVirtualAddressSpace(host.memory, base);
}

static void allocating_call(struct callback *callback)
{
    static unsigned int seed = 77;

    (void)callback;
    for (;;) work_blocks(&seed);
}

static const struct work
{
    void (*round)(unsigned int *seed);
    ULONGLONG limit;            /* so low that requests are refused all the time */
    bool notified;              /* the host's own thread is in the runtime's callback */
    bool worker_exits;          /* a worker calls ExitProcess, the main thread is killed */
}
works[] =
{
    {work_blocks, 0, false, false},
    {work_pages, 0, false, false},
    {work_blocks, 0x100000, false, false},
    {work_accounts, 0, false, false},
    {work_mallocs, 0, false, false},
    {work_views, 0, false, false},
    {work_blocks, 0, true, false},
    {work_blocks, 0, false, true},
};

static void exit_process(void)
{
    result->exit_called = GetTickCount();
    ExitProcess(exit_code);
}

struct worker
{
    const struct work *work;
    unsigned int seed;
    bool exits;
};

static DWORD WINAPI worker_thread(void *param)
{
    struct worker *worker = param;

    worker->work->round(&worker->seed);
    InterlockedIncrement(&result->working);
    while (!worker->exits || result->working < WORKERS) worker->work->round(&worker->seed);
    exit_process();
    return 0;
}

/* 1 to 9 tell the parent what did not work. */
static int child(unsigned int row, unsigned int run)
{
    void (WINAPI *set_work)(IHostMalloc *, IHostMemoryManager *, void *, void *, volatile LONG *);
    const struct work *work = &works[row];
    HOST_CONTROL_OPTIONS options = {.cbSize = sizeof(options), .limit = work->limit, .dwPollInterval = 5};
    HANDLE mapping = OpenFileMappingW(FILE_MAP_WRITE, FALSE, result_name);
    static struct worker workers[WORKERS];
    static struct callback callback;
    create_host_control_fn create;
    void *block, *region;
    HMODULE detach, dll;
    unsigned int i;

    exit_code = EXIT_CODE + run;
    if (!mapping || !(result = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0))) return 1;
    if (!(detach = LoadLibraryW(L"detach.dll"))) return 2;
    if (!(dll = LoadLibraryW(L"mscoreehost.dll"))) return 3;
    if (!(set_work = (void *)GetProcAddress(detach, "SetDetachWork"))) return 4;
    if (!(create = (void *)GetProcAddress(dll, "CreateHostControl"))) return 5;
    if (create(&options, &IID_IHostControl, (void **)&host.control) != S_OK
            || IHostControl_GetHostManager(host.control, &IID_IHostMemoryManager,
                    (void **)&host.memory) != S_OK
            || IHostMemoryManager_QueryInterface(host.memory, &IID_IMscoreeHostMemory,
                    (void **)&host.accounts) != S_OK
            || IHostMemoryManager_CreateMalloc(host.memory, MALLOC_THREADSAFE, &host.malloc) != S_OK
            || IHostMalloc_QueryInterface(host.malloc, &IID_IMscoreeHostMalloc,
                    (void **)&host.blocks) != S_OK)
        return 6;
    if (IHostMalloc_Alloc(host.malloc, 1000, eProcessCritical, &block) != S_OK
            || IHostMemoryManager_VirtualAlloc(host.memory, NULL, GRANULARITY, MEM_COMMIT, PAGE_READWRITE,
                    eProcessCritical, &region) != S_OK)
        return 7;
    set_work(host.malloc, host.memory, block, region, &result->detached);
    if (work->notified)
    {
        ICLRMemoryNotificationCallback *iface = callback_init(&callback);

        callback.on_call = allocating_call;
        IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 99, 0x100000);
        if (IHostMemoryManager_RegisterMemoryNotificationCallback(host.memory, iface) != S_OK) return 8;
        if (!wait_until(callback.inside, 5000)) return 9;
    }
    for (i = 0; i < WORKERS; i++)
    {
        workers[i].work = work;
        workers[i].seed = run * WORKERS + i + 1;
        workers[i].exits = work->worker_exits && !i;
        CloseHandle(CreateThread(NULL, 0, worker_thread, &workers[i], 0, NULL));
    }
    if (work->worker_exits)
        for (i = run + 1000;;) work->round(&i);
    while (result->working < WORKERS) Sleep(1);
    Sleep(run);
    exit_process();
    return 0;
}

/* ---- the parent ---- */

static void run_children(unsigned int row)
{
    PROCESS_INFORMATION process;
    WCHAR path[MAX_PATH], command[] = L"exit 0 00";
    struct result *shared;
    DWORD code, ended;
    unsigned int run;
    HANDLE mapping;

    mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, PAGE, result_name);
    assert_non_null(mapping);
    shared = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0);
    assert_non_null(shared);
    get_program_path(path, ARRAY_SIZE(path));
    command[5] = '0' + row;
    for (run = 0; run < RUNS; run++)
    {
        memset(shared, 0, sizeof(*shared));
        command[7] = '0' + run / 10;
        command[8] = '0' + run % 10;
        start_process(path, command, &process);
        if (WaitForSingleObject(process.hProcess, 60000))
        {
            TerminateProcess(process.hProcess, 1);
            fail_msg("run %u does not end: ExitProcess %s, detach.dll got as far as %d", run,
                    shared->exit_called ? "called" : "not called", (int)shared->detached);
        }
        ended = GetTickCount();
        GetExitCodeProcess(process.hProcess, &code);
        CloseHandle(process.hProcess);
        CloseHandle(process.hThread);
        if (code != EXIT_CODE + run || shared->detached != 15)
            fail_msg("run %u: exit code 0x%x, detach.dll got as far as %d, %d workers at work", run,
                    (unsigned int)code, (int)shared->detached, (int)shared->working);
        assert_in_range(ended - shared->exit_called, 0, SECONDS_TO_END * 1000);
    }
    UnmapViewOfFile(shared);
    CloseHandle(mapping);
}

static void test_exit_while_threads_allocate(void **state)
{
    (void)state;
    test_begin();
    run_children(0);
}

static void test_exit_while_threads_take_pages(void **state)
{
    (void)state;
    test_begin();
    run_children(1);
}

static void test_exit_while_threads_are_refused(void **state)
{
    (void)state;
    test_begin();
    run_children(2);
}

static void test_exit_while_threads_read_accounts(void **state)
{
    (void)state;
    test_begin();
    run_children(3);
}

static void test_exit_while_threads_make_mallocs(void **state)
{
    (void)state;
    test_begin();
    run_children(4);
}

static void test_exit_while_threads_announce_views(void **state)
{
    (void)state;
    test_begin();
    run_children(5);
}

static void test_exit_while_the_runtime_is_notified(void **state)
{
    (void)state;
    test_begin();
    run_children(6);
}

static void test_exit_by_another_thread(void **state)
{
    (void)state;
    test_begin();
    run_children(7);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] =
    {
        cmocka_unit_test(test_exit_while_threads_allocate),
        cmocka_unit_test(test_exit_while_threads_take_pages),
        cmocka_unit_test(test_exit_while_threads_are_refused),
        cmocka_unit_test(test_exit_while_threads_read_accounts),
        cmocka_unit_test(test_exit_while_threads_make_mallocs),
        cmocka_unit_test(test_exit_while_threads_announce_views),
        cmocka_unit_test(test_exit_while_the_runtime_is_notified),
        cmocka_unit_test(test_exit_by_another_thread),
    };

    if (argc == 3) return child(argv[1][0] - '0', (argv[2][0] - '0') * 10 + argv[2][1] - '0');
    return cmocka_run_group_tests(tests, NULL, NULL);
}
