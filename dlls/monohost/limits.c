/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Tells Mono how large its heap may get under the host's limit. A collection that finds no page for what
 * survives cannot go on, so the collector has to know beforehand. Its only ear for that is the environment
 * variable MONO_GC_PARAMS, which is answered here for the module alone: the environment of the process, and
 * of programs it starts, stays as it is.
 */

#include <stdio.h>
#include "monohost_private.h"

#define VARIABLE L"MONO_GC_PARAMS"

static DWORD (WINAPI *original_GetEnvironmentVariableW)(const WCHAR *name, WCHAR *value, DWORD size);
static WCHAR params[512];       /* empty: nothing to tell */

static DWORD WINAPI limits_GetEnvironmentVariableW(const WCHAR *name, WCHAR *value, DWORD size)
{
    DWORD length = wcslen(params);

    /* Mono reads it as it starts; what a managed program reads later is the real one. */
    if (!length || !name || wcscmp(name, VARIABLE) || runtime_is_started())
        return original_GetEnvironmentVariableW(name, value, size);
    if (size <= length) return length + 1;
    memcpy(value, params, (length + 1) * sizeof(*params));
    return length;
}

/* What a limit leaves to the heap, in MiB. Beside it a limit counts Mono's own structures, metadata and code
 * (4 to 20 MiB in the programs measured) and the card table (8 MiB). */
static unsigned int heap_size(unsigned int available)
{
    unsigned int reserve = min(available * 3 / 16, 24 + available / 32);

    return available > reserve + 8 + 16 ? available - reserve - 8 : 16;
}

void limits_init(IHostMemoryManager *memory)
{
    MEMORYSTATUSEX status = { .dwLength = sizeof(status) };
    WCHAR given[256];
    DWORD load, length;
    SIZE_T available;

    params[0] = 0;
    if (IHostMemoryManager_GetMemoryLoad(memory, &load, &available) != S_OK) return;
    /* No limit of the host's but the machine's own: Mono's defaults are right. The factor is for the time
     * between the two looks. */
    if (!GlobalMemoryStatusEx(&status) || available >= status.ullAvailPhys / 4 * 3) return;

    length = GetEnvironmentVariableW(VARIABLE, given, ARRAY_SIZE(given));
    if (length >= ARRAY_SIZE(given) || (length && wcsstr(given, L"max-heap-size"))) return;

    /* A concurrent collection, or one that leaves sweeping for later, has not yet freed anything when the
     * request that started it is tried again: seen as OutOfMemoryException at a quarter of the limit. */
    _snwprintf(params, ARRAY_SIZE(params) - 1,
            L"major=marksweep,no-concurrent-sweep,no-lazy-sweep,max-heap-size=%um%ls%ls",
            heap_size(available >> 20), length ? L"," : L"", length ? given : L"");
}

void limits_get_imports(struct import *imports)
{
    imports[0].name = "GetEnvironmentVariableW";
    imports[0].replacement = limits_GetEnvironmentVariableW;
    imports[0].original = (void **)&original_GetEnvironmentVariableW;
    imports[0].needed = false;
}
