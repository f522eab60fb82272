/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Binds a host to a Mono runtime, in the order in which the CLR asks its host for things.
 */

#include <initguid.h>
#include "monohost_private.h"
#include <psapi.h>

/* What the CLR asks for after the memory manager. Mono has no use for them; a host may count on being asked.
 * */
DEFINE_GUID(IID_IHostTaskManager, 0x997ff24c, 0x43b7, 0x4352,
        0x86, 0x67, 0x0d, 0xc0, 0x4f, 0xaf, 0xd3, 0x54);
DEFINE_GUID(IID_IHostThreadpoolManager, 0x983d50e2, 0xcb15, 0x466b,
        0x80, 0xfc, 0x84, 0x5d, 0xc6, 0xe8, 0xc5, 0xfd);
DEFINE_GUID(IID_IHostIoCompletionManager, 0x8bde9d80, 0xec06, 0x41d6,
        0x83, 0xe6, 0x22, 0x58, 0x0e, 0xff, 0xcc, 0x20);
DEFINE_GUID(IID_IHostSyncManager, 0x234330c7, 0x5f10, 0x4f20,
        0x96, 0x15, 0x51, 0x22, 0xda, 0xb7, 0xa0, 0xac);
DEFINE_GUID(IID_IHostAssemblyManager, 0x613dabd7, 0x62b2, 0x493e,
        0x9e, 0x65, 0xc1, 0xe3, 0x2a, 0x1e, 0x0c, 0x5e);
DEFINE_GUID(IID_IHostGCManager, 0x5d4ec34e, 0xf248, 0x457b,
        0xb6, 0x03, 0x25, 0x5f, 0xaa, 0xba, 0x0d, 0x21);
DEFINE_GUID(IID_IHostSecurityManager, 0x75ad2468, 0xa349, 0x4d02,
        0xa7, 0x64, 0x76, 0xa6, 0x8a, 0xee, 0x0c, 0x4f);
DEFINE_GUID(IID_IHostPolicyManager, 0x7ae49844, 0xb1e3, 0x4683,
        0xba, 0x7c, 0x1e, 0x82, 0x12, 0xea, 0x3b, 0x79);

static volatile LONG binding;       /* taken by the call that is under way */
static HMODULE hosted;              /* NULL: no module has a host yet */

static void ask_for_others(IHostControl *control)
{
    static const GUID *const iids[] =
    {
        &IID_IHostTaskManager, &IID_IHostThreadpoolManager, &IID_IHostIoCompletionManager,
        &IID_IHostSyncManager, &IID_IHostAssemblyManager, &IID_IHostGCManager, &IID_IHostSecurityManager,
        &IID_IHostPolicyManager,
    };
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(iids); i++)
    {
        IUnknown *manager = NULL;

        if (IHostControl_GetHostManager(control, iids[i], (void **)&manager) == S_OK && manager)
            IUnknown_Release(manager);
    }
}

/* The redirections refer to this DLL for as long as the process lives. */
static void stay_loaded(void)
{
    HMODULE self;

    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
            (const WCHAR *)stay_loaded, &self);
}

static HRESULT redirect(HMODULE mono, IHostMemoryManager *memory, IHostMalloc *malloc)
{
    struct import imports[HEAP_IMPORTS + PAGES_IMPORTS + SUSPEND_IMPORTS + RUNTIME_IMPORTS + LIMITS_IMPORTS]
            = { 0 };
    unsigned int count = 0;

    if (malloc)
    {
        heap_init(malloc);
        heap_get_imports(imports);
        count += HEAP_IMPORTS;
    }
    pages_init(memory);
    pages_get_imports(imports + count);
    count += PAGES_IMPORTS;
    suspend_get_imports(imports + count);
    count += SUSPEND_IMPORTS;
    runtime_get_imports(imports + count);
    count += RUNTIME_IMPORTS;
    limits_get_imports(imports + count);
    count += LIMITS_IMPORTS;

    if (!imports_find(mono, imports, count)) return HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);
    stay_loaded();
    if (!imports_redirect(imports, count)) return E_UNEXPECTED;
    limits_init(memory);
    return S_OK;
}

/* From here on as CorHost2::SetHostControl of the published CLRs: what counts is S_OK and an object, and once
 * the memory manager has been taken it is not given back. */
static HRESULT bind_memory(HMODULE mono, IHostControl *control)
{
    ICLRMemoryNotificationCallback *callback;
    IHostMemoryManager *memory = NULL;
    IHostMalloc *malloc = NULL;
    HRESULT hr;

    hr = IHostControl_GetHostManager(control, &IID_IHostMemoryManager, (void **)&memory);
    if (hr != S_OK || !memory)
    {
        WARN("The host has no memory manager, hr %#lx: nothing is hosted.\n", hr);
        return S_OK;
    }
    hr = IHostMemoryManager_CreateMalloc(memory, MALLOC_THREADSAFE, &malloc);
    if (hr != S_OK)
    {
        WARN("The host made no malloc, hr %#lx.\n", hr);
        IHostMemoryManager_Release(memory);
        return E_UNEXPECTED;
    }
    if (!malloc) WARN("The host's malloc is NULL: the heap is not hosted, pages are.\n");

    hr = redirect(mono, memory, malloc);
    if (FAILED(hr))
    {
        if (malloc) IHostMalloc_Release(malloc);
        IHostMemoryManager_Release(memory);
        return hr;
    }
    if ((callback = collector_create()))
        IHostMemoryManager_RegisterMemoryNotificationCallback(memory, callback);
    return S_OK;
}

/* Without a host, whether there is anything to redirect: a host is not to be asked for things that lead
 * nowhere. */
static HRESULT check_module(HMODULE mono)
{
    struct import imports[HEAP_IMPORTS + PAGES_IMPORTS] = { 0 };

    if (!runtime_init(mono)) return CLR_E_SHIM_RUNTIMEEXPORT;
    if (runtime_is_started())
    {
        WARN("The runtime in %p has been started already.\n", mono);
        return E_ACCESSDENIED;
    }
    heap_get_imports(imports);
    pages_get_imports(imports + HEAP_IMPORTS);
    if (!imports_find(mono, imports, ARRAY_SIZE(imports))) return HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);
    return S_OK;
}

static HRESULT set_host_control(HMODULE mono, IHostControl *control)
{
    HRESULT hr;

    if (hosted && hosted != mono)
    {
        WARN("The runtime in %p has a host; a process can have one hosted runtime.\n", hosted);
        return E_ACCESSDENIED;
    }
    hr = check_module(mono);
    if (FAILED(hr)) return hr;
    if (hosted)
    {
        WARN("The runtime has a host already and keeps it.\n");
        ask_for_others(control);
        return S_OK;
    }
    if (!suspend_init()) return E_OUTOFMEMORY;

    hr = bind_memory(mono, control);
    if (FAILED(hr)) return hr;
    ask_for_others(control);
    IHostControl_AddRef(control);
    hosted = mono;
    return S_OK;
}

HRESULT WINAPI MonoSetHostControl(HMODULE mono, IHostControl *control)
{
    HRESULT hr;

    if (!mono || !control) return E_INVALIDARG;
    while (InterlockedExchange(&binding, 1)) Sleep(1);
    hr = set_host_control(mono, control);
    InterlockedExchange(&binding, 0);
    return hr;
}

static HMODULE find_mono(void)
{
    HMODULE modules[512];
    DWORD size;
    unsigned int i;

    if (!K32EnumProcessModules(GetCurrentProcess(), modules, sizeof(modules), &size)) return NULL;
    for (i = 0; i < size / sizeof(*modules) && i < ARRAY_SIZE(modules); i++)
        if (GetProcAddress(modules[i], "mono_jit_init_version")) return modules[i];
    return NULL;
}

HRESULT WINAPI AttachHostControl(ICLRRuntimeHost *runtime, IHostControl *control)
{
    HMODULE mono;
    HRESULT hr;

    if (!runtime || !control) return E_INVALIDARG;
    hr = ICLRRuntimeHost_SetHostControl(runtime, control);
    if (hr != E_NOTIMPL) return hr;
    if (!(mono = find_mono()))
    {
        WARN("SetHostControl is not implemented, and no Mono runtime is loaded to be hosted instead.\n");
        return E_NOTIMPL;
    }
    return MonoSetHostControl(mono, control);
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH) DisableThreadLibraryCalls(instance);
    return TRUE;
}
