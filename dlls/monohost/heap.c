/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * malloc, calloc, realloc and free of the Mono module, on the host's IHostMalloc.
 *
 * Two sets of them: for a host whose malloc has the interface IMscoreeHostMalloc, and for any other one.
 * Blocks that are not the host's (from before, or made inside the C library by strdup and its like) go back
 * to where they came from. Every request is process-critical: Mono ends the process when a malloc of its own
 * returns NULL.
 */

#include <errno.h>
#include <string.h>
#include "monohost_private.h"

static IHostMalloc *host;
static IMscoreeHostMalloc *extension;   /* NULL: not that kind of host */

static void *(__cdecl *original_malloc)(size_t size);
static void *(__cdecl *original_calloc)(size_t count, size_t size);
static void *(__cdecl *original_realloc)(void *mem, size_t size);
static void (__cdecl *original_free)(void *mem);
static size_t (__cdecl *original_msize)(void *mem);

static void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static void *__cdecl extended_malloc(size_t size)
{
    HRESULT hr;
    void *mem;

    host_enter();
    hr = IHostMalloc_Alloc(host, size, eProcessCritical, &mem);
    host_leave();
    return hr == S_OK ? mem : out_of_memory();
}

static void *__cdecl extended_calloc(size_t count, size_t size)
{
    SIZE_T bytes;
    HRESULT hr;
    void *mem;

    if (__builtin_mul_overflow(count, size, &bytes)) return out_of_memory();
    host_enter();
    hr = IMscoreeHostMalloc_AllocZeroed(extension, bytes, eProcessCritical, &mem);
    host_leave();
    return hr == S_OK ? mem : out_of_memory();
}

static void __cdecl extended_free(void *mem)
{
    HRESULT hr;

    if (!mem) return;
    host_enter();
    hr = IHostMalloc_Free(host, mem);
    host_leave();
    if (hr == HOST_E_INVALIDOPERATION) original_free(mem);
}

static void *__cdecl extended_realloc(void *mem, size_t size)
{
    HRESULT hr;
    void *moved;

    if (mem && !size)
    {
        extended_free(mem);
        return NULL;
    }
    host_enter();
    hr = IMscoreeHostMalloc_ReAlloc(extension, mem, size, eProcessCritical, &moved);
    host_leave();
    if (hr == HOST_E_INVALIDOPERATION) return original_realloc(mem, size);
    return hr == S_OK ? moved : out_of_memory();
}

static size_t __cdecl extended_msize(void *mem)
{
    SIZE_T size;
    HRESULT hr;

    host_enter();
    hr = IMscoreeHostMalloc_GetSize(extension, mem, &size);
    host_leave();
    return hr == S_OK ? size : original_msize(mem);
}

/* In front of each block of a plain host, which tells neither sizes nor whose a block is. The mark depends on
 * the address and on a number that differs in each process, so that no other block has it. Reading it in
 * front of a foreign block is safe: what reaches free comes from a heap, and heaps have a header there of
 * their own. */
struct header
{
    SIZE_T size;
    ULONG_PTR mark;
};

static ULONG_PTR secret;

static struct header *header_of(void *mem)
{
    struct header *header = (struct header *)mem - 1;

    return header->mark == ((ULONG_PTR)mem ^ secret) ? header : NULL;
}

static void *__cdecl plain_malloc(size_t size)
{
    struct header *header;
    SIZE_T bytes;
    HRESULT hr;
    void *mem;

    if (__builtin_add_overflow(size, sizeof(*header), &bytes)) return out_of_memory();
    host_enter();
    hr = IHostMalloc_Alloc(host, bytes, eProcessCritical, &mem);
    host_leave();
    if (hr != S_OK || !mem) return out_of_memory();
    header = mem;
    header->size = size;
    header->mark = (ULONG_PTR)(header + 1) ^ secret;
    return header + 1;
}

static void *__cdecl plain_calloc(size_t count, size_t size)
{
    SIZE_T bytes;
    void *mem;

    if (__builtin_mul_overflow(count, size, &bytes)) return out_of_memory();
    if ((mem = plain_malloc(bytes))) memset(mem, 0, bytes);
    return mem;
}

static void __cdecl plain_free(void *mem)
{
    struct header *header;

    if (!mem) return;
    if (!(header = header_of(mem)))
    {
        original_free(mem);
        return;
    }
    header->mark = 0;
    host_enter();
    IHostMalloc_Free(host, header);
    host_leave();
}

static void *__cdecl plain_realloc(void *mem, size_t size)
{
    struct header *header;
    void *moved;

    if (!mem) return plain_malloc(size);
    if (!(header = header_of(mem))) return original_realloc(mem, size);
    if (!size)
    {
        plain_free(mem);
        return NULL;
    }
    /* The recorded size stays the larger one: it is how much there is to copy, and it is there. */
    if (size <= header->size && size > header->size / 2) return mem;
    if (!(moved = plain_malloc(size))) return NULL;
    memcpy(moved, mem, min(size, header->size));
    plain_free(mem);
    return moved;
}

static size_t __cdecl plain_msize(void *mem)
{
    struct header *header = header_of(mem);

    return header ? header->size : original_msize(mem);
}

/* Keeps the reference; it is never given back, as blocks live until the process ends. */
void heap_init(IHostMalloc *malloc)
{
    LARGE_INTEGER counter;

    host = malloc;
    if (IHostMalloc_QueryInterface(malloc, &IID_IMscoreeHostMalloc, (void **)&extension) != S_OK)
        extension = NULL;
    QueryPerformanceCounter(&counter);
    secret = (ULONG_PTR)counter.QuadPart * (ULONG_PTR)0x9e3779b97f4a7c15ull ^ (ULONG_PTR)&counter;
}

void heap_get_imports(struct import *imports)
{
    static const struct
    {
        const char *name;
        void *extended, *plain;
        void **original;
        bool needed;
    }
    rows[HEAP_IMPORTS] =
    {
        { "malloc", extended_malloc, plain_malloc, (void **)&original_malloc, true },
        { "calloc", extended_calloc, plain_calloc, (void **)&original_calloc, true },
        { "realloc", extended_realloc, plain_realloc, (void **)&original_realloc, true },
        { "free", extended_free, plain_free, (void **)&original_free, true },
        { "_msize", extended_msize, plain_msize, (void **)&original_msize, false },
    };
    unsigned int i;

    for (i = 0; i < HEAP_IMPORTS; i++)
    {
        imports[i].name = rows[i].name;
        imports[i].replacement = extension ? rows[i].extended : rows[i].plain;
        imports[i].original = rows[i].original;
        imports[i].needed = rows[i].needed;
    }
}
