/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The accounts and the limit. Counters are size_t: what is counted lies in the address space.
 */

#include "mscoreehost_private.h"

static size_t load_size(const size_t *value)
{
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void store_size(size_t *value, size_t size)
{
    __atomic_store_n(value, size, __ATOMIC_RELAXED);
}

static void raise_peak(size_t *peak, size_t now)
{
    size_t old = load_size(peak);

    while (old < now && !__atomic_compare_exchange_n(peak, &old, now, true, __ATOMIC_RELAXED,
            __ATOMIC_RELAXED))
        ;
}

static void gauge_add(struct ledger_gauge *gauge, size_t amount)
{
    raise_peak(&gauge->peak, __atomic_add_fetch(&gauge->now, amount, __ATOMIC_RELAXED));
}

static void gauge_sub(struct ledger_gauge *gauge, size_t amount)
{
    __atomic_fetch_sub(&gauge->now, amount, __ATOMIC_RELAXED);
}

static size_t percent_of(size_t size, unsigned int percent)
{
    return size / 100 * percent + size % 100 * percent / 100;
}

HRESULT ledger_create(const struct ledger_limit *limit, struct ledger **out)
{
    struct ledger *ledger;

    *out = NULL;
    if (!(ledger = system_alloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(*ledger)))) return E_OUTOFMEMORY;
    if (!(ledger->alarm = CreateEventW(NULL, FALSE, FALSE, NULL)))
    {
        HRESULT hr = HRESULT_FROM_WIN32(GetLastError());

        system_free(GetProcessHeap(), ledger);
        return hr;
    }
    ledger->refcount = 1;
    ledger->alarm_mark = SIZE_MAX;
    ledger_set_limit(ledger, limit);
    *out = ledger;
    return S_OK;
}

void ledger_addref(struct ledger *ledger)
{
    InterlockedIncrement(&ledger->refcount);
}

void ledger_release(struct ledger *ledger)
{
    if (InterlockedDecrement(&ledger->refcount)) return;
    CloseHandle(ledger->alarm);
    system_free(GetProcessHeap(), ledger);
}

void ledger_set_limit(struct ledger *ledger, const struct ledger_limit *limit)
{
    bool locked = lock_acquire(&ledger->limit_lock);

    ledger->limit = *limit;
    store_size(&ledger->ceiling[eProcessCritical], limit->limit);
    store_size(&ledger->ceiling[eAppDomainCritical], limit->limit - limit->reserve_process);
    store_size(&ledger->ceiling[eTaskCritical],
            limit->limit - limit->reserve_process - limit->reserve_appdomain);
    if (locked) lock_release(&ledger->limit_lock);
}

void ledger_get_limit(struct ledger *ledger, struct ledger_limit *limit)
{
    bool locked = lock_acquire(&ledger->limit_lock);

    *limit = ledger->limit;
    if (locked) lock_release(&ledger->limit_lock);
}

/* SetEvent takes no lock of ours and waits for nobody, so it may be called from inside a request. */
static void sound_alarm(struct ledger *ledger)
{
    if (InterlockedExchange(&ledger->alarm_armed, FALSE)) SetEvent(ledger->alarm);
}

/* The exchange succeeds only from a value that leaves room: the sum never exceeds the ceiling, not even for a
 * moment. */
static bool try_charge(struct ledger *ledger, size_t bytes, unsigned int level)
{
    size_t ceiling = load_size(&ledger->ceiling[level]);
    size_t now = load_size(&ledger->committed.now);

    do
    {
        if (now > ceiling || bytes > ceiling - now) return false;
    }
    while (!__atomic_compare_exchange_n(&ledger->committed.now, &now, now + bytes, true,
            __ATOMIC_RELAXED, __ATOMIC_RELAXED));

    now += bytes;
    raise_peak(&ledger->committed.peak, now);
    if (now >= load_size(&ledger->alarm_mark)) sound_alarm(ledger);
    return true;
}

bool ledger_charge(struct ledger *ledger, enum ledger_account account, size_t bytes, unsigned int level,
        bool urgent)
{
    if (!try_charge(ledger, bytes, level)
            && !(urgent && ledger_reclaim(ledger) && try_charge(ledger, bytes, level)))
        return false;
    gauge_add(&ledger->accounts[account], bytes);
    return true;
}

void ledger_credit(struct ledger *ledger, enum ledger_account account, size_t bytes)
{
    gauge_sub(&ledger->accounts[account], bytes);
    gauge_sub(&ledger->committed, bytes);
}

/* What could never fit is no sign of pressure. */
void ledger_note_refused(struct ledger *ledger, size_t bytes, unsigned int level)
{
    size_t ceiling = load_size(&ledger->ceiling[eTaskCritical]);

    __atomic_fetch_add(&ledger->refused[level], 1, __ATOMIC_RELAXED);
    if (level == eProcessCritical || ceiling == SIZE_MAX || bytes > ceiling) return;
    InterlockedExchange(&ledger->refused_lately, TRUE);
    sound_alarm(ledger);
}

void ledger_add_region(struct ledger *ledger, size_t bytes)
{
    gauge_add(&ledger->regions, 1);
    gauge_add(&ledger->reserved, bytes);
}

void ledger_remove_region(struct ledger *ledger, size_t bytes)
{
    gauge_sub(&ledger->reserved, bytes);
    gauge_sub(&ledger->regions, 1);
}

void ledger_add_view(struct ledger *ledger, size_t bytes)
{
    __atomic_fetch_add(&ledger->views, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&ledger->view_bytes, bytes, __ATOMIC_RELAXED);
}

void ledger_remove_view(struct ledger *ledger, size_t bytes)
{
    __atomic_fetch_sub(&ledger->view_bytes, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&ledger->views, 1, __ATOMIC_RELAXED);
}

void ledger_note_invalid_free(struct ledger *ledger)
{
    __atomic_fetch_add(&ledger->invalid_frees, 1, __ATOMIC_RELAXED);
}

void ledger_add_holder(struct ledger *ledger, struct ledger_holder *holder)
{
    bool locked = lock_acquire(&ledger->holders_lock);

    holder->next = ledger->holders;
    ledger->holders = holder;
    if (locked) lock_release(&ledger->holders_lock);
}

/* With the lock held. */
static void sum_usage(struct ledger *ledger, struct heap_usage *sum)
{
    struct ledger_holder *holder;
    struct heap_usage usage;

    memset(sum, 0, sizeof(*sum));
    for (holder = ledger->holders; holder; holder = holder->next)
    {
        heap_get_usage(holder->heap, &usage);
        sum->live_bytes += usage.live_bytes;
        sum->live_blocks += usage.live_blocks;
        sum->peak_live_bytes += usage.peak_live_bytes;
        sum->peak_live_blocks += usage.peak_live_blocks;
        sum->committed += usage.committed;
    }
    if (sum->peak_live_bytes < ledger->peak_live_bytes) sum->peak_live_bytes = ledger->peak_live_bytes;
    if (sum->peak_live_blocks < ledger->peak_live_blocks) sum->peak_live_blocks = ledger->peak_live_blocks;
}

void ledger_remove_holder(struct ledger *ledger, struct ledger_holder *holder)
{
    bool locked = lock_acquire(&ledger->holders_lock);
    struct ledger_holder **link;
    struct heap_usage usage;

    sum_usage(ledger, &usage);
    ledger->peak_live_bytes = usage.peak_live_bytes;
    ledger->peak_live_blocks = usage.peak_live_blocks;
    for (link = &ledger->holders; *link; link = &(*link)->next)
    {
        if (*link != holder) continue;
        *link = holder->next;
        break;
    }
    if (locked) lock_release(&ledger->holders_lock);
}

size_t ledger_reclaim(struct ledger *ledger)
{
    struct ledger_holder *holder;
    size_t bytes = 0;

    if (!lock_acquire(&ledger->holders_lock)) return 0;
    for (holder = ledger->holders; holder; holder = holder->next)
        bytes += heap_trim(holder->heap);
    lock_release(&ledger->holders_lock);
    return bytes;
}

void ledger_note_spare(struct ledger *ledger)
{
    InterlockedExchange(&ledger->spare, TRUE);
    SetEvent(ledger->alarm);
}

bool ledger_tend(struct ledger *ledger)
{
    struct ledger_holder *holder;
    bool again = false;

    if (!InterlockedExchange(&ledger->spare, FALSE)) return false;
    if (!lock_acquire(&ledger->holders_lock)) return false;
    for (holder = ledger->holders; holder; holder = holder->next)
        again |= heap_tend(holder->heap);
    lock_release(&ledger->holders_lock);
    if (again) InterlockedExchange(&ledger->spare, TRUE);
    return again;
}

void ledger_get_usage(struct ledger *ledger, struct heap_usage *usage)
{
    bool locked = lock_acquire(&ledger->holders_lock);

    sum_usage(ledger, usage);
    if (locked) lock_release(&ledger->holders_lock);
}

bool ledger_get_load(struct ledger *ledger, unsigned int *load, size_t *available)
{
    size_t limit = load_size(&ledger->ceiling[eProcessCritical]);
    size_t now = load_size(&ledger->committed.now);

    if (limit == SIZE_MAX) return false;
    /* Below the limit unless that was lowered since. */
    *available = now < limit ? limit - now : 0;
    *load = now < limit ? (unsigned int)((ULONGLONG)now * 100 / limit) : 100;
    return true;
}

void ledger_arm(struct ledger *ledger, unsigned int percent)
{
    size_t ceiling = load_size(&ledger->ceiling[eTaskCritical]);

    store_size(&ledger->alarm_mark, ceiling == SIZE_MAX ? SIZE_MAX : percent_of(ceiling, percent));
    InterlockedExchange(&ledger->alarm_armed, TRUE);
}

bool ledger_above(struct ledger *ledger, unsigned int percent)
{
    size_t ceiling = load_size(&ledger->ceiling[eTaskCritical]);

    return ceiling != SIZE_MAX && load_size(&ledger->committed.now) >= percent_of(ceiling, percent);
}
