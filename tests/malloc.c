/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * IHostMalloc and IMscoreeHostMalloc.
 */

#include "test.h"

/* Sizes that no process can have, those whose sum with a header wraps among them. */
static const SIZE_T absurd_sizes[] =
{
    (SIZE_T)-1, (SIZE_T)-2, (SIZE_T)-7, (SIZE_T)-8, (SIZE_T)-15, (SIZE_T)-16, (SIZE_T)-17, (SIZE_T)-0x1000,
    (SIZE_T)-0xffff, (SIZE_T)-0x10000, (SIZE_T)-0x10001, (SIZE_T)-0x100001, ((SIZE_T)-1) / 2 + 1,
    ((SIZE_T)-1) / 2,
};

/* Blocks of up to 8 bytes in a 32-bit program need no more than a HeapAlloc there gives. */
static SIZE_T alignment_of(SIZE_T size)
{
    return size > 8 ? 16 : 2 * sizeof(void *);
}

static void free_block(struct host *host, void *mem)
{
    assert_hr(IHostMalloc_Free(host->malloc, mem), S_OK);
}

static void test_query_interface(void **state)
{
    struct host *host = *state;

    test_begin();
    assert_interface(host->malloc, &IID_IUnknown, true);
    assert_interface(host->malloc, &IID_IHostMalloc, true);
    assert_interface(host->malloc, &IID_IMscoreeHostMalloc, true);
    assert_interface(host->blocks, &IID_IHostMalloc, true);
    assert_interface(host->malloc, &IID_IHostMemoryManager, false);
    assert_interface(host->malloc, &IID_IHostControl, false);
    assert_hr(IHostMalloc_QueryInterface(host->malloc, &IID_IHostMalloc, NULL), E_POINTER);
}

static void test_query_interface_identity(void **state)
{
    struct host *host = *state;
    IUnknown *from_malloc, *from_blocks;

    test_begin();
    IHostMalloc_QueryInterface(host->malloc, &IID_IUnknown, (void **)&from_malloc);
    IMscoreeHostMalloc_QueryInterface(host->blocks, &IID_IUnknown, (void **)&from_blocks);
    assert_ptr_equal(from_malloc, from_blocks);
    IUnknown_Release(from_malloc);
    IUnknown_Release(from_blocks);
}

static void test_alloc_sizes(void **state)
{
    static const SIZE_T sizes[] =
    {
        0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 63, 64, 65, 127, 128, 129, 255, 256, 257,
        511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 8193, 0x3fff,
        0x4000, 0x4001, 0x7fff, 0x8000, 0x8001, 0xffff, 0x10000, 0x10001, 0x1ffff, 0x20000, 0x20001,
        0x7ffff, 0x80000, 0x80001, 0xfffff, 0x100000, 0x100001, 0x400000,
    };
    struct host *host = *state;
    unsigned char *mem[ARRAY_SIZE(sizes)];
    EMemoryCriticalLevel level;
    unsigned int i;

    test_begin();
    for (level = eTaskCritical; level <= eProcessCritical; level++)
    {
        for (i = 0; i < ARRAY_SIZE(sizes); i++)
        {
            mem[i] = POISON;
            assert_hr(IHostMalloc_Alloc(host->malloc, sizes[i], level, (void **)&mem[i]), S_OK);
            assert_non_null(mem[i]);
            assert_int_equal((UINT_PTR)mem[i] % alignment_of(sizes[i]), 0);
            memset(mem[i], (int)i + 1, sizes[i]);
        }
        for (i = 0; i < ARRAY_SIZE(sizes); i++)
        {
            assert_bytes(mem[i], (unsigned char)(i + 1), sizes[i]);
            free_block(host, mem[i]);
        }
    }
}

static void test_alloc_zero_bytes_is_distinct(void **state)
{
    struct host *host = *state;
    void *mem[64];
    unsigned int i, j;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(mem); i++)
    {
        mem[i] = alloc(host, 0);
        for (j = 0; j < i; j++) assert_ptr_not_equal(mem[i], mem[j]);
    }
    assert_equal_64(get_statistics(host).heapLiveBlocks, ARRAY_SIZE(mem));
    assert_equal_64(get_statistics(host).heapLiveBytes, 0);
    for (i = 0; i < ARRAY_SIZE(mem); i++) free_block(host, mem[i]);
}

static void test_alloc_absurd_size(void **state)
{
    struct host *host = *state;
    EMemoryCriticalLevel level;
    unsigned int i;
    void *mem;

    test_begin();
    for (level = eTaskCritical; level <= eProcessCritical; level++)
    {
        for (i = 0; i < ARRAY_SIZE(absurd_sizes); i++)
        {
            mem = POISON;
            assert_hr(IHostMalloc_Alloc(host->malloc, absurd_sizes[i], level, &mem), E_OUTOFMEMORY);
            assert_null(mem);
            mem = POISON;
            assert_hr(IHostMalloc_DebugAlloc(host->malloc, absurd_sizes[i], level, NULL, 0, &mem),
                    E_OUTOFMEMORY);
            assert_null(mem);
            mem = POISON;
            assert_hr(IMscoreeHostMalloc_AllocZeroed(host->blocks, absurd_sizes[i], level, &mem),
                    E_OUTOFMEMORY);
            assert_null(mem);
        }
    }
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
    free_block(host, alloc(host, 100));
}

static void test_alloc_without_out(void **state)
{
    struct host *host = *state;

    test_begin();
    assert_hr(IHostMalloc_Alloc(host->malloc, 8, eTaskCritical, NULL), E_POINTER);
    assert_hr(IHostMalloc_Alloc(host->malloc, (SIZE_T)-1, eProcessCritical, NULL), E_POINTER);
    assert_hr(IHostMalloc_DebugAlloc(host->malloc, 8, eTaskCritical, NULL, 0, NULL), E_POINTER);
    assert_hr(IMscoreeHostMalloc_AllocZeroed(host->blocks, 8, eTaskCritical, NULL), E_POINTER);
    assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, NULL, 8, eTaskCritical, NULL), E_POINTER);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

static void test_alloc_level_out_of_range(void **state)
{
    struct host *host = *state;
    void *mem = POISON;

    test_begin();
    assert_hr(IHostMalloc_Alloc(host->malloc, 8, (EMemoryCriticalLevel)3, &mem), S_OK);
    free_block(host, mem);
    assert_hr(IHostMalloc_Alloc(host->malloc, 8, (EMemoryCriticalLevel)0x7fffffff, &mem), S_OK);
    free_block(host, mem);
    assert_hr(IHostMalloc_Alloc(host->malloc, 8, (EMemoryCriticalLevel)-1, &mem), S_OK);
    free_block(host, mem);
}

static void test_last_error_survives(void **state)
{
    static const SIZE_T sizes[] = {0, 8, 100, 5000, 0x20000, 0x200000};
    struct host *host = *state;
    unsigned int i;
    void *mem;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        SetLastError(0xabcd);
        IHostMalloc_Alloc(host->malloc, sizes[i], eTaskCritical, &mem);
        assert_last_error(0xabcd);
        IHostMalloc_Free(host->malloc, mem);
        assert_last_error(0xabcd);
        IHostMalloc_DebugAlloc(host->malloc, sizes[i], eTaskCritical, NULL, 0, &mem);
        assert_last_error(0xabcd);
        IHostMalloc_Free(host->malloc, mem);
        assert_last_error(0xabcd);
    }
    SetLastError(0xabcd);
    IHostMalloc_Free(host->malloc, NULL);
    assert_last_error(0xabcd);
}

static void test_accounts(void **state)
{
    static const SIZE_T sizes[] = {1, 17, 100, 1000, 5000, 70000, 2000000};
    struct host *host = *state;
    HOST_MEMORY_STATISTICS statistics;
    void *mem[ARRAY_SIZE(sizes)];
    SIZE_T sum = 0, all = 0;
    unsigned int i;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        mem[i] = alloc(host, sizes[i]);
        sum += sizes[i];
        statistics = get_statistics(host);
        assert_equal_64(statistics.heapLiveBytes, sum);
        assert_equal_64(statistics.heapLiveBlocks, i + 1);
        assert_equal_64(statistics.peakHeapLiveBytes, sum);
        assert_equal_64(statistics.peakHeapLiveBlocks, i + 1);
        assert_true(statistics.heapCommitted >= sum);
        assert_true(statistics.peakHeapCommitted >= statistics.heapCommitted);
        assert_equal_64(statistics.committed, statistics.heapCommitted + statistics.pagesCommitted);
    }
    all = sum;
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        free_block(host, mem[i]);
        sum -= sizes[i];
        statistics = get_statistics(host);
        assert_equal_64(statistics.heapLiveBytes, sum);
        assert_equal_64(statistics.heapLiveBlocks, ARRAY_SIZE(sizes) - 1 - i);
        assert_equal_64(statistics.peakHeapLiveBytes, all);
        assert_equal_64(statistics.peakHeapLiveBlocks, ARRAY_SIZE(sizes));
    }
    assert_equal_64(sum, 0);
}

static void test_many_blocks(void **state)
{
    struct host *host = *state;
    static unsigned char *mem[20000];
    static unsigned short size[ARRAY_SIZE(mem)];
    unsigned int i, seed = 1;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(mem); i++)
    {
        size[i] = next_random(&seed) % 2000;
        mem[i] = alloc(host, size[i]);
        assert_int_equal((UINT_PTR)mem[i] % alignment_of(size[i]), 0);
        memset(mem[i], (int)(i * 7), size[i]);
    }
    /* Every other one first: what is left lies between holes. */
    for (i = 0; i < ARRAY_SIZE(mem); i += 2)
    {
        assert_bytes(mem[i], (unsigned char)(i * 7), size[i]);
        free_block(host, mem[i]);
    }
    for (i = 0; i < ARRAY_SIZE(mem); i += 2)
    {
        size[i] = next_random(&seed) % 2000;
        mem[i] = alloc(host, size[i]);
        memset(mem[i], (int)(i * 7), size[i]);
    }
    for (i = 0; i < ARRAY_SIZE(mem); i++)
    {
        assert_bytes(mem[i], (unsigned char)(i * 7), size[i]);
        free_block(host, mem[i]);
    }
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
}

static void test_free_null(void **state)
{
    struct host *host = *state;

    test_begin();
    assert_hr(IHostMalloc_Free(host->malloc, NULL), S_OK);
    assert_equal_64(get_statistics(host).invalidFrees, 0);
}

static void test_free_twice(void **state)
{
    static const SIZE_T sizes[] = {0, 8, 100, 1000, 5000, 0x9000, 0x20000, 0x300000};
    struct host *host = *state;
    unsigned int i;
    void *mem;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        mem = alloc(host, sizes[i]);
        free_block(host, mem);
        assert_hr(IHostMalloc_Free(host->malloc, mem), HOST_E_INVALIDOPERATION);
        assert_equal_64(get_statistics(host).invalidFrees, i + 1);
    }
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
    free_block(host, alloc(host, 100));
}

static void test_free_interior(void **state)
{
    static const SIZE_T sizes[] = {16, 100, 1000, 5000, 0x9000, 0x20000, 0x300000};
    static const SIZE_T offsets[] = {1, 8, 15};
    struct host *host = *state;
    unsigned int i, j;
    char *mem;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        mem = alloc(host, sizes[i]);
        memset(mem, 0x33, sizes[i]);
        for (j = 0; j < ARRAY_SIZE(offsets); j++)
            assert_hr(IHostMalloc_Free(host->malloc, mem + offsets[j]), HOST_E_INVALIDOPERATION);
        if (sizes[i] > 16)
        {
            assert_hr(IHostMalloc_Free(host->malloc, mem + 16), HOST_E_INVALIDOPERATION);
            assert_hr(IHostMalloc_Free(host->malloc, mem + sizes[i] / 2), HOST_E_INVALIDOPERATION);
        }
        assert_bytes(mem, 0x33, sizes[i]);
        free_block(host, mem);
    }
}

/* Addresses that are nobody's, or somebody else's: all answered, none read, none changed. */
static void test_free_foreign(void **state)
{
    struct host *host = *state, other;
    HANDLE heap, mapping;
    char on_stack[64], *block, *large, *from_heap, *view, *pages, *ours;
    static char in_image[64];
    void *foreign[16];
    unsigned int i, count = 0;

    test_begin();
    host_open(&other, NULL);
    host_open_malloc(&other, MALLOC_THREADSAFE);
    heap = HeapCreate(0, 0, 0);
    mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0x10000, NULL);
    assert_non_null(heap);
    assert_non_null(mapping);

    memset(on_stack, 0x44, sizeof(on_stack));
    foreign[count++] = on_stack;
    foreign[count++] = in_image;
    foreign[count++] = block = HeapAlloc(GetProcessHeap(), 0, 100);
    foreign[count++] = large = HeapAlloc(GetProcessHeap(), 0, 0x200000);
    foreign[count++] = from_heap = HeapAlloc(heap, 0, 100);
    foreign[count++] = view = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0);
    foreign[count++] = pages = alloc_pages(host, NULL, 0x100000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    foreign[count++] = ours = alloc(&other, 100);
    foreign[count++] = host->malloc;
    foreign[count++] = (void *)1;
    foreign[count++] = (void *)0x10;
    foreign[count++] = (void *)(UINT_PTR)0x7fff0010;
    foreign[count++] = (void *)((UINT_PTR)-1 / 2 + 1);
    foreign[count++] = (void *)(UINT_PTR)-16;
    foreign[count++] = (void *)(UINT_PTR)-1;
    memset(block, 0x44, 100);
    memset(large, 0x44, 0x200000);
    memset(from_heap, 0x44, 100);
    memset(view, 0x44, 0x10000);
    memset(pages, 0x44, 0x100000);
    memset(ours, 0x44, 100);

    for (i = 0; i < count; i++)
        assert_hr(IHostMalloc_Free(host->malloc, foreign[i]), HOST_E_INVALIDOPERATION);
    assert_equal_64(get_statistics(host).invalidFrees, count);
    assert_equal_64(get_statistics(&other).heapLiveBlocks, 1);

    assert_bytes(on_stack, 0x44, sizeof(on_stack));
    assert_bytes(block, 0x44, 100);
    assert_bytes(large, 0x44, 0x200000);
    assert_bytes(from_heap, 0x44, 100);
    assert_bytes(view, 0x44, 0x10000);
    assert_bytes(pages, 0x44, 0x100000);
    assert_bytes(ours, 0x44, 100);
    assert_true(HeapFree(GetProcessHeap(), 0, block));
    assert_true(HeapFree(GetProcessHeap(), 0, large));
    assert_true(HeapFree(heap, 0, from_heap));
    assert_true(HeapDestroy(heap));
    assert_true(UnmapViewOfFile(view));
    CloseHandle(mapping);
    assert_hr(IHostMemoryManager_VirtualFree(host->memory, pages, 0, MEM_RELEASE), S_OK);
    free_block(&other, ours);
    host_close(&other);
    free_block(host, alloc(host, 100));
}

/* The heap that held the block is gone with its malloc, the address may not even be mapped. */
static void test_free_block_of_a_dead_malloc(void **state)
{
    struct host *host = *state;
    IHostMalloc *other;
    void *little, *large;

    test_begin();
    assert_hr(IHostMemoryManager_CreateMalloc(host->memory, MALLOC_THREADSAFE, &other), S_OK);
    IHostMalloc_Alloc(other, 32, eTaskCritical, &little);
    IHostMalloc_Alloc(other, 0x400000, eTaskCritical, &large);
    assert_int_equal(IHostMalloc_Release(other), 0);
    assert_hr(IHostMalloc_Free(host->malloc, little), HOST_E_INVALIDOPERATION);
    assert_hr(IHostMalloc_Free(host->malloc, large), HOST_E_INVALIDOPERATION);
}

/* Two mallocs of one manager know their own blocks only. */
static void test_free_of_another_malloc(void **state)
{
    static const SIZE_T sizes[] = {8, 500, 0x9000, 0x200000};
    struct host *host = *state;
    IHostMalloc *other;
    unsigned int i;
    void *mem;

    test_begin();
    assert_hr(IHostMemoryManager_CreateMalloc(host->memory, MALLOC_THREADSAFE, &other), S_OK);
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        mem = alloc(host, sizes[i]);
        assert_hr(IHostMalloc_Free(other, mem), HOST_E_INVALIDOPERATION);
        free_block(host, mem);
    }
    assert_int_equal(IHostMalloc_Release(other), 0);
}

static void test_last_release_gives_everything_back(void **state)
{
    struct host *host = *state;
    ULONGLONG before;
    IHostMalloc *other;
    unsigned int i;
    void *mem;

    test_begin();
    before = get_statistics(host).heapCommitted;
    assert_hr(IHostMemoryManager_CreateMalloc(host->memory, MALLOC_THREADSAFE, &other), S_OK);
    for (i = 0; i < 1000; i++) assert_hr(IHostMalloc_Alloc(other, i * 10, eTaskCritical, &mem), S_OK);
    assert_hr(IHostMalloc_Alloc(other, 0x800000, eTaskCritical, &mem), S_OK);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 1001);
    assert_true(get_statistics(host).heapCommitted >= before + 0x800000);
    assert_int_equal(IHostMalloc_Release(other), 0);
    assert_equal_64(get_statistics(host).heapLiveBlocks, 0);
    assert_equal_64(get_statistics(host).heapLiveBytes, 0);
    assert_equal_64(get_statistics(host).heapCommitted, before);
}

static DWORD protection_of(void *mem)
{
    MEMORY_BASIC_INFORMATION info = {.Protect = 0};

    VirtualQuery(mem, &info, sizeof(info));
    return info.Protect;
}

static void test_executable(void **state)
{
    static const SIZE_T sizes[] = {16, 1000, 0x9000, 0x200000};
    struct host *host = *state;
    IHostMalloc *code[2];
    unsigned int i, j;
    unsigned char *mem;

    test_begin();
    assert_hr(IHostMemoryManager_CreateMalloc(host->memory, MALLOC_EXECUTABLE, &code[0]), S_OK);
    assert_hr(IHostMemoryManager_CreateMalloc(host->memory, MALLOC_EXECUTABLE | MALLOC_THREADSAFE, &code[1]),
            S_OK);
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        mem = alloc(host, sizes[i]);
        assert_int_equal(protection_of(mem), PAGE_READWRITE);
        free_block(host, mem);
        for (j = 0; j < ARRAY_SIZE(code); j++)
        {
            assert_hr(IHostMalloc_Alloc(code[j], sizes[i], eTaskCritical, (void **)&mem), S_OK);
            assert_int_equal(protection_of(mem), PAGE_EXECUTE_READWRITE);
            mem[0] = 0xc3; /* ret */
            FlushInstructionCache(GetCurrentProcess(), mem, 1);
            ((void (*)(void))mem)();
            assert_hr(IHostMalloc_Free(code[j], mem), S_OK);
        }
    }
    assert_int_equal(IHostMalloc_Release(code[0]), 0);
    assert_int_equal(IHostMalloc_Release(code[1]), 0);
}

/* ---- DebugAlloc and the records ---- */

static const HOST_MALLOC_BLOCK *find_block(const HOST_MALLOC_BLOCK *blocks, SIZE_T count, const void *mem)
{
    SIZE_T i;

    for (i = 0; i < count; i++)
        if (blocks[i].pMem == mem) return &blocks[i];
    return NULL;
}

static void test_debug_alloc(void **state)
{
    static char file[] = "x.cpp";
    static const SIZE_T sizes[] = {0, 64, 5000, 0x20000, 0x300000};
    struct host *host = *state;
    HOST_MALLOC_BLOCK blocks[16];
    const HOST_MALLOC_BLOCK *block;
    void *named[ARRAY_SIZE(sizes)], *unnamed[ARRAY_SIZE(sizes)], *plain;
    unsigned int i;
    SIZE_T count;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        named[i] = unnamed[i] = POISON;
        assert_hr(IHostMalloc_DebugAlloc(host->malloc, sizes[i], eAppDomainCritical, file, (int)i + 1,
                &named[i]), S_OK);
        assert_hr(IHostMalloc_DebugAlloc(host->malloc, sizes[i], eTaskCritical, NULL, 0, &unnamed[i]), S_OK);
        assert_int_equal((UINT_PTR)named[i] % alignment_of(sizes[i]), 0);
        assert_int_equal((UINT_PTR)unnamed[i] % alignment_of(sizes[i]), 0);
        memset(named[i], 0x55, sizes[i]);
        memset(unnamed[i], 0x66, sizes[i]);
    }
    plain = alloc(host, 77);

    count = 0;
    memset(blocks, 0xcc, sizeof(blocks));
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, ARRAY_SIZE(blocks), blocks, &count), S_OK);
    assert_int_equal(count, 2 * ARRAY_SIZE(sizes) + 1);
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        block = find_block(blocks, count, named[i]);
        assert_non_null(block);
        assert_int_equal(block->cbSize, sizes[i]);
        assert_ptr_equal(block->pszFileName, file);
        assert_int_equal(block->iLineNo, i + 1);
        assert_int_equal(block->dwThreadId, GetCurrentThreadId());
        assert_int_equal(block->eCriticalLevel, eAppDomainCritical);

        block = find_block(blocks, count, unnamed[i]);
        assert_non_null(block);
        assert_int_equal(block->cbSize, sizes[i]);
        assert_null(block->pszFileName);
        assert_int_equal(block->dwThreadId, GetCurrentThreadId());
        assert_int_equal(block->eCriticalLevel, eTaskCritical);

        assert_bytes(named[i], 0x55, sizes[i]);
        assert_bytes(unnamed[i], 0x66, sizes[i]);
    }
    block = find_block(blocks, count, plain);
    assert_non_null(block);
    assert_int_equal(block->cbSize, 77);
    assert_null(block->pszFileName);
    assert_int_equal(block->dwThreadId, 0);

    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        free_block(host, named[i]);
        free_block(host, unnamed[i]);
    }
    free_block(host, plain);
}

static void test_get_blocks_without_room(void **state)
{
    struct host *host = *state;
    HOST_MALLOC_BLOCK blocks[4];
    SIZE_T count = 0xdead;
    void *mem[3];
    unsigned int i;

    test_begin();
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 0, NULL, &count), S_OK);
    assert_int_equal(count, 0);
    for (i = 0; i < ARRAY_SIZE(mem); i++) mem[i] = alloc(host, 100 + i);
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 0, NULL, &count), S_OK);
    assert_int_equal(count, 3);

    memset(blocks, 0xcc, sizeof(blocks));
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 2, blocks, &count), S_OK);
    assert_int_equal(count, 3);
    assert_in_range(blocks[0].cbSize, 100, 102);
    assert_in_range(blocks[1].cbSize, 100, 102);
    assert_ptr_not_equal(blocks[0].pMem, blocks[1].pMem);
    assert_bytes(&blocks[2], 0xcc, sizeof(blocks[2]));

    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 0, NULL, NULL), E_POINTER);
    count = 0xdead;
    assert_hr(IMscoreeHostMalloc_GetBlocks(host->blocks, 1, NULL, &count), E_POINTER);
    assert_int_equal(count, 0);
    for (i = 0; i < ARRAY_SIZE(mem); i++) free_block(host, mem[i]);
}

/* ---- what a C library expects ---- */

static void test_alloc_zeroed(void **state)
{
    static const SIZE_T sizes[] = {0, 1, 16, 100, 5000, 0x9000, 0x20000, 0x300000};
    struct host *host = *state;
    unsigned int i, round;
    void *mem;

    test_begin();
    for (round = 0; round < 2; round++)
    {
        for (i = 0; i < ARRAY_SIZE(sizes); i++)
        {
            /* Dirty what the next block is likely to be made of. */
            mem = alloc(host, sizes[i]);
            memset(mem, 0xff, sizes[i]);
            free_block(host, mem);
            mem = POISON;
            assert_hr(IMscoreeHostMalloc_AllocZeroed(host->blocks, sizes[i], eTaskCritical, &mem), S_OK);
            assert_non_null(mem);
            assert_int_equal((UINT_PTR)mem % alignment_of(sizes[i]), 0);
            assert_bytes(mem, 0, sizes[i]);
            free_block(host, mem);
        }
    }
}

static void test_resize(void **state)
{
    static const SIZE_T sizes[] = {1, 16, 17, 100, 90, 5000, 4000, 0x20000, 0x21000, 0x1f000, 0x300000,
            0x380000, 300, 0, 24};
    struct host *host = *state;
    void *mem = NULL, *next;
    SIZE_T size = 0, kept;
    unsigned int i;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        next = POISON;
        assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, mem, sizes[i], eTaskCritical, &next), S_OK);
        assert_non_null(next);
        assert_int_equal((UINT_PTR)next % alignment_of(sizes[i]), 0);
        kept = sizes[i] < size ? sizes[i] : size;
        assert_bytes(next, (unsigned char)i, kept);
        memset(next, (int)i + 1, sizes[i]);
        assert_equal_64(get_statistics(host).heapLiveBlocks, 1);
        assert_equal_64(get_statistics(host).heapLiveBytes, sizes[i]);
        mem = next;
        size = sizes[i];
    }
    free_block(host, mem);
}

static void test_resize_failure_keeps_the_block(void **state)
{
    struct host *host = *state;
    unsigned int i;
    SIZE_T size;
    void *mem, *next;

    test_begin();
    mem = alloc(host, 1000);
    memset(mem, 0x77, 1000);
    for (i = 0; i < ARRAY_SIZE(absurd_sizes); i++)
    {
        next = POISON;
        assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, mem, absurd_sizes[i], eTaskCritical, &next),
                E_OUTOFMEMORY);
        assert_null(next);
    }
    assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, mem, 2000, eTaskCritical, NULL), E_POINTER);
    assert_bytes(mem, 0x77, 1000);
    assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, mem, &size), S_OK);
    assert_int_equal(size, 1000);

    next = POISON;
    assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, (char *)mem + 16, 10, eTaskCritical, &next),
            HOST_E_INVALIDOPERATION);
    assert_null(next);
    next = POISON;
    assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, &size, 10, eTaskCritical, &next),
            HOST_E_INVALIDOPERATION);
    assert_null(next);
    free_block(host, mem);
    next = POISON;
    assert_hr(IMscoreeHostMalloc_ReAlloc(host->blocks, mem, 10, eTaskCritical, &next),
            HOST_E_INVALIDOPERATION);
    assert_null(next);
}

static void test_get_size(void **state)
{
    static const SIZE_T sizes[] = {0, 1, 15, 16, 100, 1000, 5000, 0x8001, 0x20000, 0x300001};
    struct host *host = *state;
    unsigned int i;
    SIZE_T size;
    char *mem;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        mem = alloc(host, sizes[i]);
        size = 0xdead;
        assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, mem, &size), S_OK);
        assert_int_equal(size, sizes[i]);
        size = 0xdead;
        assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, mem + 1, &size), HOST_E_INVALIDOPERATION);
        assert_int_equal(size, 0);
        free_block(host, mem);
        size = 0xdead;
        assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, mem, &size), HOST_E_INVALIDOPERATION);
        assert_int_equal(size, 0);
    }
    size = 0xdead;
    assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, NULL, &size), HOST_E_INVALIDOPERATION);
    assert_int_equal(size, 0);
    size = 0xdead;
    assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, &size, &size), HOST_E_INVALIDOPERATION);
    assert_int_equal(size, 0);
    assert_hr(IMscoreeHostMalloc_GetSize(host->blocks, NULL, NULL), E_POINTER);
    assert_equal_64(get_statistics(host).invalidFrees, 0);
}

/* ---- stack ---- */

#define STACK_PROBE 0x4000

/* How deep one pair of calls goes. The stack below this frame is painted from the top down, so that guard
 * pages are met in their order. */
__attribute__((noinline)) static SIZE_T stack_used(IHostMalloc *malloc, SIZE_T size)
{
    UINT_PTR top = (UINT_PTR)__builtin_frame_address(0) - 0x200;
    volatile unsigned char *byte;
    void *mem;

    for (byte = (unsigned char *)top; (UINT_PTR)byte > top - STACK_PROBE; byte--) *byte = 0x5a;
    IHostMalloc_Alloc(malloc, size, eTaskCritical, &mem);
    IHostMalloc_Free(malloc, mem);
    do byte++;
    while ((UINT_PTR)byte < top && *byte == 0x5a);
    return top - (UINT_PTR)byte + 0x200;
}

/* A published runtime probes a quarter of a page before it calls Alloc. What has to be got from the system is
 * beyond our hands, so each size is warmed up first; the frame of the measuring function is in the figure. */
static void test_stack_use(void **state)
{
    static const SIZE_T sizes[] = {0, 16, 100, 1000, 8000};
    struct host *host = *state;
    unsigned int i;
    SIZE_T used;
    void *kept;

    test_begin();
    for (i = 0; i < ARRAY_SIZE(sizes); i++)
    {
        kept = alloc(host, sizes[i]);
        stack_used(host->malloc, sizes[i]);
        used = stack_used(host->malloc, sizes[i]);
        if (used > 0x400)
            fail_msg("Alloc(%u) used %u bytes of stack", (unsigned int)sizes[i], (unsigned int)used);
        free_block(host, kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] =
    {
        host_test(test_query_interface),
        host_test(test_query_interface_identity),
        host_test(test_alloc_sizes),
        host_test(test_alloc_zero_bytes_is_distinct),
        host_test(test_alloc_absurd_size),
        host_test(test_alloc_without_out),
        host_test(test_alloc_level_out_of_range),
        host_test(test_last_error_survives),
        host_test(test_accounts),
        host_test(test_many_blocks),
        host_test(test_free_null),
        host_test(test_free_twice),
        host_test(test_free_interior),
        host_test(test_free_foreign),
        host_test(test_free_block_of_a_dead_malloc),
        host_test(test_free_of_another_malloc),
        host_test(test_last_release_gives_everything_back),
        host_test(test_executable),
        host_test(test_debug_alloc),
        host_test(test_get_blocks_without_room),
        host_test(test_alloc_zeroed),
        host_test(test_resize),
        host_test(test_resize_failure_keeps_the_block),
        host_test(test_get_size),
        host_test(test_stack_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
