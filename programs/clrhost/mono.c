/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Runs a program in a Mono runtime, as mono.exe would, under the host.
 */

#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include "clrhost.h"
#include "monohost.h"

#ifdef __x86_64__
#define PROCESSOR L"x86_64"
#else
#define PROCESSOR L"x86"
#endif

struct domain;
struct assembly;

static struct
{
    void (__cdecl *set_dirs)(const char *lib, const char *etc);
    void (__cdecl *set_assemblies_path)(const char *path);
    void (__cdecl *config_parse)(const char *file);
    struct domain *(__cdecl *jit_init_version)(const char *name, const char *version);
    struct assembly *(__cdecl *domain_assembly_open)(struct domain *domain, const char *name);
    int (__cdecl *jit_exec)(struct domain *domain, struct assembly *assembly, int argc, char **argv);
    void (__cdecl *jit_cleanup)(struct domain *domain);
} mono;

static WCHAR *join(const WCHAR *folder, const WCHAR *name)
{
    size_t size = wcslen(folder) + wcslen(name) + 2;
    WCHAR *path = malloc(size * sizeof(*path));

    if (path) swprintf(path, size, L"%ls\\%ls", folder, name);
    return path;
}

/* Wine Mono's name for it, Mono's own, and that of Mono for Windows. */
static WCHAR *find_module(const WCHAR *root)
{
    static const WCHAR *const names[] =
    {
        L"bin\\libmono-2.0-" PROCESSOR L".dll",
        L"bin\\libmonosgen-2.0.dll",
        L"bin\\mono-2.0-sgen.dll",
        L"bin\\libmono-2.0-x86_64.dll",     /* so that one for another processor is named, not missed */
        L"bin\\libmono-2.0-x86.dll",
    };
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(names); i++)
    {
        WCHAR *path = join(root, names[i]);

        if (!path || GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES) return path;
        free(path);
    }
    return NULL;
}

/* Wine keeps Wine Mono in the prefix, or one for all prefixes in its data folder. */
static WCHAR *find_wine_mono(void)
{
    static const WCHAR *const shared[] = { L"Z:\\usr\\share\\wine\\mono", L"Z:\\opt\\wine\\mono" };
    WCHAR windows[MAX_PATH], *root, *module, *pattern;
    unsigned int i;

    GetWindowsDirectoryW(windows, ARRAY_SIZE(windows));
    if (!(root = join(windows, L"mono\\mono-2.0"))) return NULL;
    if ((module = find_module(root)))
    {
        free(module);
        return root;
    }
    free(root);

    for (i = 0; i < ARRAY_SIZE(shared); i++)
    {
        WIN32_FIND_DATAW data;
        HANDLE find;

        if (!(pattern = join(shared[i], L"wine-mono-*"))) return NULL;
        find = FindFirstFileW(pattern, &data);
        free(pattern);
        if (find == INVALID_HANDLE_VALUE) continue;
        FindClose(find);
        return join(shared[i], data.cFileName);
    }
    return NULL;
}

/* The --runtime given, MSCOREEHOST_RUNTIME, the Wine Mono of the prefix. False: none of them. */
bool mono_find(const WCHAR *given, WCHAR **root)
{
    WCHAR variable[1024];
    DWORD length;

    *root = NULL;
    if (given) *root = full_path(given);
    else
    {
        length = GetEnvironmentVariableW(L"MSCOREEHOST_RUNTIME", variable, ARRAY_SIZE(variable));
        *root = length && length < ARRAY_SIZE(variable) ? full_path(variable) : find_wine_mono();
    }
    return *root != NULL;
}

static HMODULE load_module(const WCHAR *root)
{
    WCHAR *path = find_module(root), *folder;
    HMODULE module = NULL;
    WORD machine;

    if (!path)
    {
        complain("there is no Mono runtime in %ls: no bin\\libmono-2.0-%ls.dll", root, PROCESSOR);
        return NULL;
    }
    if (image_look(path, &machine) < IMAGE_NATIVE)
        complain("%ls cannot be read or is not a DLL", path);
    else if (!image_is_for_us(machine))
        complain("%ls is for %s, and this clrhost is for %s", path, image_machine_name(machine),
                sizeof(void *) == 8 ? "x86_64" : "i686");
    else
    {
        /* The DLLs beside it, such as MonoPosixHelper.dll, are found by name from managed code. */
        if ((folder = join(root, L"bin"))) SetDllDirectoryW(folder);
        free(folder);
        module = LoadLibraryExW(path, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
        if (!module) complain("%ls cannot be loaded, error %lu", path, GetLastError());
    }
    free(path);
    return module;
}

static bool find_functions(HMODULE module)
{
    static const struct
    {
        const char *name;
        void **function;
    }
    exports[] =
    {
        { "mono_set_dirs", (void **)&mono.set_dirs },
        { "mono_set_assemblies_path", (void **)&mono.set_assemblies_path },
        { "mono_config_parse", (void **)&mono.config_parse },
        { "mono_jit_init_version", (void **)&mono.jit_init_version },
        { "mono_domain_assembly_open", (void **)&mono.domain_assembly_open },
        { "mono_jit_exec", (void **)&mono.jit_exec },
        { "mono_jit_cleanup", (void **)&mono.jit_cleanup },
    };
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(exports); i++)
    {
        *exports[i].function = (void *)GetProcAddress(module, exports[i].name);
        if (*exports[i].function) continue;
        complain("the DLL found as runtime is not Mono: it has no %s", exports[i].name);
        return false;
    }
    return true;
}

static bool give_host(HMODULE module, IHostControl *control)
{
    HRESULT (WINAPI *set_host_control)(HMODULE mono, IHostControl *control);
    HMODULE monohost;
    HRESULT hr;

    if (!control) return true;
    if (!(monohost = load_own_dll(L"monohost")))
    {
        complain("monohost.dll cannot be loaded, error %lu", GetLastError());
        return false;
    }
    set_host_control = (void *)GetProcAddress(monohost, "MonoSetHostControl");
    hr = set_host_control ? set_host_control(module, control) : HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);
    if (hr == S_OK) return true;
    if (hr == HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND))
        complain("the runtime cannot be hosted: it does not take its memory through malloc and VirtualAlloc");
    else if (hr == E_ACCESSDENIED)
        complain("the runtime cannot be hosted: it has been started already");
    else
        complain("the runtime cannot be hosted, error %#lx; WINEDEBUG=warn+monohost tells more", hr);
    return false;
}

/* Where the class library is. Without the path Mono would look for everything but mscorlib in a GAC only. */
static void set_folders(const WCHAR *root)
{
    WCHAR *lib = join(root, L"lib"), *etc = join(root, L"etc");
    char *lib8 = lib ? utf8(lib) : NULL, *etc8 = etc ? utf8(etc) : NULL;
    size_t size = lib8 ? 2 * strlen(lib8) + 40 : 0;
    char *path = size ? malloc(size) : NULL;

    if (path && etc8)
    {
        snprintf(path, size, "%s\\mono\\4.5;%s\\mono\\4.5\\Facades", lib8, lib8);
        mono.set_dirs(lib8, etc8);
        mono.set_assemblies_path(path);
        mono.config_parse(NULL);
    }
    free(path);
    free(lib8);
    free(etc8);
    free(lib);
    free(etc);
}

static int run(int argc, char **argv)
{
    struct assembly *assembly;
    struct domain *domain;
    int code;

    if (!(domain = mono.jit_init_version("clrhost", "v4.0.30319")))
    {
        complain("the runtime does not start");
        return EXIT_CANNOT_RUN;
    }
    if (!(assembly = mono.domain_assembly_open(domain, argv[0])))
    {
        complain("%s cannot be opened as a managed program", argv[0]);
        return EXIT_CANNOT_RUN;
    }
    code = mono.jit_exec(domain, assembly, argc, argv);
    mono.jit_cleanup(domain);
    return code;
}

int mono_run(const WCHAR *root, IHostControl *control, int argc, WCHAR **argv)
{
    HMODULE module = load_module(root);
    static char **args;     /* the runtime may look at them until the process has ended */
    int i;

    if (!module || !find_functions(module) || !give_host(module, control)) return EXIT_CANNOT_RUN;
    if (!(args = calloc(argc + 1, sizeof(*args)))) return EXIT_CANNOT_RUN;
    for (i = 0; i < argc; i++)
        if (!(args[i] = utf8(argv[i]))) return EXIT_CANNOT_RUN;
    set_folders(root);
    return run(argc, args);
}
