/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * One set of options out of the defaults, the caller's struct and the environment, each over the one before.
 */

#include "mscoreehost_private.h"

#define DEFAULT_POLL_INTERVAL 250

/* What the struct and the environment may name; 0 stands for the default until the end. */
struct choice
{
    ULONGLONG limit;
    ULONGLONG reserve_appdomain;
    ULONGLONG reserve_process;
    ULONGLONG low;
    ULONGLONG neutral;
    ULONGLONG high;
    ULONGLONG poll;
    ULONGLONG notify;
    ULONGLONG system_heap;
};

static bool equals(const WCHAR *text, size_t length, const char *word)
{
    while (length && *word && *text == *word)
    {
        text++;
        word++;
        length--;
    }
    return !length && !*word;
}

static bool parse_number(const WCHAR *text, size_t length, ULONGLONG *value)
{
    *value = 0;
    if (!length) return false;
    for (; length; text++, length--)
    {
        unsigned int digit = *text - '0';

        if (*text < '0' || *text > '9' || *value > (~(ULONGLONG)0 - digit) / 10) return false;
        *value = *value * 10 + digit;
    }
    return true;
}

/* Bytes, or with one letter behind it KiB, MiB, GiB or TiB. */
static bool parse_size(const WCHAR *text, size_t length, ULONGLONG *value)
{
    unsigned int shift = 0;

    if (length)
    {
        switch (text[length - 1])
        {
            case 'K': case 'k': shift = 10; break;
            case 'M': case 'm': shift = 20; break;
            case 'G': case 'g': shift = 30; break;
            case 'T': case 't': shift = 40; break;
        }
    }
    if (!parse_number(text, length - !!shift, value) || *value > ~(ULONGLONG)0 >> shift) return false;
    *value <<= shift;
    return true;
}

static bool parse_percent(const WCHAR *text, size_t length, ULONGLONG *value)
{
    return parse_number(text, length, value) && *value >= 1 && *value <= 100;
}

static bool parse_milliseconds(const WCHAR *text, size_t length, ULONGLONG *value)
{
    return parse_number(text, length, value) && *value >= 1;
}

static bool parse_switch(const WCHAR *text, size_t length, ULONGLONG *value)
{
    *value = equals(text, length, "on");
    return *value || equals(text, length, "off");
}

static bool parse_heap(const WCHAR *text, size_t length, ULONGLONG *value)
{
    *value = equals(text, length, "system");
    return *value || equals(text, length, "host");
}

static const struct
{
    const char *name;
    bool (*parse)(const WCHAR *text, size_t length, ULONGLONG *value);
    size_t offset;
}
keys[] =
{
    { "limit", parse_size, offsetof(struct choice, limit) },
    { "reserve", parse_size, offsetof(struct choice, reserve_process) },
    { "reserve-appdomain", parse_size, offsetof(struct choice, reserve_appdomain) },
    { "low", parse_percent, offsetof(struct choice, low) },
    { "neutral", parse_percent, offsetof(struct choice, neutral) },
    { "high", parse_percent, offsetof(struct choice, high) },
    { "poll", parse_milliseconds, offsetof(struct choice, poll) },
    { "notify", parse_switch, offsetof(struct choice, notify) },
    { "heap", parse_heap, offsetof(struct choice, system_heap) },
};

static HRESULT parse_pair(const WCHAR *text, size_t length, struct choice *choice)
{
    size_t i, name;

    for (name = 0; name < length && text[name] != '='; name++)
        ;
    for (i = 0; i < ARRAY_SIZE(keys); i++)
        if (equals(text, name, keys[i].name)) break;
    if (i == ARRAY_SIZE(keys))
    {
        WARN("MSCOREEHOST: there is no option %s.\n", debugstr_wn(text, name));
        return E_INVALIDARG;
    }
    if (name == length
            || !keys[i].parse(text + name + 1, length - name - 1,
                    (ULONGLONG *)((char *)choice + keys[i].offset)))
    {
        WARN("MSCOREEHOST: bad value in %s.\n", debugstr_wn(text, length));
        return E_INVALIDARG;
    }
    return S_OK;
}

static HRESULT parse_environment(struct choice *choice)
{
    WCHAR *text, *p, *end;
    DWORD size;
    HRESULT hr = S_OK;

    if (!(size = GetEnvironmentVariableW(L"MSCOREEHOST", NULL, 0))) return S_OK;
    if (!(text = system_alloc(GetProcessHeap(), 0, size * sizeof(*text)))) return E_OUTOFMEMORY;
    end = text + min(GetEnvironmentVariableW(L"MSCOREEHOST", text, size), size - 1);
    for (p = text; SUCCEEDED(hr) && p < end; p++)
    {
        WCHAR *start = p;

        while (p < end && *p != ',')
            p++;
        if (p > start) hr = parse_pair(start, p - start, choice);
    }
    system_free(GetProcessHeap(), text);
    return hr;
}

/* A caller with a later header may pass a longer struct: fine as long as it asks for nothing new. */
static HRESULT read_struct(const HOST_CONTROL_OPTIONS *from, struct choice *choice)
{
    HOST_CONTROL_OPTIONS options = { 0 };
    DWORD i;

    if (from->cbSize < offsetof(HOST_CONTROL_OPTIONS, limit))
    {
        WARN("HOST_CONTROL_OPTIONS: cbSize %lu is too small.\n", from->cbSize);
        return E_INVALIDARG;
    }
    for (i = sizeof(options); i < from->cbSize; i++)
        if (((const char *)from)[i])
        {
            WARN("HOST_CONTROL_OPTIONS: unknown option at offset %lu.\n", i);
            return E_INVALIDARG;
        }
    memcpy(&options, from, min(from->cbSize, sizeof(options)));
    if (options.dwFlags & ~(HOST_CONTROL_NO_NOTIFICATIONS | HOST_CONTROL_SYSTEM_HEAP))
    {
        WARN("HOST_CONTROL_OPTIONS: unknown flags %#lx.\n", options.dwFlags);
        return E_INVALIDARG;
    }
    choice->limit = options.limit;
    choice->reserve_appdomain = options.reserveAppDomain;
    choice->reserve_process = options.reserveProcess;
    choice->low = options.dwLowLoad;
    choice->neutral = options.dwNeutralLoad;
    choice->high = options.dwHighLoad;
    choice->poll = options.dwPollInterval;
    choice->notify = !(options.dwFlags & HOST_CONTROL_NO_NOTIFICATIONS);
    choice->system_heap = options.dwFlags & HOST_CONTROL_SYSTEM_HEAP;
    return S_OK;
}

/* Whole pages, so that a limit of whole pages is reached to the byte. */
static ULONGLONG default_reserve(ULONGLONG limit, unsigned int part)
{
    return limit / part & ~(ULONGLONG)0xfff;
}

HRESULT limit_check(ULONGLONG limit, ULONGLONG reserve_appdomain, ULONGLONG reserve_process,
        struct ledger_limit *out)
{
    if (!limit)
    {
        if ((reserve_appdomain && reserve_appdomain != HOST_RESERVE_DEFAULT)
                || (reserve_process && reserve_process != HOST_RESERVE_DEFAULT))
        {
            WARN("A reserve needs a limit.\n");
            return E_INVALIDARG;
        }
        *out = (struct ledger_limit) { SIZE_MAX, 0, 0 };
        return S_OK;
    }
    if (reserve_appdomain == HOST_RESERVE_DEFAULT) reserve_appdomain = default_reserve(limit, 64);
    if (reserve_process == HOST_RESERVE_DEFAULT) reserve_process = default_reserve(limit, 32);
    if (limit >= SIZE_MAX || reserve_process > limit || reserve_appdomain > limit - reserve_process)
    {
        WARN("Limit %I64u with reserves %I64u and %I64u: they exceed it, or it exceeds the address space.\n",
                limit, reserve_appdomain, reserve_process);
        return E_INVALIDARG;
    }
    *out = (struct ledger_limit) { limit, reserve_appdomain, reserve_process };
    return S_OK;
}

static bool set_loads(const struct choice *choice, struct host_options *options)
{
    options->low = choice->low ? choice->low : DEFAULT_LOW_LOAD;
    if (choice->neutral) options->neutral = choice->neutral;
    else options->neutral = options->low > 5 ? options->low - 5 : options->low;
    options->high = choice->high ? choice->high : min(options->neutral, 70);
    return options->low <= 100 && options->neutral <= options->low && options->high <= options->neutral;
}

HRESULT options_read(const HOST_CONTROL_OPTIONS *from, struct host_options *options)
{
    struct choice choice = { .notify = TRUE };
    HRESULT hr;

    if (from && FAILED(hr = read_struct(from, &choice))) return hr;
    if (FAILED(hr = parse_environment(&choice))) return hr;

    if (FAILED(hr = limit_check(choice.limit,
            choice.reserve_appdomain ? choice.reserve_appdomain : HOST_RESERVE_DEFAULT,
            choice.reserve_process ? choice.reserve_process : HOST_RESERVE_DEFAULT, &options->limit)))
        return hr;
    if (!set_loads(&choice, options))
    {
        WARN("Loads: 100 >= low %u >= neutral %u >= high %u must hold.\n", options->low, options->neutral,
                options->high);
        return E_INVALIDARG;
    }
    options->poll = choice.poll ? min(choice.poll, MAXLONG) : DEFAULT_POLL_INTERVAL;
    options->notify = choice.notify;
    options->system_heap = choice.system_heap;
    return S_OK;
}
