/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The DLL's front: exports, class factory, registration, and how long it stays loaded.
 */

#include <initguid.h>
#include "mscoreehost_private.h"

#define CLASS_KEY L"CLSID\\{A65BE118-160C-4FD7-9A54-E7B3AE6277CD}"
#define CLASS_ID L"{A65BE118-160C-4FD7-9A54-E7B3AE6277CD}"
#define LIBRARY_ID L"{154FD8B4-2A3C-4BA9-8D98-BFD4BFDC7C0C}"
#define CLASS_NAME L"Memory host for the .NET CLR"
#define PROG_ID L"MscoreeHost.HostControl.1"
#define ANY_PROG_ID L"MscoreeHost.HostControl"

static HINSTANCE instance;
static volatile LONG module_count;
static volatile LONG module_pinned;

BOOL WINAPI DllMain(HINSTANCE inst, DWORD reason, void *reserved __attribute__((unused)))
{
    if (reason == DLL_PROCESS_ATTACH) instance = inst;
    /* Heaps hand on what an ended thread held; this is why thread calls are not disabled. */
    if (reason == DLL_THREAD_DETACH) heap_thread_ended();
    return TRUE;
}

void module_addref(void)
{
    InterlockedIncrement(&module_count);
}

void module_release(void)
{
    InterlockedDecrement(&module_count);
}

void module_pin(void)
{
    HMODULE module;

    if (module_pinned) return;
    if (GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
            (const WCHAR *)module_pin, &module))
        InterlockedExchange(&module_pinned, TRUE);
}

HRESULT WINAPI CreateHostControl(const HOST_CONTROL_OPTIONS *from, REFIID iid, void **out)
{
    struct host_options options;
    IHostControl *control;
    HRESULT hr;

    lock_init();
    trace_init();
    TRACE("options %p, iid %s, out %p.\n", from, debugstr_guid(iid), out);

    if (!out) return E_POINTER;
    *out = NULL;
    if (FAILED(hr = options_read(from, &options))) return hr;
    if (FAILED(hr = host_control_create(&options, &control))) return hr;
    hr = IHostControl_QueryInterface(control, iid, out);
    IHostControl_Release(control);
    return hr;
}

static HRESULT STDMETHODCALLTYPE class_factory_QueryInterface(IClassFactory *iface, REFIID iid, void **out)
{
    if (!out) return E_POINTER;
    *out = NULL;
    if (!IsEqualIID(iid, &IID_IClassFactory) && !IsEqualIID(iid, &IID_IUnknown)) return E_NOINTERFACE;
    IClassFactory_AddRef(iface);
    *out = iface;
    return S_OK;
}

/* The factory is static; a reference to it is one to the DLL. */
static ULONG STDMETHODCALLTYPE class_factory_AddRef(IClassFactory *iface __attribute__((unused)))
{
    module_addref();
    return 2;
}

static ULONG STDMETHODCALLTYPE class_factory_Release(IClassFactory *iface __attribute__((unused)))
{
    module_release();
    return 1;
}

static HRESULT STDMETHODCALLTYPE class_factory_CreateInstance(IClassFactory *iface __attribute__((unused)),
        IUnknown *outer, REFIID iid, void **out)
{
    if (!out) return E_POINTER;
    *out = NULL;
    if (outer) return CLASS_E_NOAGGREGATION;
    return CreateHostControl(NULL, iid, out);
}

static HRESULT STDMETHODCALLTYPE class_factory_LockServer(IClassFactory *iface __attribute__((unused)),
        BOOL lock)
{
    if (lock) module_addref();
    else module_release();
    return S_OK;
}

static const struct IClassFactoryVtbl class_factory_vtbl =
{
    class_factory_QueryInterface,
    class_factory_AddRef,
    class_factory_Release,
    class_factory_CreateInstance,
    class_factory_LockServer,
};

static IClassFactory class_factory = { &class_factory_vtbl };

HRESULT WINAPI DllGetClassObject(REFCLSID clsid, REFIID iid, void **out)
{
    if (!out) return E_POINTER;
    *out = NULL;
    if (!IsEqualCLSID(clsid, &CLSID_HostControl)) return CLASS_E_CLASSNOTAVAILABLE;
    return IClassFactory_QueryInterface(&class_factory, iid, out);
}

HRESULT WINAPI DllCanUnloadNow(void)
{
    return module_count || module_pinned ? S_FALSE : S_OK;
}

static HRESULT set_value(const WCHAR *key, const WCHAR *name, const WCHAR *value)
{
    DWORD size = (lstrlenW(value) + 1) * sizeof(*value);
    LSTATUS status = RegSetKeyValueW(HKEY_CLASSES_ROOT, key, name, REG_SZ, value, size);

    return HRESULT_FROM_WIN32(status);
}

static HRESULT delete_key(const WCHAR *key)
{
    LSTATUS status = RegDeleteTreeW(HKEY_CLASSES_ROOT, key);

    return status == ERROR_FILE_NOT_FOUND ? S_OK : HRESULT_FROM_WIN32(status);
}

HRESULT WINAPI DllUnregisterServer(void)
{
    static const WCHAR *const keys[] = { CLASS_KEY, PROG_ID, ANY_PROG_ID };
    SYSKIND system = sizeof(void *) == 8 ? SYS_WIN64 : SYS_WIN32;
    HRESULT hr, failed = S_OK;
    unsigned int i;
    BSTR path;

    for (i = 0; i < ARRAY_SIZE(keys); i++)
        if (FAILED(hr = delete_key(keys[i]))) failed = hr;
    /* There is no telling from the result of UnRegisterTypeLib that there was nothing to do. */
    if (SUCCEEDED(QueryPathOfRegTypeLib(&LIBID_MscoreeHost, 1, 0, LOCALE_NEUTRAL, &path)))
    {
        SysFreeString(path);
        hr = UnRegisterTypeLib(&LIBID_MscoreeHost, 1, 0, LOCALE_NEUTRAL, system);
        if (FAILED(hr)) failed = hr;
    }
    return failed;
}

HRESULT WINAPI DllRegisterServer(void)
{
    static const struct
    {
        const WCHAR *key;
        const WCHAR *name;
        const WCHAR *value;         /* NULL: the path of the DLL */
    }
    values[] =
    {
        { CLASS_KEY, NULL, CLASS_NAME },
        { CLASS_KEY L"\\InprocServer32", NULL, NULL },
        { CLASS_KEY L"\\InprocServer32", L"ThreadingModel", L"Both" },
        { CLASS_KEY L"\\ProgID", NULL, PROG_ID },
        { CLASS_KEY L"\\VersionIndependentProgID", NULL, ANY_PROG_ID },
        { CLASS_KEY L"\\TypeLib", NULL, LIBRARY_ID },
        { CLASS_KEY L"\\Version", NULL, L"1.0" },
        { PROG_ID, NULL, CLASS_NAME },
        { PROG_ID L"\\CLSID", NULL, CLASS_ID },
        { ANY_PROG_ID, NULL, CLASS_NAME },
        { ANY_PROG_ID L"\\CLSID", NULL, CLASS_ID },
        { ANY_PROG_ID L"\\CurVer", NULL, PROG_ID },
    };
    WCHAR path[MAX_PATH];
    ITypeLib *library;
    unsigned int i;
    HRESULT hr;
    DWORD size;

    size = GetModuleFileNameW(instance, path, ARRAY_SIZE(path));
    if (!size) return HRESULT_FROM_WIN32(GetLastError());
    if (size == ARRAY_SIZE(path)) return HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE);

    hr = LoadTypeLibEx(path, REGKIND_REGISTER, &library);
    if (SUCCEEDED(hr)) ITypeLib_Release(library);
    for (i = 0; SUCCEEDED(hr) && i < ARRAY_SIZE(values); i++)
        hr = set_value(values[i].key, values[i].name, values[i].value ? values[i].value : path);
    if (FAILED(hr)) DllUnregisterServer();
    return hr;
}
