/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The page calls of IHostMemoryManager: the system's own, answers included, then the accounts.
 */

#include "test.h"

static HRESULT page_alloc(struct host *host, void *address, SIZE_T size, DWORD type, DWORD protect,
        void **out)
{
    *out = POISON;
    return IHostMemoryManager_VirtualAlloc(host->memory, address, size, type, protect, eTaskCritical, out);
}

static HRESULT page_free(struct host *host, void *address, SIZE_T size, DWORD type)
{
    return IHostMemoryManager_VirtualFree(host->memory, address, size, type);
}

static MEMORY_BASIC_INFORMATION query(const void *address)
{
    MEMORY_BASIC_INFORMATION info;

    memset(&info, 0xcc, sizeof(info));
    assert_int_equal(VirtualQuery(address, &info, sizeof(info)), sizeof(info));
    return info;
}

static ULONGLONG pages_committed(struct host *host)
{
    return get_statistics(host).pagesCommitted;
}

static ULONGLONG pages_reserved(struct host *host)
{
    return get_statistics(host).pagesReserved;
}

/* ---- VirtualAlloc ---- */

static void test_flags_reach_the_system(void **state)
{
    static const struct
    {
        DWORD type, protect;
        DWORD state;
    }
    rows[] =
    {
        {MEM_RESERVE, PAGE_NOACCESS, MEM_RESERVE},
        {MEM_RESERVE, PAGE_READWRITE, MEM_RESERVE},
        {MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE, MEM_RESERVE},
        {MEM_RESERVE | MEM_TOP_DOWN, PAGE_EXECUTE_READWRITE, MEM_RESERVE},
        {MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, MEM_COMMIT},
        {MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READWRITE, MEM_COMMIT},
        {MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE, MEM_COMMIT},
        {MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN, PAGE_READONLY, MEM_COMMIT},
        {MEM_COMMIT, PAGE_READWRITE, MEM_COMMIT},
        {MEM_COMMIT, PAGE_NOACCESS, MEM_COMMIT},
    };
    struct host *host = *state;
    MEMORY_BASIC_INFORMATION info;
    unsigned int i;
    void *mem;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        assert_hr(page_alloc(host, NULL, 0x30000, rows[i].type, rows[i].protect, &mem), S_OK);
        assert_int_equal((UINT_PTR)mem % GRANULARITY, 0);
        info = query(mem);
        assert_ptr_equal(info.BaseAddress, mem);
        assert_ptr_equal(info.AllocationBase, mem);
        assert_int_equal(info.RegionSize, 0x30000);
        assert_int_equal(info.State, rows[i].state);
        assert_int_equal(info.AllocationProtect, rows[i].protect);
        if (rows[i].state == MEM_COMMIT) assert_int_equal(info.Protect, rows[i].protect);
        assert_int_equal(info.Type, MEM_PRIVATE);
        assert_equal_64(pages_committed(host), rows[i].state == MEM_COMMIT ? 0x30000 : 0);
        assert_equal_64(pages_reserved(host), 0x30000);
        assert_equal_64(get_statistics(host).pageRegions, 1);
        assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
        assert_int_equal(query(mem).State, MEM_FREE);
        assert_equal_64(pages_committed(host), 0);
        assert_equal_64(pages_reserved(host), 0);
        assert_equal_64(get_statistics(host).pageRegions, 0);
    }
}

/* The runtime's collector watches pages through the system, not through us. */
static void test_write_watch(void **state)
{
    struct host *host = *state;
    ULONG_PTR count = 8;
    void *dirty[8];
    ULONG page;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x40000, MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
    alloc_pages(host, mem, 0x40000, MEM_COMMIT, PAGE_READWRITE);
    mem[2 * PAGE] = 1;
    mem[9 * PAGE + 17] = 1;
    assert_int_equal(GetWriteWatch(0, mem, 0x40000, dirty, &count, &page), 0);
    assert_int_equal(count, 2);
    assert_ptr_equal(dirty[0], mem + 2 * PAGE);
    assert_ptr_equal(dirty[1], mem + 9 * PAGE);
    assert_int_equal(ResetWriteWatch(mem, 0x40000), 0);
    count = 8;
    assert_int_equal(GetWriteWatch(0, mem, 0x40000, dirty, &count, &page), 0);
    assert_int_equal(count, 0);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

static void test_address_is_kept(void **state)
{
    struct host *host = *state;
    char *mem, *again;
    void *out;

    test_begin();
    mem = alloc_pages(host, NULL, 0x20000, MEM_RESERVE, PAGE_NOACCESS);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
    again = alloc_pages(host, mem, 0x10000, MEM_RESERVE, PAGE_NOACCESS);
    assert_ptr_equal(again, mem);

    /* Rounded down as the system does it: to the granularity, to the page. */
    again = alloc_pages(host, mem + 0x10000 + 0x1234, 0x1000, MEM_RESERVE, PAGE_NOACCESS);
    assert_ptr_equal(again, mem + 0x10000);
    assert_int_equal(query(again).RegionSize, 0x3000);
    assert_equal_64(pages_reserved(host), 0x13000);
    again = alloc_pages(host, mem + 0x1234, 0x1000, MEM_COMMIT, PAGE_READWRITE);
    assert_ptr_equal(again, mem + 0x1000);
    assert_int_equal(query(again).RegionSize, 0x2000);
    assert_equal_64(pages_committed(host), 0x2000);

    assert_hr(page_alloc(host, mem, 0x10000, MEM_RESERVE, PAGE_NOACCESS, &out),
            HRESULT_FROM_WIN32(ERROR_INVALID_ADDRESS));
    assert_null(out);
    assert_last_error(ERROR_INVALID_ADDRESS);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
    assert_hr(page_free(host, mem + 0x10000, 0, MEM_RELEASE), S_OK);
    assert_equal_64(pages_reserved(host), 0);
    assert_equal_64(pages_committed(host), 0);
}

static void test_implicit_reserve(void **state)
{
    struct host *host = *state;
    MEMORY_BASIC_INFORMATION info;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x1800, MEM_COMMIT, PAGE_READWRITE);
    info = query(mem);
    assert_ptr_equal(info.AllocationBase, mem);
    assert_int_equal(info.State, MEM_COMMIT);
    assert_int_equal(info.RegionSize, 0x2000);
    assert_bytes(mem, 0, 0x2000);
    assert_equal_64(pages_committed(host), 0x2000);
    assert_equal_64(pages_reserved(host), 0x2000);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

static void test_commit_is_idempotent(void **state)
{
    struct host *host = *state;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    assert_equal_64(pages_committed(host), 0);
    alloc_pages(host, mem, 0x4000, MEM_COMMIT, PAGE_READWRITE);
    assert_equal_64(pages_committed(host), 0x4000);
    memset(mem, 0x12, 0x4000);
    alloc_pages(host, mem + 0x2000, 0x4000, MEM_COMMIT, PAGE_READWRITE);
    assert_equal_64(pages_committed(host), 0x6000);
    alloc_pages(host, mem, 0x6000, MEM_COMMIT, PAGE_READWRITE);
    assert_equal_64(pages_committed(host), 0x6000);
    assert_bytes(mem, 0x12, 0x4000);
    assert_bytes(mem + 0x4000, 0, 0x2000);
    alloc_pages(host, mem + 0xf000, 0x1000, MEM_COMMIT, PAGE_READWRITE);
    alloc_pages(host, mem, 0x10000, MEM_COMMIT, PAGE_READWRITE);
    assert_equal_64(pages_committed(host), 0x10000);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
    assert_equal_64(pages_committed(host), 0);
    assert_equal_64(get_statistics(host).peakPagesCommitted, 0x10000);
}

static void test_reset(void **state)
{
    struct host *host = *state;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x20000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    memset(mem, 1, 0x20000);
    assert_ptr_equal(alloc_pages(host, mem, 0x10000, MEM_RESET, PAGE_READWRITE), mem);
    assert_equal_64(pages_committed(host), 0x20000);
    assert_int_equal(query(mem).State, MEM_COMMIT);
    assert_bytes(mem + 0x10000, 1, 0x10000);
    memset(mem, 2, 0x10000);
    assert_bytes(mem, 2, 0x10000);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

/* What fails for the system fails for us with the system's error, and is charged to nobody. */
static void test_alloc_failures_are_the_systems(void **state)
{
    static const struct
    {
        UINT_PTR address;
        SIZE_T size;
        DWORD type, protect;
    }
    rows[] =
    {
        {0, 0, MEM_RESERVE, PAGE_READWRITE},
        {0, 0x1000, MEM_RESERVE, 0},
        {0, 0x1000, MEM_RESERVE, 0x12345},
        {0, 0x1000, 0, PAGE_READWRITE},
        {0, 0x1000, 0x40, PAGE_READWRITE},
        {0x12340000, 0x1000, MEM_COMMIT, PAGE_READWRITE},
        {(UINT_PTR)-0x10000, 0x10000, MEM_RESERVE, PAGE_READWRITE},
        {(UINT_PTR)-0x10000, 0x10000, MEM_COMMIT, PAGE_READWRITE},
        {(UINT_PTR)-0x1000, 0x2000, MEM_COMMIT, PAGE_READWRITE},
    };
    struct host *host = *state;
    DWORD error, ours;
    unsigned int i;
    HRESULT hr;
    void *out;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SetLastError(0xabcd);
        assert_null(VirtualAlloc((void *)rows[i].address, rows[i].size, rows[i].type, rows[i].protect));
        error = GetLastError();
        SetLastError(0xabcd);
        hr = page_alloc(host, (void *)rows[i].address, rows[i].size, rows[i].type, rows[i].protect, &out);
        ours = GetLastError();
        if (ours != error) print_error("row %u\n", i);
        _assert_last_error(ours, error, __FILE__, __LINE__);
        if (error == ERROR_NOT_ENOUGH_MEMORY || error == ERROR_OUTOFMEMORY || error == ERROR_COMMITMENT_LIMIT)
            assert_hr(hr, E_OUTOFMEMORY);
        else
            assert_hr(hr, HRESULT_FROM_WIN32(error));
        assert_null(out);
    }
    assert_equal_64(get_statistics(host).committed, 0);
    assert_equal_64(pages_reserved(host), 0);
    assert_equal_64(get_statistics(host).pageRegions, 0);
}

/* Sizes that no process can have: which error the system names first is its own affair. */
static void test_alloc_absurd_size(void **state)
{
    static const struct
    {
        UINT_PTR address;
        SIZE_T size;
        DWORD type;
    }
    rows[] =
    {
        {0, (SIZE_T)-1, MEM_RESERVE},
        {0, (SIZE_T)-1, MEM_COMMIT},
        {0, (SIZE_T)-0xfff, MEM_RESERVE},
        {0, (SIZE_T)-0x10000, MEM_RESERVE},
        {0, (SIZE_T)-0x10000, MEM_RESERVE | MEM_COMMIT},
        {0, ((SIZE_T)-1) / 2, MEM_RESERVE | MEM_COMMIT},
        {0x10000, (SIZE_T)-0x8000, MEM_RESERVE},
    };
    struct host *host = *state;
    unsigned int i;
    HRESULT hr;
    void *out;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SetLastError(0);
        hr = page_alloc(host, (void *)rows[i].address, rows[i].size, rows[i].type, PAGE_READWRITE, &out);
        assert_int_not_equal(GetLastError(), 0);
        assert_true(hr == E_OUTOFMEMORY || hr == HRESULT_FROM_WIN32(GetLastError()));
        assert_null(out);
    }
    assert_equal_64(get_statistics(host).committed, 0);
    assert_equal_64(pages_reserved(host), 0);
}

static void test_commit_outside_any_reservation(void **state)
{
    struct host *host = *state;
    char *mem;
    void *out;

    test_begin();
    mem = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
    assert_hr(page_alloc(host, mem, PAGE, MEM_COMMIT, PAGE_READWRITE, &out),
            HRESULT_FROM_WIN32(ERROR_INVALID_ADDRESS));
    assert_null(out);
    assert_last_error(ERROR_INVALID_ADDRESS);

    /* Beyond the end of one. */
    mem = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    assert_int_not_equal(page_alloc(host, mem + 0x8000, 0x9000, MEM_COMMIT, PAGE_READWRITE, &out), S_OK);
    assert_null(out);
    assert_int_not_equal(GetLastError(), 0);
    assert_equal_64(pages_committed(host), 0);
    assert_int_equal(query(mem).State, MEM_RESERVE);
    assert_int_equal(query(mem).RegionSize, 0x10000);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

/* It could not be accounted for. */
static void test_commit_in_foreign_reservation(void **state)
{
    struct host *host = *state;
    char *systems;
    void *out;

    test_begin();
    systems = VirtualAlloc(NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    assert_hr(page_alloc(host, systems, PAGE, MEM_COMMIT, PAGE_READWRITE, &out), HOST_E_INVALIDOPERATION);
    assert_last_error(ERROR_INVALID_ADDRESS);
    assert_null(out);
    assert_int_equal(query(systems).State, MEM_RESERVE);
    assert_equal_64(pages_committed(host), 0);
    VirtualFree(systems, 0, MEM_RELEASE);
}

static void test_alloc_without_out(void **state)
{
    struct host *host = *state;

    test_begin();
    assert_hr(IHostMemoryManager_VirtualAlloc(host->memory, NULL, PAGE, MEM_COMMIT, PAGE_READWRITE,
            eTaskCritical, NULL), E_POINTER);
    assert_equal_64(get_statistics(host).committed, 0);
    assert_equal_64(get_statistics(host).pageRegions, 0);
}

static void test_level_out_of_range(void **state)
{
    struct host *host = *state;
    void *mem = POISON;

    test_begin();
    assert_hr(IHostMemoryManager_VirtualAlloc(host->memory, NULL, PAGE, MEM_COMMIT, PAGE_READWRITE,
            (EMemoryCriticalLevel)0x7fffffff, &mem), S_OK);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
    assert_hr(IHostMemoryManager_VirtualAlloc(host->memory, NULL, PAGE, MEM_COMMIT, PAGE_READWRITE,
            (EMemoryCriticalLevel)-1, &mem), S_OK);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

static void test_last_error_survives(void **state)
{
    struct host *host = *state;
    MEMORY_BASIC_INFORMATION info;
    DWORD load, old;
    SIZE_T size;
    void *mem;

    test_begin();
    SetLastError(0xabcd);
    IHostMemoryManager_VirtualAlloc(host->memory, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE, eTaskCritical,
            &mem);
    assert_last_error(0xabcd);
    IHostMemoryManager_VirtualAlloc(host->memory, mem, 0x3000, MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
            &mem);
    assert_last_error(0xabcd);
    IHostMemoryManager_VirtualQuery(host->memory, mem, &info, sizeof(info), &size);
    assert_last_error(0xabcd);
    IHostMemoryManager_VirtualProtect(host->memory, mem, PAGE, PAGE_READONLY, &old);
    assert_last_error(0xabcd);
    IHostMemoryManager_GetMemoryLoad(host->memory, &load, &size);
    assert_last_error(0xabcd);
    IHostMemoryManager_VirtualFree(host->memory, mem, 0x1000, MEM_DECOMMIT);
    assert_last_error(0xabcd);
    IHostMemoryManager_VirtualFree(host->memory, mem, 0, MEM_RELEASE);
    assert_last_error(0xabcd);
}

/* ---- VirtualFree ---- */

static void test_decommit(void **state)
{
    struct host *host = *state;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x20000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    memset(mem, 1, 0x20000);
    assert_hr(page_free(host, mem + 0x4000, 0x8000, MEM_DECOMMIT), S_OK);
    assert_equal_64(pages_committed(host), 0x18000);
    assert_int_equal(query(mem + 0x4000).State, MEM_RESERVE);
    assert_int_equal(query(mem + 0x4000).RegionSize, 0x8000);
    assert_bytes(mem, 1, 0x4000);
    assert_bytes(mem + 0xc000, 1, 0x14000);

    /* Twice, and overlapping: credited once. */
    assert_hr(page_free(host, mem + 0x4000, 0x8000, MEM_DECOMMIT), S_OK);
    assert_equal_64(pages_committed(host), 0x18000);
    assert_hr(page_free(host, mem + 0x2000, 0x4000, MEM_DECOMMIT), S_OK);
    assert_equal_64(pages_committed(host), 0x16000);

    /* Every page that a byte of the range lies in. */
    assert_hr(page_free(host, mem + 0xcfff, 2, MEM_DECOMMIT), S_OK);
    assert_equal_64(pages_committed(host), 0x14000);
    assert_int_equal(query(mem + 0xc000).State, MEM_RESERVE);
    assert_int_equal(query(mem + 0xe000).State, MEM_COMMIT);

    alloc_pages(host, mem, 0x20000, MEM_COMMIT, PAGE_READWRITE);
    assert_bytes(mem + 0x4000, 0, 0x8000);
    assert_equal_64(pages_committed(host), 0x20000);

    /* Size 0 at the base: the whole region. */
    assert_hr(page_free(host, mem, 0, MEM_DECOMMIT), S_OK);
    assert_equal_64(pages_committed(host), 0);
    assert_equal_64(pages_reserved(host), 0x20000);
    assert_int_equal(query(mem).State, MEM_RESERVE);
    assert_int_equal(query(mem).RegionSize, 0x20000);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

/* Each is asked of the system on a region of the test's own, then of the manager on one of its: the answers
 * agree, and so does what is left. */
static void test_free_answers_are_the_systems(void **state)
{
    static const struct
    {
        SIZE_T offset, size;
        DWORD type;
    }
    rows[] =
    {
        {0, 0x1000, MEM_RELEASE},
        {0, 0x20000, MEM_RELEASE},
        {0x1000, 0, MEM_RELEASE},
        {0x10000, 0, MEM_RELEASE},
        {0x10000, 0x10000, MEM_RELEASE},
        {0x800, 0, MEM_RELEASE},
        {0x800, 0, MEM_DECOMMIT},
        {0x1000, 0, MEM_DECOMMIT},
        {0, 0x20001, MEM_DECOMMIT},
        {0x10000, 0x11000, MEM_DECOMMIT},
        {0x1800, 0x1000, MEM_DECOMMIT},
        {0, 0, 0},
        {0, 0, MEM_RELEASE | MEM_DECOMMIT},
        {0, 0, MEM_COMMIT},
        {0, 0x1000, 0x12345},
    };
    struct host *host = *state;
    char *systems, *ours;
    DWORD error, our_error;
    unsigned int i;
    SIZE_T page;
    HRESULT hr;
    BOOL freed;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        ULONGLONG committed = 0;

        systems = VirtualAlloc(NULL, 0x20000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        ours = alloc_pages(host, NULL, 0x20000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        SetLastError(0xabcd);
        freed = VirtualFree(systems + rows[i].offset, rows[i].size, rows[i].type);
        error = GetLastError();
        SetLastError(0xabcd);
        hr = page_free(host, ours + rows[i].offset, rows[i].size, rows[i].type);
        our_error = GetLastError();
        if (hr != (freed ? S_OK : HRESULT_FROM_WIN32(error))) print_error("row %u\n", i);
        _assert_last_error(our_error, error, __FILE__, __LINE__);
        assert_hr(hr, freed ? S_OK : HRESULT_FROM_WIN32(error));
        for (page = 0; page < 0x20000; page += PAGE)
        {
            assert_int_equal(query(ours + page).State, query(systems + page).State);
            if (query(ours + page).State == MEM_COMMIT) committed += PAGE;
        }
        assert_equal_64(pages_committed(host), committed);
        if (query(ours).State != MEM_FREE) assert_hr(page_free(host, ours, 0, MEM_RELEASE), S_OK);
        if (query(systems).State != MEM_FREE) VirtualFree(systems, 0, MEM_RELEASE);
        assert_equal_64(pages_reserved(host), 0);
    }
}

/* Wine 8.0 takes a size that wraps when it is rounded up for 0, and decommits everything; we do not ask it.
 * */
static void test_free_absurd_size(void **state)
{
    static const struct
    {
        SIZE_T offset, size;
    }
    rows[] =
    {
        {0, (SIZE_T)-1}, {0, (SIZE_T)-0xfff}, {0, (SIZE_T)-0x1000}, {0x1000, (SIZE_T)-1}, {0x1000,
                (SIZE_T)-0x1000},
        {0x1fff, (SIZE_T)-1}, {0, ((SIZE_T)-1) / 2 + 1},
    };
    struct host *host = *state;
    unsigned int i;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x20000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    memset(mem, 3, 0x20000);
    for (i = 0; i < ARRAY_SIZE(rows); i++)
    {
        SetLastError(0);
        assert_hr(page_free(host, mem + rows[i].offset, rows[i].size, MEM_DECOMMIT), E_INVALIDARG);
        assert_last_error(ERROR_INVALID_PARAMETER);
        assert_equal_64(pages_committed(host), 0x20000);
        assert_bytes(mem, 3, 0x20000);
    }
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

static void test_free_foreign(void **state)
{
    struct host *host = *state, other;
    char *systems, *others, *released, on_stack[16];
    unsigned int i, count = 0;
    void *foreign[10];

    test_begin();
    host_open(&other, NULL);
    systems = VirtualAlloc(NULL, 0x20000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    others = alloc_pages(&other, NULL, 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    released = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    assert_hr(page_free(host, released, 0, MEM_RELEASE), S_OK);
    memset(systems, 9, 0x20000);

    foreign[count++] = NULL;
    foreign[count++] = systems;
    foreign[count++] = systems + 0x10000;
    foreign[count++] = others;
    foreign[count++] = released;
    foreign[count++] = on_stack;
    foreign[count++] = host->memory;
    foreign[count++] = (void *)(UINT_PTR)-0x10000;
    for (i = 0; i < count; i++)
    {
        SetLastError(0);
        assert_hr(page_free(host, foreign[i], 0, MEM_RELEASE), HOST_E_INVALIDOPERATION);
        assert_last_error(ERROR_INVALID_ADDRESS);
        SetLastError(0);
        assert_hr(page_free(host, foreign[i], 0x1000, MEM_DECOMMIT), HOST_E_INVALIDOPERATION);
        assert_last_error(ERROR_INVALID_ADDRESS);
    }
    assert_equal_64(get_statistics(host).invalidFrees, 2 * count);
    assert_bytes(systems, 9, 0x20000);
    assert_equal_64(pages_committed(&other), 0x10000);
    assert_true(VirtualFree(systems, 0, MEM_RELEASE));
    assert_hr(page_free(&other, others, 0, MEM_RELEASE), S_OK);
    host_close(&other);
}

static DWORD WINAPI release_thread(void *param)
{
    void **params = param;

    return IHostMemoryManager_VirtualFree((IHostMemoryManager *)params[0], params[1], 0, MEM_RELEASE);
}

static void test_release_on_another_thread(void **state)
{
    struct host *host = *state;
    DWORD result = 0xdead;
    void *params[2];
    HANDLE thread;

    test_begin();
    params[0] = host->memory;
    params[1] = alloc_pages(host, NULL, 0x10000, MEM_COMMIT, PAGE_READWRITE);
    thread = start_thread(release_thread, params);
    WaitForSingleObject(thread, INFINITE);
    GetExitCodeThread(thread, &result);
    join_thread(thread);
    assert_hr((HRESULT)result, S_OK);
    assert_equal_64(pages_committed(host), 0);
}

/* ---- VirtualQuery ---- */

static void test_query(void **state)
{
    struct host *host = *state;
    MEMORY_BASIC_INFORMATION ours, systems;
    static int in_image;
    void *addresses[8];
    unsigned int i, count = 0;
    SIZE_T result;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x20000, MEM_RESERVE, PAGE_NOACCESS);
    alloc_pages(host, mem + 0x3000, 0x2000, MEM_COMMIT, PAGE_EXECUTE_READWRITE);
    addresses[count++] = NULL;
    addresses[count++] = mem;
    addresses[count++] = mem + 0x3123;
    addresses[count++] = mem + 0x5000;
    addresses[count++] = &in_image;
    addresses[count++] = GetModuleHandleW(L"kernel32.dll");
    addresses[count++] = (void *)(UINT_PTR)0x7ffe0000;
    for (i = 0; i < count; i++)
    {
        memset(&ours, 0xcc, sizeof(ours));
        memset(&systems, 0xdd, sizeof(systems));
        result = 0xdead;
        assert_int_equal(VirtualQuery(addresses[i], &systems, sizeof(systems)), sizeof(systems));
        assert_hr(IHostMemoryManager_VirtualQuery(host->memory, addresses[i], &ours, sizeof(ours), &result),
                S_OK);
        assert_int_equal(result, sizeof(ours));
        assert_ptr_equal(ours.BaseAddress, systems.BaseAddress);
        assert_ptr_equal(ours.AllocationBase, systems.AllocationBase);
        assert_int_equal(ours.State, systems.State);
        assert_int_equal(ours.RegionSize, systems.RegionSize);
        if (ours.State == MEM_COMMIT) assert_int_equal(ours.Protect, systems.Protect);
    }
    assert_hr(IHostMemoryManager_VirtualQuery(host->memory, mem, &ours, sizeof(ours), NULL), S_OK);
    assert_int_equal(sizeof(ours), sizeof(void *) == 8 ? 48 : 28);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

static void test_query_failures(void **state)
{
    struct host *host = *state;
    MEMORY_BASIC_INFORMATION info;
    void *kernel = (void *)(UINT_PTR)-0x10000;
    SIZE_T result = 0xdead;
    DWORD error;

    test_begin();
    assert_int_equal(VirtualQuery(kernel, &info, sizeof(info)), 0);
    error = GetLastError();
    assert_hr(IHostMemoryManager_VirtualQuery(host->memory, kernel, &info, sizeof(info), &result),
            HRESULT_FROM_WIN32(error));
    assert_int_equal(result, 0);
    assert_last_error(error);
    assert_hr(IHostMemoryManager_VirtualQuery(host->memory, kernel, &info, sizeof(info), NULL),
            HRESULT_FROM_WIN32(error));

    result = 0xdead;
    assert_hr(IHostMemoryManager_VirtualQuery(host->memory, &info, &info, sizeof(info) - 1, &result),
            HRESULT_FROM_WIN32(ERROR_BAD_LENGTH));
    assert_int_equal(result, 0);
    assert_last_error(ERROR_BAD_LENGTH);
}

/* ---- VirtualProtect ---- */

static void test_protect(void **state)
{
    static const DWORD protections[] =
    {
        PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, PAGE_EXECUTE, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE,
        PAGE_READWRITE | PAGE_GUARD, PAGE_READWRITE,
    };
    struct host *host = *state;
    DWORD old, previous = PAGE_READWRITE;
    unsigned int i;
    char *mem;

    test_begin();
    mem = alloc_pages(host, NULL, 0x3000, MEM_COMMIT, PAGE_READWRITE);
    for (i = 0; i < ARRAY_SIZE(protections); i++)
    {
        old = 0xdead;
        /* Five bytes on either side of a page's end: both pages change. */
        assert_hr(IHostMemoryManager_VirtualProtect(host->memory, mem + 0xffd, 5, protections[i], &old),
                S_OK);
        assert_int_equal(old, previous);
        assert_int_equal(query(mem).Protect, protections[i]);
        assert_int_equal(query(mem + 0x1000).Protect, protections[i]);
        assert_int_equal(query(mem + 0x2000).Protect, PAGE_READWRITE);
        previous = protections[i];
    }
    assert_hr(IHostMemoryManager_VirtualProtect(host->memory, mem, 1, PAGE_READONLY, NULL), S_OK);
    assert_int_equal(query(mem).Protect, PAGE_READONLY);
    assert_equal_64(pages_committed(host), 0x3000);
    assert_hr(page_free(host, mem, 0, MEM_RELEASE), S_OK);
}

/* Memory that the manager never handed out: an image's variable, a view, the system's pages. */
static void test_protect_foreign(void **state)
{
    static char variable[0x3000];
    struct host *host = *state;
    char *foreign[3], *page;
    HANDLE mapping;
    DWORD old, was;
    unsigned int i, round;

    test_begin();
    mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0x3000, NULL);
    assert_non_null(mapping);
    variable[0] = 1;
    foreign[0] = variable;
    foreign[1] = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0);
    foreign[2] = VirtualAlloc(NULL, 0x3000, MEM_COMMIT, PAGE_READWRITE);
    for (i = 0; i < ARRAY_SIZE(foreign); i++)
    {
        page = (char *)(((UINT_PTR)foreign[i] + PAGE - 1) & ~(PAGE - 1));
        /* The system's word for what it was. Twice, since Wine calls a page of a Winelib image copy-on-write
         * once it has been protected as read-write. */
        for (round = 0; round < 2; round++)
        {
            assert_true(VirtualProtect(page + 8, 8, PAGE_READONLY, &was));
            assert_true(VirtualProtect(page + 8, 8, was, &old));
        }
        old = 0xdead;
        assert_hr(IHostMemoryManager_VirtualProtect(host->memory, page + 8, 8, PAGE_READONLY, &old), S_OK);
        assert_int_equal(old, was);
        assert_int_equal(query(page).Protect, PAGE_READONLY);
        assert_hr(IHostMemoryManager_VirtualProtect(host->memory, page + 8, 8, old, &old), S_OK);
        assert_int_equal(old, PAGE_READONLY);
        page[8] = 1;
    }
    UnmapViewOfFile(foreign[1]);
    CloseHandle(mapping);
    VirtualFree(foreign[2], 0, MEM_RELEASE);
}

static void test_protect_failures_are_the_systems(void **state)
{
    struct host *host = *state;
    char *reserved, *released;
    void *addresses[3];
    DWORD error, old;
    unsigned int i;

    test_begin();
    reserved = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
    released = alloc_pages(host, NULL, 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    assert_hr(page_free(host, released, 0, MEM_RELEASE), S_OK);
    addresses[0] = NULL;
    addresses[1] = reserved;
    addresses[2] = released;
    for (i = 0; i < ARRAY_SIZE(addresses); i++)
    {
        SetLastError(0);
        assert_false(VirtualProtect(addresses[i], 8, PAGE_READONLY, &old));
        error = GetLastError();
        assert_int_not_equal(error, 0);
        SetLastError(0);
        old = 0xdead;
        assert_hr(IHostMemoryManager_VirtualProtect(host->memory, addresses[i], 8, PAGE_READONLY, &old),
                HRESULT_FROM_WIN32(error));
        assert_last_error(error);
        assert_int_equal(old, 0);
    }
    alloc_pages(host, reserved, PAGE, MEM_COMMIT, PAGE_READWRITE);
    SetLastError(0);
    assert_int_not_equal(IHostMemoryManager_VirtualProtect(host->memory, reserved, 8, 0x12345, &old), S_OK);
    assert_int_not_equal(GetLastError(), 0);
    assert_int_equal(query(reserved).Protect, PAGE_READWRITE);
    assert_hr(page_free(host, reserved, 0, MEM_RELEASE), S_OK);
}

/* ---- accounts ---- */

static void test_accounts(void **state)
{
    struct host *host = *state;
    HOST_MEMORY_STATISTICS statistics;
    char *first, *second;

    test_begin();
    first = alloc_pages(host, NULL, 0x100000, MEM_RESERVE, PAGE_NOACCESS);
    second = alloc_pages(host, NULL, 0x1001, MEM_COMMIT, PAGE_READWRITE);
    alloc_pages(host, first + 0x10000, 0x5000, MEM_COMMIT, PAGE_READWRITE);
    statistics = get_statistics(host);
    assert_equal_64(statistics.pagesCommitted, 0x7000);
    assert_equal_64(statistics.pagesReserved, 0x102000);
    assert_equal_64(statistics.pageRegions, 2);
    assert_equal_64(statistics.committed, 0x7000);
    assert_equal_64(statistics.heapCommitted, 0);

    assert_hr(page_free(host, first, 0, MEM_RELEASE), S_OK);
    assert_hr(page_free(host, second, 0, MEM_RELEASE), S_OK);
    statistics = get_statistics(host);
    assert_equal_64(statistics.pagesCommitted, 0);
    assert_equal_64(statistics.pagesReserved, 0);
    assert_equal_64(statistics.pageRegions, 0);
    assert_equal_64(statistics.committed, 0);
    assert_equal_64(statistics.peakPagesCommitted, 0x7000);
    assert_equal_64(statistics.peakPagesReserved, 0x102000);
    assert_equal_64(statistics.peakPageRegions, 2);
    assert_equal_64(statistics.peakCommitted, 0x7000);
}

/* Enough regions for whatever table holds them to grow, released in another order. */
static void test_many_regions(void **state)
{
    static char *regions[3000];
    struct host *host = *state;
    unsigned int i, j, seed = 7;
    char *swap;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(regions); i++)
    {
        regions[i] = alloc_pages(host, NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE);
        alloc_pages(host, regions[i] + 0x3000, 0x1000, MEM_COMMIT, PAGE_READWRITE);
        regions[i][0x3000] = 1;
    }
    assert_equal_64(get_statistics(host).pageRegions, ARRAY_SIZE(regions));
    assert_equal_64(pages_committed(host), ARRAY_SIZE(regions) * PAGE);
    assert_equal_64(pages_reserved(host), ARRAY_SIZE(regions) * 0x10000);
    for (i = ARRAY_SIZE(regions) - 1; i; i--)
    {
        j = next_random(&seed) % (i + 1);
        swap = regions[i];
        regions[i] = regions[j];
        regions[j] = swap;
    }
    for (i = 0; i < ARRAY_SIZE(regions); i++) assert_hr(page_free(host, regions[i], 0, MEM_RELEASE), S_OK);
    assert_equal_64(get_statistics(host).pageRegions, 0);
    assert_equal_64(pages_committed(host), 0);
    assert_equal_64(pages_reserved(host), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        pages_test(test_flags_reach_the_system),
        pages_test(test_write_watch),
        pages_test(test_address_is_kept),
        pages_test(test_implicit_reserve),
        pages_test(test_commit_is_idempotent),
        pages_test(test_reset),
        pages_test(test_alloc_failures_are_the_systems),
        pages_test(test_alloc_absurd_size),
        pages_test(test_commit_outside_any_reservation),
        pages_test(test_commit_in_foreign_reservation),
        pages_test(test_alloc_without_out),
        pages_test(test_level_out_of_range),
        pages_test(test_last_error_survives),
        pages_test(test_decommit),
        pages_test(test_free_answers_are_the_systems),
        pages_test(test_free_absurd_size),
        pages_test(test_free_foreign),
        pages_test(test_release_on_another_thread),
        pages_test(test_query),
        pages_test(test_query_failures),
        pages_test(test_protect),
        pages_test(test_protect_foreign),
        pages_test(test_protect_failures_are_the_systems),
        pages_test(test_accounts),
        pages_test(test_many_regions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
