/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * A runtime's whole life with its host, in the order, with the flags and in the sizes that published runtimes
 * have: bind, start, steady state, low memory, abuse, shutdown. One test a step; each builds on those before
 * it. The numbers of 64-bit runtimes are halved or more on i686, where they would not fit.
 */

#include "fakeclr.h"

#ifdef _WIN64
#define SEGMENT ((SIZE_T)0x18000000)            /* small and large objects in one piece */
#define LARGE_OBJECTS ((SIZE_T)0x10000000)      /* where the large ones begin in it */
#define NEW_SEGMENT ((SIZE_T)0x10000000)
#define PREFERRED_BASE ((void *)0x180000000)
#define KERNEL_HALF ((void *)0xffff800000000000)
#define USER_TOP ((void *)0x7fffffff0000)
#else
#define SEGMENT ((SIZE_T)0x2000000)
#define LARGE_OBJECTS ((SIZE_T)0x1000000)
#define NEW_SEGMENT ((SIZE_T)0x1000000)
#define PREFERRED_BASE ((void *)0x60000000)
#define KERNEL_HALF ((void *)0xffff0000)
#define USER_TOP ((void *)0x7fff0000)
#endif

#define WATCHED (MEM_RESERVE | MEM_WRITE_WATCH)
#define WORKERS 8

static struct host host;
static struct callback callback;
static char *gc;                /* the segment of step 13 */
static char *cards;             /* of step 14 */

static HRESULT host_alloc_pages(void *address, SIZE_T size, DWORD type, DWORD protect,
        EMemoryCriticalLevel level, void **mem)
{
    return IHostMemoryManager_VirtualAlloc(host.memory, address, size, type, protect, level, mem);
}

/* Pages that the runtime gets, process-critical as everything before its start. */
static char *get_pages(void *address, SIZE_T size, DWORD type, DWORD protect)
{
    void *mem = POISON;

    assert_hr(host_alloc_pages(address, size, type, protect, eProcessCritical, &mem), S_OK);
    assert_non_null(mem);
    assert_ptr_not_equal(mem, POISON);
    if (address && !(type & MEM_RESERVE)) assert_ptr_equal(mem, (void *)((UINT_PTR)address & ~(PAGE - 1)));
    return mem;
}

static void release_pages(void *mem)
{
    assert_hr(IHostMemoryManager_VirtualFree(host.memory, mem, 0, MEM_RELEASE), S_OK);
}

static MEMORY_BASIC_INFORMATION query(const void *address)
{
    MEMORY_BASIC_INFORMATION info;
    SIZE_T stored = 12345;

    assert_hr(IHostMemoryManager_VirtualQuery(host.memory, (void *)address, &info, sizeof(info), &stored),
            S_OK);
    assert_int_equal(stored, sizeof(void *) == 8 ? 48 : 28);
    return info;
}

static DWORD protect(void *address, SIZE_T size, DWORD new)
{
    DWORD old = 0xdeadbeef;

    assert_hr(IHostMemoryManager_VirtualProtect(host.memory, address, size, new, &old), S_OK);
    return old;
}

/* A section of mscoreehost.dll: an image like the runtime's own, for the test must not patch itself. */
static char *image_section(const char *name)
{
    char *image = (char *)load_dll();
    IMAGE_NT_HEADERS *nt = (IMAGE_NT_HEADERS *)(image + ((IMAGE_DOS_HEADER *)image)->e_lfanew);
    IMAGE_SECTION_HEADER *section = IMAGE_FIRST_SECTION(nt);
    unsigned int i;

    for (i = 0; i < nt->FileHeader.NumberOfSections; i++)
        if (!strncmp((char *)section[i].Name, name,
        sizeof(section[i].Name))) return image + section[i].VirtualAddress;
    fail_msg("no section %s", name);
    return NULL;
}

/* ---- bind ---- */

static void test_step_01_memory_manager(void **state)
{
    const HOST_CONTROL_OPTIONS options = {.cbSize = sizeof(options), .dwPollInterval = 20};

    (void)state;
    test_begin();
    assert_hr(create_host_control(&options, &IID_IHostControl, (void **)&host.control), S_OK);
    host.memory = POISON;
    assert_hr(IHostControl_GetHostManager(host.control, &IID_IHostMemoryManager, (void **)&host.memory),
            S_OK);
    assert_non_null(host.memory);
    assert_refcount(host.memory, 2);
    assert_hr(IHostMemoryManager_QueryInterface(host.memory, &IID_IMscoreeHostMemory,
            (void **)&host.accounts), S_OK);
    /* How full this machine is must not matter. */
    assert_hr(IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 50, 0x40000000), S_OK);
}

static IHostMalloc *volatile published;
static volatile LONG watching;

/* Another thread of the runtime, which uses its global malloc the moment there is one. */
static DWORD WINAPI use_at_once(void *arg)
{
    struct verdict *verdict = arg;
    IHostMalloc *malloc;
    void *mem = NULL;
    HRESULT hr;

    watching = 1;
    while ((malloc = published) == POISON) YieldProcessor();
    hr = malloc ? IHostMalloc_Alloc(malloc, 24, eProcessCritical, &mem) : E_FAIL;
    expect(verdict, hr == S_OK && mem);
    if (hr == S_OK) expect(verdict, IHostMalloc_Free(malloc, mem) == S_OK);
    return 0;
}

static void test_step_02_create_malloc(void **state)
{
    struct verdict verdict = {0};
    HANDLE thread;

    (void)state;
    test_begin();
    published = POISON;
    thread = start_thread(use_at_once, &verdict);
    while (!watching) YieldProcessor();
    assert_hr(IHostMemoryManager_CreateMalloc(host.memory, MALLOC_THREADSAFE, (IHostMalloc **)&published),
            S_OK);
    join_thread(thread);
    assert_verdict(&verdict);
    host.malloc = published;
    assert_refcount(host.malloc, 1);
}

static void test_step_03_register_callback(void **state)
{
    (void)state;
    test_begin();
    callback_init(&callback);
    callback.immortal = true;
    assert_hr(IHostMemoryManager_RegisterMemoryNotificationCallback(host.memory,
            &callback.ICLRMemoryNotificationCallback_iface), S_OK);
    Sleep(100);
    assert_int_equal(callback.calls, 0);
}

static volatile LONG stop_asking;

static DWORD WINAPI ask_for_task_manager(void *arg)
{
    struct verdict *verdict = arg;

    while (!stop_asking)
    {
        void *manager = POISON;

        expect(verdict, IHostControl_GetHostManager(host.control, &IID_IHostTaskManager,
                &manager) == E_NOINTERFACE);
        expect(verdict, !manager);
    }
    return 0;
}

static void ask_for_the_others(void)
{
    struct verdict verdict = {0};
    HANDLE thread;
    unsigned int i;
    void *manager;

    stop_asking = 0;
    thread = start_thread(ask_for_task_manager, &verdict);
    for (i = 0; i < ARRAY_SIZE(other_managers); i++)
    {
        manager = POISON;
        assert_hr(IHostControl_GetHostManager(host.control, other_managers[i], &manager), E_NOINTERFACE);
        assert_null(manager);
    }
    stop_asking = 1;
    join_thread(thread);
    assert_verdict(&verdict);
}

static void test_step_04_other_managers(void **state)
{
    (void)state;
    test_begin();
    ask_for_the_others();
}

static void test_step_05_second_set_host_control(void **state)
{
    (void)state;
    test_begin();
    assert_int_equal(IHostControl_AddRef(host.control), 2);
    ask_for_the_others();
    assert_refcount(host.memory, 3);    /* the control's, the runtime's, and the test's for its accounts */
}

/* ---- start ---- */

static void test_step_06_patch_code(void **state)
{
    char *code;
    DWORD old;

    (void)state;
    test_begin();
    code = image_section(".text");
    old = query(code).Protect;
    assert_int_equal(protect(code, 0x700, PAGE_EXECUTE_READWRITE), old);
    assert_int_equal(query(code).Protect & (PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY),
            query(code).Protect);
    protect(code, 0x700, old);
    assert_int_equal(query(code).Protect, old);
}

static void test_step_07_protect_variable(void **state)
{
    char *variable;
    DWORD old;

    (void)state;
    test_begin();
    variable = image_section(".rdata") + 8;
    old = query(variable).Protect;
    assert_int_equal(old, PAGE_READONLY);
    assert_int_equal(protect(variable, 8, PAGE_READWRITE), old);
    protect(variable, 8, old);
    assert_int_equal(query(variable).Protect, old);
}

static void test_step_08_first_blocks(void **state)
{
    static const SIZE_T first[] = {0, 1, 24, 40, 0x88, 0x400, 0x2010, 0x10000};
    static struct
    {
        unsigned char *mem;
        SIZE_T size;
    }
    blocks[ARRAY_SIZE(first) + 200];
    unsigned int i, seed = 8;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(blocks); i++)
    {
        void *mem = NULL;

        blocks[i].size = i < ARRAY_SIZE(first) ? first[i] : next_random(&seed) % (1u << (4 + i % 12));
        assert_hr(IHostMalloc_Alloc(host.malloc, blocks[i].size, eProcessCritical, &mem), S_OK);
        assert_non_null(mem);
        assert_int_equal((UINT_PTR)mem % MEMORY_ALLOCATION_ALIGNMENT, 0);
        blocks[i].mem = mem;
        memset(mem, (unsigned char)i, blocks[i].size);
    }
    /* Distinct: each still holds what was written to it, and the two of size 0 are not one. */
    for (i = 0; i < ARRAY_SIZE(blocks); i++) assert_bytes(blocks[i].mem, (unsigned char)i, blocks[i].size);
    for (i = 1; i < ARRAY_SIZE(blocks); i++) assert_ptr_not_equal(blocks[i].mem, blocks[0].mem);
    for (i = 0; i < ARRAY_SIZE(blocks); i++) assert_hr(IHostMalloc_Free(host.malloc, blocks[i].mem), S_OK);
}

static void test_step_09_handle_segment(void **state)
{
    char *base;

    (void)state;
    test_begin();
    base = get_pages(NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    assert_int_equal((UINT_PTR)base & 0xffff, 0);
    get_pages(base, 0x2000, MEM_COMMIT, PAGE_READWRITE);
    memset(base, 0x99, 0x2000);
    get_pages(base + 0x2000, 0x1000, MEM_COMMIT, PAGE_READWRITE);
    get_pages(base, 0x2000, MEM_COMMIT, PAGE_READWRITE);
    assert_bytes(base, 0x99, 0x2000);
    assert_bytes(base + 0x2000, 0, 0x1000);
}

static void test_step_10_loader_heap(void **state)
{
    unsigned int i;
    char *base;

    (void)state;
    test_begin();
    base = get_pages(NULL, 0x10000, MEM_RESERVE, PAGE_NOACCESS);
    for (i = 0; i < 8; i++)
    {
        get_pages(base + i * PAGE, PAGE, MEM_COMMIT, PAGE_READWRITE);
        memset(base + i * PAGE, i, PAGE);
    }
    get_pages(base + 8 * PAGE, PAGE, MEM_COMMIT, PAGE_EXECUTE_READWRITE);
    assert_int_equal(query(base + 8 * PAGE).Protect, PAGE_EXECUTE_READWRITE);
    assert_int_equal(query(base + 9 * PAGE).State, MEM_RESERVE);
}

static void test_step_11_code_heap(void **state)
{
    /* All of a 32-bit address space is within reach, and above the images Wine 8.0 has none of it free. */
    UINT_PTR image = (UINT_PTR)load_dll() & ~(UINT_PTR)0xffff;
    char *address = (char *)(sizeof(void *) == 8 ? image - 0x1000000 : 0x10000);
    MEMORY_BASIC_INFORMATION info;
    void *mem;

    (void)state;
    test_begin();
    for (;;)
    {
        info = query(address);
        if (info.State == MEM_FREE
                && info.RegionSize >= 0x10000 + ((UINT_PTR)info.BaseAddress & 0xffff)) break;
        address = (char *)(((UINT_PTR)info.BaseAddress + info.RegionSize + 0xffff) & ~(UINT_PTR)0xffff);
    }
    mem = POISON;
    assert_hr(host_alloc_pages(address, 0x10000, MEM_RESERVE, PAGE_NOACCESS, eProcessCritical, &mem), S_OK);
    assert_ptr_equal(mem, address);
    mem = POISON;
    SetLastError(0);
    assert_true(FAILED(host_alloc_pages(address, 0x10000, MEM_RESERVE, PAGE_NOACCESS, eProcessCritical,
            &mem)));
    assert_null(mem);
    assert_int_not_equal(GetLastError(), 0);
}

static void test_step_12_write_watch_probe(void **state)
{
    (void)state;
    test_begin();
    release_pages(get_pages(NULL, 0x10000, WATCHED, PAGE_READWRITE));
}

static ULONG_PTR count_dirty(void **dirty, ULONG_PTR room)
{
    ULONG granularity;

    assert_int_equal(GetWriteWatch(0, gc, SEGMENT, dirty, &room, &granularity), 0);
    assert_int_equal(granularity, PAGE);
    return room;
}

static void test_step_13_gc_segment(void **state)
{
    char *places[4];
    void *dirty[8];
    unsigned int i;

    (void)state;
    test_begin();
    gc = get_pages(NULL, SEGMENT, WATCHED, PAGE_READWRITE);
    get_pages(gc, 2 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    get_pages(gc + LARGE_OBJECTS, 2 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(ResetWriteWatch(gc, SEGMENT), 0);
    assert_int_equal(count_dirty(dirty, ARRAY_SIZE(dirty)), 0);
    for (i = 0; i < ARRAY_SIZE(places); i++)
    {
        places[i] = gc + (i / 2) * LARGE_OBJECTS + (i % 2) * PAGE;
        places[i][100] = 13;
    }
    assert_int_equal(count_dirty(dirty, ARRAY_SIZE(dirty)), 4);
    for (i = 0; i < ARRAY_SIZE(places); i++) assert_ptr_equal(dirty[i], places[i]);
    assert_int_equal(ResetWriteWatch(gc, SEGMENT), 0);
    assert_int_equal(count_dirty(dirty, ARRAY_SIZE(dirty)), 0);
}

static void test_step_14_card_table(void **state)
{
    unsigned int i;

    (void)state;
    test_begin();
    cards = get_pages(NULL, 0x370000, MEM_RESERVE, PAGE_READWRITE);
    get_pages(cards, 0x61000, MEM_COMMIT, PAGE_READWRITE);
    memset(cards, 1, 0x61000);
    for (i = 0; i < 16; i++)
    {
        get_pages(cards + 0x200000 + i * PAGE, PAGE, MEM_COMMIT, PAGE_READWRITE);
        assert_bytes(cards + 0x200000 + i * PAGE, 0, PAGE);
    }
}

static void test_step_15_implicit_reserve(void **state)
{
    MEMORY_BASIC_INFORMATION info;
    char *base;

    (void)state;
    test_begin();
    base = get_pages(NULL, 0x1800, MEM_COMMIT, PAGE_READWRITE);
    info = query(base);
    assert_int_equal(info.RegionSize, 0x2000);
    assert_int_equal(info.State, MEM_COMMIT);
    release_pages(base);
}

static void test_step_16_image_load(void **state)
{
    HOST_MEMORY_STATISTICS before, after;
    HANDLE mapping;
    void *view;

    (void)state;
    test_begin();
    before = get_statistics(&host);
    SetLastError(ERROR_INVALID_ADDRESS);
    assert_hr(IHostMemoryManager_NeedsVirtualAddressSpace(host.memory, PREFERRED_BASE, 0), E_OUTOFMEMORY);
    assert_last_error(ERROR_INVALID_ADDRESS);

    mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0x12000, NULL);
    assert_non_null(mapping);
    view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    assert_non_null(view);
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host.memory, view, 0), S_OK);
    after = get_statistics(&host);
    assert_equal_64(after.views, before.views + 1);
    assert_equal_64(after.viewBytes, before.viewBytes + 0x12000);

    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host.memory, PREFERRED_BASE, 0x30000), S_OK);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host.memory, PREFERRED_BASE), S_OK);
    UnmapViewOfFile(view);
    CloseHandle(mapping);
    after = get_statistics(&host);
    assert_equal_64(after.views, before.views + 1);
}

/* Waits longer than the host may between two Lows. */
static bool hears(EMemoryAvailable what, LONG count)
{
    return wait_until(callback.count[what] >= count, 15000);
}

static void test_step_17_low_before_start(void **state)
{
    void *mem;

    (void)state;
    test_begin();
    assert_int_equal(callback.calls, 0);
    IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 95, 0x1000000);
    assert_true(hears(eMemoryAvailableLow, 1));
    /* Lost on a runtime that is starting; the first request below process level shows that it has. */
    mem = NULL;
    assert_hr(host_alloc_pages(NULL, PAGE, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &mem), S_OK);
    assert_true(hears(eMemoryAvailableLow, 2));
    release_pages(mem);
    IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 50, 0x40000000);
    assert_true(hears(eMemoryAvailableHigh, 1));
}

/* ---- steady state ---- */

/* Where workers leave every second block for the finalizer. */
static void *volatile left_blocks[4096];
static volatile LONG left_in, left_out, workers_done;

struct worker
{
    unsigned int seed;
    struct verdict verdict;
};

static void leave_block(void *mem)
{
    LONG i = InterlockedIncrement(&left_in) - 1;

    while (InterlockedCompareExchangePointer((void **)&left_blocks[i % ARRAY_SIZE(left_blocks)], mem,
            NULL)) Sleep(0);
}

static DWORD WINAPI work(void *arg)
{
    struct worker *worker = arg;
    unsigned int i;

    for (i = 0; i < 4000; i++)
    {
        unsigned int dice = next_random(&worker->seed) % 100;
        EMemoryCriticalLevel level = dice < 95 ? eTaskCritical : dice < 99 ? eAppDomainCritical
                : eProcessCritical;
        SIZE_T size = 1 + next_random(&worker->seed) % 0x4000;
        unsigned char *mem = NULL;

        expect(&worker->verdict, IHostMalloc_Alloc(host.malloc, size, level, (void **)&mem) == S_OK && mem);
        if (!mem) return 0;
        mem[0] = mem[size - 1] = (unsigned char)i;
        if (i % 2) leave_block(mem);
        else
        {
            expect(&worker->verdict, mem[0] == (unsigned char)i && mem[size - 1] == (unsigned char)i);
            expect(&worker->verdict, IHostMalloc_Free(host.malloc, mem) == S_OK);
        }
    }
    return 0;
}

static DWORD WINAPI finalize(void *arg)
{
    struct verdict *verdict = arg;

    for (;;)
    {
        void *mem = InterlockedExchangePointer((void **)&left_blocks[left_out % ARRAY_SIZE(left_blocks)],
                NULL);

        if (mem)
        {
            expect(verdict, IHostMalloc_Free(host.malloc, mem) == S_OK);
            left_out++;
        }
        else if (workers_done && left_out == left_in) return 0;
        else Sleep(0);
    }
}

static void test_step_18_threads(void **state)
{
    static struct worker workers[WORKERS];
    ULONGLONG blocks = get_statistics(&host).heapLiveBlocks;
    struct verdict verdict = {0};
    HANDLE finalizer;
    unsigned int i;

    (void)state;
    test_begin();
    workers_done = 0;
    finalizer = start_thread(finalize, &verdict);
    for (i = 0; i < WORKERS; i++) workers[i].seed = i + 1;
    run_threads(workers, work);
    workers_done = 1;
    join_thread(finalizer);
    for (i = 0; i < WORKERS; i++) assert_verdict(&workers[i].verdict);
    assert_verdict(&verdict);
    assert_int_equal(left_out, WORKERS * 2000);
    assert_equal_64(get_statistics(&host).heapLiveBlocks, blocks);
}

static DWORD WINAPI second_domain(void *arg)
{
    struct verdict *verdict = arg;
    struct callback unk;

    expect(verdict, IHostControl_SetAppDomainManager(host.control, 2,
            (IUnknown *)callback_init(&unk)) == S_OK);
    expect(verdict, unk.refcount == 1);
    return 0;
}

static void test_step_19_domain_managers(void **state)
{
    struct verdict verdict = {0};
    struct callback unk;

    (void)state;
    test_begin();
    assert_hr(IHostControl_SetAppDomainManager(host.control, 1, (IUnknown *)callback_init(&unk)), S_OK);
    join_thread(start_thread(second_domain, &verdict));
    assert_verdict(&verdict);
    assert_int_equal(unk.refcount, 1);
}

static DWORD WINAPI jit(void *arg)
{
    struct verdict *verdict = arg;
    unsigned int i, j;

    for (i = 0; i < 1000; i++)
    {
        ULONG_PTR *mem = NULL;

        expect(verdict, host_alloc_pages(NULL, 0x10000, MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                (void **)&mem) == S_OK && mem);
        if (!mem) return 0;
        for (j = 0; j < 0x10000 / sizeof(*mem); j += 128)
        {
            expect(verdict, !mem[j]);
            mem[j] = j + 1;
        }
        expect(verdict, IHostMemoryManager_VirtualFree(host.memory, mem, 0, MEM_RELEASE) == S_OK);
    }
    return 0;
}

static void test_step_20_jit(void **state)
{
    static struct verdict verdicts[4];
    HOST_MEMORY_STATISTICS before = get_statistics(&host), after;
    unsigned int i;

    (void)state;
    test_begin();
    run_threads(verdicts, jit);
    for (i = 0; i < ARRAY_SIZE(verdicts); i++) assert_verdict(&verdicts[i]);
    after = get_statistics(&host);
    assert_equal_64(after.pagesCommitted, before.pagesCommitted);
    assert_equal_64(after.pageRegions, before.pageRegions);
}

static void test_step_21_gc_growth(void **state)
{
    static const unsigned int steps[] = {3, 1, 2, 3, 0, 7, 6, 1};
    ULONGLONG before = get_statistics(&host).pagesCommitted;
    unsigned int i;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(steps); i++)
    {
        char *place = gc + steps[i] * 0x10000;

        get_pages(place, 0x10000 + PAGE, MEM_COMMIT, PAGE_READWRITE);
        place[PAGE] = 21;
    }
    assert_int_equal(gc[100], 13);
    assert_int_equal(gc[0x10000 + PAGE], 21);
    /* Steps 0 to 3 are one piece, 6 and 7 another, each with a page more; two pages were there. */
    assert_equal_64(get_statistics(&host).pagesCommitted, before + (4 + 2) * 0x10000 + 2 * PAGE - 2 * PAGE);
}

static void test_step_22_new_segment(void **state)
{
    ULONGLONG before = get_statistics(&host).pagesCommitted;
    char *segment;

    (void)state;
    test_begin();
    segment = get_pages(NULL, NEW_SEGMENT, WATCHED, PAGE_READWRITE);
    get_pages(segment, 0x80000, MEM_COMMIT, PAGE_READWRITE);
    memset(segment, 22, 0x80000);
    assert_hr(IHostMemoryManager_VirtualFree(host.memory, segment, 0x40000, MEM_DECOMMIT), S_OK);
    assert_equal_64(get_statistics(&host).pagesCommitted, before + 0x40000);
    get_pages(segment, 0x40000, MEM_COMMIT, PAGE_READWRITE);
    assert_bytes(segment, 0, 0x40000);
    assert_bytes(segment + 0x40000, 22, 0x40000);
    release_pages(segment);
    assert_equal_64(get_statistics(&host).pagesCommitted, before);
}

static void test_step_23_reset(void **state)
{
    ULONGLONG before = get_statistics(&host).pagesCommitted;
    void *mem = POISON;

    (void)state;
    test_begin();
    assert_hr(host_alloc_pages(gc, 0x20000, MEM_RESET, PAGE_READWRITE, eTaskCritical, &mem), S_OK);
    assert_ptr_equal(mem, gc);
    gc[0x1ffff] = 23;
    assert_int_equal(gc[0x1ffff], 23);
    assert_equal_64(get_statistics(&host).pagesCommitted, before);
}

static volatile LONG stop_work;

/* Everything that takes a lock or enters the system, until told to stop. */
static DWORD WINAPI busy(void *arg)
{
    struct worker *worker = arg;

    while (!stop_work)
    {
        SIZE_T size = 1 + next_random(&worker->seed) % 0x8000;
        void *mem = NULL;

        if (next_random(&worker->seed) % 16)
        {
            expect(&worker->verdict, IHostMalloc_Alloc(host.malloc, size, eTaskCritical, &mem) == S_OK);
            expect(&worker->verdict, IHostMalloc_Free(host.malloc, mem) == S_OK);
        }
        else
        {
            expect(&worker->verdict, host_alloc_pages(NULL, size, MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                    &mem) == S_OK);
            expect(&worker->verdict, IHostMemoryManager_VirtualFree(host.memory, mem, 0,
                    MEM_RELEASE) == S_OK);
        }
    }
    return 0;
}

static bool ask_load(unsigned int *seed)
{
    DWORD load = 12345;
    SIZE_T available;

    (void)seed;
    return IHostMemoryManager_GetMemoryLoad(host.memory, &load, &available) == S_OK && load <= 100;
}

/* Found beforehand: the loader allocates from a heap whose lock a stopped thread may hold. */
static void *some_image;

static bool ask_pages(unsigned int *seed)
{
    void *addresses[] =
    {
        NULL, some_image, gc, gc + 0x10000, USER_TOP,
        (void *)((UINT_PTR)next_random(seed) * sizeof(void *) & ~(PAGE - 1)), KERNEL_HALF,
    };
    MEMORY_BASIC_INFORMATION info;
    unsigned int i;
    HRESULT hr;
    SIZE_T stored;

    for (i = 0; i < ARRAY_SIZE(addresses); i++)
    {
        stored = 12345;
        hr = IHostMemoryManager_VirtualQuery(host.memory, addresses[i], &info, sizeof(info), &stored);
        if (stored != (hr == S_OK ? sizeof(info) : 0)) return false;
        if (addresses[i] == KERNEL_HALF && hr == S_OK) return false;
        if (i < 4 && hr != S_OK) return false;
    }
    return true;
}

/* Asks while every other thread of the runtime is stopped wherever it was. A host that waits for one of them
 * never returns, and the test's time runs out. */
static void ask_while_suspended(bool (*ask)(unsigned int *seed))
{
    struct worker workers[WORKERS] = {{0}};
    HANDLE threads[WORKERS];
    unsigned int i, round, wrong = 0, seed = 24;

    stop_work = 0;
    for (i = 0; i < WORKERS; i++)
    {
        workers[i].seed = i + 100;
        threads[i] = start_thread(busy, &workers[i]);
    }
    for (round = 0; round < 100; round++)
    {
        if (round % 10 == 9) Sleep(1);
        for (i = 0; i < WORKERS; i++) SuspendThread(threads[i]);
        for (i = 0; i < 100; i++) wrong += !ask(&seed);
        for (i = 0; i < WORKERS; i++) ResumeThread(threads[i]);
    }
    stop_work = 1;
    for (i = 0; i < WORKERS; i++) join_thread(threads[i]);
    for (i = 0; i < WORKERS; i++) assert_verdict(&workers[i].verdict);
    assert_int_equal(wrong, 0);
}

static void test_step_24_load_while_suspended(void **state)
{
    (void)state;
    test_begin();
    ask_while_suspended(ask_load);
}

static void test_step_25_query_while_suspended(void **state)
{
    (void)state;
    test_begin();
    some_image = load_dll();
    ask_while_suspended(ask_pages);
}

static void test_step_26_protect(void **state)
{
    DWORD old = 0xdeadbeef;
    char *base;

    (void)state;
    test_begin();
    base = get_pages(NULL, 2 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(protect(base + PAGE - 2, 5, PAGE_EXECUTE_READ), PAGE_READWRITE);
    assert_int_equal(query(base).Protect, PAGE_EXECUTE_READ);
    assert_int_equal(query(base + PAGE).Protect, PAGE_EXECUTE_READ);
    assert_int_equal(protect(base + PAGE - 2, 5, PAGE_READWRITE), PAGE_EXECUTE_READ);

    SetLastError(0);
    assert_true(FAILED(IHostMemoryManager_VirtualProtect(host.memory, NULL, 5, PAGE_READWRITE, &old)));
    assert_int_not_equal(GetLastError(), 0);
    assert_int_equal(old, 0);
    release_pages(base);
    SetLastError(0);
    assert_true(FAILED(IHostMemoryManager_VirtualProtect(host.memory, base, 5, PAGE_READWRITE, &old)));
    assert_int_not_equal(GetLastError(), 0);
}

static void test_step_27_thunk_table(void **state)
{
    void *mem = POISON;

    (void)state;
    test_begin();
    assert_hr(host_alloc_pages(NULL, 0x10000, MEM_RESERVE | MEM_TOP_DOWN, PAGE_EXECUTE_READWRITE,
            eTaskCritical, &mem), S_OK);
    assert_int_equal(query(mem).AllocationProtect, PAGE_EXECUTE_READWRITE);
    release_pages(mem);
}

static void *orphans[100];

static DWORD WINAPI alloc_and_exit(void *arg)
{
    struct verdict *verdict = arg;
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(orphans); i++)
    {
        expect(verdict, IHostMalloc_Alloc(host.malloc, 10 * i + 1, eTaskCritical, &orphans[i]) == S_OK);
        if (orphans[i]) memset(orphans[i], (int)i, 10 * i + 1);
    }
    return 0;
}

static DWORD WINAPI free_orphans(void *arg)
{
    struct verdict *verdict = arg;
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(orphans); i++)
    {
        expect(verdict, ((unsigned char *)orphans[i])[10 * i] == (unsigned char)i);
        expect(verdict, IHostMalloc_Free(host.malloc, orphans[i]) == S_OK);
    }
    return 0;
}

static void test_step_28_blocks_of_a_dead_thread(void **state)
{
    struct verdict verdict = {0};

    (void)state;
    test_begin();
    join_thread(start_thread(alloc_and_exit, &verdict));
    assert_verdict(&verdict);
    join_thread(start_thread(free_orphans, &verdict));
    assert_verdict(&verdict);
}

static void test_step_29_debug_alloc(void **state)
{
    void *mem = NULL, *nameless = NULL;

    (void)state;
    test_begin();
    assert_hr(IHostMalloc_DebugAlloc(host.malloc, 64, eTaskCritical, (char *)"x.cpp", 1, &mem), S_OK);
    assert_hr(IHostMalloc_DebugAlloc(host.malloc, 64, eTaskCritical, NULL, 0, &nameless), S_OK);
    memset(mem, 1, 64);
    memset(nameless, 2, 64);
    assert_bytes(mem, 1, 64);
    assert_hr(IHostMalloc_Free(host.malloc, mem), S_OK);
    assert_hr(IHostMalloc_Free(host.malloc, nameless), S_OK);
}

/* ---- low memory ---- */

/* As a runtime whose stress log is on. */
static void alloc_inside(struct callback *called)
{
    void *mem = NULL;

    expect(&called->verdict, IHostMalloc_Alloc(host.malloc, 500, eTaskCritical, &mem) == S_OK && mem);
    expect(&called->verdict, IHostMalloc_Free(host.malloc, mem) == S_OK);
}

static LONG lows, ends;

static LONG count_ends(void)
{
    return callback.count[eMemoryAvailableNeutral] + callback.count[eMemoryAvailableHigh];
}

static void test_step_30_low(void **state)
{
    (void)state;
    test_begin();
    lows = callback.count[eMemoryAvailableLow];
    ends = count_ends();
    callback.on_call = alloc_inside;
    IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 93, 0x1000000);
    assert_true(hears(eMemoryAvailableLow, lows + 1));
    assert_int_not_equal(callback.thread, GetCurrentThreadId());
    assert_verdict(&callback.verdict);
}

/* Real time: what is counted is bounded by the host's own clock, however slow the machine is. */
static void test_step_31_low_lasts(void **state)
{
    DWORD start, load;
    SIZE_T available;
    LONG heard;

    (void)state;
    test_begin();
    lows = callback.count[eMemoryAvailableLow];
    for (start = GetTickCount(); GetTickCount() - start < 20000; Sleep(100))
    {
        assert_hr(IHostMemoryManager_GetMemoryLoad(host.memory, &load, &available), S_OK);
        assert_in_range(load, 90, 100);
    }
    heard = callback.count[eMemoryAvailableLow] - lows;
    assert_in_range(heard, 1, 3);
    assert_int_equal(count_ends(), ends);
}

static void *hoard[100000];
static unsigned int hoarded;

static void test_step_32_reserve(void **state)
{
    HOST_MEMORY_STATISTICS stats = get_statistics(&host);
    void *mem;
    HRESULT hr;

    (void)state;
    test_begin();
    assert_hr(IMscoreeHostMemory_SetLimit(host.accounts, stats.committed + 0x400000, 0x100000, 0x100000),
            S_OK);
    for (hoarded = 0; hoarded < ARRAY_SIZE(hoard); hoarded++)
    {
        mem = POISON;
        hr = IHostMalloc_Alloc(host.malloc, 0x1000, eTaskCritical, &mem);
        if (hr != S_OK) break;
        hoard[hoarded] = mem;
    }
    assert_hr(hr, E_OUTOFMEMORY);
    assert_null(mem);
    assert_in_range(hoarded, 1, 0x300000 / 0x1000 + stats.heapCommitted / 0x1000);

    assert_hr(IHostMalloc_Alloc(host.malloc, 0x1000, eProcessCritical, &mem), S_OK);
    assert_hr(IHostMalloc_Free(host.malloc, mem), S_OK);

    mem = POISON;
    assert_hr(host_alloc_pages(NULL, 0x100000, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &mem),
            E_OUTOFMEMORY);
    assert_null(mem);
    assert_last_error(ERROR_COMMITMENT_LIMIT);
    mem = NULL;
    assert_hr(host_alloc_pages(NULL, 0x80000, MEM_COMMIT, PAGE_READWRITE, eProcessCritical, &mem), S_OK);
    release_pages(mem);
    stats = get_statistics(&host);
    assert_true(stats.committed <= stats.limit);
    assert_true(stats.refused[eTaskCritical] >= 2);
}

static void test_step_33_recovery(void **state)
{
    unsigned int i;

    (void)state;
    test_begin();
    assert_int_equal(count_ends(), ends);
    assert_hr(IHostMemoryManager_VirtualFree(host.memory, gc + 0x10000, 0x40000, MEM_DECOMMIT), S_OK);
    for (i = 0; i < hoarded; i++) assert_hr(IHostMalloc_Free(host.malloc, hoard[i]), S_OK);
    assert_hr(IMscoreeHostMemory_SetLimit(host.accounts, 0, 0, 0), S_OK);
    IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 75, 0x20000000);
    assert_true(wait_until(count_ends() > ends, 15000));
    IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 50, 0x40000000);
    Sleep(500);
    assert_int_equal(count_ends(), ends + 1);
    assert_verdict(&callback.verdict);
}

static void test_step_34_needs_space(void **state)
{
    HOST_MEMORY_STATISTICS before, after;
    HRESULT hr;

    (void)state;
    test_begin();
    /* Whatever there was to give goes first. */
    assert_hr(IMscoreeHostMemory_Trim(host.accounts, NULL), S_OK);
    before = get_statistics(&host);
    hr = IHostMemoryManager_NeedsVirtualAddressSpace(host.memory, NULL, 0);
    after = get_statistics(&host);
    assert_hr(hr, after.committed < before.committed ? S_OK : E_OUTOFMEMORY);
    assert_hr(IHostMemoryManager_NeedsVirtualAddressSpace(host.memory, NULL, 0), E_OUTOFMEMORY);
}

/* ---- abuse ---- */

static void test_step_35_foreign_pointers(void **state)
{
    char *foreign = HeapAlloc(GetProcessHeap(), 0, 100);
    HANDLE mapping;
    char local[64];
    char *view;

    (void)state;
    test_begin();
    assert_hr(IHostMalloc_Free(host.malloc, NULL), S_OK);

    memset(foreign, 35, 100);
    assert_hr(IHostMalloc_Free(host.malloc, foreign), HOST_E_INVALIDOPERATION);
    assert_bytes(foreign, 35, 100);
    assert_int_equal(HeapSize(GetProcessHeap(), 0, foreign), 100);
    HeapFree(GetProcessHeap(), 0, foreign);

    assert_hr(IHostMalloc_Free(host.malloc, local), HOST_E_INVALIDOPERATION);

    mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0x10000, NULL);
    view = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0);
    assert_non_null(view);
    memset(view, 36, 100);
    assert_hr(IHostMalloc_Free(host.malloc, view), HOST_E_INVALIDOPERATION);
    assert_bytes(view, 36, 100);
    UnmapViewOfFile(view);
    CloseHandle(mapping);
    assert_hr(IHostMalloc_Free(host.malloc, view), HOST_E_INVALIDOPERATION);
}

static void test_step_36_absurd_sizes(void **state)
{
    void *mem = POISON;

    (void)state;
    test_begin();
    assert_hr(IHostMalloc_Alloc(host.malloc, (SIZE_T)-1, eTaskCritical, &mem), E_OUTOFMEMORY);
    assert_null(mem);
    mem = POISON;
    assert_hr(IHostMalloc_Alloc(host.malloc, (SIZE_T)-8, eProcessCritical, &mem), E_OUTOFMEMORY);
    assert_null(mem);
    assert_hr(IHostMalloc_Alloc(host.malloc, 8, eTaskCritical, NULL), E_POINTER);
}

static void assert_free_fails(void *address, SIZE_T size, DWORD type)
{
    SetLastError(0);
    assert_true(FAILED(IHostMemoryManager_VirtualFree(host.memory, address, size, type)));
    assert_int_not_equal(GetLastError(), 0);
}

static void test_step_37_wrong_releases(void **state)
{
    char *base;

    (void)state;
    test_begin();
    base = get_pages(NULL, 4 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    memset(base, 37, 4 * PAGE);
    assert_free_fails(base, 0x1000, MEM_RELEASE);
    assert_free_fails(base + 0x1000, 0, MEM_RELEASE);
    assert_bytes(base, 37, 4 * PAGE);
    release_pages(base);
    assert_free_fails(base, 0, MEM_RELEASE);
    assert_free_fails(NULL, 0, MEM_RELEASE);
}

static void test_step_38_views(void **state)
{
    ULONGLONG before = get_statistics(&host).views;

    (void)state;
    test_begin();
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host.memory, (void *)0x12340000), S_OK);
    assert_equal_64(get_statistics(&host).views, before);
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host.memory, PREFERRED_BASE, 0x1000), S_OK);
    assert_hr(IHostMemoryManager_AcquiredVirtualAddressSpace(host.memory, PREFERRED_BASE, 0x2000), S_OK);
    assert_equal_64(get_statistics(&host).views, before + 2);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host.memory, PREFERRED_BASE), S_OK);
    assert_hr(IHostMemoryManager_ReleasedVirtualAddressSpace(host.memory, PREFERRED_BASE), S_OK);
    assert_equal_64(get_statistics(&host).views, before);
}

static void test_step_39_malloc_types(void **state)
{
    static const DWORD types[] = {0, MALLOC_EXECUTABLE, MALLOC_THREADSAFE | MALLOC_EXECUTABLE};
    IHostMalloc *malloc;
    unsigned int i;
    void *mem;

    (void)state;
    test_begin();
    for (i = 0; i < ARRAY_SIZE(types); i++)
    {
        malloc = POISON;
        mem = NULL;
        assert_hr(IHostMemoryManager_CreateMalloc(host.memory, types[i], &malloc), S_OK);
        assert_hr(IHostMalloc_Alloc(malloc, 16, eTaskCritical, &mem), S_OK);
        if (types[i] & MALLOC_EXECUTABLE)
        {
            *(volatile unsigned char *)mem = 0xc3;      /* ret */
            FlushInstructionCache(GetCurrentProcess(), mem, 1);
            ((void (*)(void))mem)();
        }
        assert_hr(IHostMalloc_Free(malloc, mem), S_OK);
        assert_int_equal(IHostMalloc_Release(malloc), 0);
    }
    malloc = POISON;
    assert_hr(IHostMemoryManager_CreateMalloc(host.memory, 0x80, &malloc), E_INVALIDARG);
    assert_null(malloc);
}

/* ---- shutdown ---- */

static void test_step_40_last_release(void **state)
{
    LONG calls;

    (void)state;
    test_begin();
    assert_int_equal(IHostControl_Release(host.control), 1);
    assert_int_equal(IHostControl_Release(host.control), 0);
    host.control = NULL;
    assert_int_equal(callback.inside, 0);
    calls = callback.calls;
    IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 99, 0x1000);
    Sleep(500);
    assert_int_equal(callback.calls, calls);
    IMscoreeHostMemory_SimulateMemoryLoad(host.accounts, 50, 0x40000000);
}

static void test_step_41_still_works(void **state)
{
    SIZE_T available;
    unsigned int i;
    char *variable;
    DWORD load, old;
    void *mem;

    (void)state;
    test_begin();
    for (i = 0; i < 1000; i++)
    {
        assert_hr(IHostMalloc_Alloc(host.malloc, i * 7, eTaskCritical, &mem), S_OK);
        assert_hr(IHostMalloc_Free(host.malloc, mem), S_OK);
    }
    release_pages(gc);
    assert_hr(IHostMemoryManager_GetMemoryLoad(host.memory, &load, &available), S_OK);
    assert_in_range(load, 0, 100);
    variable = image_section(".rdata") + 8;
    old = protect(variable, 8, PAGE_READWRITE);
    protect(variable, 8, old);
}

static void test_step_42_free_library(void **state)
{
    HMODULE dll = load_dll();
    unsigned int i;
    void *mem = NULL;

    (void)state;
    test_begin();
    for (i = 0; i < 64 && GetModuleHandleW(L"mscoreehost.dll"); i++) FreeLibrary(dll);
    assert_ptr_equal(GetModuleHandleW(L"mscoreehost.dll"), dll);
    assert_hr(IHostMalloc_Alloc(host.malloc, 42, eTaskCritical, &mem), S_OK);
    assert_hr(IHostMalloc_Free(host.malloc, mem), S_OK);
}

#define EXIT_CODE 43
#define EXITS 20

static const WCHAR result_name[] = L"mscoreehost-fakeclr-result";

static DWORD WINAPI alloc_for_ever(void *arg)
{
    struct worker worker = {.seed = (unsigned int)(UINT_PTR)arg};

    stop_work = 0;
    return busy(&worker);
}

/* The process that step 43 starts. detach.dll is loaded first, so its end comes after the host's. */
static int child(void)
{
    void (WINAPI *set_work)(IHostMalloc *, IHostMemoryManager *, void *, void *, volatile LONG *);
    HANDLE mapping = OpenFileMappingW(FILE_MAP_WRITE, FALSE, result_name);
    volatile LONG *result = mapping ? MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0) : NULL;
    HMODULE detach = LoadLibraryW(L"detach.dll");
    create_host_control_fn create;
    unsigned int i;
    void *block, *region;

    if (!result || !detach) return 1;
    set_work = (void *)GetProcAddress(detach, "SetDetachWork");
    create = (void *)GetProcAddress(LoadLibraryW(L"mscoreehost.dll"), "CreateHostControl");
    if (!set_work || !create) return 2;
    if (create(NULL, &IID_IHostControl, (void **)&host.control) != S_OK
            || IHostControl_GetHostManager(host.control, &IID_IHostMemoryManager,
                    (void **)&host.memory) != S_OK
            || IHostMemoryManager_CreateMalloc(host.memory, MALLOC_THREADSAFE, &host.malloc) != S_OK
            || IHostMalloc_Alloc(host.malloc, 1000, eTaskCritical, &block) != S_OK
            || host_alloc_pages(NULL, 0x10000, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &region) != S_OK)
        return 3;
    set_work(host.malloc, host.memory, block, region, result);
    for (i = 1; i <= 4; i++) CloseHandle(CreateThread(NULL, 0, alloc_for_ever, (void *)(UINT_PTR)i, 0, NULL));
    Sleep(20);
    ExitProcess(EXIT_CODE);
}

static void test_step_43_exit_in_mid_call(void **state)
{
    PROCESS_INFORMATION process;
    WCHAR path[MAX_PATH], command[] = L"fakeclr child";
    volatile LONG *result;
    HANDLE mapping;
    unsigned int i;
    DWORD code;

    (void)state;
    test_begin();
    mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, PAGE, result_name);
    assert_non_null(mapping);
    result = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0);
    assert_non_null((void *)result);
    get_program_path(path, ARRAY_SIZE(path));
    for (i = 0; i < EXITS; i++)
    {
        *result = 0;
        start_process(path, command, &process);
        if (WaitForSingleObject(process.hProcess, 30000))
        {
            TerminateProcess(process.hProcess, 1);
            fail_msg("the process does not end");
        }
        GetExitCodeProcess(process.hProcess, &code);
        CloseHandle(process.hProcess);
        CloseHandle(process.hThread);
        assert_int_equal(code, EXIT_CODE);
        assert_int_equal(*result, 15);      /* Free, Alloc, VirtualFree: S_OK; and the end was reached */
    }
    UnmapViewOfFile((void *)result);
    CloseHandle(mapping);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] =
    {
        cmocka_unit_test(test_step_01_memory_manager),
        cmocka_unit_test(test_step_02_create_malloc),
        cmocka_unit_test(test_step_03_register_callback),
        cmocka_unit_test(test_step_04_other_managers),
        cmocka_unit_test(test_step_05_second_set_host_control),
        cmocka_unit_test(test_step_06_patch_code),
        cmocka_unit_test(test_step_07_protect_variable),
        cmocka_unit_test(test_step_08_first_blocks),
        cmocka_unit_test(test_step_09_handle_segment),
        cmocka_unit_test(test_step_10_loader_heap),
        cmocka_unit_test(test_step_11_code_heap),
        cmocka_unit_test(test_step_12_write_watch_probe),
        cmocka_unit_test(test_step_13_gc_segment),
        cmocka_unit_test(test_step_14_card_table),
        cmocka_unit_test(test_step_15_implicit_reserve),
        cmocka_unit_test(test_step_16_image_load),
        cmocka_unit_test(test_step_17_low_before_start),
        cmocka_unit_test(test_step_18_threads),
        cmocka_unit_test(test_step_19_domain_managers),
        cmocka_unit_test(test_step_20_jit),
        cmocka_unit_test(test_step_21_gc_growth),
        cmocka_unit_test(test_step_22_new_segment),
        cmocka_unit_test(test_step_23_reset),
        cmocka_unit_test(test_step_24_load_while_suspended),
        cmocka_unit_test(test_step_25_query_while_suspended),
        cmocka_unit_test(test_step_26_protect),
        cmocka_unit_test(test_step_27_thunk_table),
        cmocka_unit_test(test_step_28_blocks_of_a_dead_thread),
        cmocka_unit_test(test_step_29_debug_alloc),
        cmocka_unit_test(test_step_30_low),
        cmocka_unit_test(test_step_31_low_lasts),
        cmocka_unit_test(test_step_32_reserve),
        cmocka_unit_test(test_step_33_recovery),
        cmocka_unit_test(test_step_34_needs_space),
        cmocka_unit_test(test_step_35_foreign_pointers),
        cmocka_unit_test(test_step_36_absurd_sizes),
        cmocka_unit_test(test_step_37_wrong_releases),
        cmocka_unit_test(test_step_38_views),
        cmocka_unit_test(test_step_39_malloc_types),
        cmocka_unit_test(test_step_40_last_release),
        cmocka_unit_test(test_step_41_still_works),
        cmocka_unit_test(test_step_42_free_library),
        cmocka_unit_test(test_step_43_exit_in_mid_call),
    };

    if (argc > 1 && !strcmp(argv[1], "child")) return child();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
