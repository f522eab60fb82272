/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * A program that embeds Mono by itself and gives it a host through monohost.
 *
 *   embed count LIBMONO PROGRAM...   our host; counts the module's calls by a second redirection, on top of
 *                                    monohost's, and the calls that reach the host, and compares
 *   embed plain LIBMONO PROGRAM...   somebody else's host: no extension interface, plain HeapAlloc
 *   embed late LIBMONO PROGRAM...    asks when the runtime has been started already
 *   embed errors LIBMONO             what MonoSetHostControl answers to mistakes
 *   embed errors DLL                 and AttachHostControl, where no Mono is loaded
 *   embed wine PROGRAM CLASS ARGUMENT   the runtime as Wine's own mscoree.dll finds it, and AttachHostControl
 */

#define INITGUID
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../programs/clrhost/clrhost.h"
#include "monohost.h"

typedef HRESULT (WINAPI *create_host_control_fn)(const HOST_CONTROL_OPTIONS *options, REFIID iid, void **out);
typedef HRESULT (WINAPI *set_host_control_fn)(HMODULE mono, IHostControl *control);
typedef HRESULT (WINAPI *attach_host_control_fn)(ICLRRuntimeHost *runtime, IHostControl *control);

static FARPROC own_function(const char *dll, const char *name)
{
    HMODULE module = LoadLibraryA(dll);
    FARPROC function = module ? GetProcAddress(module, name) : NULL;

    if (function) return function;
    fprintf(stderr, "embed: no %s in %s, error %lu\n", name, dll, GetLastError());
    exit(99);
}

/* ---- somebody else's host ---- */

static volatile LONG plain_allocs, plain_frees, plain_foreign, plain_pages, plain_levels[3];
static HANDLE plain_heap;

static ULONG STDMETHODCALLTYPE plain_AddRef(void *iface)
{
    (void)iface;
    return 1;
}

static HRESULT STDMETHODCALLTYPE plain_QueryInterface(void *iface, REFIID iid, void **out)
{
    *out = IsEqualIID(iid, &IID_IUnknown) ? iface : NULL;
    return *out ? S_OK : E_NOINTERFACE;
}

static HRESULT STDMETHODCALLTYPE plain_Alloc(IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level,
        void **mem)
{
    (void)iface;
    InterlockedIncrement(&plain_allocs);
    InterlockedIncrement(&plain_levels[level]);
    *mem = HeapAlloc(plain_heap, 0, size);
    return *mem ? S_OK : E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE plain_DebugAlloc(IHostMalloc *iface, SIZE_T size, EMemoryCriticalLevel level,
        char *file, int line, void **mem)
{
    (void)file;
    (void)line;
    return plain_Alloc(iface, size, level, mem);
}

/* Such a host trusts its caller; a foreign block here would be monohost's mistake. */
static HRESULT STDMETHODCALLTYPE plain_Free(IHostMalloc *iface, void *mem)
{
    (void)iface;
    InterlockedIncrement(&plain_frees);
    if (HeapValidate(plain_heap, 0, mem)) return HeapFree(plain_heap, 0, mem) ? S_OK : E_UNEXPECTED;
    InterlockedIncrement(&plain_foreign);
    return S_OK;
}

static const IHostMallocVtbl plain_malloc_vtbl =
{
    (void *)plain_QueryInterface,
    (void *)plain_AddRef,
    (void *)plain_AddRef,
    plain_Alloc,
    plain_DebugAlloc,
    plain_Free,
};

static IHostMalloc plain_malloc = { &plain_malloc_vtbl };

static HRESULT STDMETHODCALLTYPE plain_CreateMalloc(IHostMemoryManager *iface, DWORD type, IHostMalloc **out)
{
    (void)iface;
    *out = type == MALLOC_THREADSAFE ? &plain_malloc : NULL;
    return *out ? S_OK : E_INVALIDARG;
}

static HRESULT STDMETHODCALLTYPE plain_VirtualAlloc(IHostMemoryManager *iface, void *address, SIZE_T size,
        DWORD type, DWORD protection, EMemoryCriticalLevel level, void **mem)
{
    (void)iface;
    (void)level;
    InterlockedIncrement(&plain_pages);
    *mem = VirtualAlloc(address, size, type, protection);
    return *mem ? S_OK : E_OUTOFMEMORY;
}

static HRESULT STDMETHODCALLTYPE plain_VirtualFree(IHostMemoryManager *iface, void *address, SIZE_T size,
        DWORD type)
{
    (void)iface;
    return VirtualFree(address, size, type) ? S_OK : E_INVALIDARG;
}

static HRESULT STDMETHODCALLTYPE plain_VirtualQuery(IHostMemoryManager *iface, void *address, void *buffer,
        SIZE_T size, SIZE_T *result)
{
    (void)iface;
    *result = VirtualQuery(address, buffer, size);
    return *result ? S_OK : E_INVALIDARG;
}

static HRESULT STDMETHODCALLTYPE plain_VirtualProtect(IHostMemoryManager *iface, void *address, SIZE_T size,
        DWORD protection, DWORD *old_protection)
{
    (void)iface;
    return VirtualProtect(address, size, protection, old_protection) ? S_OK : E_INVALIDARG;
}

static HRESULT STDMETHODCALLTYPE plain_GetMemoryLoad(IHostMemoryManager *iface, DWORD *load,
        SIZE_T *available)
{
    (void)iface;
    *load = 0;
    *available = 0;
    return E_NOTIMPL;
}

static HRESULT STDMETHODCALLTYPE plain_Register(IHostMemoryManager *iface,
        ICLRMemoryNotificationCallback *callback)
{
    (void)iface;
    (void)callback;
    return E_NOTIMPL;
}

static HRESULT STDMETHODCALLTYPE plain_AddressSpace(IHostMemoryManager *iface, void *address,
        SIZE_T size)
{
    (void)iface;
    (void)address;
    (void)size;
    return E_NOTIMPL;
}

static HRESULT STDMETHODCALLTYPE plain_Released(IHostMemoryManager *iface, void *address)
{
    (void)iface;
    (void)address;
    return E_NOTIMPL;
}

static const IHostMemoryManagerVtbl plain_memory_vtbl =
{
    (void *)plain_QueryInterface,
    (void *)plain_AddRef,
    (void *)plain_AddRef,
    plain_CreateMalloc,
    plain_VirtualAlloc,
    plain_VirtualFree,
    plain_VirtualQuery,
    plain_VirtualProtect,
    plain_GetMemoryLoad,
    plain_Register,
    plain_AddressSpace,
    plain_AddressSpace,
    plain_Released,
};

static IHostMemoryManager plain_memory = { &plain_memory_vtbl };

static HRESULT STDMETHODCALLTYPE plain_GetHostManager(IHostControl *iface, REFIID iid, void **out)
{
    (void)iface;
    *out = IsEqualIID(iid, &IID_IHostMemoryManager) ? &plain_memory : NULL;
    return *out ? S_OK : E_NOINTERFACE;
}

static HRESULT STDMETHODCALLTYPE plain_SetAppDomainManager(IHostControl *iface, DWORD id, IUnknown *manager)
{
    (void)iface;
    (void)id;
    (void)manager;
    return S_OK;
}

static const IHostControlVtbl plain_control_vtbl =
{
    (void *)plain_QueryInterface,
    (void *)plain_AddRef,
    (void *)plain_AddRef,
    plain_GetHostManager,
    plain_SetAppDomainManager,
};

static IHostControl plain_control = { &plain_control_vtbl };

static void tell_plain(void)
{
    fprintf(stderr, "plain: %ld allocs, %ld frees, %ld pages, foreign %ld, below process-critical %ld\n",
            plain_allocs, plain_frees, plain_pages, plain_foreign, plain_levels[0] + plain_levels[1]);
}

/* ---- the second redirection ---- */

static volatile LONG64 module_malloc, module_calloc, module_realloc, module_free, module_pages;
static volatile LONG64 module_page_frees, module_protects, module_queries, module_realloc_to_nothing;

static void *(__cdecl *next_malloc)(size_t size);
static void *(__cdecl *next_calloc)(size_t count, size_t size);
static void *(__cdecl *next_realloc)(void *mem, size_t size);
static void (__cdecl *next_free)(void *mem);
static void *(WINAPI *next_VirtualAlloc)(void *address, SIZE_T size, DWORD type, DWORD protection);
static BOOL (WINAPI *next_VirtualFree)(void *address, SIZE_T size, DWORD type);
static BOOL (WINAPI *next_VirtualProtect)(void *address, SIZE_T size, DWORD protection, DWORD *old);
static SIZE_T (WINAPI *next_VirtualQuery)(const void *address, MEMORY_BASIC_INFORMATION *info, SIZE_T size);

static void *__cdecl count_malloc(size_t size)
{
    InterlockedIncrement64(&module_malloc);
    return next_malloc(size);
}

static void *__cdecl count_calloc(size_t count, size_t size)
{
    InterlockedIncrement64(&module_calloc);
    return next_calloc(count, size);
}

static void *__cdecl count_realloc(void *mem, size_t size)
{
    InterlockedIncrement64(mem && !size ? &module_realloc_to_nothing : &module_realloc);
    return next_realloc(mem, size);
}

static void __cdecl count_free(void *mem)
{
    if (mem) InterlockedIncrement64(&module_free);
    next_free(mem);
}

static void *WINAPI count_VirtualAlloc(void *address, SIZE_T size, DWORD type, DWORD protection)
{
    InterlockedIncrement64(&module_pages);
    return next_VirtualAlloc(address, size, type, protection);
}

static BOOL WINAPI count_VirtualFree(void *address, SIZE_T size, DWORD type)
{
    InterlockedIncrement64(&module_page_frees);
    return next_VirtualFree(address, size, type);
}

static BOOL WINAPI count_VirtualProtect(void *address, SIZE_T size, DWORD protection, DWORD *old)
{
    InterlockedIncrement64(&module_protects);
    return next_VirtualProtect(address, size, protection, old);
}

static SIZE_T WINAPI count_VirtualQuery(const void *address, MEMORY_BASIC_INFORMATION *info, SIZE_T size)
{
    InterlockedIncrement64(&module_queries);
    return next_VirtualQuery(address, info, size);
}

static void redirect(HMODULE module)
{
    static const struct
    {
        const char *name;
        void *replacement;
        void **next;
    }
    rows[] =
    {
        { "malloc", count_malloc, (void **)&next_malloc },
        { "calloc", count_calloc, (void **)&next_calloc },
        { "realloc", count_realloc, (void **)&next_realloc },
        { "free", count_free, (void **)&next_free },
        { "VirtualAlloc", count_VirtualAlloc, (void **)&next_VirtualAlloc },
        { "VirtualFree", count_VirtualFree, (void **)&next_VirtualFree },
        { "VirtualProtect", count_VirtualProtect, (void **)&next_VirtualProtect },
        { "VirtualQuery", count_VirtualQuery, (void **)&next_VirtualQuery },
    };
    const char *base = (const char *)module;
    const IMAGE_NT_HEADERS *headers = (const void *)(base + ((const IMAGE_DOS_HEADER *)base)->e_lfanew);
    const IMAGE_IMPORT_DESCRIPTOR *import = (const void *)(base
            + headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress);
    unsigned int i;
    DWORD old;

    for (; import->Name; import++)
    {
        const IMAGE_THUNK_DATA *name = (const void *)(base + import->OriginalFirstThunk);
        void **slot = (void **)(base + import->FirstThunk);

        for (; name->u1.AddressOfData; name++, slot++)
            for (i = 0; i < ARRAY_SIZE(rows); i++)
            {
                const IMAGE_IMPORT_BY_NAME *import_name = (const void *)(base + name->u1.AddressOfData);

                if (IMAGE_SNAP_BY_ORDINAL(name->u1.Ordinal)) continue;
                if (strcmp((const char *)import_name->Name, rows[i].name)) continue;
                VirtualProtect(slot, sizeof(*slot), PAGE_READWRITE, &old);
                *rows[i].next = *slot;
                *slot = rows[i].replacement;
            }
    }
}

static bool tell(const char *what, LONG64 module, LONG64 host)
{
    fprintf(stderr, "coverage: %s %lld, reached the host %lld%s\n", what, (long long)module, (long long)host,
            module == host ? "" : " DIFFERENT");
    return module == host;
}

/* Reserved sections are tried out by monohost with a commit and a decommit of its own: those come on top. */
static void tell_coverage(void)
{
    const struct call_counts *host = count_get();
    LONG64 tried = host->page_free - (module_page_frees - host->page_foreign);
    bool same = true;

    same &= tell("malloc", module_malloc, host->alloc);
    same &= tell("calloc", module_calloc, host->alloc_zeroed);
    same &= tell("realloc", module_realloc, host->realloc);
    same &= tell("free", module_free + module_realloc_to_nothing, host->free + host->foreign);
    same &= tell("VirtualAlloc", module_pages, host->page_alloc - tried);
    same &= tell("VirtualProtect", module_protects, host->page_protect);
    same &= tell("VirtualQuery", module_queries, host->page_query);
    fprintf(stderr, "coverage: foreign blocks %lld, foreign pages %lld, sections tried out %lld\n",
            (long long)host->foreign, (long long)host->page_foreign, (long long)tried);
    fprintf(stderr, "coverage: %s\n", same ? "complete" : "INCOMPLETE");
}

/* ---- running ---- */

static void *export(HMODULE module, const char *name)
{
    return (void *)GetProcAddress(module, name);
}

static int run(HMODULE mono, int argc, char **argv, set_host_control_fn late)
{
    void (__cdecl *set_dirs)(const char *, const char *) = export(mono, "mono_set_dirs");
    void (__cdecl *set_path)(const char *) = export(mono, "mono_set_assemblies_path");
    void *(__cdecl *init)(const char *, const char *) = export(mono, "mono_jit_init_version");
    void *(__cdecl *assembly_open)(void *, const char *) = export(mono, "mono_domain_assembly_open");
    int (__cdecl *exec)(void *, void *, int, char **) = export(mono, "mono_jit_exec");
    void (__cdecl *cleanup)(void *) = export(mono, "mono_jit_cleanup");
    char root[MAX_PATH], lib[MAX_PATH + 8], etc[MAX_PATH + 8], path[3 * MAX_PATH];
    void *domain, *assembly;
    int code;

    GetModuleFileNameA(mono, root, sizeof(root));
    *strrchr(root, '\\') = 0;
    *strrchr(root, '\\') = 0;
    snprintf(lib, sizeof(lib), "%s\\lib", root);
    snprintf(etc, sizeof(etc), "%s\\etc", root);
    snprintf(path, sizeof(path), "%s\\mono\\4.5;%s\\mono\\4.5\\Facades", lib, lib);
    set_dirs(lib, etc);
    set_path(path);
    domain = init("embed", "v4.0.30319");
    if (late) return late(mono, &plain_control) == E_ACCESSDENIED ? 0 : 1;
    if (!(assembly = assembly_open(domain, argv[0]))) return 98;
    code = exec(domain, assembly, argc, argv);
    cleanup(domain);
    return code;
}

/* A runtime that answers SetHostControl as it is told to. */
static HRESULT set_host_control_answer;

static HRESULT STDMETHODCALLTYPE answer_SetHostControl(ICLRRuntimeHost *iface, IHostControl *control)
{
    (void)iface;
    (void)control;
    return set_host_control_answer;
}

static int errors(HMODULE mono, set_host_control_fn set_host_control)
{
    attach_host_control_fn attach = (void *)own_function("monohost.dll", "AttachHostControl");
    ICLRRuntimeHostVtbl vtbl = { .SetHostControl = answer_SetHostControl };
    HMODULE kernel32 = GetModuleHandleA("kernel32.dll");
    ICLRRuntimeHost runtime = { &vtbl };
    int wrong = 0;

#define EXPECT(call, hr) do { HRESULT seen = (call); if (seen != (hr)) { wrong++; \
        fprintf(stderr, "errors: %s is %#lx\n", #call, seen); } } while (0)
    EXPECT(set_host_control(NULL, &plain_control), E_INVALIDARG);
    EXPECT(set_host_control(mono, NULL), E_INVALIDARG);
    EXPECT(set_host_control(kernel32, &plain_control), CLR_E_SHIM_RUNTIMEEXPORT);
    EXPECT(attach(NULL, &plain_control), E_INVALIDARG);
    EXPECT(attach(&runtime, NULL), E_INVALIDARG);
    set_host_control_answer = E_ACCESSDENIED;
    EXPECT(attach(&runtime, &plain_control), E_ACCESSDENIED);
    set_host_control_answer = S_OK;
    EXPECT(attach(&runtime, &plain_control), S_OK);
    set_host_control_answer = E_NOTIMPL;
    if (export(mono, "mono_jit_init_version"))
    {
        EXPECT(set_host_control(mono, &plain_control), S_OK);
        EXPECT(set_host_control(mono, &plain_control), S_OK);
        EXPECT(attach(&runtime, &plain_control), S_OK);
    }
    else EXPECT(attach(&runtime, &plain_control), E_NOTIMPL);
#undef EXPECT
    return wrong;
}

/* The interfaces that mingw-w64 has no header for. */
struct com
{
    void *const *vtbl;
};

static int run_in_wine(const char *program, const char *class, const char *argument)
{
    static const GUID clsid_meta = { 0x9280188d, 0x0e8e, 0x4867,
        { 0xb3, 0x0c, 0x7f, 0xa8, 0x38, 0x84, 0xe8, 0xde } };
    static const GUID iid_meta = { 0xd332db9e, 0xb9b3, 0x4125,
        { 0x82, 0x07, 0xa1, 0x48, 0x84, 0xf5, 0x32, 0x16 } };
    static const GUID iid_info = { 0xbd39d1d2, 0xba2f, 0x486a,
        { 0x89, 0xb0, 0xb4, 0xb0, 0xcb, 0x46, 0x68, 0x91 } };
    static const GUID clsid_host = { 0x90f1a06e, 0x7712, 0x4762,
        { 0x86, 0xb5, 0x7a, 0x5e, 0xba, 0x6b, 0xdb, 0x02 } };
    attach_host_control_fn attach = (void *)own_function("monohost.dll", "AttachHostControl");
    HRESULT (WINAPI *create)(REFCLSID, REFIID, void **) = (void *)own_function("mscoree.dll",
            "CLRCreateInstance");
    HRESULT (WINAPI *get_runtime)(struct com *, const WCHAR *, REFIID, void **);
    HRESULT (WINAPI *get_interface)(struct com *, REFCLSID, REFIID, void **);
    WCHAR path[MAX_PATH], type[256], text[256];
    ICLRRuntimeHost *host = NULL;
    struct com *meta, *info;
    DWORD result = 0;
    HRESULT hr;

    plain_heap = HeapCreate(0, 0, 0);
    hr = create(&clsid_meta, &iid_meta, (void **)&meta);
    if (SUCCEEDED(hr))
    {
        get_runtime = meta->vtbl[3];
        hr = get_runtime(meta, L"v4.0.30319", &iid_info, (void **)&info);
    }
    if (SUCCEEDED(hr))
    {
        get_interface = info->vtbl[9];
        hr = get_interface(info, &clsid_host, &IID_ICLRRuntimeHost, (void **)&host);
    }
    if (SUCCEEDED(hr)) hr = attach(host, &plain_control);
    fprintf(stderr, "wine: attached, %#lx\n", hr);
    if (FAILED(hr)) return 97;
    MultiByteToWideChar(CP_UTF8, 0, program, -1, path, ARRAY_SIZE(path));
    MultiByteToWideChar(CP_UTF8, 0, class, -1, type, ARRAY_SIZE(type));
    MultiByteToWideChar(CP_UTF8, 0, argument, -1, text, ARRAY_SIZE(text));
    hr = ICLRRuntimeHost_ExecuteInDefaultAppDomain(host, path, type, L"Run", text, &result);
    fprintf(stderr, "wine: executed, %#lx, result %lu\n", hr, result);
    tell_plain();
    return SUCCEEDED(hr) && plain_allocs > 1000 && plain_pages > 10 ? (int)result : 97;
}

int main(int argc, char **argv)
{
    create_host_control_fn create_host_control;
    set_host_control_fn set_host_control;
    IHostControl *control;
    HMODULE mono;
    HRESULT hr;

    if (argc == 5 && !strcmp(argv[1], "wine")) return run_in_wine(argv[2], argv[3], argv[4]);
    if (argc < 3) return 2;
    set_host_control = (void *)own_function("monohost.dll", "MonoSetHostControl");
    if (!(mono = LoadLibraryExA(argv[2], NULL, LOAD_WITH_ALTERED_SEARCH_PATH)))
    {
        fprintf(stderr, "embed: cannot load %s, error %lu\n", argv[2], GetLastError());
        return 99;
    }
    plain_heap = HeapCreate(0, 0, 0);
    if (!strcmp(argv[1], "errors")) return errors(mono, set_host_control);
    if (argc < 4) return 2;
    if (!strcmp(argv[1], "late")) return run(mono, argc - 3, argv + 3, set_host_control);
    if (!strcmp(argv[1], "plain"))
    {
        hr = set_host_control(mono, &plain_control);
        atexit(tell_plain);
    }
    else
    {
        create_host_control = (void *)own_function("mscoreehost.dll", "CreateHostControl");
        hr = create_host_control(NULL, &IID_IHostControl, (void **)&control);
        if (hr == S_OK) hr = set_host_control(mono, count_create(control));
        redirect(mono);
        atexit(tell_coverage);
    }
    if (hr != S_OK)
    {
        fprintf(stderr, "embed: no host, %#lx\n", hr);
        return 99;
    }
    return run(mono, argc - 3, argv + 3, NULL);
}
