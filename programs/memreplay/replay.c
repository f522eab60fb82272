/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Plays a trace on a host: a real thread for each recorded one, which waits for another only where it frees
 * or changes what that other one makes. Everything the host answers is looked at.
 */

#include <string.h>
#include "memreplay.h"

#define POISON ((void *)(UINT_PTR)0xdeadbeef)
#define LAST_ERROR 0x5ca1ab1e       /* a value that no call sets */

/* Values of a block's mem, and of a page event's gate, besides an address. */
#define NOT_YET NULL
#define REFUSED ((void *)2)
#define OPEN ((void *)4)
#define WAITER_BIT 1                /* somebody waits: the rest is the address of its struct worker */

#define SPIN_COUNT 200
#define YIELD_COUNT 2
#define BATCH 64                    /* events of a thread between two looks at the common counter */
#define SAMPLE_COUNT 1000
#define WRONG_SHOWN 20
#define STUCK_SECONDS 120
#define WORKER_STACK 0x10000

struct worker
{
    struct replay *replay;
    const struct event *events;
    DWORD count;
    DWORD thread;
    struct worker *next;            /* starts when this one has ended */
    bool has_previous;
    HANDLE handle;

    SRWLOCK lock;
    CONDITION_VARIABLE wake;
    bool woken;

    struct tally tally;             /* written by its own thread alone */
};

struct replay
{
    struct trace *trace;
    const struct host *host;
    const struct replay_options *options;
    struct replay_result *result;

    struct worker *workers;
    DWORD worker_count;
    HANDLE start;
    LARGE_INTEGER start_time, frequency;

    LONG events_done;
    DWORD batch, interval;
    LONG sample_count;
    LONG wrong;
};

static const DWORD protections[] = {PAGE_NOACCESS, PAGE_READWRITE, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE};

static void wrong(struct replay *replay, const char *format, ...) PRINTF_LIKE(2, 3);

static void wrong(struct replay *replay, const char *format, ...)
{
    LONG number = InterlockedIncrement(&replay->wrong);
    char text[256];
    va_list args;

    if (number > WRONG_SHOWN) return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    complain("wrong: %s%s", text, number == WRONG_SHOWN ? " (more are only counted)" : "");
}

/* ---- hand-over between threads ---- */

/* A gate opens once and has one waiter at most: a block dies once, and an event of a region has one
 * successor. */
static void gate_open(void **gate, void *value)
{
    void *waiting = InterlockedExchangePointer(gate, value);
    struct worker *worker;

    if (waiting == NOT_YET) return;
    worker = (struct worker *)((UINT_PTR)waiting & ~(UINT_PTR)WAITER_BIT);
    AcquireSRWLockExclusive(&worker->lock);
    worker->woken = true;
    WakeConditionVariable(&worker->wake);
    ReleaseSRWLockExclusive(&worker->lock);
}

static void *gate_wait(struct worker *worker, void **gate)
{
    unsigned int i;
    void *value;

    for (i = 0; i < SPIN_COUNT + YIELD_COUNT; ++i)
    {
        if ((value = __atomic_load_n(gate, __ATOMIC_ACQUIRE)) != NOT_YET) return value;
        if (i < SPIN_COUNT) YieldProcessor();
        else SwitchToThread();
    }

    worker->woken = false;
    value = InterlockedCompareExchangePointer(gate, (void *)((UINT_PTR)worker | WAITER_BIT), NOT_YET);
    if (value != NOT_YET) return value;
    AcquireSRWLockExclusive(&worker->lock);
    while (!worker->woken) SleepConditionVariableSRW(&worker->wake, &worker->lock, INFINITE, 0);
    ReleaseSRWLockExclusive(&worker->lock);
    return __atomic_load_n(gate, __ATOMIC_ACQUIRE);
}

/* ---- heap events ---- */

static uint64_t pattern_of(uint64_t id)
{
    return (id + 1) * 0x9e3779b97f4a7c15;
}

static void fill_block(void *mem, SIZE_T size, uint64_t pattern)
{
    char *p = mem;

    for (; size >= sizeof(pattern); p += sizeof(pattern), size -= sizeof(pattern))
        memcpy(p, &pattern, sizeof(pattern));
    memcpy(p, &pattern, size);
}

static bool block_is_filled(const void *mem, SIZE_T size, uint64_t pattern)
{
    const char *p = mem;
    uint64_t word;

    for (; size >= sizeof(pattern); p += sizeof(pattern), size -= sizeof(pattern))
    {
        memcpy(&word, p, sizeof(word));
        if (word != pattern) return false;
    }
    return !memcmp(p, &pattern, size);
}

static void check_block(struct worker *worker, DWORD id, const void *mem, SIZE_T size, DWORD filled_as)
{
    if (!worker->replay->options->fill || block_is_filled(mem, size, pattern_of(filled_as))) return;
    wrong(worker->replay, "block %lu at %p, %" PRIu64 " bytes: the contents were overwritten", id, mem,
            (uint64_t)size);
}

/* A refused block is REFUSED from birth to death; so is one that a wrong host left us without. */
static void *alloc_block(struct worker *worker, DWORD id)
{
    struct replay *replay = worker->replay;
    SIZE_T size = replay->trace->blocks[id].size;
    EMemoryCriticalLevel level = replay->options->level;
    void *mem = POISON;
    HRESULT hr;

    hr = IHostMalloc_Alloc(replay->host->malloc, size, level, &mem);
    if (hr == S_OK)
    {
        if (mem && mem != POISON && !((UINT_PTR)mem % MEMORY_ALLOCATION_ALIGNMENT))
        {
            ++worker->tally.live_blocks;
            worker->tally.live_bytes += size;
            return mem;
        }
        wrong(replay, "block %lu, %" PRIu64 " bytes: Alloc gives S_OK and %p", id, (uint64_t)size, mem);
        return REFUSED;
    }
    if (hr != E_OUTOFMEMORY || mem)
        wrong(replay, "block %lu, %" PRIu64 " bytes: Alloc gives %#lx and %p", id, (uint64_t)size, hr, mem);
    ++worker->tally.refused[level];
    return REFUSED;
}

static void free_block(struct worker *worker, DWORD id, void *mem)
{
    struct replay *replay = worker->replay;
    HRESULT hr;

    --worker->tally.live_blocks;
    worker->tally.live_bytes -= replay->trace->blocks[id].size;
    if ((hr = IHostMalloc_Free(replay->host->malloc, mem)) != S_OK)
        wrong(replay, "block %lu at %p: Free gives %#lx", id, mem, hr);
}

static void publish_block(struct block *block, const struct event *event, void *mem)
{
    if (event->flags & EVENT_HANDS_OVER) gate_open(&block->mem, mem);
    else block->mem = mem;
}

static void *take_block(struct worker *worker, struct block *block, const struct event *event)
{
    return event->flags & EVENT_TAKES_OVER ? gate_wait(worker, &block->mem) : block->mem;
}

static void replay_alloc(struct worker *worker, const struct event *event)
{
    struct block *block = &worker->replay->trace->blocks[event->id];
    void *mem = alloc_block(worker, event->id);

    if (mem != REFUSED)
    {
        if (event->kind == EVENT_ALLOC_ZEROED) memset(mem, 0, block->size);
        if (worker->replay->options->fill) fill_block(mem, block->size, pattern_of(event->id));
    }
    publish_block(block, event, mem);
}

/* The host cannot reallocate, so a runtime on it does what this does. The copy is checked before the new
 * block is filled, and the old one after that: wherever the two overlap, one of the looks sees it. */
static void replay_realloc(struct worker *worker, const struct event *event)
{
    struct block *block = &worker->replay->trace->blocks[event->id], *old = NULL;
    void *old_mem = REFUSED, *mem;
    SIZE_T common = 0;

    if (event->old)
    {
        old = &worker->replay->trace->blocks[event->old];
        old_mem = take_block(worker, old, event);
        common = min(block->size, old->size);
    }
    mem = alloc_block(worker, event->id);
    if (mem != REFUSED && old_mem != REFUSED)
    {
        memcpy(mem, old_mem, common);
        check_block(worker, event->id, mem, common, event->old);
    }
    if (mem != REFUSED && worker->replay->options->fill) fill_block(mem, block->size, pattern_of(event->id));
    if (old)
    {
        old->mem = REFUSED;
        if (old_mem != REFUSED)
        {
            check_block(worker, event->old, old_mem, old->size, event->old);
            free_block(worker, event->old, old_mem);
        }
    }
    publish_block(block, event, mem);
}

static void replay_free(struct worker *worker, const struct event *event)
{
    struct block *block = &worker->replay->trace->blocks[event->id];
    void *mem = take_block(worker, block, event);

    block->mem = REFUSED;
    if (mem == REFUSED)
    {
        ++worker->tally.skipped;
        return;
    }
    check_block(worker, event->id, mem, block->size, event->id);
    free_block(worker, event->id, mem);
}

/* ---- page events ---- */

static uint64_t *page_mark(const struct region *region, SIZE_T offset, bool at_end)
{
    return (uint64_t *)(region->base + offset + (at_end ? TRACE_PAGE - sizeof(uint64_t) : 0));
}

static void stamp_pages(struct worker *worker, DWORD id, const struct page_step *step)
{
    struct region *region = &worker->replay->trace->regions[id];
    SIZE_T offset;

    for (offset = step->offset; offset < step->offset + step->size; offset += TRACE_PAGE)
    {
        uint64_t *first = page_mark(region, offset, false), *last = page_mark(region, offset, true);

        if (*first || *last)
            wrong(worker->replay, "region %lu: the new page at %p is not zero", id, region->base + offset);
        *first = pattern_of(((uint64_t)id << 32) ^ offset);
        *last = ~*first;
    }
}

static void check_pages(struct worker *worker, DWORD id, const struct page_step *step)
{
    struct region *region = &worker->replay->trace->regions[id];
    SIZE_T offset;

    for (offset = step->offset; offset < step->offset + step->size; offset += TRACE_PAGE)
    {
        uint64_t mark = pattern_of(((uint64_t)id << 32) ^ offset);

        if (*page_mark(region, offset, false) != mark || *page_mark(region, offset, true) != ~mark)
            wrong(worker->replay, "region %lu: the page at %p was overwritten", id, region->base + offset);
    }
}

/* False: refused, or wrong. */
static bool commit_pages(
        struct worker *worker, DWORD id, const struct page_step *step, void *address, DWORD type)
{
    struct replay *replay = worker->replay;
    struct region *region = &replay->trace->regions[id];
    EMemoryCriticalLevel level = replay->options->level;
    void *mem = POISON;
    HRESULT hr;

    hr = IHostMemoryManager_VirtualAlloc(replay->host->manager, address, step->size, type,
            protections[step->prot], level, &mem);
    if (hr == S_OK && mem && mem != POISON && (address ? mem == address : !((UINT_PTR)mem & 0xffff)))
    {
        if (!address)
        {
            region->base = mem;
            ++worker->tally.regions;
        }
        region->committed += step->committed;
        worker->tally.pages_committed += step->committed;
        if (GetLastError() != LAST_ERROR)
            wrong(replay, "region %lu: VirtualAlloc succeeds and sets the last error to %lu", id,
                    GetLastError());
        return true;
    }
    if (hr == E_OUTOFMEMORY && !mem) ++worker->tally.refused[level];
    else
        wrong(replay, "region %lu, %" PRIu64 " bytes: VirtualAlloc gives %#lx and %p", id,
                (uint64_t)step->size, hr, mem);
    return false;
}

static void protect_pages(struct worker *worker, DWORD id, const struct page_step *step)
{
    struct replay *replay = worker->replay;
    DWORD old = 0xdeadbeef;
    HRESULT hr;

    hr = IHostMemoryManager_VirtualProtect(replay->host->manager,
            replay->trace->regions[id].base + step->offset, step->size, protections[step->prot], &old);
    if (hr != S_OK || old != protections[step->old_prot])
        wrong(replay, "region %lu: VirtualProtect gives %#lx and old protection %#lx, not %#lx", id, hr, old,
                protections[step->old_prot]);
}

static void free_pages(struct worker *worker, DWORD id, const struct page_step *step)
{
    struct replay *replay = worker->replay;
    struct region *region = &replay->trace->regions[id];
    bool release = step->action == PAGES_RELEASE;
    SIZE_T committed = release ? region->committed : step->committed;
    HRESULT hr;

    hr = IHostMemoryManager_VirtualFree(replay->host->manager, region->base + step->offset,
            release ? 0 : step->size, release ? MEM_RELEASE : MEM_DECOMMIT);
    if (hr != S_OK)
    {
        wrong(replay, "region %lu at %p: VirtualFree gives %#lx", id, region->base, hr);
        return;
    }
    worker->tally.pages_committed -= committed;
    region->committed -= committed;
    if (!release) return;
    --worker->tally.regions;
    region->base = NULL;
}

static void run_steps(struct worker *worker, DWORD id, const struct page_step *step, DWORD count)
{
    struct region *region = &worker->replay->trace->regions[id];
    bool fill = worker->replay->options->fill, good;

    for (; count; --count, ++step)
    {
        SetLastError(LAST_ERROR);
        good = true;
        /* What was refused is not there to be changed; but the reservation is still to be released. */
        if (region->damaged && (step->action != PAGES_RELEASE || !region->base)) continue;
        switch (step->action)
        {
            case PAGES_RESERVE:
                good = commit_pages(worker, id, step, NULL, MEM_RESERVE);
                break;
            case PAGES_RESERVE_COMMIT:
                good = commit_pages(worker, id, step, NULL, MEM_RESERVE | MEM_COMMIT);
                break;
            case PAGES_COMMIT:
                good = commit_pages(worker, id, step, region->base + step->offset, MEM_COMMIT);
                break;
            case PAGES_PROTECT:
                protect_pages(worker, id, step);
                break;
            case PAGES_STAMP:
                if (fill) stamp_pages(worker, id, step);
                break;
            case PAGES_CHECK:
                if (fill) check_pages(worker, id, step);
                break;
            default:
                free_pages(worker, id, step);
                break;
        }
        if (!good) region->damaged = true;
    }
}

static void replay_pages(struct worker *worker, const struct event *event)
{
    struct trace *trace = worker->replay->trace;
    struct page_event *page_event = &trace->page_events[event->id];
    struct region *region = &trace->regions[page_event->region];

    if (event->flags & EVENT_TAKES_OVER) gate_wait(worker, &trace->page_events[page_event->previous].gate);
    if (region->damaged) ++worker->tally.skipped;
    run_steps(worker, page_event->region, &trace->steps[page_event->step_first], page_event->step_count);
    if (event->flags & EVENT_HANDS_OVER) gate_open(&page_event->gate, OPEN);
}

/* ---- threads ---- */

/* Exact once the threads have ended; good enough for a time line before. */
static void sum_tallies(const struct replay *replay, struct tally *sum)
{
    DWORD i, level;

    memset(sum, 0, sizeof(*sum));
    for (i = 0; i < replay->worker_count; ++i)
    {
        const struct tally *tally = &replay->workers[i].tally;

        sum->live_blocks += tally->live_blocks;
        sum->live_bytes += tally->live_bytes;
        sum->regions += tally->regions;
        sum->pages_committed += tally->pages_committed;
        sum->skipped += tally->skipped;
        for (level = 0; level < ARRAY_SIZE(sum->refused); ++level)
            sum->refused[level] += tally->refused[level];
    }
}

static double seconds_since_start(const struct replay *replay)
{
    LARGE_INTEGER now;

    QueryPerformanceCounter(&now);
    return (double)(now.QuadPart - replay->start_time.QuadPart) / replay->frequency.QuadPart;
}

static void take_sample(struct replay *replay, uint64_t events)
{
    struct sample *sample = &replay->result->samples[InterlockedIncrement(&replay->sample_count) - 1];

    sample->seconds = seconds_since_start(replay);
    sample->events = events;
    host_statistics(replay->host, &sample->stats);
    sum_tallies(replay, &sample->tally);
    if (sample->stats.limit && sample->stats.committed > sample->stats.limit)
        wrong(replay, "%" PRIu64 " bytes are committed, the limit is %" PRIu64,
                (uint64_t)sample->stats.committed, (uint64_t)sample->stats.limit);
}

static void count_events(struct replay *replay, DWORD count)
{
    DWORD before = InterlockedExchangeAdd(&replay->events_done, count);

    if (replay->options->sample && before / replay->interval != (before + count) / replay->interval)
        take_sample(replay, before + count);
}

static bool start_worker(struct worker *worker);

static DWORD WINAPI worker_main(void *context)
{
    struct worker *worker = context;
    struct replay *replay = worker->replay;
    const struct event *event, *end = worker->events + worker->count;
    DWORD pending = 0;

    if (!worker->has_previous) WaitForSingleObject(replay->start, INFINITE);
    for (event = worker->events; event < end; ++event)
    {
        switch (event->kind)
        {
            case EVENT_ALLOC:
            case EVENT_ALLOC_ZEROED:
                replay_alloc(worker, event);
                break;
            case EVENT_REALLOC:
                replay_realloc(worker, event);
                break;
            case EVENT_FREE:
                replay_free(worker, event);
                break;
            default:
                replay_pages(worker, event);
                break;
        }
        if (++pending < replay->batch) continue;
        count_events(replay, pending);
        pending = 0;
    }
    count_events(replay, pending);
    /* The others wait for what the next one has to do, so without it there is no way to go on. */
    if (worker->next && !start_worker(worker->next)) ExitProcess(STATUS_SYSTEM);
    return 0;
}

static bool start_worker(struct worker *worker)
{
    HANDLE handle =
            CreateThread(NULL, WORKER_STACK, worker_main, worker, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);

    if (!handle)
    {
        complain_system(GetLastError(), "cannot start recorded thread %lu", worker->thread);
        return false;
    }
    worker->handle = handle;
    return true;
}

/* The events of each thread together, in their order. */
static bool sort_by_thread(struct trace *trace)
{
    struct event *sorted;
    DWORD i, thread, *next, start = 0;

    if (!(next = HeapAlloc(GetProcessHeap(), 0, trace->thread_count * sizeof(*next)))) return false;
    if (!(sorted = HeapAlloc(GetProcessHeap(), 0, trace->event_count * sizeof(*sorted))))
    {
        HeapFree(GetProcessHeap(), 0, next);
        return false;
    }
    for (thread = 0; thread < trace->thread_count; start += trace->spans[thread++].count)
        next[thread] = start;
    for (i = 0; i < trace->event_count; ++i) sorted[next[trace->events[i].thread]++] = trace->events[i];
    HeapFree(GetProcessHeap(), 0, trace->events);
    HeapFree(GetProcessHeap(), 0, next);
    trace->events = sorted;
    trace->by_thread = true;
    return true;
}

/* A recorded thread begins when one that had ended by then has ended here: as many threads are alive at a
 * time as were when the trace was recorded, and threads end in the middle of the traffic as they do in a
 * runtime. */
static void chain_workers(struct replay *replay)
{
    const struct trace *trace = replay->trace;
    struct worker *worker, *previous;
    DWORD i, j;

    for (i = 0; i < replay->worker_count; ++i)
    {
        worker = &replay->workers[i];
        for (j = 0; j < i && !worker->has_previous; ++j)
        {
            previous = &replay->workers[j];
            if (previous->next || trace->spans[j].last >= trace->spans[i].first) continue;
            previous->next = worker;
            worker->has_previous = true;
        }
    }
}

static bool make_workers(struct replay *replay)
{
    struct trace *trace = replay->trace;
    bool one = replay->options->one_thread;
    DWORD i, count = one ? 1 : trace->thread_count, start = 0;

    if (!one && !trace->by_thread && !sort_by_thread(trace)) return false;
    if (!(replay->workers = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, count * sizeof(*replay->workers))))
        return false;
    replay->worker_count = count;
    for (i = 0; i < count; ++i)
    {
        struct worker *worker = &replay->workers[i];

        worker->replay = replay;
        worker->thread = i;
        worker->events = trace->events + start;
        worker->count = one ? trace->event_count : trace->spans[i].count;
        start += worker->count;
        InitializeSRWLock(&worker->lock);
        InitializeConditionVariable(&worker->wake);
    }
    if (!one) chain_workers(replay);
    return true;
}

/* ---- a whole replay ---- */

static void reset_trace(struct trace *trace)
{
    DWORD i;

    for (i = 1; i <= trace->block_count; ++i) trace->blocks[i].mem = NOT_YET;
    for (i = 0; i < trace->page_event_count; ++i) trace->page_events[i].gate = NOT_YET;
    for (i = 1; i <= trace->region_count; ++i)
    {
        trace->regions[i].base = NULL;
        trace->regions[i].committed = 0;
        trace->regions[i].damaged = false;
    }
}

/* The first thread of each chain is started by now; any other one is when its predecessor has ended, and has
 * a higher number. A host in which threads wait for each other for ever must not stop whoever tests it. */
static void wait_for_workers(struct replay *replay)
{
    LONG done, done_before = -1;
    unsigned int idle = 0;
    DWORD i;

    for (i = 0; i < replay->worker_count; ++i)
    {
        while (WaitForSingleObject(replay->workers[i].handle, 250) == WAIT_TIMEOUT)
        {
            done = replay->events_done;
            if (replay->options->progress)
                show_progress("replaying: %u %%",
                        (unsigned int)((uint64_t)done * 100 / replay->trace->event_count));
            idle = done == done_before ? idle + 1 : 0;
            done_before = done;
            if (idle < STUCK_SECONDS * 4) continue;
            complain("wrong: nothing has moved for %u seconds, after %ld of %lu events", STUCK_SECONDS, done,
                    replay->trace->event_count);
            TerminateProcess(GetCurrentProcess(), STATUS_WRONG);
        }
        CloseHandle(replay->workers[i].handle);
    }
    if (replay->options->progress) show_progress("%s", "");
}

static enum status play(struct replay *replay)
{
    DWORD i;

    if (!(replay->start = CreateEventW(NULL, TRUE, FALSE, NULL)))
    {
        complain_system(GetLastError(), "cannot make an event");
        return STATUS_SYSTEM;
    }
    for (i = 0; i < replay->worker_count; ++i)
        if (!replay->workers[i].has_previous && !start_worker(&replay->workers[i]))
            ExitProcess(STATUS_SYSTEM);

    QueryPerformanceFrequency(&replay->frequency);
    QueryPerformanceCounter(&replay->start_time);
    if (replay->options->sample) take_sample(replay, 0);
    SetEvent(replay->start);
    wait_for_workers(replay);
    replay->result->seconds = seconds_since_start(replay);
    CloseHandle(replay->start);
    return STATUS_FINE;
}

/* What the host says at the end against what was counted here. */
static void compare_accounts(struct replay *replay)
{
    const struct replay_result *result = replay->result;
    const HOST_MEMORY_STATISTICS *stats = &result->stats;
    const struct tally *tally = &result->tally;
    const struct trace *trace = replay->trace;
    uint64_t refused = 0;
    unsigned int i;

    for (i = 0; i < ARRAY_SIZE(tally->refused); ++i)
    {
        refused += tally->refused[i];
        /* It may be less: the system refuses, too. */
        if (stats->refused[i] > tally->refused[i])
            wrong(replay, "level %u: the host counts %" PRIu64 " refused requests, it refused %" PRIu64, i,
                    (uint64_t)stats->refused[i], tally->refused[i]);
    }

    {
        const struct
        {
            const char *name;
            uint64_t host, expected;
            bool always; /* else only where one thread was refused nothing, so that order is known */
        } accounts[] =
        {
            {"live blocks", stats->heapLiveBlocks, tally->live_blocks, true},
            {"live bytes", stats->heapLiveBytes, tally->live_bytes, true},
            {"regions", stats->pageRegions, tally->regions, true},
            {"committed page bytes", stats->pagesCommitted, tally->pages_committed, true},
            {"invalid frees", stats->invalidFrees, 0, true},
            {"peak live blocks", stats->peakHeapLiveBlocks, trace->replay_peak_blocks, false},
            {"peak live bytes", stats->peakHeapLiveBytes, trace->replay_peak_bytes, false},
            {"peak committed page bytes", stats->peakPagesCommitted, trace->peak_committed, false},
        };

        for (i = 0; i < ARRAY_SIZE(accounts); ++i)
        {
            if (!accounts[i].always && (!replay->options->one_thread || refused)) continue;
            if (accounts[i].host == accounts[i].expected) continue;
            wrong(replay, "%s: the host counts %" PRIu64 ", %" PRIu64 " is right", accounts[i].name,
                    accounts[i].host, accounts[i].expected);
        }
    }

    if (stats->limit && stats->peakCommitted > stats->limit)
        wrong(replay, "the limit of %" PRIu64 " bytes was passed, by %" PRIu64, (uint64_t)stats->limit,
                (uint64_t)(stats->peakCommitted - stats->limit));
    if (stats->heapCommitted < stats->heapLiveBytes || stats->peakCommitted < stats->committed)
        wrong(replay, "less is committed than is live, or more than ever was");
}

/* Frees what the trace leaves, which is the last look at its contents. */
static void clean_up(struct replay *replay)
{
    struct worker cleaner = {.replay = replay, .tally = replay->result->tally};
    struct trace *trace = replay->trace;
    HOST_MEMORY_STATISTICS stats;
    DWORD i;

    for (i = 1; i <= trace->block_count; ++i)
    {
        void *mem = trace->blocks[i].mem;

        if (mem == REFUSED) continue;
        check_block(&cleaner, i, mem, trace->blocks[i].size, i);
        free_block(&cleaner, i, mem);
    }
    for (i = 1; i <= trace->region_count; ++i)
        run_steps(&cleaner, i, &trace->steps[trace->regions[i].last_step_first],
                trace->regions[i].last_step_count);

    if (!host_statistics(replay->host, &stats)) return;
    if (stats.heapLiveBlocks || stats.heapLiveBytes || stats.pageRegions || stats.pagesCommitted
            || stats.pagesReserved)
        wrong(replay,
                "everything is freed, but the host counts %" PRIu64 " blocks of %" PRIu64 " bytes, %" PRIu64
                " regions, %" PRIu64 " bytes of pages committed, %" PRIu64 " reserved",
                (uint64_t)stats.heapLiveBlocks, (uint64_t)stats.heapLiveBytes, (uint64_t)stats.pageRegions,
                (uint64_t)stats.pagesCommitted, (uint64_t)stats.pagesReserved);
}

enum status replay_run(struct trace *trace, const struct host *host, const struct replay_options *options,
        struct replay_result *result)
{
    struct replay replay = {.trace = trace, .host = host, .options = options, .result = result};
    enum status status;

    memset(result, 0, sizeof(*result));
    replay.interval = trace->event_count / SAMPLE_COUNT + 1;
    replay.batch = min(BATCH, replay.interval);
    /* One for each interval, the first and the last. */
    if (options->sample && !(result->samples = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY,
            (SAMPLE_COUNT + 2) * sizeof(*result->samples))))
    {
        complain("not enough memory for the time line");
        return STATUS_SYSTEM;
    }
    reset_trace(trace);
    if (!make_workers(&replay))
    {
        complain("not enough memory for %lu threads", trace->thread_count);
        return STATUS_SYSTEM;
    }
    if ((status = play(&replay)) != STATUS_FINE) return status;

    if (options->sample) take_sample(&replay, trace->event_count);
    result->sample_count = replay.sample_count;
    result->has_stats = host_statistics(host, &result->stats);
    sum_tallies(&replay, &result->tally);
    if (result->has_stats) compare_accounts(&replay);
    clean_up(&replay);
    result->wrong = replay.wrong;
    HeapFree(GetProcessHeap(), 0, replay.workers);
    return STATUS_FINE;
}
