/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Gets the host under test the way a program that hosts a runtime does, from any DLL that has one of the two
 * ways in.
 */

#include "memreplay.h"

typedef HRESULT (WINAPI *create_host_control_fn)(const HOST_CONTROL_OPTIONS *, REFIID, void **);
typedef HRESULT (WINAPI *get_class_object_fn)(REFCLSID, REFIID, void **);

/* A DLL named by its path finds what it needs in its own folder; without a path the usual places are
 * searched, the folder of memreplay first. Never unloaded: a host must survive its runtime, and ours stays
 * anyway. */
static HMODULE load_dll(const WCHAR *name)
{
    WCHAR *path = NULL;
    HMODULE module;
    DWORD size;

    if (!wcspbrk(name, L"\\/:")) return LoadLibraryW(name);

    if (!(size = GetFullPathNameW(name, 0, NULL, NULL))) return NULL;
    if (!(path = HeapAlloc(GetProcessHeap(), 0, size * sizeof(*path))))
    {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }
    GetFullPathNameW(name, size, path, NULL);
    module = LoadLibraryExW(path, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    HeapFree(GetProcessHeap(), 0, path);
    return module;
}

/* As COM would after registration, without one. */
static HRESULT create_from_class_object(get_class_object_fn get_class_object, IHostControl **control)
{
    IClassFactory *factory;
    HRESULT hr;

    if (FAILED(hr = get_class_object(&CLSID_HostControl, &IID_IClassFactory, (void **)&factory))) return hr;
    hr = IClassFactory_CreateInstance(factory, NULL, &IID_IHostControl, (void **)control);
    IClassFactory_Release(factory);
    return hr;
}

static enum status create_control(const struct host_options *options, IHostControl **control)
{
    HOST_CONTROL_OPTIONS settings = {.cbSize = sizeof(settings), .limit = options->limit};
    create_host_control_fn create_host_control;
    get_class_object_fn get_class_object;
    HMODULE module;
    HRESULT hr;

    if (options->com && !options->dll)
    {
        if (SUCCEEDED(hr = CoInitializeEx(NULL, COINIT_MULTITHREADED)))
            hr = CoCreateInstance(&CLSID_HostControl, NULL, CLSCTX_INPROC_SERVER, &IID_IHostControl,
                    (void **)control);
        if (hr == S_OK) return STATUS_FINE;
        complain("CoCreateInstance failed, %#lx%s", hr,
                hr == REGDB_E_CLASSNOTREG ? ": not registered, see regsvr32" : "");
        return STATUS_SYSTEM;
    }

    if (!(module = load_dll(options->dll ? options->dll : L"mscoreehost.dll")))
    {
        complain_system(GetLastError(), "cannot load %ls", options->dll ? options->dll : L"mscoreehost.dll");
        return STATUS_SYSTEM;
    }
    if (options->com)
    {
        get_class_object = (get_class_object_fn)(void *)GetProcAddress(module, "DllGetClassObject");
        hr = get_class_object ? create_from_class_object(get_class_object, control)
                : HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);
    }
    else
    {
        create_host_control = (create_host_control_fn)(void *)GetProcAddress(module, "CreateHostControl");
        hr = create_host_control ? create_host_control(options->limit ? &settings : NULL, &IID_IHostControl,
                (void **)control) : HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);
    }
    if (hr == S_OK) return STATUS_FINE;
    complain("%s failed, %#lx", options->com ? "DllGetClassObject" : "CreateHostControl", hr);
    return STATUS_SYSTEM;
}

/* Asks in a runtime's order. */
enum status host_open(const struct host_options *options, struct host *host)
{
    enum status status;
    HRESULT hr;

    memset(host, 0, sizeof(*host));
    if ((status = create_control(options, &host->control)) != STATUS_FINE) return status;

    hr = IHostControl_GetHostManager(host->control, &IID_IHostMemoryManager, (void **)&host->manager);
    if (hr != S_OK || !host->manager)
    {
        complain("GetHostManager gives no memory manager, %#lx", hr);
        return STATUS_SYSTEM;
    }
    hr = IHostMemoryManager_CreateMalloc(host->manager, MALLOC_THREADSAFE, &host->malloc);
    if (hr != S_OK || !host->malloc)
    {
        complain("CreateMalloc gives no malloc, %#lx", hr);
        return STATUS_SYSTEM;
    }

    hr = IHostMemoryManager_QueryInterface(host->manager, &IID_IMscoreeHostMemory, (void **)&host->accounts);
    if (FAILED(hr)) host->accounts = NULL;
    if (options->limit && options->com)
    {
        hr = host->accounts ? IMscoreeHostMemory_SetLimit(host->accounts, options->limit,
                                      HOST_RESERVE_DEFAULT, HOST_RESERVE_DEFAULT)
                            : E_NOINTERFACE;
        if (hr != S_OK)
        {
            complain("the host takes no limit, %#lx", hr);
            return STATUS_SYSTEM;
        }
    }
    return STATUS_FINE;
}

void host_close(struct host *host)
{
    if (host->accounts) IMscoreeHostMemory_Release(host->accounts);
    if (host->malloc) IHostMalloc_Release(host->malloc);
    if (host->manager) IHostMemoryManager_Release(host->manager);
    if (host->control) IHostControl_Release(host->control);
    memset(host, 0, sizeof(*host));
}

bool host_statistics(const struct host *host, HOST_MEMORY_STATISTICS *stats)
{
    memset(stats, 0, sizeof(*stats));
    stats->cbSize = sizeof(*stats);
    return host->accounts && IMscoreeHostMemory_GetStatistics(host->accounts, stats) == S_OK;
}
