/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * An IHostControl that stands between a runtime and its host, and counts what is asked. It hands out objects
 * of its own for the memory manager and the malloc, and passes each call on as it is.
 */

#include "clrhost.h"

static struct call_counts counts;

static IHostControl *real_control;
static IHostMemoryManager *real_memory;
static IHostMalloc *real_malloc;
static IMscoreeHostMalloc *real_extension;

static IHostMemoryManager count_memory;
static IHostMalloc count_malloc;
static IMscoreeHostMalloc count_extension;

static void add(volatile LONG64 *count)
{
    InterlockedIncrement64(count);
}

static void add_size(SIZE_T size)
{
    unsigned int i;

    for (i = 0; i < COUNT_SIZES - 1 && size > (SIZE_T)1 << i; i++) ;
    add(&counts.sizes[i]);
}

static HRESULT add_failure(HRESULT hr)
{
    if (hr != S_OK) add(&counts.failed);
    return hr;
}

/* All four objects are static. */
static ULONG one(void)
{
    return 1;
}

static HRESULT STDMETHODCALLTYPE malloc_QueryInterface(IHostMalloc *iface, REFIID iid, void **out)
{
    if (!IsEqualIID(iid, &IID_IMscoreeHostMalloc))
    {
        if (!IsEqualIID(iid, &IID_IHostMalloc) && !IsEqualIID(iid, &IID_IUnknown))
            return IHostMalloc_QueryInterface(real_malloc, iid, out);
        *out = iface;
        return S_OK;
    }
    *out = real_extension ? &count_extension : NULL;
    return *out ? S_OK : E_NOINTERFACE;
}

static ULONG STDMETHODCALLTYPE malloc_AddRef(IHostMalloc *iface)
{
    (void)iface;
    return one();
}

static HRESULT STDMETHODCALLTYPE malloc_Alloc(IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level,
        void **mem)
{
    (void)iface;
    add(&counts.alloc);
    add_size(size);
    return add_failure(IHostMalloc_Alloc(real_malloc, size, level, mem));
}

static HRESULT STDMETHODCALLTYPE malloc_DebugAlloc(IHostMalloc *iface, SIZE_T size,
        EMemoryCriticalLevel level, char *file, int line, void **mem)
{
    (void)iface;
    add(&counts.alloc);
    add_size(size);
    return add_failure(IHostMalloc_DebugAlloc(real_malloc, size, level, file, line, mem));
}

static HRESULT STDMETHODCALLTYPE malloc_Free(IHostMalloc *iface, void *mem)
{
    HRESULT hr = IHostMalloc_Free(real_malloc, mem);

    (void)iface;
    add(hr == HOST_E_INVALIDOPERATION ? &counts.foreign : &counts.free);
    return hr;
}

static const IHostMallocVtbl malloc_vtbl =
{
    malloc_QueryInterface,
    malloc_AddRef,
    malloc_AddRef,
    malloc_Alloc,
    malloc_DebugAlloc,
    malloc_Free,
};

static HRESULT STDMETHODCALLTYPE extension_QueryInterface(IMscoreeHostMalloc *iface, REFIID iid, void **out)
{
    (void)iface;
    return IHostMalloc_QueryInterface(&count_malloc, iid, out);
}

static ULONG STDMETHODCALLTYPE extension_AddRef(IMscoreeHostMalloc *iface)
{
    (void)iface;
    return one();
}

static HRESULT STDMETHODCALLTYPE extension_AllocZeroed(IMscoreeHostMalloc *iface, SIZE_T size,
        EMemoryCriticalLevel level, void **mem)
{
    (void)iface;
    add(&counts.alloc_zeroed);
    add_size(size);
    return add_failure(IMscoreeHostMalloc_AllocZeroed(real_extension, size, level, mem));
}

static HRESULT STDMETHODCALLTYPE extension_ReAlloc(IMscoreeHostMalloc *iface, void *mem, SIZE_T size,
        EMemoryCriticalLevel level, void **moved)
{
    HRESULT hr = IMscoreeHostMalloc_ReAlloc(real_extension, mem, size, level, moved);

    (void)iface;
    if (hr == HOST_E_INVALIDOPERATION)
    {
        add(&counts.foreign);
        return hr;
    }
    add(&counts.realloc);
    add_size(size);
    return add_failure(hr);
}

static HRESULT STDMETHODCALLTYPE extension_GetSize(IMscoreeHostMalloc *iface, void *mem, SIZE_T *size)
{
    (void)iface;
    return IMscoreeHostMalloc_GetSize(real_extension, mem, size);
}

static HRESULT STDMETHODCALLTYPE extension_GetBlocks(IMscoreeHostMalloc *iface, SIZE_T room,
        HOST_MALLOC_BLOCK *blocks, SIZE_T *count)
{
    (void)iface;
    return IMscoreeHostMalloc_GetBlocks(real_extension, room, blocks, count);
}

static const IMscoreeHostMallocVtbl extension_vtbl =
{
    extension_QueryInterface,
    extension_AddRef,
    extension_AddRef,
    extension_AllocZeroed,
    extension_ReAlloc,
    extension_GetSize,
    extension_GetBlocks,
};

static HRESULT STDMETHODCALLTYPE memory_QueryInterface(IHostMemoryManager *iface, REFIID iid, void **out)
{
    if (!IsEqualIID(iid, &IID_IHostMemoryManager) && !IsEqualIID(iid, &IID_IUnknown))
        return IHostMemoryManager_QueryInterface(real_memory, iid, out);
    *out = iface;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE memory_AddRef(IHostMemoryManager *iface)
{
    (void)iface;
    return one();
}

static HRESULT STDMETHODCALLTYPE memory_CreateMalloc(IHostMemoryManager *iface, DWORD type, IHostMalloc **out)
{
    HRESULT hr;

    (void)iface;
    *out = NULL;
    hr = IHostMemoryManager_CreateMalloc(real_memory, type, &real_malloc);
    if (hr != S_OK || !real_malloc) return hr;
    if (IHostMalloc_QueryInterface(real_malloc, &IID_IMscoreeHostMalloc, (void **)&real_extension) != S_OK)
        real_extension = NULL;
    *out = &count_malloc;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE memory_VirtualAlloc(IHostMemoryManager *iface, void *address, SIZE_T size,
        DWORD type, DWORD protection, EMemoryCriticalLevel level, void **mem)
{
    (void)iface;
    add(&counts.page_alloc);
    return IHostMemoryManager_VirtualAlloc(real_memory, address, size, type, protection, level, mem);
}

static HRESULT STDMETHODCALLTYPE memory_VirtualFree(IHostMemoryManager *iface, void *address, SIZE_T size,
        DWORD type)
{
    HRESULT hr = IHostMemoryManager_VirtualFree(real_memory, address, size, type);

    (void)iface;
    add(hr == HOST_E_INVALIDOPERATION ? &counts.page_foreign : &counts.page_free);
    return hr;
}

static HRESULT STDMETHODCALLTYPE memory_VirtualQuery(IHostMemoryManager *iface, void *address, void *buffer,
        SIZE_T size, SIZE_T *result)
{
    (void)iface;
    add(&counts.page_query);
    return IHostMemoryManager_VirtualQuery(real_memory, address, buffer, size, result);
}

static HRESULT STDMETHODCALLTYPE memory_VirtualProtect(IHostMemoryManager *iface, void *address, SIZE_T size,
        DWORD protection, DWORD *old_protection)
{
    (void)iface;
    add(&counts.page_protect);
    return IHostMemoryManager_VirtualProtect(real_memory, address, size, protection, old_protection);
}

static HRESULT STDMETHODCALLTYPE memory_GetMemoryLoad(IHostMemoryManager *iface, DWORD *load,
        SIZE_T *available)
{
    (void)iface;
    return IHostMemoryManager_GetMemoryLoad(real_memory, load, available);
}

static HRESULT STDMETHODCALLTYPE memory_RegisterMemoryNotificationCallback(IHostMemoryManager *iface,
        ICLRMemoryNotificationCallback *callback)
{
    (void)iface;
    return IHostMemoryManager_RegisterMemoryNotificationCallback(real_memory, callback);
}

static HRESULT STDMETHODCALLTYPE memory_NeedsVirtualAddressSpace(IHostMemoryManager *iface, void *address,
        SIZE_T size)
{
    (void)iface;
    return IHostMemoryManager_NeedsVirtualAddressSpace(real_memory, address, size);
}

static HRESULT STDMETHODCALLTYPE memory_AcquiredVirtualAddressSpace(IHostMemoryManager *iface, void *address,
        SIZE_T size)
{
    (void)iface;
    return IHostMemoryManager_AcquiredVirtualAddressSpace(real_memory, address, size);
}

static HRESULT STDMETHODCALLTYPE memory_ReleasedVirtualAddressSpace(IHostMemoryManager *iface, void *address)
{
    (void)iface;
    return IHostMemoryManager_ReleasedVirtualAddressSpace(real_memory, address);
}

static const IHostMemoryManagerVtbl memory_vtbl =
{
    memory_QueryInterface,
    memory_AddRef,
    memory_AddRef,
    memory_CreateMalloc,
    memory_VirtualAlloc,
    memory_VirtualFree,
    memory_VirtualQuery,
    memory_VirtualProtect,
    memory_GetMemoryLoad,
    memory_RegisterMemoryNotificationCallback,
    memory_NeedsVirtualAddressSpace,
    memory_AcquiredVirtualAddressSpace,
    memory_ReleasedVirtualAddressSpace,
};

static HRESULT STDMETHODCALLTYPE control_QueryInterface(IHostControl *iface, REFIID iid, void **out)
{
    *out = IsEqualIID(iid, &IID_IHostControl) || IsEqualIID(iid, &IID_IUnknown) ? iface : NULL;
    return *out ? S_OK : E_NOINTERFACE;
}

static ULONG STDMETHODCALLTYPE control_AddRef(IHostControl *iface)
{
    (void)iface;
    return one();
}

static HRESULT STDMETHODCALLTYPE control_GetHostManager(IHostControl *iface, REFIID iid, void **out)
{
    HRESULT hr;

    (void)iface;
    if (!IsEqualIID(iid, &IID_IHostMemoryManager)) return IHostControl_GetHostManager(real_control, iid, out);
    *out = NULL;
    hr = IHostControl_GetHostManager(real_control, iid, (void **)&real_memory);
    if (hr == S_OK && real_memory) *out = &count_memory;
    return hr;
}

static HRESULT STDMETHODCALLTYPE control_SetAppDomainManager(IHostControl *iface, DWORD id, IUnknown *manager)
{
    (void)iface;
    return IHostControl_SetAppDomainManager(real_control, id, manager);
}

static const IHostControlVtbl control_vtbl =
{
    control_QueryInterface,
    control_AddRef,
    control_AddRef,
    control_GetHostManager,
    control_SetAppDomainManager,
};

static IHostControl count_control = { &control_vtbl };
static IHostMemoryManager count_memory = { &memory_vtbl };
static IHostMalloc count_malloc = { &malloc_vtbl };
static IMscoreeHostMalloc count_extension = { &extension_vtbl };

/* Keeps a reference to control; it is for the whole life of the process. */
IHostControl *count_create(IHostControl *control)
{
    IHostControl_AddRef(control);
    real_control = control;
    return &count_control;
}

const struct call_counts *count_get(void)
{
    return &counts;
}
