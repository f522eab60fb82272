/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What the files of the allocator share. heap.c explains the design.
 */

#ifndef MSCOREEHOST_HEAP_PRIVATE_H
#define MSCOREEHOST_HEAP_PRIVATE_H

#include <string.h>
#include "heap_inline.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#endif

#define PAGE_BYTES ((size_t)1 << PAGE_SHIFT)
#define ROUND_UP(n, to) (((n) + (to) - 1) & ~((size_t)(to) - 1))
#define MASK_BITS (8 * (unsigned int)sizeof(mask_t))

/* The compiler's own is a call on processors without the instruction, and those it has to reckon with. */
static inline unsigned int count_bits(mask_t bits)
{
    bits -= bits >> 1 & (mask_t)0x5555555555555555;
    bits = (bits & (mask_t)0x3333333333333333) + (bits >> 2 & (mask_t)0x3333333333333333);
    bits = (bits + (bits >> 4)) & (mask_t)0x0f0f0f0f0f0f0f0f;
    return (unsigned int)(bits * (mask_t)0x0101010101010101 >> (MASK_BITS - 8));
}

/* Size classes: 16 to 128 bytes in steps of 16, then eight to each octave (sixteen from 2 to 4 KiB), to 32
 * KiB. Larger blocks are runs of pages. Threads have spans of their own of the first CACHED_COUNT, which are
 * SPAN_SMALL; the others are SPAN_WIDE, and nearly always all share them. */
#define CLASS_COUNT 80
#define CLASS_TOP 32768
#define CACHED_COUNT 56
#define RUN_TOP ((size_t)4 << 20)       /* larger blocks have a chunk of their own */

/* A thread counts blocks to this size in its room, whose range is to be far larger. */
#ifdef _WIN64
#define COUNT_TOP ((size_t)1 << 26)
#else
#define COUNT_TOP ((size_t)1 << 18)
#endif

struct span_list
{
    struct span *first;
    struct span *at;            /* where the search for free blocks goes on */
    uint32_t pages;
    uint16_t at_window;
    uint8_t shared;             /* times that other threads came to free in these, to SHARE_ALL */
};

/* One block of the private heap. Its pages are handed out as runs. The descriptor lies elsewhere. */
struct chunk
{
    struct chunk *next, *prev;      /* of all, the oldest first */
    struct chunk_group *group;
    unsigned int largest;           /* it has no more free pages in a row */
    void *raw;
    size_t charged;
    char *pages;
    unsigned int page_count;
    unsigned int free_count;
    unsigned int idle_since;    /* tick at which the last page became free */
    bool own;                   /* holds one block above RUN_TOP, is never cut up; no bits */
    mask_t free_pages[];
};

/* Cursors, first of all, of the other classes that are cached; and of each wide class the blocks that are
 * STATE_HELD by the thread, as the address of the span and, in its low bits, the index: no such span has more
 * blocks. These change under the heap's lock; or, without, while the cache is busy and not stopped. */
#define WIDE_COUNT (CLASS_COUNT - CACHED_COUNT)
#define HELD_MOST 4
struct cache_more
{
    struct cursor cursors[CACHED_COUNT - FIRST_COUNT] __attribute__((aligned(64)));
    struct home homes[CACHED_COUNT - FIRST_COUNT];
    uintptr_t held[WIDE_COUNT][HELD_MOST];
    uint8_t held_count[WIDE_COUNT];
    uint8_t asked[WIDE_COUNT];          /* times under the lock so far, to HOLD_AFTER */
    uint16_t met;                       /* times that another had the lock, to WIDE_OWN_AFTER */
};

/* The windows of wide blocks: everybody's, or of a thread with spans of its own. */
struct wide_windows
{
    struct cursor cursors[WIDE_COUNT];
    struct home homes[WIDE_COUNT];
    struct span_list list[WIDE_COUNT];      /* not everybody's */
};

/* Of a class from CACHED_COUNT on: the cache has them. */
static inline struct cursor *cursor_of(struct cache *cache, unsigned int class)
{
    if (class >= CACHED_COUNT) return &cache->wide->cursors[class - CACHED_COUNT];
    return class < FIRST_COUNT ? &cache->cursors[class] : &cache->more->cursors[class - FIRST_COUNT];
}

/* What a cache that has not got that far does not hold: nothing. */
extern struct home heap_no_home;

static inline struct home *home_of(struct cache *cache, unsigned int class)
{
    if (class >= CACHED_COUNT) return cache->wide ? &cache->wide->homes[class - CACHED_COUNT] : &heap_no_home;
    if (class < FIRST_COUNT) return &cache->homes[class];
    return cache->more ? &cache->more->homes[class - FIRST_COUNT] : &heap_no_home;
}

/* Chunks that follow each other, so that in a heap of thousands those without a run that is long enough are
 * passed over together. */
struct chunk_group
{
    struct chunk_group *next;
    struct chunk *first;
    unsigned int count;
    unsigned int largest;           /* none of them has more free pages in a row */
};

/* The first, of its chunk. */
static inline unsigned int span_page(const struct span *span)
{
    return (unsigned int)((size_t)(span->base - span->chunk->pages) >> PAGE_SHIFT);
}

/* Spans of large blocks by page count: rings. */
#define LARGE_BINS 88
struct large_bins
{
    struct span *bin[LARGE_BINS];
};

/* Where pieces of a multiple of 64 bytes for tables come from. */
#define META_GRAIN 64
#define POOL_BUCKETS 8
struct pool
{
    char *next, *end;           /* not handed out yet */
    size_t slab;                /* of a thread's, the size of the last */
    struct span *spare;         /* descriptors of small spans */
    void *free[POOL_BUCKETS];   /* larger ones are everybody's */
};

/* The spans that are a cache's alone, and their tables. */
struct own_spans
{
    struct span_list list[CACHED_COUNT];
    struct pool pool;
};

/* Of a cache that has spans of its own of such classes. */
static inline struct span_list *list_of(struct cache *cache, unsigned int class)
{
    if (class >= CACHED_COUNT) return &cache->wide->list[class - CACHED_COUNT];
    return &cache->own->list[class];
}

/* NULL: it has none. */
static inline struct span_list *own_list(struct cache *cache, unsigned int class)
{
    if (class >= CACHED_COUNT ? !cache->wide : !cache->own) return NULL;
    return list_of(cache, class);
}

/* Page number to span, for 4 MiB of addresses. */
#define REGION_SHIFT 22
#define REGION_PAGES (1u << (REGION_SHIFT - PAGE_SHIFT))
struct region
{
    uintptr_t number;
    struct span *page[REGION_PAGES];
};

struct region_table
{
    unsigned int mask;
    unsigned int count;
    struct region *slot[];
};

#define META_BUCKETS 96

/* Metadata, out of address space that only the heap's end gives back. */
struct meta
{
    struct pool pool;           /* everybody's */
    void *free[META_BUCKETS];
    char *limit;                /* of what is reserved beyond its end */
    void *reserved;
};

struct heap
{
    struct heap_front front;
    struct heap_front *copy;
    enum heap_way way;
    unsigned int flags;
    HANDLE system;
    struct heap_owner *owner;
    DWORD tls_index;
    struct heap *next, **link;          /* of all that have a TLS index */

    struct lock lock;                   /* of all below; taken before room_lock */
    struct region_table *regions;
    struct cache *common;               /* for threads without a cache, or without a cursor of that class */
    struct wide_windows wide;           /* the common cache's */
    struct cache *caches;
    struct cache *first;                /* the first thread's: has spans of its own at once */
    struct cache *parked;
    unsigned int cache_count;
    struct span_list shared[CLASS_COUNT];
    struct large_bins large;            /* everybody's */
    struct span *spare_large;
    struct span *limbo;                 /* out of use, but a Free may still look at them */
    unsigned int limbo_spans;           /* of them, since they were last looked at */
    struct span *limbo_large;           /* descriptors alone */
    unsigned int limbo_count;
    struct chunk *chunks, *last_chunk;
    struct chunk_group *groups, *last_group;
    struct meta meta;
    size_t chunk_bytes;
    size_t meta_bytes;
    size_t committed;
    size_t uncredited;                  /* given back under the lock, to be credited without it */
    bool tended;                        /* memory may be to be given back: heap_tend goes on */
    bool tending;                       /* it is under way */
    unsigned int last_tend;
    uint16_t turn;                      /* when it changes, caches let go of what they hold ready */
    unsigned int calm_turns;            /* of heap_tend, in which nothing happened */
    unsigned int vain_turns;            /* in which nothing could be given back */
    unsigned int wait_turns;
    size_t vain_live;                   /* live at the last look */
    size_t tended_live;
    size_t look_again;                  /* chunk_bytes, from which on a look for free spans may pay */
    unsigned int merge_wait;            /* so many requests for large blocks do not look for what to merge */
    bool retired;                       /* spans, since it last grew */
    unsigned int clashes;               /* of pages in the map, since */
    unsigned int clashed_at;
    unsigned int map_share;             /* entries of the map for each page */
    bool starved;                       /* the system had less than the owner granted */
    unsigned int stiff;                 /* chunks to come, at once: the last could not be made longer */
    size_t left_unused;                 /* and not live, after a sweep that found little */

    struct system_blocks *blocks;       /* of a heap with HEAP_SYSTEM, which uses nothing else from regions on
                                         * but committed */

    struct lock room_lock;
    size_t spare_bytes;                 /* below the peaks, and in no thread's room */
    size_t spare_blocks;
};

#define GIVE_BACK_AGE 100               /* milliseconds */

/* What an attempt under the lock lacked. */
struct heap_need
{
    size_t meta;
    size_t pages;
    bool own;           /* a chunk for one block */
};

#define HOLD_AFTER 16       /* turns of a class, one or two a request, until a thread holds a window of it; */
#define BUSY_AFTER 32       /* windows of all classes, after which it has spans of its own for any */
#define WIDE_OWN_AFTER 1000 /* waits for the lock, after which it has them above SLACK_TOP too */

/* heap.c */
bool heap_grow(struct heap *heap, const struct heap_need *need, unsigned int level);
#define AGE_NEVER 0xffffffffu
size_t heap_give_back(struct heap *heap, unsigned int age);
void heap_ask_to_tend(struct heap *heap);
bool heap_tend_by(struct heap *heap, struct cache *cache);
static inline bool heap_tend_is_due(struct heap *heap)
{
    return PEEK(heap->tended) && GetTickCount() - PEEK(heap->last_tend) >= HEAP_TEND_INTERVAL;
}

/* heap_class.c */
extern const uint16_t heap_class_sizes[CLASS_COUNT];
unsigned int heap_class_of(size_t size);
unsigned int heap_window_blocks(unsigned int class);

/* heap_meta.c */
void *heap_meta_take(struct heap *heap, size_t bytes, struct heap_need *need);
void *heap_meta_take_from(struct heap *heap, struct pool *pool, size_t bytes, struct heap_need *need);
void heap_meta_give(struct heap *heap, struct pool *pool, void *piece, size_t bytes);
bool heap_meta_grow(struct heap *heap, size_t bytes, unsigned int level);
void heap_meta_destroy(struct heap *heap);

/* heap_map.c */
extern struct span heap_no_span;
struct span *heap_map_find(struct heap *heap, const void *mem);
bool heap_map_prepare(struct heap *heap, const char *start, size_t pages, struct heap_need *need);
void heap_map_set(struct heap *heap, const char *start, size_t pages, struct span *span);
void heap_map_note(struct heap *heap, const void *mem, struct span *span);
bool heap_map_create(struct heap *heap);
void heap_map_grow(struct heap *heap, unsigned int level);
void heap_map_settle(struct heap *heap, unsigned int level);
void heap_map_destroy(struct heap *heap);

/* heap_chunk.c */
char *heap_run_take(struct heap *heap, unsigned int pages, struct chunk **chunk, unsigned int *page);
char *heap_run_take_tight(struct heap *heap, unsigned int pages, struct chunk **chunk, unsigned int *page);
bool heap_run_extend(struct chunk *chunk, unsigned int page, unsigned int pages, unsigned int more);
void heap_run_give(struct chunk *chunk, unsigned int page, unsigned int pages);
void heap_run_turn(struct chunk *chunk, unsigned int page, unsigned int pages, bool free);
bool heap_chunk_grow(struct heap *heap, size_t pages, bool own, unsigned int level);
struct chunk *heap_chunk_collect(struct heap *heap, unsigned int age);
size_t heap_chunk_release(struct heap *heap, struct chunk *chunks);

/* heap_span.c */
bool heap_span_new(struct heap *heap, struct cache *owner, unsigned int class, size_t least,
        struct heap_need *need);
bool heap_span_search(struct span_list *list, struct cursor *cursor, struct home *home);
bool heap_span_again(struct cursor *cursor, struct home *home);
bool heap_span_search_own(struct cache *cache, unsigned int class);
void *heap_span_take(struct cache *cache, unsigned int class, size_t size);
void *heap_span_take_any(struct heap *heap, size_t size);
void heap_span_hold(struct cache *cache, unsigned int class);
void heap_span_drop_held(struct cache *cache);
bool heap_span_is_free(const struct span *span);
bool heap_span_share(struct heap *heap, struct span *span);
void heap_spans_retire(struct heap *heap);
bool heap_spans_retire_some(struct heap *heap, struct cache *cache);
size_t heap_spans_retire_own(struct heap *heap, struct cache *cache);
void heap_spans_recycle(struct heap *heap);
bool heap_find_block(struct heap *heap, const void *mem, struct span **span, uint32_t *index);
size_t heap_block_size(const struct span *span, uint32_t index);
/* From SPAN_SMALL or SPAN_WIDE. */
static inline void block_set_live(struct span *span, uint32_t index, size_t size)
{
    size_t slack = span->block_size - size;

    if (span->kind == SPAN_WIDE) POKE(span->slacks[index], (uint16_t)slack);
    __atomic_store_n(&span->state[index], span->kind == SPAN_WIDE ? 0 : (uint8_t)slack, __ATOMIC_RELEASE);
}
static inline bool block_is_live(const struct span *span, uint8_t state)
{
    return !(state & (LOOK(span->kind) == SPAN_WIDE ? STATE_FREE | STATE_HELD : STATE_FREE));
}

/* heap_cache.c */
struct cache *heap_cache_create(struct heap *heap, struct heap_need *need);
bool heap_cache_widen(struct cache *cache, struct heap_need *need);
struct cache *heap_cache_get(struct heap *heap, unsigned int level, bool may_grow);
bool heap_cache_refill(struct heap *heap, struct cache *cache, unsigned int class, struct heap_need *need);
bool heap_cache_refill_wide(struct heap *heap, struct cache *cache, unsigned int class,
        struct heap_need *need);
bool heap_cache_refill_shared(struct heap *heap, struct cache *cache, unsigned int class,
        struct heap_need *need);
void heap_cache_catch_up(struct heap *heap, struct cache *cache);
void heap_cache_drop(struct cache *cache);
void heap_cache_drop_free(struct cache *cache);
void heap_cache_drop_wide(struct cache *cache);
bool heap_caches_quiet(struct heap *heap, struct cache *one, bool patient);
void heap_caches_stop(struct heap *heap, struct cache *one, bool patient);
void heap_caches_go(struct heap *heap, struct cache *one);
void heap_cache_register(struct heap *heap);
void heap_cache_unregister(struct heap *heap);
void heap_count_in(struct cache *cache, size_t size);
void heap_count_out(struct cache *cache, size_t size);

/* heap_large.c */
enum large_age
{
    LARGE_ALL,
    LARGE_OLD,          /* free at the last such sweep already */
    LARGE_NONE
};
void *heap_large_take(struct heap *heap, struct cache *cache, size_t size, struct heap_need *need);
void *heap_large_again(struct cache *cache, size_t size);
bool heap_large_resize(struct span *span, size_t size);
bool heap_large_share(struct heap *heap, struct span *span);
void heap_large_retire(struct heap *heap, enum large_age age);
void heap_large_recycle(struct heap *heap);
bool heap_large_walk(const struct large_bins *bins, bool (*visit)(void *context, struct span *span),
        void *context);

/* heap_system.c: the calls of heap.h for a heap with HEAP_SYSTEM */
bool heap_system_create(struct heap *heap);
void heap_system_destroy(struct heap *heap);
void *heap_system_alloc(struct heap *heap, size_t size, unsigned int level);
bool heap_system_free(struct heap *heap, void *mem);
bool heap_system_size(struct heap *heap, void *mem, size_t *size);
void heap_system_note(struct heap *heap, void *mem, unsigned int level, const char *file, int line);
size_t heap_system_trim(struct heap *heap);
void heap_system_get_usage(struct heap *heap, struct heap_usage *usage);
void heap_system_walk(struct heap *heap, bool (*visit)(void *context, const struct heap_block *block),
        void *context);

/* heap_record.c */
void heap_record_drop(struct heap *heap, struct span *span);

#endif
