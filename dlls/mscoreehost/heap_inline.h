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

#define PAGE_SHIFT 12

/* A word of bits, one for each block of a window. */
typedef size_t mask_t;

/* The state byte of a block: 0 to 127 when live, and then what it has more than was asked for (0 in
 * classes above SLACK_TOP, which keep the size in a table). */
#define STATE_FREE 0x80

/* A run of pages cut into blocks of one class, or that is one block. Descriptors are never given back
 * before the heap dies: Free of a wild pointer may look at one while it changes hands, and must find a
 * descriptor. */
struct span
{
    char *base;
    uint32_t bytes;             /* offsets below are in blocks; 0: the descriptor is not in use */
    uint32_t recip;             /* 2^32 / block_size, rounded up */
    uint8_t *state;
    /* the cache that may free here without a locked instruction; or one of SPAN_... */
    void *bias;
    uint32_t block_size;
    uint32_t block_count;
    uint8_t kind;
    uint8_t class;
    uint8_t own_state;          /* of SPAN_RUN and SPAN_CHUNK */
    uint8_t window_blocks;
    unsigned int page;
    struct span_record *records;
    /* The rest is for slow paths. */
    uint32_t *sizes;            /* of SPAN_WIDE, as asked for */
    size_t size;                /* of SPAN_RUN and SPAN_CHUNK, as asked for */
    uint64_t claimed;           /* windows that cursors hold, while the span is shared */
    struct chunk *chunk;
    struct span *next, *prev;
    size_t records_charged;
    unsigned int page_count;
};

/* Where a thread takes blocks of a class from: a window of neighbours in a span. */
struct cursor
{
    mask_t bits;                /* free blocks of the window */
    char *base;
    uint8_t *state;
    uint32_t block_size;
};

/* How far live bytes and blocks may rise before the peak does, in one number on 64-bit: bytes in the low
 * 40 bits, blocks above. The guard has the bits that are set once either falls below 0 or rises past its
 * share. */
#ifdef _WIN64
struct room
{
    uint64_t both;
    uint64_t guard;
};
#define ROOM_BLOCK ((uint64_t)1 << 40)
#else
struct room
{
    uint32_t bytes, blocks;
    uint32_t bytes_guard, blocks_guard;
};
#endif

struct cache
{
    struct room room;
    uint32_t busy;              /* inside Free, with a span at hand */
    uint32_t thread;
    uint32_t wide_turns;        /* requests for larger classes */
    bool parked;
    struct heap *heap;
    struct home *homes;
    struct cache_more *more;
    uint64_t raised_bytes;      /* what this thread has added to the peaks */
    uint64_t raised_blocks;
    struct cache *next;         /* of all the heap's */
    struct cache *next_parked;
    struct own_spans *own;
    struct lock lock;
    struct cursor cursors[];    /* FIRST_COUNT; the rest, if they are needed, in more */
};

/* The first fields of a heap. */
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

enum heap_way heap_way_of(struct heap *heap);

#define INLINE_TOP 1024
extern const uint16_t heap_cursor_offsets[INLINE_TOP / 16 + 1];
void heap_settle(struct cache *cache);

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
#ifdef _WIN64
    uint64_t both = PEEK(room->both) - (size + ROOM_BLOCK);

    POKE(room->both, both);
    return likely(!(both & room->guard));
#else
    room->bytes -= size;
    room->blocks--;
    return likely(!((room->bytes & room->bytes_guard) | (room->blocks & room->blocks_guard)));
#endif
}

static inline __attribute__((always_inline)) bool room_give(struct room *room, size_t size)
{
#ifdef _WIN64
    uint64_t both = PEEK(room->both) + (size + ROOM_BLOCK);

    POKE(room->both, both);
    return likely(!(both & room->guard));
#else
    room->bytes += size;
    room->blocks++;
    return likely(!((room->bytes & room->bytes_guard) | (room->blocks & room->blocks_guard)));
#endif
}

/* NULL: ask heap_alloc. */
static inline __attribute__((always_inline)) void *heap_alloc_inline(struct heap *heap, enum heap_way way,
        size_t size)
{
    struct cache *cache = heap_cache_of((const struct heap_front *)heap, way);
    struct cursor *cursor;
    unsigned int i;
    mask_t bits;
    void *mem;

    if (unlikely(size > INLINE_TOP) || unlikely(!cache)) return NULL;
    cursor = (struct cursor *)((char *)cache + heap_cursor_offsets[(size + 15) / 16]);
    if (unlikely(!(bits = cursor->bits))) return NULL;
    i = sizeof(bits) == 8 ? (unsigned int)__builtin_ctzll(bits)
            : (unsigned int)__builtin_ctz((unsigned int)bits);
    cursor->bits = bits & (bits - 1);
    __atomic_store_n(&cursor->state[i], (uint8_t)(cursor->block_size - size), __ATOMIC_RELAXED);
    mem = cursor->base + (size_t)i * cursor->block_size;
    if (!room_take(&cache->room, size)) heap_settle(cache);
    return mem;
}

/* False: ask heap_free. */
static inline __attribute__((always_inline)) bool heap_free_inline(struct heap *heap, enum heap_way way,
        void *mem)
{
    const struct heap_front *front = (const struct heap_front *)heap;
    struct cache *cache = heap_cache_of(front, way);
    struct span *span;
    uint64_t product;
    uint8_t *state;
    size_t offset;
    uint32_t bytes;
    uint8_t slack;

    if (unlikely(!cache)) return false;
    __atomic_store_n(&cache->busy, 1, __ATOMIC_RELAXED);
    __asm__ volatile("" ::: "memory");
    span = __atomic_load_n(&front->map[(uintptr_t)mem >> PAGE_SHIFT & __atomic_load_n(&front->map_mask,
            __ATOMIC_ACQUIRE)],
            __ATOMIC_RELAXED);
    /* First of all bytes: a descriptor that is just being set up gets them last. */
    bytes = __atomic_load_n(&span->bytes, __ATOMIC_ACQUIRE);
    offset = (size_t)((char *)mem - PEEK(span->base));
    if (unlikely(offset >= bytes) || unlikely(PEEK(span->bias) != cache)) goto other;
    /* High half: the quotient. Low half: the remainder times recip, which is below recip for a start only. */
    product = (uint64_t)(uint32_t)offset * PEEK(span->recip);
    if (unlikely((uint32_t)product >= PEEK(span->recip))) goto other;
    state = PEEK(span->state) + (size_t)(product >> 32);
    slack = __atomic_load_n(state, __ATOMIC_RELAXED);
    if (unlikely(slack & STATE_FREE)) goto other;
    __atomic_store_n(state, STATE_FREE, __ATOMIC_RELEASE);
    if (unlikely(!room_give(&cache->room, PEEK(span->block_size) - slack)))
    {
        __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
        heap_settle(cache);
        return true;
    }
    __asm__ volatile("" ::: "memory");
    __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
    return true;

other:
    __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
    return false;
}

#endif
