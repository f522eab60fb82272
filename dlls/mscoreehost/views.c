/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The files that the runtime has mapped by itself and only tells of. Bookkeeping: nothing depends on it.
 */

#include "mscoreehost_private.h"

struct view
{
    char *base;
    size_t size;
};

struct views
{
    struct ledger *ledger;
    struct lock lock;
    struct view *views;         /* in the order they came */
    size_t count;
    size_t capacity;
};

/* The regions from base on that belong to the same mapping. */
static size_t measure_view(const char *base)
{
    MEMORY_BASIC_INFORMATION info;
    size_t size = 0;

    while (VirtualQuery(base + size, &info, sizeof(info)) && info.State != MEM_FREE
            && info.AllocationBase == base)
        size += info.RegionSize;
    return size;
}

/* A base may be known already: the runtime unmaps before it tells, and another thread may have got the same
 * address meanwhile. A view for which there is no memory to remember it is not counted. */
void views_add(struct views *views, void *base, size_t size)
{
    DWORD error = GetLastError();
    struct view *grown;
    size_t capacity;

    if (!size) size = measure_view(base);
    if (!lock_acquire(&views->lock)) return;
    if (views->count == views->capacity)
    {
        capacity = views->capacity ? views->capacity * 2 : 32;
        if (views->views)
            grown = HeapReAlloc(GetProcessHeap(), 0, views->views, capacity * sizeof(*grown));
        else
            grown = system_alloc(GetProcessHeap(), 0, capacity * sizeof(*grown));
        if (grown)
        {
            views->views = grown;
            views->capacity = capacity;
        }
    }
    if (views->count < views->capacity)
    {
        views->views[views->count].base = base;
        views->views[views->count++].size = size;
        ledger_add_view(views->ledger, size);
    }
    lock_release(&views->lock);
    SetLastError(error);
}

/* The oldest of that base goes. One mapped before there was a host is not known. */
void views_remove(struct views *views, void *base)
{
    size_t i;

    if (!lock_acquire(&views->lock)) return;
    for (i = 0; i < views->count && views->views[i].base != base; i++)
        ;
    if (i < views->count)
    {
        ledger_remove_view(views->ledger, views->views[i].size);
        views->count--;
        memmove(&views->views[i], &views->views[i + 1], (views->count - i) * sizeof(*views->views));
    }
    lock_release(&views->lock);
}

HRESULT views_create(struct ledger *ledger, struct views **out)
{
    if (!(*out = system_alloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(**out)))) return E_OUTOFMEMORY;
    (*out)->ledger = ledger;
    return S_OK;
}

void views_destroy(struct views *views)
{
    if (views->views) system_free(GetProcessHeap(), views->views);
    system_free(GetProcessHeap(), views);
}
