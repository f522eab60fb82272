/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Chunks: what the allocator takes from the private heap, and runs of their pages.
 */

#include "heap_private.h"

#define CHUNK_LEAST 16      /* pages */
#define CHUNK_STEADY 128
#define CHUNK_MOST 256
#define STIFF_CHUNKS 8      /* made at once, before it is tried again to make one longer */
#define GROUP_CHUNKS 32
#define TIGHT_CHOICES 16    /* chunks with a run that is long enough, of which one is chosen */
#define MAP_WORDS(pages) (((pages) + MASK_BITS - 1) / MASK_BITS)

static bool page_is_free(const struct chunk *chunk, unsigned int page)
{
    return chunk->free_pages[page / MASK_BITS] >> (page % MASK_BITS) & 1;
}

/* The first of so many free pages in a row, or page_count. */
static unsigned int find_run(const struct chunk *chunk, unsigned int pages)
{
    unsigned int page = 0, length = 0;

    while (page < chunk->page_count)
    {
        mask_t word = chunk->free_pages[page / MASK_BITS] >> (page % MASK_BITS);
        unsigned int left = MASK_BITS - page % MASK_BITS, n;

        if (!(word & 1))
        {
            length = 0;
            page += word ? (unsigned int)__builtin_ctzll(word) : left;
            continue;
        }
        n = ~word ? (unsigned int)__builtin_ctzll(~(unsigned long long)word) : left;
        if (n > left) n = left;
        length += n;
        page += n;
        if (length >= pages) return page - length;
    }
    return chunk->page_count;
}

static void mark_pages(struct chunk *chunk, unsigned int page, unsigned int pages)
{
    unsigned int n;

    for (; pages; page += n, pages -= n)
    {
        n = MASK_BITS - page % MASK_BITS;
        if (n > pages) n = pages;
        chunk->free_pages[page / MASK_BITS] ^= (((mask_t)2 << (n - 1)) - 1) << (page % MASK_BITS);
    }
}

/* After so many pages have become free: they may join the longest runs before and behind them. */
static void raise_largest(struct chunk *chunk, unsigned int pages)
{
    chunk->largest = 2 * chunk->largest + pages;
    if (chunk->largest > chunk->free_count) chunk->largest = chunk->free_count;
    if (chunk->group->largest < chunk->largest) chunk->group->largest = chunk->largest;
}

/* Of the first choices chunks with a run that is long enough, the one that has least to spare. */
static char *take_run(struct heap *heap, unsigned int pages, unsigned int choices, struct chunk **out,
        unsigned int *out_page)
{
    unsigned int i, page, best_page = 0, largest;
    struct chunk *chunk, *best = NULL;
    struct chunk_group *group;

    for (group = heap->groups; group && choices; group = group->next)
    {
        if (group->largest < pages) continue;
        for (i = largest = 0, chunk = group->first; i < group->count && choices; i++, chunk = chunk->next)
        {
            if (chunk->largest >= pages && (page = find_run(chunk, pages)) < chunk->page_count)
            {
                choices--;
                if (!best || chunk->free_count < best->free_count)
                {
                    best = chunk;
                    best_page = page;
                }
            }
            else if (chunk->largest >= pages) chunk->largest = pages - 1;
            if (largest < chunk->largest) largest = chunk->largest;
        }
        if (choices) group->largest = largest;
    }
    if (!best) return NULL;
    mark_pages(best, best_page, pages);
    best->free_count -= pages;
    *out = best;
    *out_page = best_page;
    return best->pages + best_page * PAGE_BYTES;
}

/* The oldest chunk first: pages that were touched before are used again. */
char *heap_run_take(struct heap *heap, unsigned int pages, struct chunk **out, unsigned int *out_page)
{
    return take_run(heap, pages, 1, out, out_page);
}

/* The same for a large block, from the chunk that has least to spare: what is whole stays whole. */
char *heap_run_take_tight(struct heap *heap, unsigned int pages, struct chunk **out, unsigned int *out_page)
{
    return take_run(heap, pages, TIGHT_CHOICES, out, out_page);
}

/* Makes a run longer where it lies. */
bool heap_run_extend(struct chunk *chunk, unsigned int page, unsigned int pages, unsigned int more)
{
    unsigned int i;

    if (page + pages + more > chunk->page_count || chunk->free_count < more) return false;
    for (i = page + pages; i < page + pages + more; i++)
    {
        if (!page_is_free(chunk, i)) return false;
    }
    mark_pages(chunk, page + pages, more);
    chunk->free_count -= more;
    return true;
}

void heap_run_give(struct chunk *chunk, unsigned int page, unsigned int pages)
{
    chunk->free_count += pages;
    if (!chunk->own)
    {
        mark_pages(chunk, page, pages);
        raise_largest(chunk, pages);
    }
    if (chunk->free_count == chunk->page_count) chunk->idle_since = GetTickCount();
}

/* For a search that may come to nothing: as if the run were free, and back. */
void heap_run_turn(struct chunk *chunk, unsigned int page, unsigned int pages, bool free)
{
    mark_pages(chunk, page, pages);
    chunk->free_count += free ? pages : -pages;
    if (free) raise_largest(chunk, pages);
}

static void has_grown(struct heap *heap, size_t bytes)
{
    POKE(heap->chunk_bytes, heap->chunk_bytes + bytes);
    heap->committed += bytes;
    POKE(heap->retired, false);
}

/* Of bits, with some for pages yet to come. */
static size_t map_words(size_t pages, bool own)
{
    return own ? 0 : MAP_WORDS(pages > CHUNK_MOST ? pages : CHUNK_MOST);
}

/* The last group has room for a chunk. */
static bool group_prepare(struct heap *heap, struct heap_need *need)
{
    struct chunk_group *group = heap->last_group;

    if (group && group->count < GROUP_CHUNKS) return true;
    if (!(group = heap_meta_take(heap, sizeof(*group), need))) return false;
    memset(group, 0, sizeof(*group));
    if (heap->last_group) heap->last_group->next = group;
    else heap->groups = group;
    heap->last_group = group;
    return true;
}

static bool insert_chunk(struct heap *heap, void *raw, size_t bytes, bool own, struct heap_need *need)
{
    char *pages = (char *)ROUND_UP((uintptr_t)raw, PAGE_BYTES);
    size_t page_count = ((char *)raw + bytes - pages) >> PAGE_SHIFT;
    size_t words = map_words(page_count, own), i;
    struct chunk *chunk;

    if (!heap_map_prepare(heap, pages, own ? 1 : page_count, need)) return false;
    if (!group_prepare(heap, need)) return false;
    if (!(chunk = heap_meta_take(heap, sizeof(*chunk) + words * sizeof(mask_t), need))) return false;
    chunk->raw = raw;
    chunk->charged = ROUND_UP(bytes, PAGE_BYTES);
    chunk->pages = pages;
    chunk->page_count = chunk->free_count = (unsigned int)page_count;
    chunk->own = own;
    chunk->idle_since = GetTickCount();
    for (i = 0; i < words; i++) chunk->free_pages[i] = 0;
    chunk->next = NULL;
    if ((chunk->prev = heap->last_chunk)) chunk->prev->next = chunk;
    else heap->chunks = chunk;
    heap->last_chunk = chunk;
    chunk->group = heap->last_group;
    if (!chunk->group->count++) chunk->group->first = chunk;
    chunk->largest = 0;
    if (!own)
    {
        mark_pages(chunk, 0, chunk->page_count);
        raise_largest(chunk, chunk->page_count);
    }
    if (heap->stiff && !own) POKE(heap->stiff, heap->stiff - 1);
    has_grown(heap, chunk->charged);
    return true;
}

/* How long a chunk may become: an eighth of what there is to 512 KiB, then a thirty-second to a MiB. */
static size_t ordinary_chunk(size_t bytes)
{
    size_t ask = bytes / 8;

    if (ask > CHUNK_STEADY * PAGE_BYTES) ask = CHUNK_STEADY * PAGE_BYTES;
    if (ask < bytes / 32) ask = bytes / 32;
    if (ask < CHUNK_LEAST * PAGE_BYTES) ask = CHUNK_LEAST * PAGE_BYTES;
    if (ask > CHUNK_MOST * PAGE_BYTES) ask = CHUNK_MOST * PAGE_BYTES;
    return ROUND_UP(ask, CHUNK_LEAST * PAGE_BYTES);
}

/* It gets there in small steps, so that what is not used yet stays small beside what is; where the system
 * cannot make a chunk longer, at once. */
static size_t next_step(const struct heap *heap)
{
    size_t bytes = PEEK(heap->chunk_bytes), step = ROUND_UP(bytes / 256 + 1, CHUNK_LEAST * PAGE_BYTES);

    if (PEEK(heap->stiff)) return ordinary_chunk(bytes);
    return step < CHUNK_MOST / 4 * PAGE_BYTES ? step : CHUNK_MOST / 4 * PAGE_BYTES;
}

/* Under the lock. Makes the chunk that came last longer where it lies: what the system's header costs at the
 * start of a chunk, a page, is paid once. */
static bool extend_last(struct heap *heap, size_t bytes, struct heap_need *need)
{
    struct chunk *last = heap->last_chunk;
    size_t pages = bytes >> PAGE_SHIFT;

    while (last && last->own) last = last->prev;
    if (!last || last->charged + bytes > ordinary_chunk(heap->chunk_bytes)
            || !heap_map_prepare(heap, last->pages + last->page_count * PAGE_BYTES, pages, need))
        return false;
    if (!system_extend(heap->system, last->raw, last->charged + bytes - 2 * sizeof(void *)))
    {
        if (last->charged <= bytes) POKE(heap->stiff, STIFF_CHUNKS);
        return false;
    }
    mark_pages(last, last->page_count, (unsigned int)pages);
    last->page_count += (unsigned int)pages;
    last->free_count += (unsigned int)pages;
    last->charged += bytes;
    raise_largest(last, (unsigned int)pages);
    has_grown(heap, bytes);
    return true;
}

/* Without the lock. */
static bool extend(struct heap *heap, size_t bytes, unsigned int level)
{
    struct heap_need need = {0};
    bool done;

    do
    {
        need.meta = 0;
        if (!lock_acquire(&heap->lock)) return false;
        done = extend_last(heap, bytes, &need);
        lock_release(&heap->lock);
    }
    while (!done && need.meta && heap_meta_grow(heap, need.meta, level));
    return done;
}

/* Without the lock. One step, in the last chunk or a new one; where the owner refuses that, as little as will
 * do. */
bool heap_chunk_grow(struct heap *heap, size_t pages, bool own, unsigned int level)
{
    size_t least = (pages + 1) << PAGE_SHIFT, ask = own ? 0 : next_step(heap);
    struct heap_need need = {0};
    DWORD error = GetLastError();
    bool done;
    void *raw;

    if (ask < least) ask = least;
    for (;;)
    {
        if (heap->owner->charge(heap->owner, ask, level, ask == least))
        {
            if (!own && extend(heap, ask, level))
            {
                SetLastError(error);
                return true;
            }
            /* The system's own header is as long; the start is then anywhere in a page, and pages still
             * fit. */
            if ((raw = system_alloc(heap->system, 0, ask - 2 * sizeof(void *)))) break;
            heap->owner->credit(heap->owner, ask);
            POKE(heap->starved, true);
        }
        if (ask == least) return false;
        ask = least;
    }
    SetLastError(error);
    for (;;)
    {
        if (!lock_acquire(&heap->lock)) return false;
        done = insert_chunk(heap, raw, ask - 2 * sizeof(void *), own, &need);
        lock_release(&heap->lock);
        if (done) return true;
        if (!heap_meta_grow(heap, need.meta, level)) break;
    }
    system_free(heap->system, raw);
    heap->owner->credit(heap->owner, ask);
    return false;
}

static void drop_groups(struct heap *heap)
{
    struct chunk_group **link = &heap->groups, *group;

    heap->last_group = NULL;
    while ((group = *link))
    {
        if (group->count)
        {
            heap->last_group = group;
            link = &group->next;
            continue;
        }
        *link = group->next;
        heap_meta_give(heap, &heap->meta.pool, group, sizeof(*group));
    }
}

/* Takes the chunks that have been empty for age milliseconds out; heap_chunk_release ends them, without
 * the lock. */
struct chunk *heap_chunk_collect(struct heap *heap, unsigned int age)
{
    struct chunk *chunk, *next, *out = NULL;
    unsigned int now = GetTickCount();

    for (chunk = heap->chunks; chunk; chunk = next)
    {
        next = chunk->next;
        if (chunk->free_count < chunk->page_count || now - chunk->idle_since < age) continue;
        if (chunk->prev) chunk->prev->next = next;
        else heap->chunks = next;
        if (next) next->prev = chunk->prev;
        else heap->last_chunk = chunk->prev;
        if (chunk->group->first == chunk) chunk->group->first = next;
        chunk->group->count--;
        POKE(heap->chunk_bytes, heap->chunk_bytes - chunk->charged);
        heap->committed -= chunk->charged;
        chunk->next = out;
        out = chunk;
    }
    if (out) drop_groups(heap);
    return out;
}

size_t heap_chunk_release(struct heap *heap, struct chunk *chunks)
{
    DWORD error = GetLastError();
    struct chunk *chunk, *next;
    size_t bytes = 0, words;

    for (chunk = chunks; chunk; chunk = chunk->next)
    {
        system_free(heap->system, chunk->raw);
        heap->owner->credit(heap->owner, chunk->charged);
        bytes += chunk->charged;
    }
    if (chunks && lock_acquire(&heap->lock))
    {
        for (chunk = chunks; chunk; chunk = next)
        {
            next = chunk->next;
            words = map_words(chunk->page_count, chunk->own);
            heap_meta_give(heap, &heap->meta.pool, chunk, sizeof(*chunk) + words * sizeof(mask_t));
        }
        lock_release(&heap->lock);
    }
    SetLastError(error);
    return bytes;
}
