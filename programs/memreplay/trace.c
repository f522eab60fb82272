/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Reads a trace into memory and refuses one that could not have happened, so that the replay may trust every
 * id, size and offset and blame the host for the rest.
 */

#include <string.h>
#include "memreplay.h"

#define BUFFER_SIZE (1 << 20)
#define EVENT_NONE 0xffffffff
#define COUNT_MAX 0x7fffffff
#define THREAD_MAX 65535

#define STATE_RESERVED 0 /* a page: this, or its enum page_prot and STATE_COMMITTED, and STATE_STAMPED */
#define STATE_COMMITTED 0x4
#define STATE_STAMPED 0x8
#define STATE_PROT 0x3

/* The header's counts. A trace may leave any of them out; those it has must be right. */
enum header_key
{
    KEY_EVENTS,
    KEY_THREADS,
    KEY_OVERLAP,
    KEY_BLOCKS,
    KEY_REGIONS,
    KEY_PEAK_BYTES,
    KEY_PEAK_BLOCKS,
    KEY_PEAK_MAPPED,
    KEY_LEAKED_BLOCKS,
    KEY_LEAKED_BYTES,
    KEY_LEAKED_REGIONS,
    KEY_KINDS,                  /* "a=1 z=2 ...", eight counts */
    KEY_COUNT
};

static const char *const key_names[] =
{
    "events", "threads", "threads-overlapping", "blocks", "regions", "peak-live-bytes", "peak-live-blocks",
    "peak-mapped-bytes", "leaked-blocks", "leaked-bytes", "leaked-regions", "event-kinds"
};

static const char kind_letters[] = "azrfVPDU";

/* A region while reading. */
struct region_state
{
    DWORD page_event;           /* the latest */
    DWORD event;
    bool live;
    BYTE state;                 /* of all its pages, while there is no map */
    BYTE *map;
    SIZE_T committed;
};

struct array
{
    void **items;
    size_t item_size;
    size_t capacity;
};

struct reader
{
    struct trace *trace;
    HANDLE file;
    bool progress;
    char *buffer;
    char *pos, *end;            /* what of the buffer is not used up */
    bool at_end;
    uint64_t line;
    bool failed_system;

    bool key_given[KEY_COUNT];
    uint64_t key_value[KEY_COUNT], key_line[KEY_COUNT];
    uint64_t kinds[8], kinds_given[8];

    DWORD *births;              /* the event that made a block; EVENT_NONE: the block is dead */
    struct region_state *states;
    struct array events, blocks, births_array, regions, states_array, page_events, steps, spans_array;

    uint64_t live_bytes, live_blocks, mapped, committed, live_regions;
};

static bool garbled(struct reader *reader, const char *format, ...)
        PRINTF_LIKE(2, 3);

static bool garbled(struct reader *reader, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    complain("%s:%" PRIu64 ": %s", reader->trace->file, reader->line, text);
    return false;
}

static bool no_memory(struct reader *reader)
{
    complain("not enough memory for %s", reader->trace->file);
    reader->failed_system = true;
    return false;
}

/* Makes room for item number index; new items are zero. */
static bool array_reserve(struct reader *reader, struct array *array, size_t index)
{
    size_t capacity;
    void *items;

    if (index < array->capacity) return true;

    capacity = array->capacity ? array->capacity + array->capacity / 2 : 1024;
    if (capacity > SIZE_MAX / array->item_size) return no_memory(reader);
    if (*array->items)
        items = HeapReAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, *array->items, capacity * array->item_size);
    else
        items = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, capacity * array->item_size);
    if (!items) return no_memory(reader);
    *array->items = items;
    array->capacity = capacity;
    return true;
}

/* ---- lines and numbers ---- */

/* The next line, without its end; false at the end of the file or after a complaint. */
static bool read_line(struct reader *reader, char **line, char **line_end, bool *good)
{
    char *newline;
    size_t left;
    DWORD count;

    *good = true;
    for (;;)
    {
        left = reader->end - reader->pos;
        if (left && (newline = memchr(reader->pos, '\n', left))) break;
        if (reader->at_end)
        {
            if (!left) return false;
            ++reader->line;
            *good = garbled(reader, "the last line is unfinished");
            return false;
        }
        if (left == BUFFER_SIZE)
        {
            ++reader->line;
            *good = garbled(reader, "the line is too long");
            return false;
        }
        memmove(reader->buffer, reader->pos, left);
        reader->pos = reader->buffer;
        reader->end = reader->buffer + left;
        if (!ReadFile(reader->file, reader->end, BUFFER_SIZE - left, &count, NULL))
        {
            DWORD error = GetLastError();

            /* how a pipe ends */
            if (error != ERROR_BROKEN_PIPE && error != ERROR_HANDLE_EOF)
            {
                complain_system(error, "cannot read %s", reader->trace->file);
                reader->failed_system = true;
                *good = false;
                return false;
            }
            count = 0;
        }
        if (!count) reader->at_end = true;
        reader->end += count;
    }

    *line = reader->pos;
    *line_end = newline;
    reader->pos = newline + 1;
    ++reader->line;
    return true;
}

static bool parse_number(struct reader *reader, char **pos, const char *end, uint64_t max, const char *what,
        uint64_t *value)
{
    char *p = *pos;
    uint64_t number = 0;

    *value = 0;
    if (p == end || *p < '0' || *p > '9') return garbled(reader, "the %s is not a number", what);
    if (*p == '0' && p + 1 < end && p[1] >= '0' && p[1] <= '9')
        return garbled(reader, "the %s has a leading zero", what);
    for (; p < end && *p >= '0' && *p <= '9'; ++p)
    {
        unsigned int digit = *p - '0';

        if (number > (max - digit) / 10) return garbled(reader, "the %s is too large", what);
        number = number * 10 + digit;
    }
    *pos = p;
    *value = number;
    return true;
}

/* A space and a number. */
static bool parse_field(struct reader *reader, char **pos, const char *end, uint64_t max, const char *what,
        uint64_t *value)
{
    *value = 0;
    if (*pos == end) return garbled(reader, "the %s is missing", what);
    if (**pos != ' ') return garbled(reader, "no space before the %s", what);
    ++*pos;
    return parse_number(reader, pos, end, max, what, value);
}

static bool parse_prot(struct reader *reader, char **pos, const char *end, enum page_prot *prot)
{
    static const char *const names[] = {"none", "rw", "rx", "rwx"};
    unsigned int i;

    *prot = PROT_NONE;
    if (*pos == end) return garbled(reader, "the protection is missing");
    if (**pos != ' ') return garbled(reader, "no space before the protection");
    ++*pos;
    for (i = 0; i < ARRAY_SIZE(names); ++i)
    {
        if ((size_t)(end - *pos) != strlen(names[i]) || memcmp(*pos, names[i], end - *pos)) continue;
        *pos += strlen(names[i]);
        *prot = i;
        return true;
    }
    return garbled(reader, "the protection is none of rw, rx, rwx, none");
}

static bool parse_end(struct reader *reader, const char *pos, const char *end)
{
    if (pos != end) return garbled(reader, "something follows the last field");
    return true;
}

/* ---- the header ---- */

static bool parse_kinds(struct reader *reader, char *pos, const char *end)
{
    unsigned int i;

    for (i = 0; i < 8; ++i)
    {
        if (i && (pos == end || *pos++ != ' ')) return garbled(reader, "event-kinds is not a=... to U=...");
        if (end - pos < 3 || pos[0] != kind_letters[i] || pos[1] != '=')
            return garbled(reader, "event-kinds is not a=... to U=...");
        pos += 2;
        if (!parse_number(reader, &pos, end, COUNT_MAX, "event-kinds", &reader->kinds_given[i])) return false;
    }
    return parse_end(reader, pos, end);
}

static bool parse_comment(struct reader *reader, char *pos, char *end)
{
    static const char format[] = "# memory trace, format ";
    char *colon;
    size_t length;
    unsigned int i;

    if ((size_t)(end - pos) >= sizeof(format) - 1 && !memcmp(pos, format, sizeof(format) - 1))
    {
        pos += sizeof(format) - 1;
        if (end - pos != 1 || *pos != '1') return garbled(reader, "memreplay knows format 1 only");
        return true;
    }

    if (end - pos < 2 || pos[1] != ' ' || !(colon = memchr(pos, ':', end - pos))) return true;
    pos += 2;
    length = colon - pos;
    if (length == 4 && !memcmp(pos, "name", 4) && end - colon > 2)
    {
        length = min((size_t)(end - colon - 2), sizeof(reader->trace->name) - 1);
        memcpy(reader->trace->name, colon + 2, length);
        reader->trace->name[length] = 0;
        return true;
    }
    for (i = 0; i < KEY_COUNT; ++i)
    {
        if (length != strlen(key_names[i]) || memcmp(pos, key_names[i], length)) continue;
        if (reader->key_given[i]) return garbled(reader, "%s is given twice", key_names[i]);
        reader->key_given[i] = true;
        reader->key_line[i] = reader->line;
        pos = colon + 1;
        if (pos == end || *pos != ' ') return garbled(reader, "%s has no value", key_names[i]);
        ++pos;
        if (i == KEY_KINDS) return parse_kinds(reader, pos, end);
        return parse_number(reader, &pos, end, UINT64_MAX, key_names[i], &reader->key_value[i])
                && parse_end(reader, pos, end);
    }
    return true;
}

/* ---- events ---- */

static bool new_event(struct reader *reader, enum event_kind kind, WORD thread, DWORD id, DWORD old)
{
    struct trace *trace = reader->trace;
    struct event *event;

    if (trace->event_count == COUNT_MAX) return garbled(reader, "too many events");
    if (reader->key_given[KEY_EVENTS] && trace->event_count == reader->key_value[KEY_EVENTS])
        return garbled(reader, "more events than the header says, %" PRIu64, reader->key_value[KEY_EVENTS]);
    if (!array_reserve(reader, &reader->events, trace->event_count)) return false;

    event = &trace->events[trace->event_count];
    event->kind = kind;
    event->thread = thread;
    event->id = id;
    event->old = old;
    trace->spans[thread].last = trace->event_count++;
    ++trace->spans[thread].count;
    return true;
}

static bool parse_thread(struct reader *reader, char **pos, const char *end, WORD *thread)
{
    struct trace *trace = reader->trace;
    uint64_t value;

    *thread = 0;
    if (!parse_field(reader, pos, end, UINT64_MAX, "thread", &value)) return false;
    if (value > trace->thread_count)
        return garbled(reader, "thread %" PRIu64 " is out of order: the next new one is %lu", value,
                trace->thread_count);
    if (value == trace->thread_count)
    {
        if (reader->key_given[KEY_THREADS] && value >= reader->key_value[KEY_THREADS])
            return garbled(reader, "thread %" PRIu64 ", but the header says %" PRIu64 " threads", value,
                    reader->key_value[KEY_THREADS]);
        if (value == THREAD_MAX) return garbled(reader, "more than %u threads", THREAD_MAX);
        if (!array_reserve(reader, &reader->spans_array, value)) return false;
        trace->spans[value].first = trace->event_count;
        ++trace->thread_count;
    }
    *thread = value;
    return true;
}

static bool parse_new_id(struct reader *reader, char **pos, const char *end, const char *what,
        enum header_key key, DWORD count)
{
    uint64_t value;

    if (!parse_field(reader, pos, end, UINT64_MAX, what, &value)) return false;
    if (!value) return garbled(reader, "%s 0 is none", what);
    if (value <= count) return garbled(reader, "%s %" PRIu64 " is born a second time", what, value);
    if (value != (uint64_t)count + 1)
        return garbled(
                reader, "%s %" PRIu64 " is out of order: the next new one is %lu", what, value, count + 1);
    if (reader->key_given[key] && value > reader->key_value[key])
        return garbled(reader, "%s %" PRIu64 ", but the header says %" PRIu64 " %s", what, value,
                reader->key_value[key], key_names[key]);
    if (value == COUNT_MAX) return garbled(reader, "too many %s", key_names[key]);
    return true;
}

/* A block that is to die. */
static bool parse_live_block(struct reader *reader, char **pos, const char *end, bool or_none, DWORD *id)
{
    uint64_t value;

    *id = 0;
    if (!parse_field(reader, pos, end, UINT64_MAX, "block", &value)) return false;
    if (value || !or_none)
    {
        if (!value) return garbled(reader, "block 0 is none");
        if (value > reader->trace->block_count)
            return garbled(reader, "block %" PRIu64 " was never born", value);
        if (reader->births[value] == EVENT_NONE)
            return garbled(reader, "block %" PRIu64 " is dead already", value);
    }
    *id = value;
    return true;
}

static bool parse_size(struct reader *reader, char **pos, const char *end, const char *what, SIZE_T *size)
{
    uint64_t value;

    *size = 0;
    if (!parse_field(reader, pos, end, UINT64_MAX, what, &value)) return false;
    if (!value) return garbled(reader, "the %s is 0", what);
    if (value > SIZE_MAX / 2)
        return garbled(reader, "the %s, %" PRIu64 ", does not fit a program of %u bits", what, value,
                (unsigned int)sizeof(void *) * 8);
    *size = value;
    return true;
}

static void block_dies(struct reader *reader, struct event *event, DWORD id)
{
    struct trace *trace = reader->trace;
    struct event *birth = &trace->events[reader->births[id]];

    if (birth->thread != event->thread)
    {
        birth->flags |= EVENT_HANDS_OVER;
        event->flags |= EVENT_TAKES_OVER;
    }
    reader->births[id] = EVENT_NONE;
    reader->live_bytes -= trace->blocks[id].size;
    --reader->live_blocks;
}

static bool block_is_born(struct reader *reader, SIZE_T size)
{
    struct trace *trace = reader->trace;
    DWORD id = trace->block_count + 1;

    if (!array_reserve(reader, &reader->blocks, id) || !array_reserve(reader, &reader->births_array, id))
        return false;
    trace->block_count = id;
    trace->blocks[id].size = size;
    reader->births[id] = trace->event_count - 1;
    return true;
}

static void count_live(struct reader *reader, SIZE_T size)
{
    struct trace *trace = reader->trace;

    reader->live_bytes += size;
    ++reader->live_blocks;
    trace->replay_peak_bytes = max(trace->replay_peak_bytes, reader->live_bytes);
    trace->replay_peak_blocks = max(trace->replay_peak_blocks, reader->live_blocks);
}

static void note_peaks(struct reader *reader)
{
    struct trace *trace = reader->trace;

    trace->peak_live_bytes = max(trace->peak_live_bytes, reader->live_bytes);
    trace->peak_live_blocks = max(trace->peak_live_blocks, reader->live_blocks);
    trace->peak_mapped = max(trace->peak_mapped, reader->mapped);
    trace->peak_committed = max(trace->peak_committed, reader->committed);
    trace->peak_total = max(trace->peak_total, reader->live_bytes + reader->committed);
}

static bool parse_alloc(struct reader *reader, char *pos, const char *end, WORD thread, enum event_kind kind)
{
    struct trace *trace = reader->trace;
    SIZE_T size;

    if (!parse_new_id(reader, &pos, end, "block", KEY_BLOCKS, trace->block_count)) return false;
    if (!parse_size(reader, &pos, end, "size", &size) || !parse_end(reader, pos, end)) return false;
    if (!new_event(reader, kind, thread, trace->block_count + 1, 0) || !block_is_born(reader, size))
        return false;
    count_live(reader, size);
    note_peaks(reader);
    return true;
}

static bool parse_realloc(struct reader *reader, char *pos, const char *end, WORD thread)
{
    struct trace *trace = reader->trace;
    SIZE_T size;
    DWORD old;

    if (!parse_live_block(reader, &pos, end, true, &old)) return false;
    if (!parse_new_id(reader, &pos, end, "block", KEY_BLOCKS, trace->block_count)) return false;
    if (!parse_size(reader, &pos, end, "size", &size) || !parse_end(reader, pos, end)) return false;
    if (!new_event(reader, EVENT_REALLOC, thread, trace->block_count + 1, old)) return false;
    if (!block_is_born(reader, size)) return false;
    count_live(reader, size);
    if (old) block_dies(reader, &trace->events[trace->event_count - 1], old);
    note_peaks(reader);
    return true;
}

static bool parse_free(struct reader *reader, char *pos, const char *end, WORD thread)
{
    struct trace *trace = reader->trace;
    DWORD id;

    if (!parse_live_block(reader, &pos, end, false, &id) || !parse_end(reader, pos, end)) return false;
    if (!new_event(reader, EVENT_FREE, thread, id, 0)) return false;
    block_dies(reader, &trace->events[trace->event_count - 1], id);
    return true;
}

/* ---- page events ---- */

static struct page_step *new_step(struct reader *reader, enum page_action action, SIZE_T offset, SIZE_T size)
{
    struct trace *trace = reader->trace;
    struct page_step *step;

    if (trace->step_count == COUNT_MAX)
    {
        garbled(reader, "too many page events");
        return NULL;
    }
    if (!array_reserve(reader, &reader->steps, trace->step_count)) return NULL;
    step = &trace->steps[trace->step_count++];
    step->action = action;
    step->offset = offset;
    step->size = size;
    return step;
}

/* How many bytes from offset on, up to end, are in the same state. */
static SIZE_T state_run(const struct region_state *region, SIZE_T offset, SIZE_T end, BYTE *state)
{
    SIZE_T page = offset / TRACE_PAGE, last = end / TRACE_PAGE;

    if (!region->map)
    {
        *state = region->state;
        return end - offset;
    }
    *state = region->map[page];
    while (page < last && region->map[page] == *state) ++page;
    return page * TRACE_PAGE - offset;
}

static bool make_map(struct reader *reader, struct region_state *region, SIZE_T size)
{
    if (region->map) return true;
    if (!(region->map = HeapAlloc(GetProcessHeap(), 0, size / TRACE_PAGE))) return no_memory(reader);
    memset(region->map, region->state, size / TRACE_PAGE);
    return true;
}

static void set_state(struct region_state *region, SIZE_T offset, SIZE_T size, BYTE state)
{
    memset(region->map + offset / TRACE_PAGE, state, size / TRACE_PAGE);
}

static bool is_writable(enum page_prot prot)
{
    return prot == PROT_RW || prot == PROT_RWX;
}

/* One run of pages gets a protection: it is committed where it was only reserved. */
static bool protect_run(struct reader *reader, struct region_state *region, SIZE_T offset, SIZE_T size,
        BYTE state, enum page_prot prot)
{
    BYTE stamped = state & STATE_STAMPED;
    struct page_step *step;

    if (state == STATE_RESERVED)
    {
        if (prot == PROT_NONE) return true;
        if (!(step = new_step(reader, PAGES_COMMIT, offset, size))) return false;
        step->committed = size;
        region->committed += size;
        reader->committed += size;
    }
    else
    {
        if (!(step = new_step(reader, PAGES_PROTECT, offset, size))) return false;
        step->old_prot = state & STATE_PROT;
    }
    step->prot = prot;
    if (!stamped && is_writable(prot))
    {
        if (!new_step(reader, PAGES_STAMP, offset, size)) return false;
        stamped = STATE_STAMPED;
    }
    set_state(region, offset, size, STATE_COMMITTED | stamped | prot);
    return true;
}

/* Looks at every stamped page of a range before it goes, and tells how much of it is committed. */
static bool check_range(struct reader *reader, const struct region_state *region, SIZE_T offset, SIZE_T size,
        SIZE_T *committed)
{
    SIZE_T end = offset + size, run;
    BYTE state;

    *committed = 0;
    for (; offset < end; offset += run)
    {
        run = state_run(region, offset, end, &state);
        if (state & STATE_COMMITTED) *committed += run;
        if ((state & STATE_STAMPED) && (state & STATE_PROT) != PROT_NONE
                && !new_step(reader, PAGES_CHECK, offset, run)) return false;
    }
    return true;
}

static bool release_region(struct reader *reader, DWORD id)
{
    struct region *region = &reader->trace->regions[id];
    struct region_state *state = &reader->states[id];
    struct page_step *step;
    SIZE_T committed;

    if (!check_range(reader, state, 0, region->size, &committed)) return false;
    if (!(step = new_step(reader, PAGES_RELEASE, 0, region->size))) return false;
    step->committed = committed;
    if (state->map) HeapFree(GetProcessHeap(), 0, state->map);
    state->map = NULL;
    return true;
}

/* Begins an event of a region; its steps follow. */
static bool new_page_event(struct reader *reader, WORD thread, DWORD region)
{
    struct trace *trace = reader->trace;
    struct region_state *state = &reader->states[region];
    struct page_event *page_event;
    struct event *event, *previous;

    if (!array_reserve(reader, &reader->page_events, trace->page_event_count)) return false;
    if (!new_event(reader, EVENT_PAGES, thread, trace->page_event_count, 0)) return false;

    page_event = &trace->page_events[trace->page_event_count];
    page_event->region = region;
    page_event->step_first = trace->step_count;
    event = &trace->events[trace->event_count - 1];
    if (state->live)
    {
        previous = &trace->events[state->event];
        if (previous->thread != thread)
        {
            previous->flags |= EVENT_HANDS_OVER;
            event->flags |= EVENT_TAKES_OVER;
            page_event->previous = state->page_event;
        }
    }
    state->event = trace->event_count - 1;
    state->page_event = trace->page_event_count++;
    return true;
}

static void end_page_event(struct reader *reader)
{
    struct trace *trace = reader->trace;
    struct page_event *page_event = &trace->page_events[trace->page_event_count - 1];

    page_event->step_count = trace->step_count - page_event->step_first;
    note_peaks(reader);
}

static bool parse_map(struct reader *reader, char *pos, const char *end, WORD thread)
{
    struct trace *trace = reader->trace;
    DWORD id = trace->region_count + 1;
    struct region_state *state;
    struct page_step *step;
    enum page_prot prot;
    SIZE_T size;

    if (!parse_new_id(reader, &pos, end, "region", KEY_REGIONS, trace->region_count)) return false;
    if (!parse_size(reader, &pos, end, "size", &size)) return false;
    if (size % TRACE_PAGE) return garbled(reader, "the size is not a whole number of 4096-byte pages");
    if (!parse_prot(reader, &pos, end, &prot) || !parse_end(reader, pos, end)) return false;
    if (!array_reserve(reader, &reader->regions, id) || !array_reserve(reader, &reader->states_array, id))
        return false;
    if (!new_page_event(reader, thread, id)) return false;

    trace->region_count = id;
    trace->regions[id].size = size;
    state = &reader->states[id];
    state->live = true;
    ++reader->live_regions;
    reader->mapped += size;
    if (!(step = new_step(reader, prot == PROT_NONE ? PAGES_RESERVE : PAGES_RESERVE_COMMIT, 0, size)))
        return false;
    step->prot = prot;
    if (prot != PROT_NONE)
    {
        step->committed = size;
        state->committed = size;
        reader->committed += size;
        state->state = STATE_COMMITTED | prot;
    }
    if (is_writable(prot))
    {
        if (!new_step(reader, PAGES_STAMP, 0, size)) return false;
        state->state |= STATE_STAMPED;
    }
    end_page_event(reader);
    return true;
}

static bool parse_live_region(struct reader *reader, char **pos, const char *end, DWORD *id)
{
    uint64_t value;

    *id = 0;
    if (!parse_field(reader, pos, end, UINT64_MAX, "region", &value)) return false;
    if (!value) return garbled(reader, "region 0 is none");
    if (value > reader->trace->region_count)
        return garbled(reader, "region %" PRIu64 " was never mapped", value);
    if (!reader->states[value].live) return garbled(reader, "region %" PRIu64 " is released already", value);
    *id = value;
    return true;
}

static bool parse_range(
        struct reader *reader, char **pos, const char *end, DWORD id, SIZE_T *offset, SIZE_T *size)
{
    SIZE_T whole = reader->trace->regions[id].size;
    uint64_t value;

    *offset = *size = 0;
    if (!parse_field(reader, pos, end, UINT64_MAX, "offset", &value)) return false;
    if (!parse_size(reader, pos, end, "size", size)) return false;
    if (value % TRACE_PAGE || *size % TRACE_PAGE)
        return garbled(reader, "offset and size are not whole 4096-byte pages");
    if (value >= whole || *size > whole - value)
        return garbled(reader, "the range reaches beyond region %lu, which has %" PRIu64 " bytes", id,
                (uint64_t)whole);
    *offset = value;
    return true;
}

static bool parse_protect(struct reader *reader, char *pos, const char *end, WORD thread)
{
    struct region_state *state;
    SIZE_T offset, size, run;
    enum page_prot prot;
    BYTE page_state;
    DWORD id;

    if (!parse_live_region(reader, &pos, end, &id)) return false;
    if (!parse_range(reader, &pos, end, id, &offset, &size)) return false;
    if (!parse_prot(reader, &pos, end, &prot) || !parse_end(reader, pos, end)) return false;
    state = &reader->states[id];
    if (!new_page_event(reader, thread, id) || !make_map(reader, state, reader->trace->regions[id].size))
        return false;
    for (; size; offset += run, size -= run)
    {
        run = state_run(state, offset, offset + size, &page_state);
        if (!protect_run(reader, state, offset, run, page_state, prot)) return false;
    }
    end_page_event(reader);
    return true;
}

static bool parse_decommit(struct reader *reader, char *pos, const char *end, WORD thread)
{
    struct region_state *state;
    struct page_step *step;
    SIZE_T offset, size, committed;
    DWORD id;

    if (!parse_live_region(reader, &pos, end, &id)) return false;
    if (!parse_range(reader, &pos, end, id, &offset, &size) || !parse_end(reader, pos, end)) return false;
    state = &reader->states[id];
    if (!new_page_event(reader, thread, id) || !make_map(reader, state, reader->trace->regions[id].size))
        return false;
    if (!check_range(reader, state, offset, size, &committed)) return false;
    if (!(step = new_step(reader, PAGES_DECOMMIT, offset, size))) return false;
    step->committed = committed;
    state->committed -= committed;
    reader->committed -= committed;
    set_state(state, offset, size, STATE_RESERVED);
    end_page_event(reader);
    return true;
}

static bool parse_unmap(struct reader *reader, char *pos, const char *end, WORD thread)
{
    struct region_state *state;
    DWORD id;

    if (!parse_live_region(reader, &pos, end, &id) || !parse_end(reader, pos, end)) return false;
    state = &reader->states[id];
    if (!new_page_event(reader, thread, id) || !release_region(reader, id)) return false;
    state->live = false;
    --reader->live_regions;
    reader->mapped -= reader->trace->regions[id].size;
    reader->committed -= state->committed;
    end_page_event(reader);
    return true;
}

static bool parse_event(struct reader *reader, char *pos, const char *end)
{
    const char *letter;
    WORD thread;

    if (pos == end) return garbled(reader, "the line is empty");
    if (*pos == '#') return garbled(reader, "a comment after the first event");
    if (!(letter = memchr(kind_letters, *pos, 8)))
    {
        if (*pos > ' ' && *pos < 0x7f) return garbled(reader, "unknown event '%c'", *pos);
        return garbled(reader, "unknown event, byte 0x%02x", (unsigned char)*pos);
    }
    ++pos;
    if (!parse_thread(reader, &pos, end, &thread)) return false;
    ++reader->kinds[letter - kind_letters];
    switch (*letter)
    {
        case 'a': return parse_alloc(reader, pos, end, thread, EVENT_ALLOC);
        case 'z': return parse_alloc(reader, pos, end, thread, EVENT_ALLOC_ZEROED);
        case 'r': return parse_realloc(reader, pos, end, thread);
        case 'f': return parse_free(reader, pos, end, thread);
        case 'V': return parse_map(reader, pos, end, thread);
        case 'P': return parse_protect(reader, pos, end, thread);
        case 'D': return parse_decommit(reader, pos, end, thread);
        default: return parse_unmap(reader, pos, end, thread);
    }
}

/* ---- the whole ---- */

/* The most threads that are between their first and last event at one time. */
static DWORD count_overlap(const struct reader *reader)
{
    const struct trace *trace = reader->trace;
    const struct thread_span *span;
    DWORD i, alive = 0, most = 0;
    const struct event *event;

    for (i = 0; i < trace->event_count; ++i)
    {
        event = &trace->events[i];
        span = &trace->spans[event->thread];
        if (span->first == i) ++alive;
        most = max(most, alive);
        if (span->last == i) --alive;
    }
    return most;
}

static bool check_header(struct reader *reader)
{
    const struct trace *trace = reader->trace;
    const uint64_t found[] = {trace->event_count, trace->thread_count, trace->thread_overlap,
            trace->block_count, trace->region_count, trace->peak_live_bytes, trace->peak_live_blocks,
            trace->peak_mapped, trace->leaked_blocks, trace->leaked_bytes, trace->leaked_regions};
    unsigned int i;

    reader->line = max(reader->line, 1);
    if (!trace->event_count) return garbled(reader, "there is no event");
    if (reader->key_given[KEY_EVENTS] && trace->event_count < reader->key_value[KEY_EVENTS])
        return garbled(reader, "the trace ends here, after %lu of %" PRIu64 " events", trace->event_count,
                reader->key_value[KEY_EVENTS]);
    for (i = 0; i < ARRAY_SIZE(found); ++i)
    {
        if (!reader->key_given[i] || reader->key_value[i] == found[i]) continue;
        reader->line = reader->key_line[i];
        return garbled(reader, "%s is %" PRIu64 " here, but %" PRIu64 " in the events", key_names[i],
                reader->key_value[i], found[i]);
    }
    for (i = 0; reader->key_given[KEY_KINDS] && i < 8; ++i)
    {
        if (reader->kinds_given[i] == reader->kinds[i]) continue;
        reader->line = reader->key_line[KEY_KINDS];
        return garbled(reader, "%" PRIu64 " events '%c' here, but %" PRIu64 " below", reader->kinds_given[i],
                kind_letters[i], reader->kinds[i]);
    }
    return true;
}

/* memreplay releases in the end what the trace does not. */
static bool add_last_steps(struct reader *reader)
{
    struct trace *trace = reader->trace;
    DWORD i;

    for (i = 1; i <= trace->region_count; ++i)
    {
        if (!reader->states[i].live) continue;
        trace->regions[i].last_step_first = trace->step_count;
        if (!release_region(reader, i)) return false;
        trace->regions[i].last_step_count = trace->step_count - trace->regions[i].last_step_first;
    }
    return true;
}

static bool read_all(struct reader *reader)
{
    static const char xz_magic[] = "\xfd" "7zXZ";
    struct trace *trace = reader->trace;
    bool good, in_header = true;
    char *line, *line_end;
    DWORD shown = 0;

    while (read_line(reader, &line, &line_end, &good))
    {
        if (reader->line == 1 && line_end - line >= 5 && !memcmp(line, xz_magic, 5))
            return garbled(reader, "still compressed: xz -dc FILE | memreplay -");
        if (in_header && line != line_end && *line == '#')
        {
            if (!parse_comment(reader, line, line_end)) return false;
            continue;
        }
        in_header = false;
        if (!parse_event(reader, line, line_end)) return false;
        if (reader->progress && trace->event_count >= shown + 250000)
        {
            shown = trace->event_count;
            show_progress("reading: %lu events", shown);
        }
    }
    if (!good) return false;

    trace->thread_overlap = count_overlap(reader);
    trace->leaked_blocks = reader->live_blocks;
    trace->leaked_bytes = reader->live_bytes;
    trace->leaked_regions = reader->live_regions;
    trace->leaked_committed = reader->committed;
    return check_header(reader) && add_last_steps(reader);
}

static char *to_utf8(const WCHAR *text)
{
    int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *utf8 = HeapAlloc(GetProcessHeap(), 0, size);

    if (utf8) WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8, size, NULL, NULL);
    return utf8;
}

enum status trace_read(const WCHAR *path, bool progress, struct trace *trace)
{
    struct reader reader = {.trace = trace, .progress = progress};
    bool standard_input = !wcscmp(path, L"-"), good;
    DWORD i;

    memset(trace, 0, sizeof(*trace));
    reader.events = (struct array){(void **)&trace->events, sizeof(*trace->events), 0};
    reader.blocks = (struct array){(void **)&trace->blocks, sizeof(*trace->blocks), 0};
    reader.regions = (struct array){(void **)&trace->regions, sizeof(*trace->regions), 0};
    reader.page_events = (struct array){(void **)&trace->page_events, sizeof(*trace->page_events), 0};
    reader.steps = (struct array){(void **)&trace->steps, sizeof(*trace->steps), 0};
    reader.births_array = (struct array){(void **)&reader.births, sizeof(*reader.births), 0};
    reader.states_array = (struct array){(void **)&reader.states, sizeof(*reader.states), 0};
    reader.spans_array = (struct array){(void **)&trace->spans, sizeof(*trace->spans), 0};

    trace->file = to_utf8(standard_input ? L"standard input" : path);
    reader.buffer = reader.pos = reader.end = HeapAlloc(GetProcessHeap(), 0, BUFFER_SIZE);
    if (!trace->file || !reader.buffer)
    {
        complain("not enough memory");
        return STATUS_SYSTEM;
    }
    if (standard_input)
        reader.file = GetStdHandle(STD_INPUT_HANDLE);
    else
        reader.file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING,
                FILE_FLAG_SEQUENTIAL_SCAN, NULL);
    if (reader.file == INVALID_HANDLE_VALUE)
    {
        complain_system(GetLastError(), "cannot open %s", trace->file);
        return STATUS_USAGE;
    }

    good = read_all(&reader);
    if (reader.progress) show_progress("%s", "");

    for (i = 1; reader.states && i <= trace->region_count; ++i)
        if (reader.states[i].map) HeapFree(GetProcessHeap(), 0, reader.states[i].map);
    HeapFree(GetProcessHeap(), 0, reader.states);
    HeapFree(GetProcessHeap(), 0, reader.births);
    HeapFree(GetProcessHeap(), 0, reader.buffer);
    if (!standard_input) CloseHandle(reader.file);
    if (good) return STATUS_FINE;
    return reader.failed_system ? STATUS_SYSTEM : STATUS_USAGE;
}
