/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * From an address to the span it lies in, for any address there may be: a hash table of 4 MiB regions, each
 * an array of its pages.
 */

#include "heap_private.h"

static unsigned int region_hash(uintptr_t number)
{
    return (unsigned int)(number ^ (number >> 10));
}

static struct region *find_region(const struct region_table *table, uintptr_t number)
{
    struct region *region;
    unsigned int i;

    for (i = region_hash(number);; i++)
    {
        region = __atomic_load_n(&table->slot[i & table->mask], __ATOMIC_ACQUIRE);
        if (!region || region->number == number) return region;
    }
}

struct span *heap_map_find(struct heap *heap, const void *mem)
{
    struct region_table *table = __atomic_load_n(&heap->regions, __ATOMIC_ACQUIRE);
    struct region *region;

    if (!table || !(region = find_region(table, (uintptr_t)mem >> REGION_SHIFT))) return NULL;
    return __atomic_load_n(&region->page[(uintptr_t)mem >> PAGE_SHIFT & (REGION_PAGES - 1)],
            __ATOMIC_ACQUIRE);
}

/* Never more than half full. A reader may still be in the table that was outgrown. */
static bool make_room(struct heap *heap, struct heap_need *need)
{
    struct region_table *old = heap->regions, *table;
    unsigned int slots = old ? 2 * (old->mask + 1) : 16, i, j;
    size_t bytes = sizeof(*table) + slots * sizeof(table->slot[0]);

    if (old && 2 * (old->count + 1) <= old->mask + 1) return true;
    if (!(table = heap_meta_take(heap, bytes, need))) return false;
    memset(table, 0, bytes);
    table->mask = slots - 1;
    for (i = 0; old && i <= old->mask; i++)
    {
        if (!old->slot[i]) continue;
        for (j = region_hash(old->slot[i]->number); table->slot[j & table->mask]; j++) ;
        table->slot[j & table->mask] = old->slot[i];
        table->count++;
    }
    __atomic_store_n(&heap->regions, table, __ATOMIC_RELEASE);
    return true;
}

/* Makes sure that heap_map_set cannot fail for these pages. */
bool heap_map_prepare(struct heap *heap, const char *start, size_t pages, struct heap_need *need)
{
    uintptr_t number = (uintptr_t)start >> REGION_SHIFT;
    uintptr_t last = ((uintptr_t)start + (pages - 1) * PAGE_BYTES) >> REGION_SHIFT;
    struct region *region;
    unsigned int i;

    for (; number <= last; number++)
    {
        if (heap->regions && find_region(heap->regions, number)) continue;
        if (!make_room(heap, need) || !(region = heap_meta_take(heap, sizeof(*region), need))) return false;
        memset(region, 0, sizeof(*region));
        region->number = number;
        for (i = region_hash(number); heap->regions->slot[i & heap->regions->mask]; i++) ;
        __atomic_store_n(&heap->regions->slot[i & heap->regions->mask], region, __ATOMIC_RELEASE);
        heap->regions->count++;
    }
    return true;
}

void heap_map_set(struct heap *heap, const char *start, size_t pages, struct span *span)
{
    uintptr_t page = (uintptr_t)start >> PAGE_SHIFT;
    struct region *region = NULL;

    for (; pages; pages--, page++)
    {
        if (!region || region->number != page >> (REGION_SHIFT - PAGE_SHIFT))
            region = find_region(heap->regions, page >> (REGION_SHIFT - PAGE_SHIFT));
        __atomic_store_n(&region->page[page & (REGION_PAGES - 1)], span, __ATOMIC_RELEASE);
        __atomic_store_n(&heap->front.map[page & heap->front.map_mask], span ? span : &heap_no_span,
                __ATOMIC_RELEASE);
    }
}

/* In front of it: one array, indexed by the low bits of the page number, that Free looks into first. An
 * entry may be anybody's or stale: the descriptor it names tells. One page of it for each 2 MiB (4 MiB in
 * 32-bit programs); more where pages that are in use have the same entry. Two that two threads free in would
 * cost each of them a long way, and the processor's line with seven other entries, at every turn. */
#define MAP_TOP ((size_t)1 << (sizeof(void *) == 8 ? 24 : 19))
#define MAP_FIRST PAGE_BYTES
#define MAP_MOST 8              /* entries for each page of the heap */
#define CLASH_TIME 1000         /* milliseconds in which so many clashes as there are entries are too many */

struct span heap_no_span;

static void fill(struct heap *heap, size_t from, size_t to)
{
    for (from /= sizeof(struct span *); from < to / sizeof(struct span *); from++)
        heap->front.map[from] = &heap_no_span;
}

/* Charged by the caller. */
bool heap_map_create(struct heap *heap)
{
    if (!(heap->front.map = VirtualAlloc(NULL, MAP_TOP, MEM_RESERVE, PAGE_READWRITE))) return false;
    if (!VirtualAlloc(heap->front.map, MAP_FIRST, MEM_COMMIT, PAGE_READWRITE))
    {
        VirtualFree(heap->front.map, 0, MEM_RELEASE);
        return false;
    }
    fill(heap, 0, MAP_FIRST);
    heap->front.map_mask = MAP_FIRST / sizeof(struct span *) - 1;
    heap->map_share = 1;
    heap->clashed_at = GetTickCount();
    return true;
}

/* Without the lock. As many entries as the heap has pages, or map_share times that, where that is to be
 * had. */
void heap_map_grow(struct heap *heap, unsigned int level)
{
    size_t now = (PEEK(heap->front.map_mask) + 1) * sizeof(struct span *), then, pages;
    DWORD error = GetLastError();
    bool done = false;

    pages = PEEK(heap->map_share) * (PEEK(heap->chunk_bytes) >> PAGE_SHIFT);
    for (then = now; then / sizeof(struct span *) < pages && then < MAP_TOP; ) then *= 2;
    if (then == now || !heap->owner->charge(heap->owner, then - now, level, false)) return;
    if (lock_acquire(&heap->lock))
    {
        if ((heap->front.map_mask + 1) * sizeof(struct span *) == now
                && VirtualAlloc((char *)heap->front.map + now, then - now, MEM_COMMIT, PAGE_READWRITE))
        {
            fill(heap, now, then);
            __atomic_store_n(&heap->front.map_mask, then / sizeof(struct span *) - 1, __ATOMIC_RELEASE);
            if (heap->copy) __atomic_store_n(&heap->copy->map_mask, heap->front.map_mask, __ATOMIC_RELEASE);
            heap->committed += then - now;
            done = true;
        }
        lock_release(&heap->lock);
    }
    if (!done) heap->owner->credit(heap->owner, then - now);
    SetLastError(error);
}

/* After a block of the span was freed the long way. */
void heap_map_note(struct heap *heap, const void *mem, struct span *span)
{
    uintptr_t mask = __atomic_load_n(&heap->front.map_mask, __ATOMIC_ACQUIRE);
    struct span **entry = &heap->front.map[(uintptr_t)mem >> PAGE_SHIFT & mask], *old;

    old = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
    if (old == span) return;
    if (PEEK(old->bytes)) POKE(heap->clashes, PEEK(heap->clashes) + 1);
    __atomic_store_n(entry, span, __ATOMIC_RELEASE);
}

/* Without the lock. */
void heap_map_settle(struct heap *heap, unsigned int level)
{
    unsigned int now;

    if (PEEK(heap->clashes) <= PEEK(heap->front.map_mask)) return;
    now = GetTickCount();
    if (now - PEEK(heap->clashed_at) < CLASH_TIME && PEEK(heap->map_share) < MAP_MOST)
    {
        POKE(heap->map_share, 2 * PEEK(heap->map_share));
        heap_map_grow(heap, level);
    }
    POKE(heap->clashed_at, now);
    POKE(heap->clashes, 0);
}

void heap_map_destroy(struct heap *heap)
{
    VirtualFree(heap->front.map, 0, MEM_RELEASE);
}
