/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Allocators of Linux behind IHostMalloc, for a Winelib DLL. Each is loaded beside the C library's own,
 * which it does not replace here; RTLD_LOCAL sees to that.
 */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host.h"

struct peer
{
    const char *name, *library, *alloc, *free;
};

/* In the order of nobody's merit. The C library is in the process already. */
static const struct peer peers[] =
{
    {"glibc", NULL, "malloc", "free"},
    {"jemalloc", "libjemalloc.so.2", "malloc", "free"},
    {"mimalloc", "libmimalloc.so.2.0", "mi_malloc", "mi_free"},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "tc_malloc", "tc_free"},
};

static void *library;

/* When this DLL is loaded: what a peer takes to be loaded is not to be charged to its mallocs. */
static void __attribute__((constructor)) load_library(void)
{
    const char *name = getenv("BENCH_ALLOCATOR");
    unsigned int i;

    for (i = 0; name && i < ARRAY_SIZE(peers); ++i)
        if (!strcmp(peers[i].name, name) && !(library = dlopen(peers[i].library, RTLD_NOW | RTLD_LOCAL)))
            fprintf(stderr, "%s\n", dlerror());
}

struct peer_malloc
{
    IHostMalloc IHostMalloc_iface;
    void *(*alloc)(size_t);
    void (*free)(void *);
};

static struct peer_malloc *impl_from_IHostMalloc(IHostMalloc *iface)
{
    return CONTAINING_RECORD(iface, struct peer_malloc, IHostMalloc_iface);
}

/* These allocators have no heaps that could be given up; what is live stays. */
static ULONG STDMETHODCALLTYPE peer_malloc_Release(IHostMalloc *iface)
{
    free(impl_from_IHostMalloc(iface));
    return 0;
}

/* The interface promises 16 bytes, but two of these align blocks of up to 8 bytes to 8. */
static inline size_t aligned_size(SIZE_T size)
{
    return size > 8 ? size : 9;
}

static HRESULT STDMETHODCALLTYPE peer_malloc_Alloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, void **mem)
{
    (void)level;
    *mem = impl_from_IHostMalloc(iface)->alloc(aligned_size(size));
    return *mem ? S_OK : E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE peer_malloc_DebugAlloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, char *file, int line, void **mem)
{
    (void)level;
    (void)file;
    (void)line;
    *mem = impl_from_IHostMalloc(iface)->alloc(aligned_size(size));
    return *mem ? S_OK : E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE peer_malloc_Free(IHostMalloc *iface, void *mem)
{
    impl_from_IHostMalloc(iface)->free(mem);
    return S_OK;
}

static const IHostMallocVtbl peer_malloc_vtbl =
{
    malloc_QueryInterface,
    malloc_AddRef,
    peer_malloc_Release,
    peer_malloc_Alloc,
    peer_malloc_DebugAlloc,
    peer_malloc_Free
};

HRESULT create_malloc(const char *name, IHostMalloc **out)
{
    struct peer_malloc *object;
    unsigned int i;

    *out = NULL;
    for (i = 0; i < ARRAY_SIZE(peers) && strcmp(peers[i].name, name); ++i) ;
    if (i == ARRAY_SIZE(peers)) return E_INVALIDARG;
    if (!library) return HRESULT_FROM_WIN32(ERROR_MOD_NOT_FOUND);
    if (!(object = malloc(sizeof(*object)))) return E_OUTOFMEMORY;
    object->IHostMalloc_iface.lpVtbl = &peer_malloc_vtbl;
    object->alloc = (void *(*)(size_t))dlsym(library, peers[i].alloc);
    object->free = (void (*)(void *))dlsym(library, peers[i].free);
    if (!object->alloc || !object->free)
    {
        free(object);
        return HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);
    }
    *out = &object->IHostMalloc_iface;
    return S_OK;
}
