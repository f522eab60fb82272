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
} sgen;

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
    return true;
}

bool runtime_is_started(void)
{
    return mono.get_root_domain() != NULL;
}

bool runtime_is_collecting(void)
{
    return sgen.is_world_stopped && sgen.is_world_stopped();
}

/* For a request that is about to be refused: the CLR collects before it gives up on one, Mono does not. Such
 * a request comes from inside the collector's allocator, in the place where that might have collected itself
 * just before. False: it was another kind of request, and nothing has been collected. */
bool runtime_collect_for_request(SIZE_T size)
{
    if (!sgen.perform_collection || !sgen.mutex || !sgen.is_world_stopped) return false;
    if (sgen.is_world_stopped()) return false;
    if ((DWORD)(ULONG_PTR)sgen.mutex->OwningThread != GetCurrentThreadId()) return false;
    sgen.perform_collection(size, mono.gc_max_generation(), "refused by the host", true, true);
    return true;
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
