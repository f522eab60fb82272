/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The few system calls that the allocator makes, for a native build under the thread and address sanitizers,
 * which know nothing of Windows programs.
 */

#ifndef HEAP_NATIVE_WINDOWS_H
#define HEAP_NATIVE_WINDOWS_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WINAPI
#if UINTPTR_MAX > 0xffffffffu
#define _WIN64
#endif

typedef void *HANDLE;
typedef uint32_t DWORD;
typedef int32_t LONG;
typedef int BOOL;

#define HEAP_ZERO_MEMORY 0x8
#define HEAP_CREATE_ENABLE_EXECUTE 0x40000
#define MEM_COMMIT 0x1000
#define MEM_RESERVE 0x2000
#define MEM_DECOMMIT 0x4000
#define MEM_RELEASE 0x8000
#define PAGE_READONLY 0x2
#define PAGE_READWRITE 0x4
#define PAGE_EXECUTE_READWRITE 0x40
#define TLS_OUT_OF_INDEXES 0xffffffffu

#define HEAP_REALLOC_IN_PLACE_ONLY 0x10
#define NATIVE_ROOM 0xf0000
#define NATIVE_STEP ((size_t)1 << 21)

/* Now and then there is no memory. */
bool native_refuses(void);

/* A private heap: a list of what malloc gave, so that HeapDestroy can end it. */
struct native_block
{
    struct native_block *next, *prev;
    size_t room;
    void *unused;
};

struct native_heap
{
    pthread_mutex_t lock;
    struct native_block blocks;
};

static inline HANDLE HeapCreate(DWORD flags, size_t first, size_t most)
{
    struct native_heap *heap = malloc(sizeof(*heap));

    (void)flags, (void)first, (void)most;
    pthread_mutex_init(&heap->lock, NULL);
    heap->blocks.next = heap->blocks.prev = &heap->blocks;
    return heap;
}

static inline void *HeapAlloc(HANDLE handle, DWORD flags, size_t size)
{
    struct native_heap *heap = handle;
    /* As seen under Wine 8.0, most of what is long can be made longer in place. Besides, it lies so that its
     * pages have the entries of others in the page map. */
    bool is_long = size >= 0xf000;
    size_t room = is_long && size < NATIVE_ROOM ? NATIVE_ROOM : size;
    struct native_block *block;
    void *mem;

    if (size > SIZE_MAX / 4 || native_refuses()) return NULL;
    if (posix_memalign(&mem, is_long ? NATIVE_STEP : 16, sizeof(*block) + room)) return NULL;
    block = mem;
    block->room = room;
    if (flags & HEAP_ZERO_MEMORY) memset(block + 1, 0, size);
    pthread_mutex_lock(&heap->lock);
    block->next = heap->blocks.next;
    block->prev = &heap->blocks;
    block->next->prev = heap->blocks.next = block;
    pthread_mutex_unlock(&heap->lock);
    return block + 1;
}

static inline void *HeapReAlloc(HANDLE handle, DWORD flags, void *mem, size_t size)
{
    struct native_block *block = (struct native_block *)mem - 1;

    (void)handle, (void)flags;
    return size <= block->room && !native_refuses() ? mem : NULL;
}

static inline BOOL HeapFree(HANDLE handle, DWORD flags, void *mem)
{
    struct native_heap *heap = handle;
    struct native_block *block = (struct native_block *)mem - 1;

    (void)flags;
    pthread_mutex_lock(&heap->lock);
    block->next->prev = block->prev;
    block->prev->next = block->next;
    pthread_mutex_unlock(&heap->lock);
    free(block);
    return 1;
}

static inline BOOL HeapValidate(HANDLE handle, DWORD flags, const void *mem)
{
    (void)handle, (void)flags, (void)mem;
    return 1;
}

static inline size_t HeapSize(HANDLE handle, DWORD flags, const void *mem)
{
    (void)handle, (void)flags, (void)mem;
    return (size_t)-1;
}

static inline BOOL HeapDestroy(HANDLE handle)
{
    struct native_heap *heap = handle;
    struct native_block *block, *next;

    for (block = heap->blocks.next; block != &heap->blocks; block = next)
    {
        next = block->next;
        free(block);
    }
    pthread_mutex_destroy(&heap->lock);
    free(heap);
    return 1;
}

/* The length of a reservation is in a page before it. What is not committed is not to be touched. */
static inline void *VirtualAlloc(void *address, size_t size, DWORD type, DWORD protect)
{
    char *mem;

    (void)protect;
    if (native_refuses()) return NULL;
    if (address) return mprotect(address, size, PROT_READ | PROT_WRITE) ? NULL : address;
    mem = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mem == MAP_FAILED) return NULL;
    if (!(type & MEM_COMMIT)) mprotect(mem + 4096, size, PROT_NONE);
    *(size_t *)mem = size + 4096;
    return mem + 4096;
}

static inline BOOL VirtualFree(void *address, size_t size, DWORD type)
{
    char *mem = (char *)address - 4096;

    if (type == MEM_DECOMMIT)
        return !madvise(address, size, MADV_DONTNEED) && !mprotect(address, size, PROT_NONE);
    return !munmap(mem, *(size_t *)mem);
}

static inline BOOL VirtualProtect(void *address, size_t size, DWORD protect, DWORD *old)
{
    *old = PAGE_READWRITE;
    return !mprotect(address, size, protect == PAGE_READONLY ? PROT_READ : PROT_READ | PROT_WRITE);
}

/* Slots with a generation, so that TlsFree clears them in every thread, as the real one does. */
#define NATIVE_SLOTS 64
extern __thread struct native_thread
{
    void *value[NATIVE_SLOTS];
    unsigned int generation[NATIVE_SLOTS];
    DWORD id;
    DWORD error;
} native_thread;
extern unsigned int native_generation[NATIVE_SLOTS];
extern bool native_used[NATIVE_SLOTS];
extern uint32_t native_last_id;

static inline DWORD TlsAlloc(void)
{
    DWORD i;

    for (i = 0; i < NATIVE_SLOTS; i++)
    {
        if (!__atomic_exchange_n(&native_used[i], true, __ATOMIC_ACQ_REL)) return i;
    }
    return TLS_OUT_OF_INDEXES;
}

static inline BOOL TlsFree(DWORD index)
{
    __atomic_fetch_add(&native_generation[index], 1, __ATOMIC_ACQ_REL);
    __atomic_store_n(&native_used[index], false, __ATOMIC_RELEASE);
    return 1;
}

static inline BOOL TlsSetValue(DWORD index, void *value)
{
    native_thread.value[index] = value;
    native_thread.generation[index] = __atomic_load_n(&native_generation[index], __ATOMIC_ACQUIRE);
    return 1;
}

static inline void *tls_read(size_t offset, bool more)
{
    size_t index = (offset - 0x1480) / sizeof(void *);

    (void)more;
    if (native_thread.generation[index] != __atomic_load_n(&native_generation[index], __ATOMIC_ACQUIRE))
        return NULL;
    return native_thread.value[index];
}

static inline DWORD GetCurrentThreadId(void)
{
    if (!native_thread.id) native_thread.id = __atomic_add_fetch(&native_last_id, 4, __ATOMIC_RELAXED);
    return native_thread.id;
}

#define current_thread GetCurrentThreadId

static inline DWORD GetLastError(void)
{
    return native_thread.error;
}

static inline void SetLastError(DWORD error)
{
    native_thread.error = error;
}

static inline DWORD GetTickCount(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (DWORD)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static inline void FlushProcessWriteBuffers(void)
{
    /* The page protection that follows does it; the thread sanitizer does not know fences. */
}

static inline BOOL SwitchToThread(void)
{
    return !sched_yield();
}

static inline void YieldProcessor(void)
{
    __asm__ volatile("" ::: "memory");
}

static inline LONG InterlockedExchange(volatile LONG *at, LONG value)
{
    return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);
}

static inline LONG InterlockedIncrement(volatile LONG *at)
{
    return __atomic_add_fetch(at, 1, __ATOMIC_SEQ_CST);
}

static inline void *InterlockedCompareExchangePointer(void *volatile *at, void *value, void *expected)
{
    __atomic_compare_exchange_n(at, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}

#endif
