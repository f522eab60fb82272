/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What every test program shares: the headers in the order cmocka wants, the DLL loaded at run time as a host
 * would load it, assertions on COM results, fixtures. Each program is one source file.
 */

#ifndef MSCOREEHOST_TEST_H
#define MSCOREEHOST_TEST_H

#define COBJMACROS
#define CONST_VTABLE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#ifdef __WINE__
#include <signal.h>
#endif
#include <initguid.h>
#include <windows.h>
#include "mscoreehost.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#endif

#define POISON ((void *)0xdeadbeef)
#define PAGE ((SIZE_T)0x1000)
#define GRANULARITY ((SIZE_T)0x10000)

/* ---- cmocka under Wine ---- */

#ifdef __WINE__

/* cmocka takes these from Wine around each test and fixture, and gives them back without SA_SIGINFO and
 * SA_ONSTACK. */
static const int wine_signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};
static struct sigaction wine_actions[ARRAY_SIZE(wine_signals)];

__attribute__((constructor)) static void save_wine_signals(void)
{
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(wine_signals); i++) sigaction(wine_signals[i], NULL, &wine_actions[i]);
}

static inline void test_begin(void)
{
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(wine_signals); i++) sigaction(wine_signals[i], &wine_actions[i], NULL);
}

#else

static inline void test_begin(void)
{
}

#endif

/* A test that cannot run says why. */
#define skip_because(...) (print_message("# " __VA_ARGS__), print_message("\n"), skip())

/* ---- assertions ---- */

static inline void _assert_hr(HRESULT hr, HRESULT expected, const char *file, int line)
{
    if (hr == expected) return;
    print_error("HRESULT 0x%08x, expected 0x%08x\n", (unsigned int)hr, (unsigned int)expected);
    _fail(file, line);
}
#define assert_hr(hr, expected) _assert_hr(hr, expected, __FILE__, __LINE__)

static inline ULONG get_refcount(IUnknown *unk)
{
    IUnknown_AddRef(unk);
    return IUnknown_Release(unk);
}

static inline void _assert_refcount(IUnknown *unk, ULONG expected, const char *file, int line)
{
    ULONG count = get_refcount(unk);

    if (count == expected) return;
    print_error("refcount %u, expected %u\n", (unsigned int)count, (unsigned int)expected);
    _fail(file, line);
}
#define assert_refcount(obj, n) _assert_refcount((IUnknown *)(obj), n, __FILE__, __LINE__)

static inline void _assert_interface(IUnknown *unk, REFIID iid, bool supported, const char *file, int line)
{
    ULONG before = get_refcount(unk);
    IUnknown *out = POISON;

    _assert_hr(IUnknown_QueryInterface(unk, iid, (void **)&out), supported ? S_OK : E_NOINTERFACE, file,
            line);
    if (supported)
    {
        if (!out || out == POISON) _fail(file, line);
        _assert_refcount(unk, before + 1, file, line);
        IUnknown_Release(out);
    }
    else if (out)
    {
        print_error("out pointer %p after E_NOINTERFACE\n", (void *)out);
        _fail(file, line);
    }
    _assert_refcount(unk, before, file, line);
}
#define assert_interface(obj, iid, supported) \
        _assert_interface((IUnknown *)(obj), iid, supported, __FILE__, __LINE__)

static inline void _assert_last_error(DWORD error, DWORD expected, const char *file, int line)
{
    if (error == expected) return;
    print_error("last error %u, expected %u\n", (unsigned int)error, (unsigned int)expected);
    _fail(file, line);
}
#define assert_last_error(expected) _assert_last_error(GetLastError(), expected, __FILE__, __LINE__)

static inline void _assert_equal_64(ULONGLONG value, ULONGLONG expected, const char *file, int line)
{
    if (value == expected) return;
    print_error("0x%08x%08x, expected 0x%08x%08x\n", (unsigned int)(value >> 32), (unsigned int)value,
            (unsigned int)(expected >> 32), (unsigned int)expected);
    _fail(file, line);
}
#define assert_equal_64(value, expected) _assert_equal_64(value, expected, __FILE__, __LINE__)

static inline BOOL has_bytes(const void *mem, unsigned char value, SIZE_T size)
{
    SIZE_T i;

    for (i = 0; i < size && ((const unsigned char *)mem)[i] == value; i++) ;
    return i == size;
}

static inline void _assert_bytes(const void *mem, unsigned char value, SIZE_T size, const char *file,
        int line)
{
    const unsigned char *bytes = mem;
    SIZE_T i;

    for (i = 0; i < size; i++)
    {
        if (bytes[i] == value) continue;
        print_error("byte 0x%x of 0x%x is 0x%02x, expected 0x%02x\n", (unsigned int)i, (unsigned int)size,
                bytes[i], value);
        _fail(file, line);
    }
}
#define assert_bytes(mem, value, size) _assert_bytes(mem, value, size, __FILE__, __LINE__)

/* ---- threads ---- */

/* What goes wrong where an assertion must not be made (on another thread, in a callback): the line of the
 * first thing, for the test's own thread to assert afterwards. */
struct verdict
{
    volatile LONG line;
};

#define expect(verdict, condition) \
        ((condition) ? (void)0 : (void)InterlockedCompareExchange(&(verdict)->line, __LINE__, 0))
#define assert_verdict(verdict) assert_int_equal((verdict)->line, 0)

/* Waits for what another thread does, milliseconds at most; the value is the condition's. */
#define wait_until(condition, milliseconds) \
        ({ \
            DWORD start_ = GetTickCount(); \
            while (!(condition) && GetTickCount() - start_ < (milliseconds)) Sleep(2); \
            !!(condition); \
        })

static inline HANDLE start_thread(LPTHREAD_START_ROUTINE proc, void *param)
{
    HANDLE thread = CreateThread(NULL, 0, proc, param, 0, NULL);

    assert_non_null(thread);
    return thread;
}

static inline void _join_thread(HANDLE thread, const char *file, int line)
{
    DWORD result = WaitForSingleObject(thread, 120000);

    if (result)
    {
        print_error("a thread does not end\n");
        _fail(file, line);
    }
    CloseHandle(thread);
}
#define join_thread(thread) _join_thread(thread, __FILE__, __LINE__)

/* Runs proc on count threads at once, each with its own element of params. */
static inline void _run_threads(unsigned int count, LPTHREAD_START_ROUTINE proc, void *params, size_t size,
        const char *file, int line)
{
    HANDLE threads[MAXIMUM_WAIT_OBJECTS];
    unsigned int i;

    for (i = 0; i < count; i++) threads[i] = start_thread(proc, (char *)params + i * size);
    for (i = 0; i < count; i++) _join_thread(threads[i], file, line);
}
#define run_threads(params, proc) \
        _run_threads(ARRAY_SIZE(params), proc, params, sizeof((params)[0]), __FILE__, __LINE__)

/* A generator of its own for each thread: the C library's has a lock or a shared state. */
static inline unsigned int next_random(unsigned int *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* ---- child processes ---- */

/* The program itself, to be started again. Wine gives a Winelib program a name without .so; a Windows program
 * of that name may lie beside it. */
static inline void get_program_path(WCHAR *path, DWORD size)
{
    DWORD length = GetModuleFileNameW(NULL, path, size);

    assert_in_range(length, 1, size - 4);
#ifdef __WINE__
    if (lstrcmpiW(path + length - 3, L".so")) lstrcatW(path, L".so");
#endif
}

/* On a busy machine Wine 8.0 now and then loses a process before the first instruction of its program: that
 * says nothing of the program. */
static inline void start_process(const WCHAR *path, WCHAR *command, PROCESS_INFORMATION *process)
{
    STARTUPINFOW startup = {.cb = sizeof(startup)};
    unsigned int tries = 3;
    char name[512] = "";
    DWORD error;

    while (!CreateProcessW(path, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, process))
    {
        error = GetLastError();
        /* A Winelib program's printf takes wide strings to be of four bytes a character. */
        WideCharToMultiByte(CP_UTF8, 0, command, -1, name, sizeof(name), NULL, NULL);
        if (error != ERROR_INTERNAL_ERROR || !--tries)
            fail_msg("does not start, error %u: %s", (unsigned int)error, name);
        print_message("# Wine lost a process that was to start\n");
    }
}

/* ---- the DLL ---- */

typedef HRESULT (WINAPI *create_host_control_fn)(const HOST_CONTROL_OPTIONS *options, REFIID iid, void **out);

static inline HMODULE load_dll(void)
{
    HMODULE dll = LoadLibraryW(L"mscoreehost.dll");

    if (!dll) fail_msg("mscoreehost.dll does not load, error %u", (unsigned int)GetLastError());
    return dll;
}

static inline void *get_export(HMODULE dll, const char *name)
{
    void *proc = (void *)GetProcAddress(dll, name);

    if (!proc) fail_msg("mscoreehost.dll has no export %s", name);
    return proc;
}

static inline HRESULT create_host_control(const HOST_CONTROL_OPTIONS *options, REFIID iid, void **out)
{
    static create_host_control_fn create;

    if (!create) create = (create_host_control_fn)get_export(load_dll(), "CreateHostControl");
    return create(options, iid, out);
}

/* ---- fixtures ---- */

struct host
{
    IHostControl *control;
    IHostMemoryManager *memory;
    IMscoreeHostMemory *accounts;       /* of memory */
    IHostMalloc *malloc;                /* from host_setup; NULL after host_open alone */
    IMscoreeHostMalloc *blocks;         /* of malloc */
};

static inline void host_open(struct host *host, const HOST_CONTROL_OPTIONS *options)
{
    memset(host, 0, sizeof(*host));
    assert_hr(create_host_control(options, &IID_IHostControl, (void **)&host->control), S_OK);
    assert_hr(IHostControl_GetHostManager(host->control, &IID_IHostMemoryManager, (void **)&host->memory),
            S_OK);
    assert_hr(IHostMemoryManager_QueryInterface(host->memory, &IID_IMscoreeHostMemory,
            (void **)&host->accounts), S_OK);
}

static inline void host_open_malloc(struct host *host, DWORD type)
{
    assert_hr(IHostMemoryManager_CreateMalloc(host->memory, type, &host->malloc), S_OK);
    assert_hr(IHostMalloc_QueryInterface(host->malloc, &IID_IMscoreeHostMalloc, (void **)&host->blocks),
            S_OK);
}

/* Whoever still holds something of the host fails here. */
static inline void host_close(struct host *host)
{
    if (host->blocks) IMscoreeHostMalloc_Release(host->blocks);
    if (host->malloc) assert_int_equal(IHostMalloc_Release(host->malloc), 0);
    if (host->accounts) IMscoreeHostMemory_Release(host->accounts);
    if (host->control) assert_int_equal(IHostControl_Release(host->control), 0);
    if (host->memory) assert_int_equal(IHostMemoryManager_Release(host->memory), 0);
    memset(host, 0, sizeof(*host));
}

static inline int host_setup(void **state)
{
    static struct host host;

    test_begin();
    host_open(&host, NULL);
    host_open_malloc(&host, MALLOC_THREADSAFE);
    *state = &host;
    return 0;
}

/* Without a malloc: every byte that counts is then a page of the test's own. */
static inline int host_setup_pages(void **state)
{
    static struct host host;

    test_begin();
    host_open(&host, NULL);
    *state = &host;
    return 0;
}

static inline int host_teardown(void **state)
{
    test_begin();
    host_close(*state);
    return 0;
}

#define host_test(function) cmocka_unit_test_setup_teardown(function, host_setup, host_teardown)
#define pages_test(function) cmocka_unit_test_setup_teardown(function, host_setup_pages, host_teardown)

static inline HOST_MEMORY_STATISTICS get_statistics(struct host *host)
{
    HOST_MEMORY_STATISTICS statistics;

    memset(&statistics, 0xcc, sizeof(statistics));
    statistics.cbSize = sizeof(statistics);
    assert_hr(IMscoreeHostMemory_GetStatistics(host->accounts, &statistics), S_OK);
    return statistics;
}

/* Blocks and pages that must be there for the test to go on. */
static inline void *alloc(struct host *host, SIZE_T size)
{
    void *mem = NULL;

    assert_hr(IHostMalloc_Alloc(host->malloc, size, eTaskCritical, &mem), S_OK);
    assert_non_null(mem);
    return mem;
}

static inline char *alloc_pages(struct host *host, void *address, SIZE_T size, DWORD type, DWORD protect)
{
    void *mem = NULL;

    assert_hr(IHostMemoryManager_VirtualAlloc(host->memory, address, size, type, protect, eTaskCritical,
            &mem), S_OK);
    assert_non_null(mem);
    return mem;
}

static inline DWORD machine_load(void)
{
    MEMORYSTATUSEX status = {.dwLength = sizeof(status)};

    GlobalMemoryStatusEx(&status);
    return status.dwMemoryLoad;
}

#endif
