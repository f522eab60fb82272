/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Runs a program in the .NET Framework of the machine, which takes a host by itself.
 */

#include "clrhost.h"

/* metahost.h is not in every tool chain: the three methods that are called, and places for the others. */
static const GUID clsid_meta_host =
        { 0x9280188d, 0x0e8e, 0x4867, { 0xb3, 0x0c, 0x7f, 0xa8, 0x38, 0x84, 0xe8, 0xde } };
static const GUID iid_meta_host =
        { 0xd332db9e, 0xb9b3, 0x4125, { 0x82, 0x07, 0xa1, 0x48, 0x84, 0xf5, 0x32, 0x16 } };
static const GUID iid_runtime_info =
        { 0xbd39d1d2, 0xba2f, 0x486a, { 0x89, 0xb0, 0xb4, 0xb0, 0xcb, 0x46, 0x68, 0x91 } };
static const GUID clsid_clr_host =
        { 0x90f1a06e, 0x7712, 0x4762, { 0x86, 0xb5, 0x7a, 0x5e, 0xba, 0x6b, 0xdb, 0x02 } };
static const GUID iid_clr_host =
        { 0x90f1a06c, 0x7712, 0x4762, { 0x86, 0xb5, 0x7a, 0x5e, 0xba, 0x6b, 0xdb, 0x02 } };
static const GUID clsid_cor_host =
        { 0xcb2f6723, 0xab3a, 0x11d2, { 0x9c, 0x40, 0x00, 0xc0, 0x4f, 0xa3, 0x0a, 0x3e } };
static const GUID iid_cor_host =
        { 0xcb2f6722, 0xab3a, 0x11d2, { 0x9c, 0x40, 0x00, 0xc0, 0x4f, 0xa3, 0x0a, 0x3e } };

struct meta_host
{
    const struct
    {
        void *unknown[3];
        HRESULT (WINAPI *GetRuntime)(struct meta_host *iface, const WCHAR *version, REFIID iid, void **out);
    } *vtbl;
};

struct runtime_info
{
    const struct
    {
        void *unknown[3];
        void *others[6];
        HRESULT (WINAPI *GetInterface)(struct runtime_info *iface, REFCLSID clsid, REFIID iid, void **out);
    } *vtbl;
};

static struct runtime_info *find_runtime(void)
{
    HRESULT (WINAPI *create_instance)(REFCLSID clsid, REFIID iid, void **out);
    struct runtime_info *info = NULL;
    HMODULE mscoree = LoadLibraryW(L"mscoree.dll");
    struct meta_host *meta;

    create_instance = mscoree ? (void *)GetProcAddress(mscoree, "CLRCreateInstance") : NULL;
    if (!create_instance || create_instance(&clsid_meta_host, &iid_meta_host, (void **)&meta) != S_OK)
        return NULL;
    if (meta->vtbl->GetRuntime(meta, L"v4.0.30319", &iid_runtime_info, (void **)&info) != S_OK) info = NULL;
    return info;
}

/* Wine's own mscoree.dll is not asked: its SetHostControl is E_NOTIMPL, and it offers to download a Wine Mono
 * where there is none. */
bool framework_is_here(void)
{
    return !GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version");
}

static HRESULT get_id(IDispatch *dispatch, const WCHAR *name, DISPID *id)
{
    WCHAR *names[1] = { (WCHAR *)name };

    return IDispatch_GetIDsOfNames(dispatch, &IID_NULL, names, 1, LOCALE_USER_DEFAULT, id);
}

/* _AppDomain.ExecuteAssembly(path, null, arguments), late bound. The exit code is in *code. */
static HRESULT execute(IDispatch *domain, int argc, WCHAR **argv, int *code)
{
    VARIANT args[3], result;
    DISPPARAMS params = { .rgvarg = args, .cArgs = ARRAY_SIZE(args) };
    SAFEARRAY *list;
    HRESULT hr;
    DISPID id;
    LONG i;

    hr = get_id(domain, L"ExecuteAssembly_3", &id);
    if (FAILED(hr)) return hr;
    if (!(list = SafeArrayCreateVector(VT_BSTR, 0, argc - 1))) return E_OUTOFMEMORY;
    for (i = 0; i < argc - 1; i++)
    {
        BSTR text = SysAllocString(argv[i + 1]);

        SafeArrayPutElement(list, &i, text);
        SysFreeString(text);
    }

    VariantInit(&result);
    VariantInit(&args[1]);
    args[1].vt = VT_UNKNOWN;        /* evidence: none */
    args[1].punkVal = NULL;
    args[0].vt = VT_ARRAY | VT_BSTR;
    args[0].parray = list;
    args[2].vt = VT_BSTR;
    args[2].bstrVal = SysAllocString(argv[0]);
    hr = IDispatch_Invoke(domain, id, &IID_NULL, LOCALE_USER_DEFAULT, DISPATCH_METHOD, &params, &result, NULL,
            NULL);
    if (SUCCEEDED(hr)) *code = result.lVal;
    VariantClear(&args[2]);
    SafeArrayDestroy(list);
    return hr;
}

static HRESULT run(struct runtime_info *info, IHostControl *control, int argc, WCHAR **argv, int *code)
{
    ICorRuntimeHost *cor_host = NULL;
    ICLRRuntimeHost *host = NULL;
    IDispatch *domain = NULL;
    IUnknown *unknown = NULL;
    HRESULT hr;

    hr = info->vtbl->GetInterface(info, &clsid_clr_host, &iid_clr_host, (void **)&host);
    if (SUCCEEDED(hr) && control) hr = ICLRRuntimeHost_SetHostControl(host, control);
    if (SUCCEEDED(hr)) hr = ICLRRuntimeHost_Start(host);
    if (SUCCEEDED(hr))
        hr = info->vtbl->GetInterface(info, &clsid_cor_host, &iid_cor_host, (void **)&cor_host);
    if (SUCCEEDED(hr)) hr = ICorRuntimeHost_GetDefaultDomain(cor_host, &unknown);
    if (SUCCEEDED(hr)) hr = IUnknown_QueryInterface(unknown, &IID_IDispatch, (void **)&domain);
    if (SUCCEEDED(hr)) hr = execute(domain, argc, argv, code);
    if (domain) IDispatch_Release(domain);
    if (unknown) IUnknown_Release(unknown);
    if (cor_host) ICorRuntimeHost_Release(cor_host);
    if (host) ICLRRuntimeHost_Release(host);
    return hr;
}

int framework_run(IHostControl *control, int argc, WCHAR **argv)
{
    struct runtime_info *info;
    int code = 0;
    HRESULT hr;

    CoInitializeEx(NULL, COINIT_MULTITHREADED);
    if (!(info = find_runtime()))
    {
        complain("there is no .NET Framework 4 on this machine; --runtime names a Mono");
        return EXIT_CANNOT_RUN;
    }
    hr = run(info, control, argc, argv, &code);
    if (SUCCEEDED(hr)) return code;
    complain("the runtime cannot run %ls, error %#lx", argv[0], hr);
    return EXIT_CANNOT_RUN;
}
