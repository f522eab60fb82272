/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What more than one file of the DLL needs, and nothing else.
 */

#ifndef MONOHOST_PRIVATE_H
#define MONOHOST_PRIVATE_H

#define COBJMACROS
#define CONST_VTABLE
#include <stdbool.h>
#include <stddef.h>
#include <windows.h>
#include "mscoreehost.h"
#include "monohost.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#endif

/* warn.c */
void warn(const char *function, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define WARN(...) warn(__func__, __VA_ARGS__)

/* runtime.c: the functions of Mono that are called, and what is known of its state. */
bool runtime_init(HMODULE mono);
bool runtime_is_started(void);
bool runtime_is_ready(void);
bool runtime_is_collecting(void);
bool runtime_is_allocating(void);
bool runtime_collect_for_request(SIZE_T size);
void runtime_collect(void);
void runtime_part_refused(SIZE_T size);

bool runtime_govern(void (*callback)(void));
bool runtime_take_space(SIZE_T size);
void runtime_give_space(SIZE_T size);
SIZE_T runtime_get_nursery_size(void);
SIZE_T runtime_get_large_objects(void);
bool runtime_is_throwing(void);

/* imports.c: one row for each import to redirect. */
struct import
{
    const char *name;
    void *replacement;
    void **original;            /* where the import pointed before */
    bool needed;                /* without it the module cannot be hosted */
    void **slot;                /* NULL: the module does not import it */
    DWORD protection;           /* of the slot, before it was made writable */
};

bool imports_find(HMODULE module, struct import *imports, unsigned int count);
bool imports_redirect(struct import *imports, unsigned int count);

/* heap.c, pages.c, suspend.c, runtime.c: the replacements, and their rows. */
#define HEAP_IMPORTS 5
#define PAGES_IMPORTS 4
#define SUSPEND_IMPORTS 1
#define RUNTIME_IMPORTS 2

void heap_init(IHostMalloc *malloc);
void heap_get_imports(struct import *imports);

void pages_init(IHostMemoryManager *memory);
void pages_get_imports(struct import *imports);

bool suspend_init(void);
void suspend_get_imports(struct import *imports);

void runtime_get_imports(struct import *imports);

/* limits.c: keeps Mono's heap within the host's limit. */
#define LIMITS_IMPORTS 1
void limits_init(IHostMemoryManager *memory);
void limits_get_imports(struct import *imports);
bool limits_allow(SIZE_T size);
void limits_small_objects(SIZE_T committed);

/* collector.c */
ICLRMemoryNotificationCallback *collector_create(void);

/* A thread inside a call of the host may hold a lock of the host, and must not be stopped for a collection
 * there: the collector asks the host for pages itself. The CLR marks such calls as preemptive for the same
 * reason. Here the mark is a TLS slot, kept where both processors have the first 64 of them: in the thread's
 * own TEB. */
extern DWORD suspend_slot;

#ifdef __x86_64__
#define TEB_TLS_SLOTS 0x1480
#else
#define TEB_TLS_SLOTS 0xe10
#endif

static inline void suspend_mark(ULONG_PTR value)
{
    ULONG offset = TEB_TLS_SLOTS + suspend_slot * sizeof(void *);

#ifdef __x86_64__
    __asm__ volatile("movq %0, %%gs:(%q1)" : : "r"(value), "r"((ULONG_PTR)offset) : "memory");
#else
    __asm__ volatile("movl %0, %%fs:(%1)" : : "r"(value), "r"(offset) : "memory");
#endif
}

static inline void host_enter(void)
{
    suspend_mark(1);
}

static inline void host_leave(void)
{
    suspend_mark(0);
}

#endif
