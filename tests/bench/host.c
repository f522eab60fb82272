/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * A memory host that has nothing of its own: page calls are the system's, blocks come from the allocator
 * that BENCH_ALLOCATOR names. So bench and memreplay get other allocators as they get ours. With
 * BENCH_SAMPLES=FILE it writes down, while it is at work, how much memory the process has taken.
 */

#include <stdio.h>
#include <string.h>
#include <initguid.h>
#include "host.h"
#include "usage.h"

#define SAMPLE_INTERVAL 512     /* allocations */
#define SAMPLE_MAX 16384
#define LARGE 0x8000            /* a block that alone may make a peak */

/* ---- samples ---- */

/* Wraps a malloc. Every byte of a block is written, because memory that is only asked for is not resident. */
struct sampler
{
    IHostMalloc IHostMalloc_iface;
    IHostMalloc *inner;
    bool fill;
    LONG allocs;
    LONG sample_count;
    struct usage before;
    struct sample
    {
        LONG allocs;
        struct usage usage;
    } samples[SAMPLE_MAX];
};

static struct sampler sampler;

HRESULT STDMETHODCALLTYPE malloc_QueryInterface(IHostMalloc *iface, REFIID iid, void **out)
{
    *out = NULL;
    if (!IsEqualGUID(iid, &IID_IUnknown) && !IsEqualGUID(iid, &IID_IHostMalloc)) return E_NOINTERFACE;
    *out = iface;
    return S_OK;
}

/* A malloc has one owner here, who releases it once. */
ULONG STDMETHODCALLTYPE malloc_AddRef(IHostMalloc *iface)
{
    (void)iface;
    return 2;
}

static void write_samples(void)
{
    char path[MAX_PATH];
    LONG i;
    FILE *file;

    GetEnvironmentVariableA("BENCH_SAMPLES", path, sizeof(path));
    if (!(file = fopen(path, "wb")))
    {
        fprintf(stderr, "cannot write %s\n", path);
        return;
    }
    fprintf(file, "allocs,committed,resident\n");
    for (i = 0; i < sampler.sample_count; ++i)
        fprintf(file, "%d,%lld,%lld\n", (int)sampler.samples[i].allocs,
                sampler.samples[i].usage.committed - sampler.before.committed,
                sampler.samples[i].usage.resident - sampler.before.resident);
    fclose(file);
}

/* Samples are taken of replays on one thread: no lock. */
static void take_sample(LONG allocs)
{
    if (sampler.sample_count == SAMPLE_MAX) return;
    sampler.samples[sampler.sample_count].allocs = allocs;
    get_usage(&sampler.samples[sampler.sample_count++].usage);
}

static ULONG STDMETHODCALLTYPE sampler_Release(IHostMalloc *iface)
{
    (void)iface;
    IHostMalloc_Release(sampler.inner);
    write_samples();
    return 0;
}

static HRESULT STDMETHODCALLTYPE sampler_Alloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, void **mem)
{
    HRESULT hr = IHostMalloc_Alloc(sampler.inner, size, level, mem);
    LONG allocs = ++sampler.allocs;

    (void)iface;
    if (hr == S_OK && sampler.fill) memset(*mem, 1, size);
    if (!(allocs % SAMPLE_INTERVAL) || size >= LARGE) take_sample(allocs);
    return hr;
}

static HRESULT STDMETHODCALLTYPE sampler_DebugAlloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, char *file, int line, void **mem)
{
    (void)file;
    (void)line;
    return sampler_Alloc(iface, size, level, mem);
}

static HRESULT STDMETHODCALLTYPE sampler_Free(IHostMalloc *iface, void *mem)
{
    (void)iface;
    return IHostMalloc_Free(sampler.inner, mem);
}

static const IHostMallocVtbl sampler_vtbl =
{
    malloc_QueryInterface,
    malloc_AddRef,
    sampler_Release,
    sampler_Alloc,
    sampler_DebugAlloc,
    sampler_Free
};

static HRESULT create_sampled_malloc(const char *name, IHostMalloc **out)
{
    sampler.IHostMalloc_iface.lpVtbl = &sampler_vtbl;
    sampler.fill = strcmp(name, "floor");
    /* The buffer is to be there before the first look, not to grow while it is filled. */
    memset(sampler.samples, 0xff, sizeof(sampler.samples));
    get_usage(&sampler.before);
    get_usage(&sampler.before);
    *out = &sampler.IHostMalloc_iface;
    return create_malloc(name, &sampler.inner);
}

/* ---- manager ---- */

static HRESULT STDMETHODCALLTYPE manager_QueryInterface(IHostMemoryManager *iface, REFIID iid, void **out)
{
    *out = NULL;
    if (!IsEqualGUID(iid, &IID_IUnknown) && !IsEqualGUID(iid, &IID_IHostMemoryManager)) return E_NOINTERFACE;
    *out = iface;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE manager_AddRef(IHostMemoryManager *iface)
{
    (void)iface;
    return 2;
}

static ULONG STDMETHODCALLTYPE manager_Release(IHostMemoryManager *iface)
{
    (void)iface;
    return 1;
}

static HRESULT STDMETHODCALLTYPE manager_CreateMalloc(
        IHostMemoryManager *iface, DWORD type, IHostMalloc **out)
{
    char name[64], path[MAX_PATH];

    (void)iface;
    (void)type;
    *out = NULL;
    if (!GetEnvironmentVariableA("BENCH_ALLOCATOR", name, sizeof(name))) return E_INVALIDARG;
    if (GetEnvironmentVariableA("BENCH_SAMPLES", path, sizeof(path))) return create_sampled_malloc(name, out);
    return create_malloc(name, out);
}

static HRESULT STDMETHODCALLTYPE manager_VirtualAlloc(IHostMemoryManager *iface, void *address, SIZE_T size,
        DWORD type, DWORD protect, EMemoryCriticalLevel level, void **mem)
{
    (void)iface;
    (void)level;
    *mem = VirtualAlloc(address, size, type, protect);
    return *mem ? S_OK : HRESULT_FROM_WIN32(GetLastError());
}

static HRESULT STDMETHODCALLTYPE manager_VirtualFree(
        IHostMemoryManager *iface, LPVOID address, SIZE_T size, DWORD type)
{
    (void)iface;
    return VirtualFree(address, size, type) ? S_OK : HRESULT_FROM_WIN32(GetLastError());
}

static HRESULT STDMETHODCALLTYPE manager_VirtualQuery(
        IHostMemoryManager *iface, void *address, void *buffer, SIZE_T length, SIZE_T *result)
{
    (void)iface;
    *result = VirtualQuery(address, buffer, length);
    return *result ? S_OK : HRESULT_FROM_WIN32(GetLastError());
}

static HRESULT STDMETHODCALLTYPE manager_VirtualProtect(
        IHostMemoryManager *iface, void *address, SIZE_T size, DWORD protect, DWORD *old)
{
    (void)iface;
    return VirtualProtect(address, size, protect, old) ? S_OK : HRESULT_FROM_WIN32(GetLastError());
}

static HRESULT STDMETHODCALLTYPE manager_GetMemoryLoad(
        IHostMemoryManager *iface, DWORD *load, SIZE_T *available)
{
    MEMORYSTATUSEX status = {.dwLength = sizeof(status)};

    (void)iface;
    *load = 0;
    *available = 0;
    if (!GlobalMemoryStatusEx(&status)) return HRESULT_FROM_WIN32(GetLastError());
    *load = status.dwMemoryLoad;
    *available = min(status.ullAvailPhys, ~(SIZE_T)0);
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE manager_RegisterMemoryNotificationCallback(
        IHostMemoryManager *iface, ICLRMemoryNotificationCallback *callback)
{
    (void)iface;
    (void)callback;
    return E_NOTIMPL;
}

static HRESULT STDMETHODCALLTYPE manager_NeedsVirtualAddressSpace(
        IHostMemoryManager *iface, LPVOID address, SIZE_T size)
{
    (void)iface;
    (void)address;
    (void)size;
    return E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE manager_AcquiredVirtualAddressSpace(
        IHostMemoryManager *iface, LPVOID address, SIZE_T size)
{
    (void)iface;
    (void)address;
    (void)size;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE manager_ReleasedVirtualAddressSpace(
        IHostMemoryManager *iface, LPVOID address)
{
    (void)iface;
    (void)address;
    return S_OK;
}

static const IHostMemoryManagerVtbl manager_vtbl =
{
    manager_QueryInterface,
    manager_AddRef,
    manager_Release,
    manager_CreateMalloc,
    manager_VirtualAlloc,
    manager_VirtualFree,
    manager_VirtualQuery,
    manager_VirtualProtect,
    manager_GetMemoryLoad,
    manager_RegisterMemoryNotificationCallback,
    manager_NeedsVirtualAddressSpace,
    manager_AcquiredVirtualAddressSpace,
    manager_ReleasedVirtualAddressSpace
};

static IHostMemoryManager manager = {&manager_vtbl};

/* ---- control ---- */

static HRESULT STDMETHODCALLTYPE control_QueryInterface(IHostControl *iface, REFIID iid, void **out)
{
    *out = NULL;
    if (!IsEqualGUID(iid, &IID_IUnknown) && !IsEqualGUID(iid, &IID_IHostControl)) return E_NOINTERFACE;
    *out = iface;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE control_AddRef(IHostControl *iface)
{
    (void)iface;
    return 2;
}

static ULONG STDMETHODCALLTYPE control_Release(IHostControl *iface)
{
    (void)iface;
    return 1;
}

static HRESULT STDMETHODCALLTYPE control_GetHostManager(IHostControl *iface, REFIID iid, void **out)
{
    (void)iface;
    *out = NULL;
    if (!IsEqualGUID(iid, &IID_IHostMemoryManager)) return E_NOINTERFACE;
    *out = &manager;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE control_SetAppDomainManager(
        IHostControl *iface, DWORD domain, IUnknown *unknown)
{
    (void)iface;
    (void)domain;
    (void)unknown;
    return E_NOTIMPL;
}

static const IHostControlVtbl control_vtbl =
{
    control_QueryInterface,
    control_AddRef,
    control_Release,
    control_GetHostManager,
    control_SetAppDomainManager
};

static IHostControl control = {&control_vtbl};

HRESULT WINAPI CreateHostControl(const HOST_CONTROL_OPTIONS *options, REFIID iid, void **out)
{
    (void)options;
    return control_QueryInterface(&control, iid, out);
}
