/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What more than one file of the DLL needs, and nothing else.
 */

#ifndef MSCOREEHOST_PRIVATE_H
#define MSCOREEHOST_PRIVATE_H

#define COBJMACROS
#define CONST_VTABLE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <windows.h>
#include "mscoreehost.h"
#include "heap.h"
#include "ledger.h"
#include "lock.h"

#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))

/* main.c */

/* An object of a kind that keeps the DLL loaded only while it lives. */
void module_addref(void);
void module_release(void);

/* The DLL stays until the process ends: a runtime never lets go of its manager. */
void module_pin(void);

/* options.c */

#define DEFAULT_LOW_LOAD 90

struct host_options
{
    struct ledger_limit limit;
    unsigned int low;               /* percent */
    unsigned int neutral;
    unsigned int high;
    unsigned int poll;              /* milliseconds */
    bool notify;
    bool system_heap;               /* blocks are the system's, for heap checkers */
};

HRESULT options_read(const HOST_CONTROL_OPTIONS *from, struct host_options *options);

/* E_INVALIDARG: these three cannot go together. limit 0: none; the reserves may be HOST_RESERVE_DEFAULT. */
HRESULT limit_check(ULONGLONG limit, ULONGLONG reserve_appdomain, ULONGLONG reserve_process,
        struct ledger_limit *out);

/* The objects. Each *_create sets *out to NULL on failure. */

HRESULT host_control_create(const struct host_options *options, IHostControl **out);
HRESULT host_memory_create(const struct host_options *options, IHostMemoryManager **out);
HRESULT host_malloc_create(struct ledger *ledger, unsigned int flags, IHostMalloc **out);

/* The control's owner is gone: no more notifications. */
void host_memory_end_notifications(IHostMemoryManager *iface);

/* pages.c */

struct pages;

HRESULT pages_create(struct ledger *ledger, struct pages **out);
void pages_destroy(struct pages *pages);
HRESULT pages_alloc(struct pages *pages, void *address, size_t size, DWORD type, DWORD protect,
        unsigned int level, void **mem);
HRESULT pages_free(struct pages *pages, void *address, size_t size, DWORD type);
HRESULT pages_query(void *address, void *buffer, size_t length, SIZE_T *result);
HRESULT pages_protect(void *address, size_t size, DWORD protect, DWORD *old_protect);

/* views.c */

struct views;

HRESULT views_create(struct ledger *ledger, struct views **out);
void views_destroy(struct views *views);
void views_add(struct views *views, void *base, size_t size);
void views_remove(struct views *views, void *base);

/* pressure.c */

struct pressure;

HRESULT pressure_create(struct ledger *ledger, const struct host_options *options, struct pressure **out);
void pressure_destroy(struct pressure *pressure);
HRESULT pressure_set_callback(struct pressure *pressure, ICLRMemoryNotificationCallback *callback);
void pressure_get_load(struct pressure *pressure, unsigned int *load, size_t *available);
void pressure_simulate(struct pressure *pressure, unsigned int load, size_t available);
size_t pressure_get_told(struct pressure *pressure, EMemoryAvailable available);

/* trace.c */

enum trace_class    /* Wine's numbers */
{
    TRACE_CLASS_FIXME,
    TRACE_CLASS_ERR,
    TRACE_CLASS_WARN,
    TRACE_CLASS_TRACE
};

void trace_init(void);
bool trace_is_on(enum trace_class class);
void trace_print(enum trace_class class, const char *function, const char *format, ...)
        __attribute__((format(ms_printf, 3, 4)));
const char *debugstr_guid(const GUID *guid);
const char *debugstr_wn(const WCHAR *string, size_t length);

#define TRACE_AS(class, ...) \
    do { if (trace_is_on(class)) trace_print(class, __func__, __VA_ARGS__); } while (0)
#define TRACE(...) TRACE_AS(TRACE_CLASS_TRACE, __VA_ARGS__)
#define WARN(...) TRACE_AS(TRACE_CLASS_WARN, __VA_ARGS__)

/* What a level outside the enumeration counts as. */
static inline unsigned int level_index(EMemoryCriticalLevel level)
{
    return (unsigned int)level < LEDGER_LEVELS ? (unsigned int)level : eTaskCritical;
}

#endif
