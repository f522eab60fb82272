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
    return true;
}

bool runtime_is_started(void)
{
    return mono.get_root_domain() != NULL;
}

/* From a thread that Mono does not know. It is known for the time of the collection only: an attached thread
 * that waits elsewhere would have to be stopped for every other collection, and the runtime would wait for it
 * as it ends. Should it be ending already, thread_attach does not return. */
void runtime_collect(void)
{
    struct thread *thread = mono.thread_attach(mono.get_root_domain());

    if (!thread) return;
    mono.gc_collect(mono.gc_max_generation());
    mono.thread_detach(thread);
}
