/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * IHostMemoryManager, and beside it the interface by which a host reads the accounts and moves the limit.
 */

#include "mscoreehost_private.h"

struct host_memory
{
    IHostMemoryManager IHostMemoryManager_iface;
    IMscoreeHostMemory IMscoreeHostMemory_iface;
    LONG refcount;
    bool system_heap;
    struct ledger *ledger;          /* one reference */
    struct pages *pages;
    struct views *views;
    struct pressure *pressure;
};

static struct host_memory *impl_from_IHostMemoryManager(IHostMemoryManager *iface)
{
    return CONTAINING_RECORD(iface, struct host_memory, IHostMemoryManager_iface);
}

static struct host_memory *impl_from_IMscoreeHostMemory(IMscoreeHostMemory *iface)
{
    return CONTAINING_RECORD(iface, struct host_memory, IMscoreeHostMemory_iface);
}

static void host_memory_destroy(struct host_memory *memory)
{
    if (memory->pressure) pressure_destroy(memory->pressure);
    if (memory->views) views_destroy(memory->views);
    if (memory->pages) pages_destroy(memory->pages);
    if (memory->ledger) ledger_release(memory->ledger);
    system_free(GetProcessHeap(), memory);
}

static HRESULT STDMETHODCALLTYPE host_memory_QueryInterface(IHostMemoryManager *iface, REFIID iid, void **out)
{
    struct host_memory *memory = impl_from_IHostMemoryManager(iface);

    TRACE("iface %p, iid %s, out %p.\n", iface, debugstr_guid(iid), out);

    if (!out) return E_POINTER;
    *out = NULL;
    if (IsEqualIID(iid, &IID_IHostMemoryManager) || IsEqualIID(iid, &IID_IUnknown))
        *out = &memory->IHostMemoryManager_iface;
    else if (IsEqualIID(iid, &IID_IMscoreeHostMemory))
        *out = &memory->IMscoreeHostMemory_iface;
    else
        return E_NOINTERFACE;
    IHostMemoryManager_AddRef(iface);
    return S_OK;
}

static ULONG STDMETHODCALLTYPE host_memory_AddRef(IHostMemoryManager *iface)
{
    return InterlockedIncrement(&impl_from_IHostMemoryManager(iface)->refcount);
}

static ULONG STDMETHODCALLTYPE host_memory_Release(IHostMemoryManager *iface)
{
    struct host_memory *memory = impl_from_IHostMemoryManager(iface);
    ULONG refcount = InterlockedDecrement(&memory->refcount);

    if (!refcount) host_memory_destroy(memory);
    return refcount;
}

static HRESULT STDMETHODCALLTYPE host_memory_CreateMalloc(IHostMemoryManager *iface, DWORD flags,
        IHostMalloc **out)
{
    struct host_memory *memory = impl_from_IHostMemoryManager(iface);

    TRACE("iface %p, flags %#lx, out %p.\n", iface, flags, out);

    if (!out) return E_POINTER;
    if (flags & ~(MALLOC_THREADSAFE | MALLOC_EXECUTABLE))
    {
        WARN("Unknown flags %#lx.\n", flags);
        *out = NULL;
        return E_INVALIDARG;
    }
    return host_malloc_create(memory->ledger, flags | (memory->system_heap ? HEAP_SYSTEM : 0), out);
}

static HRESULT STDMETHODCALLTYPE host_memory_VirtualAlloc(IHostMemoryManager *iface, void *address,
        SIZE_T size, DWORD type, DWORD protect, EMemoryCriticalLevel level, void **mem)
{
    struct host_memory *memory = impl_from_IHostMemoryManager(iface);

    if (!mem)
    {
        SetLastError(ERROR_INVALID_PARAMETER);
        return E_POINTER;
    }
    return pages_alloc(memory->pages, address, size, type, protect, level_index(level), mem);
}

static HRESULT STDMETHODCALLTYPE host_memory_VirtualFree(IHostMemoryManager *iface, void *address,
        SIZE_T size, DWORD type)
{
    return pages_free(impl_from_IHostMemoryManager(iface)->pages, address, size, type);
}

static HRESULT STDMETHODCALLTYPE host_memory_VirtualQuery(IHostMemoryManager *iface __attribute__((unused)),
        void *address, void *buffer, SIZE_T length, SIZE_T *result)
{
    return pages_query(address, buffer, length, result);
}

static HRESULT STDMETHODCALLTYPE host_memory_VirtualProtect(IHostMemoryManager *iface __attribute__((unused)),
        void *address, SIZE_T size, DWORD protect, DWORD *old_protect)
{
    return pages_protect(address, size, protect, old_protect);
}

static HRESULT STDMETHODCALLTYPE host_memory_GetMemoryLoad(IHostMemoryManager *iface, DWORD *load,
        SIZE_T *available)
{
    struct host_memory *memory = impl_from_IHostMemoryManager(iface);
    unsigned int percent;
    size_t bytes;

    if (load) *load = 0;
    if (available) *available = 0;
    if (!load || !available) return E_POINTER;
    pressure_get_load(memory->pressure, &percent, &bytes);
    *load = percent;
    *available = bytes;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE host_memory_RegisterMemoryNotificationCallback(IHostMemoryManager *iface,
        ICLRMemoryNotificationCallback *callback)
{
    TRACE("iface %p, callback %p.\n", iface, callback);

    return pressure_set_callback(impl_from_IHostMemoryManager(iface)->pressure, callback);
}

/* The runtime asks after every failure to map a file, most of which are a preferred address that is taken;
 * only when it would take any address is it short of space. It retries once for S_OK, and reads the last
 * error either way. */
static HRESULT STDMETHODCALLTYPE host_memory_NeedsVirtualAddressSpace(IHostMemoryManager *iface, void *start,
        SIZE_T size __attribute__((unused)))
{
    struct host_memory *memory = impl_from_IHostMemoryManager(iface);
    DWORD error = GetLastError();
    size_t bytes;

    if (start) return E_OUTOFMEMORY;
    bytes = ledger_reclaim(memory->ledger);
    SetLastError(error);
    return bytes ? S_OK : E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE host_memory_AcquiredVirtualAddressSpace(IHostMemoryManager *iface,
        void *start, SIZE_T size)
{
    views_add(impl_from_IHostMemoryManager(iface)->views, start, size);
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE host_memory_ReleasedVirtualAddressSpace(IHostMemoryManager *iface,
        void *start)
{
    views_remove(impl_from_IHostMemoryManager(iface)->views, start);
    return S_OK;
}

static const struct IHostMemoryManagerVtbl host_memory_vtbl =
{
    host_memory_QueryInterface,
    host_memory_AddRef,
    host_memory_Release,
    host_memory_CreateMalloc,
    host_memory_VirtualAlloc,
    host_memory_VirtualFree,
    host_memory_VirtualQuery,
    host_memory_VirtualProtect,
    host_memory_GetMemoryLoad,
    host_memory_RegisterMemoryNotificationCallback,
    host_memory_NeedsVirtualAddressSpace,
    host_memory_AcquiredVirtualAddressSpace,
    host_memory_ReleasedVirtualAddressSpace,
};

static HRESULT STDMETHODCALLTYPE mscoree_host_memory_QueryInterface(IMscoreeHostMemory *iface, REFIID iid,
        void **out)
{
    return IHostMemoryManager_QueryInterface(&impl_from_IMscoreeHostMemory(iface)->IHostMemoryManager_iface,
            iid, out);
}

static ULONG STDMETHODCALLTYPE mscoree_host_memory_AddRef(IMscoreeHostMemory *iface)
{
    return IHostMemoryManager_AddRef(&impl_from_IMscoreeHostMemory(iface)->IHostMemoryManager_iface);
}

static ULONG STDMETHODCALLTYPE mscoree_host_memory_Release(IMscoreeHostMemory *iface)
{
    return IHostMemoryManager_Release(&impl_from_IMscoreeHostMemory(iface)->IHostMemoryManager_iface);
}

static ULONGLONG public_limit(const struct ledger_limit *limit)
{
    return limit->limit == SIZE_MAX ? 0 : limit->limit;
}

static HRESULT STDMETHODCALLTYPE mscoree_host_memory_GetStatistics(IMscoreeHostMemory *iface,
        HOST_MEMORY_STATISTICS *out)
{
    struct host_memory *memory = impl_from_IMscoreeHostMemory(iface);
    const struct ledger *ledger = memory->ledger;
    HOST_MEMORY_STATISTICS stats = { 0 };
    struct ledger_limit limit;
    struct heap_usage usage;
    unsigned int load, i;
    size_t available;

    if (!out) return E_POINTER;
    if (out->cbSize < offsetof(HOST_MEMORY_STATISTICS, availableBytes)) return E_INVALIDARG;

    pressure_get_load(memory->pressure, &load, &available);
    stats.dwMemoryLoad = load;
    stats.availableBytes = available;
    ledger_get_limit(memory->ledger, &limit);
    stats.limit = public_limit(&limit);
    stats.reserveAppDomain = limit.reserve_appdomain;
    stats.reserveProcess = limit.reserve_process;
    stats.committed = ledger->committed.now;
    stats.peakCommitted = ledger->committed.peak;
    stats.heapCommitted = ledger->accounts[LEDGER_HEAP].now;
    stats.peakHeapCommitted = ledger->accounts[LEDGER_HEAP].peak;
    stats.pagesCommitted = ledger->accounts[LEDGER_PAGES].now;
    stats.peakPagesCommitted = ledger->accounts[LEDGER_PAGES].peak;
    stats.pagesReserved = ledger->reserved.now;
    stats.peakPagesReserved = ledger->reserved.peak;
    stats.pageRegions = ledger->regions.now;
    stats.peakPageRegions = ledger->regions.peak;
    stats.views = ledger->views;
    stats.viewBytes = ledger->view_bytes;
    stats.invalidFrees = ledger->invalid_frees;
    for (i = 0; i < ARRAY_SIZE(stats.refused); i++)
        stats.refused[i] = ledger->refused[i];
    for (i = eMemoryAvailableLow; i <= eMemoryAvailableHigh; i++)
        stats.notifications[i] = pressure_get_told(memory->pressure, i);
    ledger_get_usage(memory->ledger, &usage);
    stats.heapLiveBytes = usage.live_bytes;
    stats.peakHeapLiveBytes = usage.peak_live_bytes;
    stats.heapLiveBlocks = usage.live_blocks;
    stats.peakHeapLiveBlocks = usage.peak_live_blocks;

    stats.cbSize = min(out->cbSize, sizeof(stats));
    memcpy(out, &stats, stats.cbSize);
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE mscoree_host_memory_GetLimit(IMscoreeHostMemory *iface, ULONGLONG *limit,
        ULONGLONG *reserve_appdomain, ULONGLONG *reserve_process)
{
    struct host_memory *memory = impl_from_IMscoreeHostMemory(iface);
    struct ledger_limit set;

    ledger_get_limit(memory->ledger, &set);
    if (limit) *limit = public_limit(&set);
    if (reserve_appdomain) *reserve_appdomain = set.reserve_appdomain;
    if (reserve_process) *reserve_process = set.reserve_process;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE mscoree_host_memory_SetLimit(IMscoreeHostMemory *iface, ULONGLONG limit,
        ULONGLONG reserve_appdomain, ULONGLONG reserve_process)
{
    struct host_memory *memory = impl_from_IMscoreeHostMemory(iface);
    struct ledger_limit set;
    HRESULT hr;

    TRACE("iface %p, limit %I64u, reserve_appdomain %I64u, reserve_process %I64u.\n", iface, limit,
            reserve_appdomain, reserve_process);

    if (FAILED(hr = limit_check(limit, reserve_appdomain, reserve_process, &set))) return hr;
    ledger_set_limit(memory->ledger, &set);
    /* The thread works its marks out anew. */
    SetEvent(memory->ledger->alarm);
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE mscoree_host_memory_SimulateMemoryLoad(IMscoreeHostMemory *iface, DWORD load,
        ULONGLONG available)
{
    struct host_memory *memory = impl_from_IMscoreeHostMemory(iface);

    TRACE("iface %p, load %lu, available %I64u.\n", iface, load, available);

    pressure_simulate(memory->pressure, load, (size_t)min(available, SIZE_MAX));
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE mscoree_host_memory_Trim(IMscoreeHostMemory *iface, ULONGLONG *bytes)
{
    size_t given = ledger_reclaim(impl_from_IMscoreeHostMemory(iface)->ledger);

    if (bytes) *bytes = given;
    return S_OK;
}

static const struct IMscoreeHostMemoryVtbl mscoree_host_memory_vtbl =
{
    mscoree_host_memory_QueryInterface,
    mscoree_host_memory_AddRef,
    mscoree_host_memory_Release,
    mscoree_host_memory_GetStatistics,
    mscoree_host_memory_GetLimit,
    mscoree_host_memory_SetLimit,
    mscoree_host_memory_SimulateMemoryLoad,
    mscoree_host_memory_Trim,
};

void host_memory_end_notifications(IHostMemoryManager *iface)
{
    pressure_set_callback(impl_from_IHostMemoryManager(iface)->pressure, NULL);
}

HRESULT host_memory_create(const struct host_options *options, IHostMemoryManager **out)
{
    struct host_memory *memory;
    HRESULT hr;

    *out = NULL;
    if (!(memory = system_alloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(*memory)))) return E_OUTOFMEMORY;
    memory->IHostMemoryManager_iface.lpVtbl = &host_memory_vtbl;
    memory->IMscoreeHostMemory_iface.lpVtbl = &mscoree_host_memory_vtbl;
    memory->refcount = 1;
    memory->system_heap = options->system_heap;
    if (FAILED(hr = ledger_create(&options->limit, &memory->ledger))
            || FAILED(hr = pages_create(memory->ledger, &memory->pages))
            || FAILED(hr = views_create(memory->ledger, &memory->views))
            || FAILED(hr = pressure_create(memory->ledger, options, &memory->pressure)))
    {
        host_memory_destroy(memory);
        return hr;
    }
    *out = &memory->IHostMemoryManager_iface;
    return S_OK;
}
