/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Tells the runtime when memory is short and when that is over, from a thread of its own and with no lock
 * held: the runtime may allocate from inside the call. The system's notification objects are no source (Wine
 * 8.0 never signals them), so the thread looks for itself, and the ledger wakes it when the limit comes near.
 */

#include "mscoreehost_private.h"

/* A published runtime answers Low at most every 8192 ms; with this gap at most three fall into any 20 s, also
 * when one of them is the repetition after the runtime's start. */
#define LOW_GAP 10000

/* How long a refusal counts as pressure. */
#define REFUSAL_AGE 1000

/* How old a look at the machine may be before GetMemoryLoad takes another, when no thread keeps it fresh. */
#define SAMPLE_AGE 1000

/* Above every percentage. */
#define NOT_SIMULATED 101

struct pressure
{
    volatile LONG refcount;             /* the manager's, and the thread's while it runs */
    struct ledger *ledger;              /* one reference */
    unsigned int low;                   /* percent, of the limit */
    unsigned int neutral;
    unsigned int high;
    unsigned int machine_low;           /* percent, of the machine */
    unsigned int machine_neutral;
    unsigned int poll;
    bool notify;

    /* The machine as last seen, for readers without a lock. */
    size_t machine_available;
    volatile LONG machine_load;
    volatile LONG sampled;              /* GetTickCount */
    volatile LONG sampling;
    volatile LONG simulated_load;       /* NOT_SIMULATED: look at the machine */
    size_t simulated_available;

    struct lock lock;
    ICLRMemoryNotificationCallback *callback;   /* one reference */
    volatile LONG running;              /* there is a thread; it leaves only after it has cleared this */
    DWORD thread_id;
    HANDLE idle;                        /* set while no call is under way */
    volatile LONG is_new;               /* the callback has not been told anything */
    size_t told[eMemoryAvailableHigh + 1];

    /* Written by the thread alone. */
    volatile LONG is_low;
    bool told_low;
    bool told_ever;
    bool told_started;            /* the runtime had started when it was told last, or was told again since */
    ULONGLONG told_at;
    ULONGLONG refused_at;
    bool refused;
};

static void take_sample(struct pressure *pressure)
{
    MEMORYSTATUSEX status = { .dwLength = sizeof(status) };

    if (!GlobalMemoryStatusEx(&status)) return;
    InterlockedExchange(&pressure->machine_load, min(status.dwMemoryLoad, 100));
    __atomic_store_n(&pressure->machine_available, (size_t)min(status.ullAvailPhys, SIZE_MAX),
            __ATOMIC_RELAXED);
    InterlockedExchange(&pressure->sampled, GetTickCount());
}

/* The runtime asks with its threads stopped wherever they were, in Wine's own C library too, whose locks
 * GlobalMemoryStatusEx may need. With a callback registered the thread keeps the sample fresh and nobody else
 * looks. */
static void refresh_sample(struct pressure *pressure)
{
    if (pressure->running || GetTickCount() - (DWORD)pressure->sampled < SAMPLE_AGE) return;
    if (InterlockedExchange(&pressure->sampling, TRUE)) return;
    take_sample(pressure);
    InterlockedExchange(&pressure->sampling, FALSE);
}

static void machine_load(struct pressure *pressure, unsigned int *load, size_t *available)
{
    if ((*load = pressure->simulated_load) != NOT_SIMULATED)
    {
        *available = __atomic_load_n(&pressure->simulated_available, __ATOMIC_RELAXED);
        return;
    }
    *load = pressure->machine_load;
    *available = __atomic_load_n(&pressure->machine_available, __ATOMIC_RELAXED);
}

void pressure_get_load(struct pressure *pressure, unsigned int *load, size_t *available)
{
    unsigned int limit_load;
    size_t limit_available;

    refresh_sample(pressure);
    machine_load(pressure, load, available);
    if (ledger_get_load(pressure->ledger, &limit_load, &limit_available))
    {
        *load = max(*load, limit_load);
        *available = min(*available, limit_available);
    }
    /* A runtime that was told Low must find it confirmed, whatever the reason was. */
    if (pressure->is_low) *load = max(*load, pressure->low);
}

void pressure_simulate(struct pressure *pressure, unsigned int load, size_t available)
{
    __atomic_store_n(&pressure->simulated_available, available, __ATOMIC_RELAXED);
    InterlockedExchange(&pressure->simulated_load, min(load, NOT_SIMULATED));
    SetEvent(pressure->ledger->alarm);
}

size_t pressure_get_told(struct pressure *pressure, EMemoryAvailable available)
{
    return __atomic_load_n(&pressure->told[available], __ATOMIC_RELAXED);
}

static void tell(struct pressure *pressure, EMemoryAvailable available)
{
    ICLRMemoryNotificationCallback *callback;

    if (!lock_acquire(&pressure->lock)) return;
    if ((callback = pressure->callback))
    {
        ICLRMemoryNotificationCallback_AddRef(callback);
        ResetEvent(pressure->idle);
    }
    lock_release(&pressure->lock);
    if (!callback) return;

    ICLRMemoryNotificationCallback_OnMemoryNotification(callback, available);
    ICLRMemoryNotificationCallback_Release(callback);
    __atomic_fetch_add(&pressure->told[available], 1, __ATOMIC_RELAXED);
    SetEvent(pressure->idle);
}

/* Low is told on the edge, again every LOW_GAP while it lasts, and once more as soon as the runtime has
 * started if it had not (it ignores what comes before). Its end is told once, and only to a runtime that was
 * told of it. */
static void look(struct pressure *pressure)
{
    ULONGLONG now = GetTickCount64();
    unsigned int load;
    size_t available;
    bool started;

    if (InterlockedExchange(&pressure->is_new, FALSE)) pressure->told_low = pressure->told_ever = false;
    take_sample(pressure);
    ledger_arm(pressure->ledger, pressure->low);
    if (InterlockedExchange(&pressure->ledger->refused_lately, FALSE))
    {
        pressure->refused = true;
        pressure->refused_at = now;
    }
    if (now - pressure->refused_at >= REFUSAL_AGE) pressure->refused = false;

    machine_load(pressure, &load, &available);
    if (pressure->refused || load >= pressure->machine_low || ledger_above(pressure->ledger, pressure->low))
        InterlockedExchange(&pressure->is_low, TRUE);
    else if (load < pressure->machine_neutral && !ledger_above(pressure->ledger, pressure->neutral))
        InterlockedExchange(&pressure->is_low, FALSE);

    if (pressure->is_low)
    {
        started = pressure->ledger->started;
        if (pressure->told_ever && now - pressure->told_at < LOW_GAP
                && !(pressure->told_low && started && !pressure->told_started))
            return;
        pressure->told_low = pressure->told_ever = true;
        pressure->told_started = started;
        pressure->told_at = now;
        tell(pressure, eMemoryAvailableLow);
    }
    else if (pressure->told_low)
    {
        pressure->told_low = false;
        if (load < pressure->high && !ledger_above(pressure->ledger, pressure->high))
            tell(pressure, eMemoryAvailableHigh);
        else
            tell(pressure, eMemoryAvailableNeutral);
    }
}

static void pressure_release(struct pressure *pressure)
{
    if (InterlockedDecrement(&pressure->refcount)) return;
    CloseHandle(pressure->idle);
    ledger_release(pressure->ledger);
    system_free(GetProcessHeap(), pressure);
}

/* Under the lock, so that whoever registers a callback either finds a thread that stays or starts one. */
static bool is_wanted(struct pressure *pressure)
{
    bool wanted;

    if (!lock_acquire(&pressure->lock)) return false;
    if (!(wanted = pressure->callback != NULL))
    {
        pressure->is_low = FALSE;
        pressure->running = FALSE;
    }
    lock_release(&pressure->lock);
    return wanted;
}

static DWORD WINAPI pressure_thread(void *arg)
{
    struct pressure *pressure = arg;
    DWORD looked = 0, since, wait;
    bool alarm = true;

    while (is_wanted(pressure))
    {
        since = GetTickCount() - looked;
        if (alarm || since >= pressure->poll)
        {
            look(pressure);
            looked = GetTickCount();
            since = 0;
        }
        wait = pressure->poll - since;
        if (ledger_tend(pressure->ledger)) wait = min(wait, HEAP_TEND_INTERVAL);
        alarm = WaitForSingleObject(pressure->ledger->alarm, wait) == WAIT_OBJECT_0;
    }
    pressure_release(pressure);
    return 0;
}

/* With the lock held. The DLL is pinned by now, so the thread cannot outlive its code. */
static HRESULT start_thread(struct pressure *pressure)
{
    HANDLE thread;

    if (pressure->running || !pressure->notify) return S_OK;
    InterlockedIncrement(&pressure->refcount);
    if (!(thread = CreateThread(NULL, 0, pressure_thread, pressure, 0, &pressure->thread_id)))
    {
        HRESULT hr = HRESULT_FROM_WIN32(GetLastError());

        InterlockedDecrement(&pressure->refcount);
        return hr;
    }
    CloseHandle(thread);
    pressure->running = TRUE;
    return S_OK;
}

/* NULL ends notifications: after the return there is no call under way (but the one this is called from), and
 * none follows. */
HRESULT pressure_set_callback(struct pressure *pressure, ICLRMemoryNotificationCallback *callback)
{
    ICLRMemoryNotificationCallback *old;
    HRESULT hr = S_OK;
    bool self;

    if (!lock_acquire(&pressure->lock)) return S_OK;
    self = pressure->running && pressure->thread_id == GetCurrentThreadId();
    if (callback && FAILED(hr = start_thread(pressure)))
    {
        lock_release(&pressure->lock);
        return hr;
    }
    old = pressure->callback;
    if ((pressure->callback = callback)) ICLRMemoryNotificationCallback_AddRef(callback);
    InterlockedExchange(&pressure->is_new, TRUE);
    lock_release(&pressure->lock);

    SetEvent(pressure->ledger->alarm);
    if (!old) return S_OK;
    if (!self)
        while (WaitForSingleObject(pressure->idle, 100) == WAIT_TIMEOUT && !process_is_ending())
            ;
    ICLRMemoryNotificationCallback_Release(old);
    return S_OK;
}

/* With 80 GiB and more a tenth of the machine is a lot; the collectors of published runtimes draw this line
 * too. Somebody's own choice stands. */
static unsigned int machine_low_load(unsigned int low)
{
    MEMORYSTATUSEX status = { .dwLength = sizeof(status) };
    SYSTEM_INFO info;

    if (low != DEFAULT_LOW_LOAD) return low;
    if (!GlobalMemoryStatusEx(&status) || status.ullTotalPhys < 80ull << 30) return low;
    GetSystemInfo(&info);
    return 100 - min(10, 3 + 47 / info.dwNumberOfProcessors);
}

HRESULT pressure_create(struct ledger *ledger, const struct host_options *options, struct pressure **out)
{
    struct pressure *pressure;
    HRESULT hr;

    *out = NULL;
    if (!(pressure = system_alloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(*pressure))))
        return E_OUTOFMEMORY;
    if (!(pressure->idle = CreateEventW(NULL, TRUE, TRUE, NULL)))
    {
        hr = HRESULT_FROM_WIN32(GetLastError());
        system_free(GetProcessHeap(), pressure);
        return hr;
    }
    pressure->refcount = 1;
    ledger_addref(ledger);
    pressure->ledger = ledger;
    pressure->low = options->low;
    pressure->neutral = options->neutral;
    pressure->high = options->high;
    pressure->machine_low = machine_low_load(options->low);
    pressure->machine_neutral = pressure->machine_low - (options->low - options->neutral);
    pressure->poll = options->poll;
    pressure->notify = options->notify;
    pressure->simulated_load = NOT_SIMULATED;
    take_sample(pressure);
    *out = pressure;
    return S_OK;
}

void pressure_destroy(struct pressure *pressure)
{
    pressure_set_callback(pressure, NULL);
    pressure_release(pressure);
}
