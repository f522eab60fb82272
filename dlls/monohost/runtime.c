/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The Mono runtime as seen through its public embedding functions.
 */

#include "monohost_private.h"

struct domain;
struct thread;

static struct
{
    struct domain *(__cdecl *get_root_domain)(void);
    void *(__cdecl *jit_init_version)(const char *name, const char *version);
    struct thread *(__cdecl *thread_attach)(struct domain *domain);
    void (__cdecl *thread_detach)(struct thread *thread);
    void (__cdecl *gc_collect)(int generation);
    int (__cdecl *gc_max_generation)(void);
} mono;

/* Of the collector itself, not meant for embedding programs, but exported by every build for Windows seen so
 * far. NULL: not there, and done without. */
static struct
{
    void (__cdecl *perform_collection)(size_t size, int generation, const char *reason, int serial,
            int stop_world);
    int (__cdecl *is_world_stopped)(void);
    CRITICAL_SECTION *mutex;        /* held by whoever allocates past the nursery, or collects */
    /* The account against which a part of the heap is checked before it is asked for. */
    int (__cdecl *take_space)(SIZE_T size, int kind);
    void (__cdecl *give_space)(SIZE_T size, int kind);
    const SIZE_T *nursery_size, *large_objects;
} sgen;

static HANDLE (WINAPI *original_CreateThread)(SECURITY_ATTRIBUTES *attributes, SIZE_T stack,
        LPTHREAD_START_ROUTINE start, void *arg, DWORD flags, DWORD *id);
static BOOL (WINAPI *original_QueryPerformanceCounter)(LARGE_INTEGER *count);

static volatile LONG ready;
static void (*during_collection)(void);

/* Makes an exception, and throws one. */
static ULONG_PTR throwing[2];

/* From the end of a collection up to there are about twenty. */
#define MAX_FRAMES 64

/* False: not a Mono runtime. */
bool runtime_init(HMODULE module)
{
    static const struct
    {
        const char *name;
        void **function;
    }
    exports[] =
    {
        { "mono_get_root_domain", (void **)&mono.get_root_domain },
        { "mono_jit_init_version", (void **)&mono.jit_init_version },
        { "mono_thread_attach", (void **)&mono.thread_attach },
        { "mono_thread_detach", (void **)&mono.thread_detach },
        { "mono_gc_collect", (void **)&mono.gc_collect },
        { "mono_gc_max_generation", (void **)&mono.gc_max_generation },
    };
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(exports); i++)
    {
        *exports[i].function = (void *)GetProcAddress(module, exports[i].name);
        if (*exports[i].function) continue;
        WARN("The module %p is not a Mono runtime: it does not export %s.\n", module, exports[i].name);
        return false;
    }

    sgen.perform_collection = (void *)GetProcAddress(module, "sgen_perform_collection");
    sgen.is_world_stopped = (void *)GetProcAddress(module, "sgen_is_world_stopped");
    sgen.mutex = (void *)GetProcAddress(module, "sgen_gc_mutex");
    sgen.take_space = (void *)GetProcAddress(module, "sgen_memgov_try_alloc_space");
    sgen.give_space = (void *)GetProcAddress(module, "sgen_memgov_release_space");
    sgen.nursery_size = (void *)GetProcAddress(module, "sgen_nursery_size");
    sgen.large_objects = (void *)GetProcAddress(module, "sgen_los_memory_usage_total");
    throwing[0] = (ULONG_PTR)GetProcAddress(module, "mono_exception_from_token");
    throwing[1] = (ULONG_PTR)GetProcAddress(module, "mono_handle_exception");
    return true;
}

/* From the first steps on. */
bool runtime_is_started(void)
{
    return mono.get_root_domain() != NULL;
}

/* Until then no other thread can be attached, and so nothing can be collected from one: the classes for it
 * may not be there yet. */
bool runtime_is_ready(void)
{
    return original_CreateThread ? ready : runtime_is_started();
}

bool runtime_is_collecting(void)
{
    return sgen.is_world_stopped && sgen.is_world_stopped();
}

static bool holds_mutex(void)
{
    return (DWORD)(ULONG_PTR)sgen.mutex->OwningThread == GetCurrentThreadId();
}

/* Whether the caller is inside the collector's allocator, but not in a collection. */
bool runtime_is_allocating(void)
{
    return sgen.mutex && sgen.is_world_stopped && !sgen.is_world_stopped() && holds_mutex();
}

/* For a request that is about to be refused: the CLR collects before it gives up on one, Mono does not. Such
 * a request comes from inside the collector's allocator, in the place where that might have collected itself
 * just before. False: it was another kind of request, and nothing has been collected. */
bool runtime_collect_for_request(SIZE_T size)
{
    if (!sgen.perform_collection || !runtime_is_allocating()) return false;
    sgen.perform_collection(size, mono.gc_max_generation(), "refused by the host", true, true);
    return true;
}

/* A part of the heap was refused. Mono has charged it before it asked, and does not take that back. */
void runtime_part_refused(SIZE_T size)
{
    if (sgen.give_space && runtime_is_allocating()) sgen.give_space(size, 0);
}

/* The callback comes several times in each collection, and at its end, with the world stopped. False: this
 * runtime cannot.
 *
 * The interface for profilers would tell of collections too, but where it is used Mono frees no more methods
 * that it has made for delegates and the like. */
bool runtime_govern(void (*callback)(void))
{
    if (!sgen.take_space || !sgen.give_space || !sgen.nursery_size || !sgen.large_objects || !sgen.mutex
            || !sgen.is_world_stopped || !original_QueryPerformanceCounter) return false;
    during_collection = callback;
    return true;
}

/* Collections take the time of all that they do. */
static BOOL WINAPI runtime_QueryPerformanceCounter(LARGE_INTEGER *count)
{
    if (during_collection && sgen.is_world_stopped() && holds_mutex()) during_collection();
    return original_QueryPerformanceCounter(count);
}

/* The first thread that Mono makes after its first domain is the one for finalizers, its last step but a few.
 * */
static HANDLE WINAPI runtime_CreateThread(SECURITY_ATTRIBUTES *attributes, SIZE_T stack,
        LPTHREAD_START_ROUTINE start, void *arg, DWORD flags, DWORD *id)
{
    HANDLE thread = original_CreateThread(attributes, stack, start, arg, flags, id);

    if (!ready && runtime_is_started()) InterlockedExchange(&ready, true);
    return thread;
}

void runtime_get_imports(struct import *imports)
{
    imports[0].name = "CreateThread";
    imports[0].replacement = runtime_CreateThread;
    imports[0].original = (void **)&original_CreateThread;
    imports[0].needed = false;
    imports[1].name = "QueryPerformanceCounter";
    imports[1].replacement = runtime_QueryPerformanceCounter;
    imports[1].original = (void **)&original_QueryPerformanceCounter;
    imports[1].needed = false;
}

bool runtime_take_space(SIZE_T size)
{
    return sgen.take_space(size, 0);
}

void runtime_give_space(SIZE_T size)
{
    sgen.give_space(size, 0);
}

/* Committed for the nursery, and for large objects. */
SIZE_T runtime_get_nursery_size(void)
{
    return *sgen.nursery_size;
}

SIZE_T runtime_get_large_objects(void)
{
    return *sgen.large_objects;
}

/* Whether the caller, some way up, is about to throw an exception. */
bool runtime_is_throwing(void)
{
#ifdef __x86_64__
    CONTEXT context;
    unsigned int i, j;

    RtlCaptureContext(&context);
    for (i = 0; i < MAX_FRAMES && context.Rip; i++)
    {
        ULONG_PTR base, frame;
        RUNTIME_FUNCTION *function;
        void *data;

        if (!(function = RtlLookupFunctionEntry(context.Rip, &base, NULL))) break;
        for (j = 0; j < ARRAY_SIZE(throwing); j++)
            if (base + function->BeginAddress == throwing[j]) return true;
        RtlVirtualUnwind(UNW_FLAG_NHANDLER, base, context.Rip, function, &context, &data, &frame, NULL);
    }
#endif
    return false;
}

static DWORD WINAPI collect(void *arg)
{
    struct thread *thread = mono.thread_attach(mono.get_root_domain());

    (void)arg;
    if (thread)
    {
        mono.gc_collect(mono.gc_max_generation());
        mono.thread_detach(thread);
    }
    return 0;
}

/* On a thread that lives for one collection. A thread that was attached is known to Mono until it ends,
 * detached or not, and the next collection would wait for it to stop by itself, which a thread that sleeps
 * elsewhere never does. Should the runtime be ending already, thread_attach does not return, and neither does
 * this. */
void runtime_collect(void)
{
    HANDLE thread = CreateThread(NULL, 0, collect, NULL, 0, NULL);

    if (!thread)
    {
        WARN("No thread for a collection, error %lu.\n", GetLastError());
        return;
    }
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
