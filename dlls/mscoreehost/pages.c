/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The page calls: one real call of the system each, with the arguments as they came, and the ledger told of
 * what it changed. For that each region remembers which of its pages were charged.
 */

#include "mscoreehost_private.h"

/* One reservation. The table is sorted by base. */
struct region
{
    char *base;
    size_t pages;
    size_t charged;             /* bits set below */
    size_t bits[];              /* a page each: charged */
};

struct pages
{
    struct ledger *ledger;
    size_t page_size;
    size_t granularity;
    struct lock lock;          /* also held over the system's call, so that table and system never disagree */
    struct region **regions;
    size_t count;
    size_t capacity;
};

#define WORD_BITS (8 * sizeof(size_t))

/* The bits of a word from first (0 to WORD_BITS - 1) on, count of them at most. */
static size_t word_mask(size_t first, size_t count)
{
    size_t mask = count >= WORD_BITS ? ~(size_t)0 : ((size_t)1 << count) - 1;

    return mask << first;
}

static size_t count_charged(const struct region *region, size_t first, size_t count)
{
    size_t total = 0;

    while (count)
    {
        size_t bit = first % WORD_BITS, n = min(count, WORD_BITS - bit);

        total += __builtin_popcountll(region->bits[first / WORD_BITS] & word_mask(bit, n));
        first += n;
        count -= n;
    }
    return total;
}

static void set_charged(struct region *region, size_t first, size_t count, bool charged)
{
    while (count)
    {
        size_t bit = first % WORD_BITS, n = min(count, WORD_BITS - bit), mask = word_mask(bit, n);
        size_t *word = &region->bits[first / WORD_BITS], old = *word;

        *word = charged ? old | mask : old & ~mask;
        region->charged += __builtin_popcountll(*word) - __builtin_popcountll(old);
        first += n;
        count -= n;
    }
}

/* Where base is in the table, or would be. */
static size_t region_index(const struct pages *pages, const char *base)
{
    size_t low = 0, high = pages->count;

    while (low < high)
    {
        size_t middle = low + (high - low) / 2;

        if (pages->regions[middle]->base < base) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool region_contains(const struct pages *pages, const struct region *region, const char *mem)
{
    return mem >= region->base && (size_t)(mem - region->base) / pages->page_size < region->pages;
}

static struct region *region_find(const struct pages *pages, const char *mem)
{
    size_t i = region_index(pages, mem);

    if (i < pages->count && pages->regions[i]->base == mem) return pages->regions[i];
    if (i && region_contains(pages, pages->regions[i - 1], mem)) return pages->regions[i - 1];
    return NULL;
}

static struct region *region_alloc(size_t count)
{
    struct region *region;
    size_t size = offsetof(struct region, bits[(count + WORD_BITS - 1) / WORD_BITS]);

    if ((region = system_alloc(GetProcessHeap(), HEAP_ZERO_MEMORY, size))) region->pages = count;
    return region;
}

static void region_remove(struct pages *pages, size_t i)
{
    struct region *region = pages->regions[i];

    ledger_credit(pages->ledger, LEDGER_PAGES, region->charged * pages->page_size);
    ledger_remove_region(pages->ledger, region->pages * pages->page_size);
    pages->count--;
    memmove(&pages->regions[i], &pages->regions[i + 1], (pages->count - i) * sizeof(*pages->regions));
    system_free(GetProcessHeap(), region);
}

static bool make_room(struct pages *pages)
{
    struct region **regions;
    size_t capacity;

    if (pages->count < pages->capacity) return true;
    capacity = pages->capacity ? pages->capacity * 2 : 64;
    if (pages->regions)
        regions = HeapReAlloc(GetProcessHeap(), 0, pages->regions, capacity * sizeof(*regions));
    else
        regions = system_alloc(GetProcessHeap(), 0, capacity * sizeof(*regions));
    if (!regions) return false;
    pages->regions = regions;
    pages->capacity = capacity;
    return true;
}

/* There is room. A record that overlaps the new region is out of date: someone released that one behind our
 * back, or the system could not have given its address away. */
static void region_insert(struct pages *pages, struct region *region)
{
    char *last = region->base + (region->pages * pages->page_size - 1);
    size_t i = region_index(pages, region->base);

    if (i && region_contains(pages, pages->regions[i - 1], region->base)) region_remove(pages, --i);
    while (i < pages->count && pages->regions[i]->base <= last) region_remove(pages, i);

    memmove(&pages->regions[i + 1], &pages->regions[i], (pages->count - i) * sizeof(*pages->regions));
    pages->regions[i] = region;
    pages->count++;
    ledger_add_region(pages->ledger, region->pages * pages->page_size);
}

/* The pages that [mem, mem + size) touches, counted from a base at or below mem. False: the range wraps. */
static bool page_span(const struct pages *pages, const char *base, const char *mem, size_t size,
        size_t *first, size_t *count)
{
    size_t start = mem - base, mask = pages->page_size - 1;

    if (size > SIZE_MAX - mask - start || (size_t)mem > SIZE_MAX - mask - size) return false;
    *first = start / pages->page_size;
    *count = (start + size + mask) / pages->page_size - *first;
    return true;
}

/* The last error, which says what the system thought, as an HRESULT. */
static HRESULT last_error_hr(void)
{
    DWORD error = GetLastError();

    switch (error)
    {
        case ERROR_SUCCESS:
            return E_FAIL;
        case ERROR_NOT_ENOUGH_MEMORY:
        case ERROR_OUTOFMEMORY:
        case ERROR_COMMITMENT_LIMIT:
            return E_OUTOFMEMORY;
        default:
            return HRESULT_FROM_WIN32(error);
    }
}

static HRESULT refuse(HRESULT hr, DWORD error)
{
    SetLastError(error);
    return hr;
}

/* A call of the system that touches no account: it fails, or it commits nothing. */
static HRESULT alloc_unaccounted(void *address, size_t size, DWORD type, DWORD protect, void **mem)
{
    return (*mem = VirtualAlloc(address, size, type, protect)) ? S_OK : last_error_hr();
}

/* Charges before the call, so that the limit is not passed even while it runs. */
static HRESULT alloc_region(struct pages *pages, char *address, size_t size, DWORD type, DWORD protect,
        unsigned int level, void **mem)
{
    /* With MEM_RESERVE the system rounds the address down to its granularity. */
    char *base = (char *)((size_t)address & ~(pages->granularity - 1));
    struct region *region;
    size_t first, count, bytes;

    if (!size || !page_span(pages, base, address, size, &first, &count))
        return alloc_unaccounted(address, size, type, protect, mem);
    count += first;
    bytes = type & MEM_COMMIT ? count * pages->page_size : 0;
    if (!make_room(pages) || !(region = region_alloc(count)))
        return refuse(E_OUTOFMEMORY, ERROR_NOT_ENOUGH_MEMORY);
    if (bytes && !ledger_charge(pages->ledger, LEDGER_PAGES, bytes, level, true))
    {
        system_free(GetProcessHeap(), region);
        return refuse(E_OUTOFMEMORY, ERROR_COMMITMENT_LIMIT);
    }
    if (!(*mem = VirtualAlloc(address, size, type, protect)))
    {
        HRESULT hr = last_error_hr();
        DWORD error = GetLastError();

        if (bytes) ledger_credit(pages->ledger, LEDGER_PAGES, bytes);
        system_free(GetProcessHeap(), region);
        return refuse(hr, error);
    }
    region->base = *mem;
    if (bytes) set_charged(region, 0, count, true);
    region_insert(pages, region);
    return S_OK;
}

static HRESULT commit(struct pages *pages, char *address, size_t size, DWORD type, DWORD protect,
        unsigned int level, void **mem)
{
    struct region *region = region_find(pages, address);
    MEMORY_BASIC_INFORMATION info;
    size_t first, count, bytes;
    HRESULT hr;

    /* Address space that someone else reserved cannot be accounted for. */
    if (!region && VirtualQuery(address, &info, sizeof(info)) && info.State != MEM_FREE)
        return refuse(HOST_E_INVALIDOPERATION, ERROR_INVALID_ADDRESS);
    if (!region || !size || !page_span(pages, region->base, address, size, &first, &count)
            || count > region->pages - first)
        return alloc_unaccounted(address, size, type, protect, mem);

    bytes = (count - count_charged(region, first, count)) * pages->page_size;
    if (bytes && !ledger_charge(pages->ledger, LEDGER_PAGES, bytes, level, true))
        return refuse(E_OUTOFMEMORY, ERROR_COMMITMENT_LIMIT);
    if (!(*mem = VirtualAlloc(address, size, type, protect)))
    {
        DWORD error = GetLastError();

        hr = last_error_hr();
        if (bytes) ledger_credit(pages->ledger, LEDGER_PAGES, bytes);
        return refuse(hr, error);
    }
    set_charged(region, first, count, true);
    return S_OK;
}

HRESULT pages_alloc(struct pages *pages, void *address, size_t size, DWORD type, DWORD protect,
        unsigned int level, void **mem)
{
    DWORD error = GetLastError();
    HRESULT hr;

    *mem = NULL;
    ledger_note_level(pages->ledger, level);
    /* MEM_RESET and its kin take nothing. */
    if (!(type & (MEM_RESERVE | MEM_COMMIT))) return alloc_unaccounted(address, size, type, protect, mem);

    /* The owner of the lock is dead and so is everybody else: serve what still runs, without accounts. */
    if (!lock_acquire(&pages->lock)) return alloc_unaccounted(address, size, type, protect, mem);
    if ((type & MEM_RESERVE) || !address)
        hr = alloc_region(pages, address, size, type, protect, level, mem);
    else
        hr = commit(pages, address, size, type, protect, level, mem);
    lock_release(&pages->lock);

    if (SUCCEEDED(hr)) SetLastError(error);
    else if (hr == E_OUTOFMEMORY) ledger_note_refused(pages->ledger, size, level);
    return hr;
}

static HRESULT decommit(struct pages *pages, struct region *region, char *address, size_t size, DWORD type)
{
    size_t first = 0, count = region->pages, charged;

    /* Wine 8.0 would round a size near SIZE_MAX up to 0, which is the whole region. */
    if (size && !page_span(pages, region->base, address, size, &first, &count))
        return refuse(E_INVALIDARG, ERROR_INVALID_PARAMETER);
    /* Size 0 is the whole region too, and valid at its base only. */
    if (!VirtualFree(address, size, type)) return last_error_hr();

    count = min(count, region->pages - first);
    charged = count_charged(region, first, count);
    set_charged(region, first, count, false);
    ledger_credit(pages->ledger, LEDGER_PAGES, charged * pages->page_size);
    return S_OK;
}

static HRESULT release(struct pages *pages, struct region *region, char *address, size_t size, DWORD type)
{
    if (!VirtualFree(address, size, type)) return last_error_hr();
    region_remove(pages, region_index(pages, region->base));
    return S_OK;
}

HRESULT pages_free(struct pages *pages, void *address, size_t size, DWORD type)
{
    struct region *region;
    DWORD error = GetLastError();
    HRESULT hr;

    if (!lock_acquire(&pages->lock)) return VirtualFree(address, size, type) ? S_OK : last_error_hr();
    if (!(region = region_find(pages, address)))
    {
        ledger_note_invalid_free(pages->ledger);
        hr = refuse(HOST_E_INVALIDOPERATION, ERROR_INVALID_ADDRESS);
    }
    else if (type == MEM_DECOMMIT)
        hr = decommit(pages, region, address, size, type);
    else
        hr = release(pages, region, address, size, type);
    lock_release(&pages->lock);

    if (SUCCEEDED(hr)) SetLastError(error);
    return hr;
}

/* Any address: the runtime patches its own image and walks the whole address space. No lock, no record. */
HRESULT pages_query(void *address, void *buffer, size_t length, SIZE_T *result)
{
    size_t stored = VirtualQuery(address, buffer, length);

    if (result) *result = stored;
    return stored ? S_OK : last_error_hr();
}

HRESULT pages_protect(void *address, size_t size, DWORD protect, DWORD *old_protect)
{
    DWORD old = 0;
    BOOL done = VirtualProtect(address, size, protect, &old);

    if (old_protect) *old_protect = done ? old : 0;
    return done ? S_OK : last_error_hr();
}

HRESULT pages_create(struct ledger *ledger, struct pages **out)
{
    struct pages *pages;
    SYSTEM_INFO info;

    *out = NULL;
    if (!(pages = system_alloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(*pages)))) return E_OUTOFMEMORY;
    GetSystemInfo(&info);
    pages->page_size = info.dwPageSize;
    pages->granularity = info.dwAllocationGranularity;
    pages->ledger = ledger;
    *out = pages;
    return S_OK;
}

/* What the runtime still holds stays: nothing obliges it to give pages back, and they may be in use. */
void pages_destroy(struct pages *pages)
{
    size_t i;

    for (i = 0; i < pages->count; i++)
        system_free(GetProcessHeap(), pages->regions[i]);
    if (pages->regions) system_free(GetProcessHeap(), pages->regions);
    system_free(GetProcessHeap(), pages);
}
