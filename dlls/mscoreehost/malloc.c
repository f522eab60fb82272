/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * IHostMalloc: COM around a heap, and what the heap takes charged to the ledger.
 */

#include "mscoreehost_private.h"
#include "heap_inline.h"

struct host_malloc
{
    IHostMalloc IHostMalloc_iface;
    IMscoreeHostMalloc IMscoreeHostMalloc_iface;
    struct heap_front front;        /* of the heap: near, and without a pointer to follow */
    const struct IHostMallocVtbl *started_vtbl;
    LONG refcount;
    struct heap *heap;
    struct ledger *ledger;          /* one reference: the malloc outlives its manager */
    struct heap_owner owner;
    struct ledger_holder holder;
};

static struct host_malloc *impl_from_IHostMalloc(IHostMalloc *iface)
{
    return CONTAINING_RECORD(iface, struct host_malloc, IHostMalloc_iface);
}

static struct host_malloc *impl_from_IMscoreeHostMalloc(IMscoreeHostMalloc *iface)
{
    return CONTAINING_RECORD(iface, struct host_malloc, IMscoreeHostMalloc_iface);
}

/* What the heap gave, as the runtime wants to hear it. */
static HRESULT answer(struct host_malloc *malloc, void *given, size_t size, unsigned int level, void **mem)
{
    ledger_note_level(malloc->ledger, level);
    if ((*mem = given)) return S_OK;
    ledger_note_refused(malloc->ledger, size, level);
    return E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE host_malloc_QueryInterface(IHostMalloc *iface, REFIID iid, void **out)
{
    struct host_malloc *malloc = impl_from_IHostMalloc(iface);

    if (!out) return E_POINTER;
    *out = NULL;
    if (IsEqualIID(iid, &IID_IHostMalloc) || IsEqualIID(iid, &IID_IUnknown))
        *out = &malloc->IHostMalloc_iface;
    else if (IsEqualIID(iid, &IID_IMscoreeHostMalloc))
        *out = &malloc->IMscoreeHostMalloc_iface;
    else
        return E_NOINTERFACE;
    IHostMalloc_AddRef(iface);
    return S_OK;
}

static ULONG STDMETHODCALLTYPE host_malloc_AddRef(IHostMalloc *iface)
{
    return InterlockedIncrement(&impl_from_IHostMalloc(iface)->refcount);
}

static ULONG STDMETHODCALLTYPE host_malloc_Release(IHostMalloc *iface)
{
    struct host_malloc *malloc = impl_from_IHostMalloc(iface);
    ULONG refcount = InterlockedDecrement(&malloc->refcount);

    if (!refcount)
    {
        ledger_remove_holder(malloc->ledger, &malloc->holder);
        heap_destroy(malloc->heap);
        ledger_release(malloc->ledger);
        system_free(GetProcessHeap(), malloc);
    }
    return refcount;
}

static HRESULT __attribute__((noinline)) slow_free(struct host_malloc *malloc, void *mem)
{
    if (heap_free(malloc->heap, mem)) return S_OK;
    /* The runtime forwards NULL here and passes the result on. */
    if (!mem) return S_OK;
    ledger_note_invalid_free(malloc->ledger);
    return HOST_E_INVALIDOPERATION;
}

static HRESULT __attribute__((noinline)) shared_free(struct host_malloc *malloc, struct cache *cache,
        struct span *span, void *mem)
{
    struct freeing freeing = { cache, span, (size_t)((char *)mem - span->base) };

    switch (heap_free_shared(&freeing))
    {
        case HEAP_DONE: return S_OK;
        case HEAP_SETTLE: return heap_settle(cache);
        default: return slow_free(malloc, mem);
    }
}

/* Alloc and Free once for each way to the caller's cache: what nearly every call does is compiled into
 * them. */
#define METHODS(name, way) \
static HRESULT __attribute__((noinline)) name##_slower_alloc(struct host_malloc *malloc, size_t size, \
        EMemoryCriticalLevel level, void **mem) \
{ \
    struct cache *cache = heap_cache_of(&malloc->front, way); \
    if (cache && (*mem = heap_alloc_more(cache, size))) return S_OK; \
    return answer(malloc, heap_alloc(malloc->heap, size, level_index(level)), size, level_index(level), \
            mem); \
} \
static HRESULT __attribute__((noinline)) name##_slow_alloc(struct host_malloc *malloc, size_t size, \
        EMemoryCriticalLevel level, void **mem) \
{ \
    struct cache *cache = heap_cache_of(&malloc->front, way); \
    if (!mem) return E_POINTER; \
    switch (cache ? heap_alloc_wide(cache, size, mem) : HEAP_SLOW) \
    { \
        case HEAP_DONE: return S_OK; \
        case HEAP_SETTLE: return heap_settle(cache); \
        default: return name##_slower_alloc(malloc, size, level, mem); \
    } \
} \
static HRESULT STDMETHODCALLTYPE name##_Alloc(IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, \
        void **mem) \
{ \
    struct host_malloc *malloc = impl_from_IHostMalloc(iface); \
    struct cache *cache; \
    if (!mem) return name##_slow_alloc(malloc, size, level, mem); \
    switch (heap_alloc_inline(&malloc->front, way, size, mem, &cache)) \
    { \
        case HEAP_DONE: return S_OK; \
        case HEAP_SETTLE: return heap_settle(cache); \
        default: return name##_slow_alloc(malloc, size, level, mem); \
    } \
} \
/* Called last and with the same arguments, so that DebugAlloc itself need not keep them. */ \
static HRESULT __attribute__((noinline)) STDMETHODCALLTYPE name##_slow_debug_alloc(IHostMalloc *iface, \
        SIZE_T size, EMemoryCriticalLevel level, char *file, int line, void **mem) \
{ \
    struct host_malloc *malloc = impl_from_IHostMalloc(iface); \
    HRESULT hr = name##_slow_alloc(malloc, size, level, mem); \
    if (hr == S_OK) heap_note(malloc->heap, *mem, level_index(level), file, line); \
    return hr; \
} \
/* volatile: these two stay on the stack, where the caller put them, until they are wanted. Registers for \
 * them would have to be saved and restored, which is as much work as the record is. */ \
static HRESULT STDMETHODCALLTYPE name##_DebugAlloc(IHostMalloc *iface, SIZE_T size, \
        EMemoryCriticalLevel level, char *file, int volatile line, void **volatile mem) \
{ \
    struct host_malloc *malloc = impl_from_IHostMalloc(iface); \
    struct cache *cache; \
    if (mem && (unsigned int)level < LEDGER_LEVELS) \
    { \
        switch (heap_debug_alloc_inline(&malloc->front, way, size, (unsigned int)level, file, &line, &mem, \
                &cache)) \
        { \
            case HEAP_DONE: return S_OK; \
            case HEAP_SETTLE: return heap_settle(cache); \
            default: break; \
        } \
    } \
    return name##_slow_debug_alloc(iface, size, level, file, line, mem); \
} \
static HRESULT STDMETHODCALLTYPE name##_Free(IHostMalloc *iface, void *mem) \
{ \
    struct host_malloc *malloc = impl_from_IHostMalloc(iface); \
    struct freeing freeing; \
    switch (heap_free_inline(&malloc->front, way, mem, &freeing)) \
    { \
        case HEAP_DONE: return S_OK; \
        case HEAP_SETTLE: return heap_settle(freeing.cache); \
        case HEAP_SHARED: return shared_free(malloc, freeing.cache, freeing.span, mem); \
        default: return slow_free(malloc, mem); \
    } \
} \
static const struct IHostMallocVtbl name##_vtbl = \
{ \
    host_malloc_QueryInterface, \
    host_malloc_AddRef, \
    host_malloc_Release, \
    name##_Alloc, \
    name##_DebugAlloc, \
    name##_Free, \
};

METHODS(teb, HEAP_WAY_TEB)
METHODS(solo, HEAP_WAY_SOLO)
METHODS(other, HEAP_WAY_NONE)

/* Until the first request that shows that the runtime has started: afterwards nobody need look for that. */
static HRESULT STDMETHODCALLTYPE starting_Alloc(IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level,
        void **mem)
{
    struct host_malloc *malloc = impl_from_IHostMalloc(iface);

    ledger_note_level(malloc->ledger, level_index(level));
    if (level_index(level) < eProcessCritical)
        __atomic_store_n(&iface->lpVtbl, malloc->started_vtbl, __ATOMIC_RELEASE);
    return malloc->started_vtbl->Alloc(iface, size, level, mem);
}

static HRESULT STDMETHODCALLTYPE starting_DebugAlloc(IHostMalloc *iface, SIZE_T size,
        EMemoryCriticalLevel level, char *file, int line, void **mem)
{
    HRESULT hr = starting_Alloc(iface, size, level, mem);

    if (hr == S_OK) heap_note(impl_from_IHostMalloc(iface)->heap, *mem, level_index(level), file, line);
    return hr;
}

static HRESULT STDMETHODCALLTYPE starting_Free(IHostMalloc *iface, void *mem)
{
    return impl_from_IHostMalloc(iface)->started_vtbl->Free(iface, mem);
}

static const struct IHostMallocVtbl starting_vtbl =
{
    host_malloc_QueryInterface,
    host_malloc_AddRef,
    host_malloc_Release,
    starting_Alloc,
    starting_DebugAlloc,
    starting_Free,
};

static HRESULT STDMETHODCALLTYPE mscoree_host_malloc_QueryInterface(IMscoreeHostMalloc *iface, REFIID iid,
        void **out)
{
    return IHostMalloc_QueryInterface(&impl_from_IMscoreeHostMalloc(iface)->IHostMalloc_iface, iid, out);
}

static ULONG STDMETHODCALLTYPE mscoree_host_malloc_AddRef(IMscoreeHostMalloc *iface)
{
    return IHostMalloc_AddRef(&impl_from_IMscoreeHostMalloc(iface)->IHostMalloc_iface);
}

static ULONG STDMETHODCALLTYPE mscoree_host_malloc_Release(IMscoreeHostMalloc *iface)
{
    return IHostMalloc_Release(&impl_from_IMscoreeHostMalloc(iface)->IHostMalloc_iface);
}

static HRESULT STDMETHODCALLTYPE mscoree_host_malloc_AllocZeroed(IMscoreeHostMalloc *iface, SIZE_T size,
        EMemoryCriticalLevel level, void **mem)
{
    struct host_malloc *malloc = impl_from_IMscoreeHostMalloc(iface);

    if (!mem) return E_POINTER;
    return answer(malloc, heap_alloc_zeroed(malloc->heap, size, level_index(level)), size,
            level_index(level), mem);
}

static HRESULT STDMETHODCALLTYPE mscoree_host_malloc_ReAlloc(IMscoreeHostMalloc *iface, void *old,
        SIZE_T size, EMemoryCriticalLevel level, void **mem)
{
    struct host_malloc *malloc = impl_from_IMscoreeHostMalloc(iface);
    size_t old_size;

    if (!mem) return E_POINTER;
    *mem = NULL;
    if (!old) return IHostMalloc_Alloc(&malloc->IHostMalloc_iface, size, level, mem);
    if (!heap_size(malloc->heap, old, &old_size))
    {
        ledger_note_invalid_free(malloc->ledger);
        return HOST_E_INVALIDOPERATION;
    }
    return answer(malloc, heap_realloc(malloc->heap, old, size, level_index(level)), size,
            level_index(level), mem);
}

static HRESULT STDMETHODCALLTYPE mscoree_host_malloc_GetSize(IMscoreeHostMalloc *iface, void *mem,
        SIZE_T *out)
{
    struct host_malloc *malloc = impl_from_IMscoreeHostMalloc(iface);
    size_t size;

    if (!out) return E_POINTER;
    *out = 0;
    if (!heap_size(malloc->heap, mem, &size)) return HOST_E_INVALIDOPERATION;
    *out = size;
    return S_OK;
}

struct block_list
{
    HOST_MALLOC_BLOCK *blocks;
    size_t room;
    size_t count;
};

static bool list_block(void *context, const struct heap_block *block)
{
    struct block_list *list = context;

    if (list->count++ < list->room)
        list->blocks[list->count - 1] = (HOST_MALLOC_BLOCK) { block->mem, block->size, block->file,
                block->line, block->thread, block->level };
    return true;
}

static HRESULT STDMETHODCALLTYPE mscoree_host_malloc_GetBlocks(IMscoreeHostMalloc *iface, SIZE_T room,
        HOST_MALLOC_BLOCK *blocks, SIZE_T *count)
{
    struct host_malloc *malloc = impl_from_IMscoreeHostMalloc(iface);
    struct block_list list = { blocks, room, 0 };

    if (!count) return E_POINTER;
    *count = 0;
    if (!blocks && room) return E_POINTER;
    heap_walk(malloc->heap, list_block, &list);
    *count = list.count;
    return S_OK;
}

static const struct IMscoreeHostMallocVtbl mscoree_host_malloc_vtbl =
{
    mscoree_host_malloc_QueryInterface,
    mscoree_host_malloc_AddRef,
    mscoree_host_malloc_Release,
    mscoree_host_malloc_AllocZeroed,
    mscoree_host_malloc_ReAlloc,
    mscoree_host_malloc_GetSize,
    mscoree_host_malloc_GetBlocks,
};

static bool host_malloc_charge(struct heap_owner *owner, size_t bytes, unsigned int level, bool urgent)
{
    return ledger_charge(CONTAINING_RECORD(owner, struct host_malloc, owner)->ledger, LEDGER_HEAP, bytes,
            level, urgent);
}

static void host_malloc_credit(struct heap_owner *owner, size_t bytes)
{
    ledger_credit(CONTAINING_RECORD(owner, struct host_malloc, owner)->ledger, LEDGER_HEAP, bytes);
}

static void host_malloc_spare(struct heap_owner *owner)
{
    ledger_note_spare(CONTAINING_RECORD(owner, struct host_malloc, owner)->ledger);
}

static struct host_malloc *create(struct ledger *ledger, unsigned int flags)
{
    struct host_malloc *malloc = system_alloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(*malloc));

    if (!malloc) return NULL;
    malloc->IMscoreeHostMalloc_iface.lpVtbl = &mscoree_host_malloc_vtbl;
    malloc->refcount = 1;
    malloc->ledger = ledger;
    malloc->owner.charge = host_malloc_charge;
    malloc->owner.credit = host_malloc_credit;
    malloc->owner.spare = host_malloc_spare;
    if (!(malloc->heap = heap_create(flags, &malloc->owner)))
    {
        system_free(GetProcessHeap(), malloc);
        return NULL;
    }
    switch (heap_attach(malloc->heap, &malloc->front))
    {
        case HEAP_WAY_TEB: malloc->started_vtbl = &teb_vtbl; break;
        case HEAP_WAY_SOLO: malloc->started_vtbl = &solo_vtbl; break;
        default: malloc->started_vtbl = &other_vtbl; break;
    }
    malloc->IHostMalloc_iface.lpVtbl = &starting_vtbl;
    ledger_addref(ledger);
    malloc->holder.heap = malloc->heap;
    ledger_add_holder(ledger, &malloc->holder);
    return malloc;
}

/* The out argument is the address of the runtime's own global pointer: what is stored there is live at once,
 * so it is written last, and once. */
HRESULT host_malloc_create(struct ledger *ledger, unsigned int flags, IHostMalloc **out)
{
    struct host_malloc *malloc = create(ledger, flags);

    __atomic_store_n(out, malloc ? &malloc->IHostMalloc_iface : NULL, __ATOMIC_RELEASE);
    return malloc ? S_OK : E_OUTOFMEMORY;
}
