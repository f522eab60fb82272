/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * A host with a fault that the environment variable BADHOST names, to see that memreplay notices each of
 * them.
 */

#define COBJMACROS
#define CONST_VTABLE
#define INITGUID
#include <windows.h>
#include "mscoreehost.h"

#define EVERY 100               /* the fault shows in one call of so many */

static char fault[32];
static LONG alloc_count;
static void *latest;
static IHostMalloc bad_malloc;
static IMscoreeHostMemory bad_accounts;

static BOOL is_faulty(const char *name)
{
    return !lstrcmpA(fault, name);
}

static ULONG STDMETHODCALLTYPE bad_AddRef(IUnknown *iface)
{
    (void)iface;
    return 2;
}

static HRESULT STDMETHODCALLTYPE bad_QueryInterface(IUnknown *iface, REFIID iid, void **out)
{
    (void)iface;
    *out = IsEqualIID(iid, &IID_IMscoreeHostMemory) && is_faulty("accounts") ? &bad_accounts : NULL;
    return *out ? S_OK : E_NOINTERFACE;
}

static HRESULT STDMETHODCALLTYPE bad_malloc_Alloc(IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level,
        void **mem)
{
    BOOL now = InterlockedIncrement(&alloc_count) % EVERY == 0;

    (void)iface, (void)level;
    *mem = HeapAlloc(GetProcessHeap(), 0, size + 32);
    if (now && is_faulty("overlap")) *mem = latest;
    latest = *mem;
    if (now && is_faulty("misaligned")) *mem = (char *)*mem + 1;
    if (now && is_faulty("null")) *mem = NULL;
    if (now && is_faulty("s_false")) return S_FALSE;
    if (now && is_faulty("dangling")) return E_OUTOFMEMORY;
    if (now && is_faulty("e_fail"))
    {
        *mem = NULL;
        return E_FAIL;
    }
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE bad_malloc_DebugAlloc(IHostMalloc *iface, SIZE_T size,
        EMemoryCriticalLevel level, char *file, int line, void **mem)
{
    (void)file, (void)line;
    return IHostMalloc_Alloc(iface, size, level, mem);
}

/* Nothing is freed, so that no fault makes the system's heap fail. */
static HRESULT STDMETHODCALLTYPE bad_malloc_Free(IHostMalloc *iface, void *mem)
{
    (void)iface, (void)mem;
    return is_faulty("free") ? HOST_E_INVALIDOPERATION : S_OK;
}

static HRESULT STDMETHODCALLTYPE bad_manager_CreateMalloc(IHostMemoryManager *iface, DWORD type,
        IHostMalloc **mem)
{
    (void)iface, (void)type;
    if (is_faulty("nomalloc"))
    {
        *mem = NULL;
        return E_FAIL;
    }
    *mem = &bad_malloc;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE bad_manager_VirtualAlloc(IHostMemoryManager *iface, void *address,
        SIZE_T size, DWORD type, DWORD protect, EMemoryCriticalLevel level, void **mem)
{
    (void)iface, (void)level;
    *mem = VirtualAlloc(address, size, type, protect);
    if (is_faulty("dirty") && protect == PAGE_READWRITE) *((char *)*mem + size - 1) = 1;
    if (is_faulty("offset")) *mem = (char *)*mem + 4096;
    if (is_faulty("lasterror")) SetLastError(0);
    return *mem ? S_OK : E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE bad_manager_VirtualFree(IHostMemoryManager *iface, void *address,
        SIZE_T size, DWORD type)
{
    (void)iface;
    if (is_faulty("keep")) return HOST_E_INVALIDOPERATION;
    return VirtualFree(address, size, type) ? S_OK : HRESULT_FROM_WIN32(GetLastError());
}

static HRESULT STDMETHODCALLTYPE bad_manager_VirtualQuery(IHostMemoryManager *iface, void *address,
        void *buffer, SIZE_T length, SIZE_T *result)
{
    (void)iface;
    *result = VirtualQuery(address, buffer, length);
    return *result ? S_OK : E_FAIL;
}

static HRESULT STDMETHODCALLTYPE bad_manager_VirtualProtect(IHostMemoryManager *iface, void *address,
        SIZE_T size, DWORD protect, DWORD *old)
{
    BOOL good = VirtualProtect(address, size, protect, old);

    (void)iface;
    if (is_faulty("oldprotect")) *old = PAGE_EXECUTE;
    if (is_faulty("scribble") && protect == PAGE_EXECUTE_READWRITE) *(char *)address = 1;
    return good ? S_OK : HRESULT_FROM_WIN32(GetLastError());
}

/* Accounts that are all wrong. */
static HRESULT STDMETHODCALLTYPE bad_accounts_GetStatistics(IMscoreeHostMemory *iface,
        HOST_MEMORY_STATISTICS *stats)
{
    (void)iface;
    stats->limit = 1000;
    stats->peakCommitted = 1001;
    stats->refused[1] = 1;
    stats->heapLiveBytes = stats->pageRegions = 7;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE bad_control_GetHostManager(IHostControl *iface, REFIID iid, void **out);

static CONST_VTBL IHostMallocVtbl bad_malloc_vtbl =
{
    (void *)bad_QueryInterface,
    (void *)bad_AddRef,
    (void *)bad_AddRef,
    bad_malloc_Alloc,
    bad_malloc_DebugAlloc,
    bad_malloc_Free,
};

static CONST_VTBL IHostMemoryManagerVtbl bad_manager_vtbl =
{
    .QueryInterface = (void *)bad_QueryInterface,
    .AddRef = (void *)bad_AddRef,
    .Release = (void *)bad_AddRef,
    .CreateMalloc = bad_manager_CreateMalloc,
    .VirtualAlloc = bad_manager_VirtualAlloc,
    .VirtualFree = bad_manager_VirtualFree,
    .VirtualQuery = bad_manager_VirtualQuery,
    .VirtualProtect = bad_manager_VirtualProtect,
};

static CONST_VTBL IMscoreeHostMemoryVtbl bad_accounts_vtbl =
{
    .QueryInterface = (void *)bad_QueryInterface,
    .AddRef = (void *)bad_AddRef,
    .Release = (void *)bad_AddRef,
    .GetStatistics = bad_accounts_GetStatistics,
};

static CONST_VTBL IHostControlVtbl bad_control_vtbl =
{
    .QueryInterface = (void *)bad_QueryInterface,
    .AddRef = (void *)bad_AddRef,
    .Release = (void *)bad_AddRef,
    .GetHostManager = bad_control_GetHostManager,
};

static IHostMalloc bad_malloc = {&bad_malloc_vtbl};
static IHostMemoryManager bad_manager = {&bad_manager_vtbl};
static IMscoreeHostMemory bad_accounts = {&bad_accounts_vtbl};
static IHostControl bad_control = {&bad_control_vtbl};

static HRESULT STDMETHODCALLTYPE bad_control_GetHostManager(IHostControl *iface, REFIID iid, void **out)
{
    (void)iface, (void)iid;
    *out = is_faulty("nomanager") ? NULL : &bad_manager;
    return *out ? S_OK : E_NOINTERFACE;
}

__declspec(dllexport) HRESULT WINAPI CreateHostControl(const HOST_CONTROL_OPTIONS *options, REFIID iid,
        void **out)
{
    (void)options, (void)iid;
    GetEnvironmentVariableA("BADHOST", fault, sizeof(fault));
    *out = &bad_control;
    return S_OK;
}
