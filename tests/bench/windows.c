/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What Windows has, behind IHostMalloc: the heap, the C library's malloc, and as a yardstick nothing at all.
 */

#include <stdlib.h>
#include <string.h>
#include "host.h"

/* The largest block of any workload. Not committed memory of the process's, so no measurement sees it. */
static char nothing[8 << 20];

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
    (void)reserved;
    if (reason != DLL_PROCESS_ATTACH) return TRUE;
    DisableThreadLibraryCalls(instance);
    /* All of its pages are there before anybody counts. */
    memset(nothing, 1, sizeof(nothing));
    return TRUE;
}

struct windows_malloc
{
    IHostMalloc IHostMalloc_iface;
    HANDLE heap;
};

static struct windows_malloc *impl_from_IHostMalloc(IHostMalloc *iface)
{
    return CONTAINING_RECORD(iface, struct windows_malloc, IHostMalloc_iface);
}

static ULONG STDMETHODCALLTYPE windows_malloc_Release(IHostMalloc *iface)
{
    struct windows_malloc *object = impl_from_IHostMalloc(iface);

    if (object->heap) HeapDestroy(object->heap);
    HeapFree(GetProcessHeap(), 0, object);
    return 0;
}

/* ---- floor: the price of the calls ---- */

static HRESULT STDMETHODCALLTYPE floor_Alloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, void **mem)
{
    (void)iface;
    (void)size;
    (void)level;
    *mem = nothing;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE floor_DebugAlloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, char *file, int line, void **mem)
{
    (void)iface;
    (void)size;
    (void)level;
    (void)file;
    (void)line;
    *mem = nothing;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE floor_Free(IHostMalloc *iface, void *mem)
{
    (void)iface;
    (void)mem;
    return S_OK;
}

static const IHostMallocVtbl floor_vtbl =
{
    malloc_QueryInterface,
    malloc_AddRef,
    windows_malloc_Release,
    floor_Alloc,
    floor_DebugAlloc,
    floor_Free
};

/* ---- heap: HeapAlloc on a heap of its own ---- */

static HRESULT STDMETHODCALLTYPE heap_Alloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, void **mem)
{
    (void)level;
    *mem = HeapAlloc(impl_from_IHostMalloc(iface)->heap, 0, size);
    return *mem ? S_OK : E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE heap_DebugAlloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, char *file, int line, void **mem)
{
    (void)file;
    (void)line;
    return heap_Alloc(iface, size, level, mem);
}

static HRESULT STDMETHODCALLTYPE heap_Free(IHostMalloc *iface, void *mem)
{
    return HeapFree(impl_from_IHostMalloc(iface)->heap, 0, mem) ? S_OK : HOST_E_INVALIDOPERATION;
}

static const IHostMallocVtbl heap_vtbl =
{
    malloc_QueryInterface,
    malloc_AddRef,
    windows_malloc_Release,
    heap_Alloc,
    heap_DebugAlloc,
    heap_Free
};

/* ---- msvcrt ---- */

static HRESULT STDMETHODCALLTYPE msvcrt_Alloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, void **mem)
{
    (void)iface;
    (void)level;
    *mem = malloc(size);
    return *mem ? S_OK : E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE msvcrt_DebugAlloc(
        IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level, char *file, int line, void **mem)
{
    (void)file;
    (void)line;
    return msvcrt_Alloc(iface, size, level, mem);
}

static HRESULT STDMETHODCALLTYPE msvcrt_Free(IHostMalloc *iface, void *mem)
{
    (void)iface;
    free(mem);
    return S_OK;
}

static const IHostMallocVtbl msvcrt_vtbl =
{
    malloc_QueryInterface,
    malloc_AddRef,
    windows_malloc_Release,
    msvcrt_Alloc,
    msvcrt_DebugAlloc,
    msvcrt_Free
};

/* ---- ---- */

/* The product itself, for measurements that go through host.c. */
static HRESULT create_product(IHostMalloc **out)
{
    typedef HRESULT (WINAPI *create_host_control_fn)(const HOST_CONTROL_OPTIONS *, REFIID, void **);

    HMODULE module = LoadLibraryA("mscoreehost.dll");
    create_host_control_fn create_host_control;
    IHostMemoryManager *manager;
    IHostControl *control;
    HRESULT hr;

    if (!module) return HRESULT_FROM_WIN32(GetLastError());
    create_host_control = (create_host_control_fn)(void *)GetProcAddress(module, "CreateHostControl");
    if (!create_host_control) return HRESULT_FROM_WIN32(GetLastError());
    if (FAILED(hr = create_host_control(NULL, &IID_IHostControl, (void **)&control))) return hr;
    hr = IHostControl_GetHostManager(control, &IID_IHostMemoryManager, (void **)&manager);
    if (SUCCEEDED(hr))
    {
        hr = IHostMemoryManager_CreateMalloc(manager, MALLOC_THREADSAFE, out);
        IHostMemoryManager_Release(manager);
    }
    IHostControl_Release(control);
    return hr;
}

HRESULT create_malloc(const char *name, IHostMalloc **out)
{
    static const struct
    {
        const char *name;
        const IHostMallocVtbl *vtbl;
    } mallocs[] = {{"floor", &floor_vtbl}, {"heap", &heap_vtbl}, {"msvcrt", &msvcrt_vtbl}};
    struct windows_malloc *object;
    unsigned int i;

    *out = NULL;
    if (!strcmp(name, "host")) return create_product(out);
    for (i = 0; i < ARRAY_SIZE(mallocs) && strcmp(mallocs[i].name, name); ++i) ;
    if (i == ARRAY_SIZE(mallocs)) return E_INVALIDARG;
    if (!(object = HeapAlloc(GetProcessHeap(), 0, sizeof(*object)))) return E_OUTOFMEMORY;
    object->IHostMalloc_iface.lpVtbl = mallocs[i].vtbl;
    object->heap = mallocs[i].vtbl == &heap_vtbl ? HeapCreate(0, 0, 0) : NULL;
    *out = &object->IHostMalloc_iface;
    return S_OK;
}
