/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The part of Alloc and of Free that nearly every call gets by with, to be compiled into the COM methods.
 * heap.c explains the design.
 */

#ifndef MSCOREEHOST_HEAP_INLINE_H
#define MSCOREEHOST_HEAP_INLINE_H

#include <stdint.h>
#include <windows.h>
#include "heap.h"
#include "lock.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What other threads may change or read at any time. */
#define PEEK(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define POKE(x, value) __atomic_store_n(&(x), (value), __ATOMIC_RELAXED)

/* The same for what cannot change while the cache is busy, or is one aligned word: an ordinary access, so
 * that it can be part of another instruction. The thread sanitizer is told. */
#ifdef HEAP_NATIVE
#define LOOK(x) PEEK(x)
#define LOOK_ACQUIRE(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#else
#define LOOK(x) (x)
#define LOOK_ACQUIRE(x) (x)
#endif

#define PAGE_SHIFT 12

/* A word of bits, one for each block of a window. */
typedef size_t mask_t;

/* The state byte of a block: 0 to 127 when live, and then what it has more than was asked for (0 in
 * classes above SLACK_TOP, which keep that in a table). */
#define STATE_FREE 0x80

/* Of a block of SPAN_WIDE: free, but the thread that freed it keeps it for its next request. */
#define STATE_HELD 0x40

enum span_kind
{
    SPAN_SMALL,     /* blocks of one class, to SLACK_TOP: the state byte says the size */
    SPAN_WIDE,      /* blocks of one class, above: a table does */
    SPAN_RUN,       /* one large block, pages of a chunk; its class is its bin */
    SPAN_CHUNK      /* one large block, a chunk of its own */
};

/* Where a block came from. Thread numbers are multiples of 4, here and in every Windows: the level goes into
 * their low bits. No thread has 0, which is a block without a record. */
struct span_record
{
    const char *file;
#ifdef _WIN64
    union
    {
        struct
        {
            int line;
            uint32_t who;
        };
        uint64_t line_and_who;
    };
#else
    int line;
    uint32_t who;
#endif
};

/* Most spans of blocks above 1 KiB have few. */
#define OWN_STATES 8
#define OWN_SLACKS 8

/* A run of pages cut into blocks of one class, or that is one block. Descriptors are never given back
 * before the heap dies: Free of a wild pointer may look at one while it changes hands, and must find a
 * descriptor. */
struct span
{
    char *base;
    uint32_t bytes;             /* offsets below are in blocks; 0: the descriptor is not in use */
    uint32_t recip;             /* 2^32 / block_size, rounded up */
    uint8_t *state;
    void *bias;                 /* the cache that may free here without a locked instruction; or BIAS_... */
    uint32_t block_size;
    uint32_t block_count;
    uint8_t kind;
    uint8_t class;
    uint8_t window_blocks;
    uint8_t own_state[OWN_STATES] __attribute__((aligned(4)));  /* where that is enough */
    unsigned int page_count;
    struct span_record *records;
    /* The rest is for slow paths. */
    union
    {
        uint16_t *slacks;           /* of SPAN_WIDE: what a block has more than was asked for */
        struct span *next_offered;  /* of SPAN_RUN, while merge looks for pages */
    };
    union
    {
        size_t size;                /* of SPAN_RUN and SPAN_CHUNK, as asked for */
        uint16_t own_slacks[OWN_SLACKS];    /* of SPAN_WIDE, where that is enough */
    };
    union
    {
        uint64_t claimed;           /* windows that cursors hold, in a span without an owner */
        unsigned int offered;       /* of SPAN_RUN: how many of its last pages merge may have */
    };
    struct cache *owner;        /* who alone takes blocks from it, without the heap's lock; or NULL */
    struct chunk *chunk;
    struct span *next, *prev;
};

/* Where a thread takes blocks of a class from: a window of neighbours in a span. None lies across two lines
 * of the processor's cache. */
struct cursor
{
    mask_t bits;                /* free blocks of the window */
    char *base;
    uint8_t *state;
    uint32_t block_size;
} __attribute__((aligned(4 * sizeof(void *))));

/* The window a cursor works on. It changes under the heap's lock; or, from one span of the cache's own to
 * another, without, while the cache is busy and not stopped. As large as a cursor, so that one leads to the
 * other. */
struct home
{
    struct span *span;
    uint16_t window;
    uint16_t turns;             /* requests and then windows so far, more or less */
    uint32_t blocks;            /* of the window; 0 where it has been let go */
    struct span_record *records;        /* of the window's blocks, or NULL: ask heap_note */
} __attribute__((aligned(4 * sizeof(void *))));

_Static_assert(sizeof(struct home) == sizeof(struct cursor), "one leads to the other");

#define FIRST_COUNT 32      /* classes that a cache has cursors for from the start: to INLINE_TOP */

/* How far live bytes and blocks may rise before the peak does, in one number: bytes in the low bits, blocks
 * above. The guard has the bits that are set once either falls below 0 or rises past its share. */
struct room
{
    size_t both;
    size_t guard;
};
#ifdef _WIN64
#define ROOM_SHIFT 30
#else
#define ROOM_SHIFT 20
#endif
#define ROOM_BLOCK ((size_t)1 << ROOM_SHIFT)

struct cache
{
    struct room room;
    uint32_t busy;              /* with a span at hand that others could take out of use */
    uint16_t wide_turns;        /* requests for larger classes */
    uint8_t refills;            /* modulo 256 */
    uint8_t windows;            /* taken of spans that it shares with others; 255 for as many and more */
    uint16_t turn;              /* of the heap, when it last let go of what it holds ready */
    struct heap *heap;
    struct cache_more *more;
    struct wide_windows *wide;  /* of the one that all share, and of few others */
    intptr_t returned;          /* bytes freed, less those taken since, as far as others were told */
    uint64_t raised_bytes;      /* what this thread has added to the peaks */
    uint64_t raised_blocks;
    struct cache *next;         /* of all the heap's */
    struct cache *next_parked;
    struct own_spans *own;
    struct large_bins *large;
    uint32_t stopped;           /* by who holds the heap's lock: keep off your spans and wide windows */
    bool quiet;                 /* and that has been seen to hold */
    uint8_t shares;             /* times that another thread came to free in a span of its own */
    bool large_shared;          /* large blocks of its own are regularly freed by other threads */
    /* The rest, if they are needed, in more. */
    struct cursor cursors[FIRST_COUNT] __attribute__((aligned(64)));
    struct home homes[FIRST_COUNT];
};

/* What Alloc and Free need of a heap. The heap has one, and keeps the copy in its owner's object up to
 * date. */
struct heap_front
{
    size_t tls_offset;          /* of the slot in the thread's environment block */
    struct span **map;          /* a cache of page number to span */
    uintptr_t map_mask;
    struct cache *solo;
};

/* Where the calling thread's cache is found. */
enum heap_way
{
    HEAP_WAY_TEB,               /* one of the 64 slots in the thread's environment block */
    HEAP_WAY_SOLO,              /* the caller serialises: there is one cache */
    HEAP_WAY_MORE,              /* a later slot, which lies in an array of its own */
    HEAP_WAY_NONE               /* no slot, no caches */
};

enum heap_answer
{
    HEAP_DONE,
    HEAP_SETTLE,                /* done; heap_settle is due */
    HEAP_SHARED,                /* go on with heap_free_shared, at once */
    HEAP_SLOW                   /* nothing done: the other function has to */
};

/* Which way, and the copy to use in it, for as long as the heap lives. */
enum heap_way heap_attach(struct heap *heap, struct heap_front *front);

/* Of a cache whose cursor for size is empty: from the blocks of its own spans. NULL: ask heap_alloc. */
void *heap_alloc_more(struct cache *cache, size_t size);

/* Of SPAN_WIDE, by a thread whose cache is busy. False: the block is free. */
bool heap_free_wide(struct cache *cache, struct span *span, uint32_t index, size_t *size);

/* The peak rises, or room changes hands. Always 0, so that it can be the end of a method. */
int heap_settle(struct cache *cache);

#define INLINE_TOP 1024
#define SLACK_TOP 4096
#define MORE_STEP 128

/* For each size to INLINE_TOP, in steps of 16, where in a cache the cursor of its class is. */
#define AT(class) offsetof(struct cache, cursors) + (class) * sizeof(struct cursor)
#define TWO(class) AT(class), AT((class) + 1)
#define PAIR(class) AT(class), AT(class)
#define FOUR(class) PAIR(class), PAIR(class)
static const uint16_t heap_cursor_offsets[INLINE_TOP / 16 + 1] =
{
    AT(0), TWO(0), TWO(2), TWO(4), TWO(6), TWO(8), TWO(10), TWO(12), TWO(14),
    PAIR(16), PAIR(17), PAIR(18), PAIR(19), PAIR(20), PAIR(21), PAIR(22), PAIR(23),
    FOUR(24), FOUR(25), FOUR(26), FOUR(27), FOUR(28), FOUR(29), FOUR(30), FOUR(31)
};
#undef AT
#undef TWO
#undef PAIR
#undef FOUR

/* TlsGetValue without the call (3 ns under Wine 8.0, twice in a pair) and without its SetLastError(0). The
 * layout of the environment block is the one that compilers and runtimes rely on. */
#ifndef HEAP_NATIVE
static inline __attribute__((always_inline)) void *tls_read(size_t offset, bool more)
{
    char *slot;

#ifdef _WIN64
    if (!more) __asm__ volatile("movq %%gs:(%1), %0" : "=r"(slot) : "r"(offset));
    else __asm__ volatile("movq %%gs:0x1780, %0" : "=r"(slot));
#else
    if (!more) __asm__ volatile("movl %%fs:(%1), %0" : "=r"(slot) : "r"(offset));
    else __asm__ volatile("movl %%fs:0xf94, %0" : "=r"(slot));
#endif
    return more && slot ? *(void **)(slot + offset) : slot;
}

/* GetCurrentThreadId without the call. */
static inline __attribute__((always_inline)) size_t current_thread(void)
{
    size_t id;

#ifdef _WIN64
    __asm__ volatile("movl %%gs:0x48, %k0" : "=r"(id));
#else
    __asm__ volatile("movl %%fs:0x24, %0" : "=r"(id));
#endif
    return id;
}
#endif

static inline __attribute__((always_inline)) struct cache *heap_cache_of(const struct heap_front *front,
        enum heap_way way)
{
    if (way == HEAP_WAY_SOLO) return front->solo;
    if (way == HEAP_WAY_NONE) return NULL;
    return tls_read(front->tls_offset, way == HEAP_WAY_MORE);
}

static inline __attribute__((always_inline)) bool room_take(struct room *room, size_t size)
{
    size_t both = PEEK(room->both) - (size + ROOM_BLOCK);

    POKE(room->both, both);
    return likely(!(both & LOOK(room->guard)));
}

static inline __attribute__((always_inline)) bool room_give(struct room *room, size_t size)
{
    size_t both = PEEK(room->both) + (size + ROOM_BLOCK);

    POKE(room->both, both);
    return likely(!(both & LOOK(room->guard)));
}

/* bits != 0. By hand, since the compiler's own takes two instructions more. */
static inline __attribute__((always_inline)) size_t lowest_bit(mask_t bits)
{
    size_t i;

    __asm__("rep bsf %1, %0" : "=r"(i) : "r"(bits) : "cc");
    return i;
}

/* The next block will be wanted next, and written to. Twenty per cent where many blocks are filled in turn;
 * 40 on i686, where the instruction for writing is not to be had everywhere. The one for reading does as well
 * as long as no other processor has the line, and is harmless on whatever has cmov. */
static inline __attribute__((always_inline)) void prefetch_for_write(const char *at)
{
#ifdef __x86_64__
    __asm__ volatile("prefetchw %0" : : "m"(*at));
#else
    __asm__ volatile("prefetcht0 %0" : : "m"(*at));
#endif
}

/* Of a block that is the caller's, or that the caller is about to take. */
static inline __attribute__((always_inline)) void write_record(struct span_record *record, const char *file,
        int line, unsigned int level)
{
    size_t who;

    record->file = file;
    who = current_thread() + level;
#ifdef _WIN64
    __atomic_store_n(&record->line_and_who, (uint64_t)who << 32 | (uint32_t)line, __ATOMIC_RELEASE);
#else
    record->line = line;
    __atomic_store_n(&record->who, who, __ATOMIC_RELEASE);
#endif
}

/* Who has it, or 0. The file can be read after that. */
static inline uint32_t read_record(const struct span_record *record, int *line)
{
#ifdef _WIN64
    uint64_t both = __atomic_load_n(&record->line_and_who, __ATOMIC_ACQUIRE);

    *line = (int)(uint32_t)both;
    return both >> 32;
#else
    uint32_t who = __atomic_load_n(&record->who, __ATOMIC_ACQUIRE);

    *line = record->line;
    return who;
#endif
}

/* The next block of a cursor that is not empty. */
static inline __attribute__((always_inline)) size_t take_bit(struct cursor *cursor)
{
    mask_t bits = cursor->bits;
    size_t i = lowest_bit(bits);

    cursor->bits = bits & ~((mask_t)1 << i);
    return i;
}

static inline __attribute__((always_inline)) char *take_block(struct cursor *cursor, size_t i, size_t size)
{
    size_t block_size = cursor->block_size;
    char *block = cursor->base + i * block_size;

    prefetch_for_write(block + block_size);
    POKE(cursor->state[i], (uint8_t)(block_size - size));
    return block;
}

/* size <= INLINE_TOP */
static inline __attribute__((always_inline)) struct cursor *small_cursor(struct cache *cache, size_t size)
{
    return (struct cursor *)((char *)cache + heap_cursor_offsets[(size + 15) / 16]);
}

static inline __attribute__((always_inline)) enum heap_answer heap_alloc_inline(
        const struct heap_front *front, enum heap_way way, size_t size, void **mem, struct cache **out)
{
    struct cache *cache = *out = heap_cache_of(front, way);
    struct cursor *cursor;

    if (unlikely(!cache) || unlikely(size > INLINE_TOP)) return HEAP_SLOW;
    cursor = small_cursor(cache, size);
    if (unlikely(!cursor->bits)) return HEAP_SLOW;
    *mem = take_block(cursor, take_bit(cursor), size);
    return room_take(&cache->room, size) ? HEAP_DONE : HEAP_SETTLE;
}

/* The same with a record, written first, so that what it needs is soon out of the processor's registers.
 * level is one of the enumeration. */
static inline __attribute__((always_inline)) enum heap_answer heap_debug_alloc_inline(
        const struct heap_front *front, enum heap_way way, size_t size, unsigned int level, const char *file,
        volatile int *line, void **volatile *mem, struct cache **out)
{
    struct cache *cache = *out = heap_cache_of(front, way);
    struct cursor *cursor;
    struct home *home;
    size_t i;

    if (unlikely(!cache) || unlikely(size > INLINE_TOP)) return HEAP_SLOW;
    cursor = small_cursor(cache, size);
    home = (struct home *)(cursor + FIRST_COUNT);
    if (unlikely(!cursor->bits) || unlikely(!home->records)) return HEAP_SLOW;
    i = take_bit(cursor);
    write_record(&home->records[i], file, *line, level);
    **mem = take_block(cursor, i, size);
    return room_take(&cache->room, size) ? HEAP_DONE : HEAP_SETTLE;
}

/* Sizes above INLINE_TOP, whose classes are MORE_STEP apart. */
static inline __attribute__((always_inline)) enum heap_answer heap_alloc_wide(struct cache *cache,
        size_t size, void **mem)
{
    struct cursor *cursor;

    if (size - INLINE_TOP - 1 >= SLACK_TOP - INLINE_TOP || !cache->more) return HEAP_SLOW;
    cursor = (struct cursor *)cache->more + (size - INLINE_TOP - 1) / MORE_STEP;
    if (!cursor->bits) return HEAP_SLOW;
    *mem = take_block(cursor, take_bit(cursor), size);
    return room_take(&cache->room, size) ? HEAP_DONE : HEAP_SETTLE;
}

/* Values of span->bias that are no cache. */
#define BIAS_SHARED ((void *)1)     /* Free exchanges the state byte */
#define BIAS_CHANGING ((void *)2)   /* from a cache's to shared: wait for the heap's lock */

/* What a Free has found so far. */
struct freeing
{
    struct cache *cache;
    struct span *span;
    size_t offset;
};

/* After HEAP_SHARED, with the cache still busy: several threads free in this span, and of two that free a
 * block at one instant, one finds it free. */
static inline __attribute__((always_inline)) enum heap_answer heap_free_shared(const struct freeing *freeing)
{
    enum heap_answer answer = HEAP_SLOW;
    struct span *span = freeing->span;
    uint64_t product;
    uint8_t slack;
    size_t size;

    if (LOOK(span->kind) > SPAN_WIDE) goto done;
    product = (uint64_t)(uint32_t)freeing->offset * LOOK(span->recip);
    if (unlikely((uint32_t)product >= LOOK(span->recip))) goto done;
    if (LOOK(span->kind) == SPAN_WIDE)
    {
        if (!heap_free_wide(freeing->cache, span, (uint32_t)(product >> 32), &size)) goto done;
    }
    else
    {
        slack = __atomic_exchange_n(LOOK(span->state) + (size_t)(product >> 32), STATE_FREE,
                __ATOMIC_ACQ_REL);
        if (unlikely(slack & STATE_FREE)) goto done;
        size = LOOK(span->block_size) - slack;
    }
    answer = room_give(&freeing->cache->room, size) ? HEAP_DONE : HEAP_SETTLE;
done:
    __atomic_store_n(&freeing->cache->busy, 0, __ATOMIC_RELEASE);
    return answer;
}

static inline __attribute__((always_inline)) enum heap_answer heap_free_inline(const struct heap_front *front,
        enum heap_way way, void *mem, struct freeing *freeing)
{
    struct cache *cache = freeing->cache = heap_cache_of(front, way);
    enum heap_answer answer = HEAP_SLOW;
    uint32_t bytes;
    uintptr_t entry;
    struct span *span;
    uint64_t product;
    uint8_t *state;
    size_t offset;
    uint8_t slack;

    if (unlikely(!cache)) return HEAP_SLOW;
    POKE(cache->busy, 1);
    __asm__ volatile("" ::: "memory");
    entry = (uintptr_t)mem >> PAGE_SHIFT;
    entry &= LOOK_ACQUIRE(front->map_mask);
    span = freeing->span = LOOK(front->map[entry]);
    /* First of all bytes: a descriptor that is just being set up gets them last. */
    bytes = __atomic_load_n(&span->bytes, __ATOMIC_ACQUIRE);
    offset = freeing->offset = (size_t)((char *)mem - LOOK(span->base));
    if (unlikely(offset >= bytes)) goto done;
    if (unlikely(LOOK(span->bias) != cache))
    {
        if (LOOK(span->bias) == BIAS_SHARED) return HEAP_SHARED;
        goto done;
    }
    /* High half: the quotient. Low half: the remainder times recip, which is below recip for a start only. */
    product = (uint64_t)(uint32_t)offset * LOOK(span->recip);
    if (unlikely((uint32_t)product >= LOOK(span->recip))) goto done;
    state = LOOK(span->state) + (size_t)(product >> 32);
    slack = LOOK(*state);
    if (unlikely(slack & STATE_FREE)) goto done;
    __atomic_store_n(state, STATE_FREE, __ATOMIC_RELEASE);
    answer = room_give(&cache->room, LOOK(span->block_size) - slack) ? HEAP_DONE : HEAP_SETTLE;
done:
    __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
    return answer;
}

#endif
