/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * VirtualAlloc, VirtualFree, VirtualProtect and VirtualQuery of the Mono module, on the host's
 * IHostMemoryManager.
 */

#include "monohost_private.h"

/* Mono takes objects of about 1 MiB and more from the system one by one, and answers a refusal with a managed
 * OutOfMemoryException. Smaller requests are for its own structures, the heap sections of the collector and
 * code. */
#define LARGE_OBJECT (1024 * 1024 - 16 * 1024)

/* Blocks for small objects are asked for by 32 of 16 KiB. (Less when there is no room for as many; those are
 * not counted.) */
#define SMALL_OBJECTS (512 * 1024)

/* A reservation of up to this size is the smallest one Mono asks for in its place: a heap section of 16 KiB
 * and its alignment. */
#define LAST_RESORT (64 * 1024)

static IHostMemoryManager *host;

static LPVOID (WINAPI *original_VirtualAlloc)(LPVOID address, SIZE_T size, DWORD type, DWORD protection);
static BOOL (WINAPI *original_VirtualFree)(LPVOID address, SIZE_T size, DWORD type);
static BOOL (WINAPI *original_VirtualProtect)(LPVOID address, SIZE_T size, DWORD protection,
        DWORD *old_protection);
static SIZE_T (WINAPI *original_VirtualQuery)(LPCVOID address, MEMORY_BASIC_INFORMATION *info, SIZE_T size);

static void *host_alloc(void *address, SIZE_T size, DWORD type, DWORD protection, EMemoryCriticalLevel level)
{
    void *mem = NULL;
    HRESULT hr;

    host_enter();
    hr = IHostMemoryManager_VirtualAlloc(host, address, size, type, protection, level, &mem);
    host_leave();
    return hr == S_OK ? mem : NULL;
}

static BOOL host_free(void *address, SIZE_T size, DWORD type)
{
    HRESULT hr;

    host_enter();
    hr = IHostMemoryManager_VirtualFree(host, address, size, type);
    host_leave();
    /* From before there was a host. */
    if (hr == HOST_E_INVALIDOPERATION) return original_VirtualFree(address, size, type);
    return hr == S_OK;
}

/* Could it be committed? For aligned blocks Mono reserves first and commits the aligned part then. It
 * survives it when the reservation fails (it asks for half as much, or raises OutOfMemoryException), but not
 * when the commit does. So what would be refused there is refused here. */
static bool can_commit(void *mem, SIZE_T size, EMemoryCriticalLevel level)
{
    if (!host_alloc(mem, size, MEM_COMMIT, PAGE_READWRITE, level)) return false;
    host_free(mem, size, MEM_DECOMMIT);
    return true;
}

/* A large object by itself. */
static void *alloc_object(void *address, SIZE_T size, DWORD type, DWORD protection)
{
    bool collected = false;
    void *mem;

    do
    {
        mem = limits_allow(size) ? host_alloc(address, size, type, protection, eTaskCritical) : NULL;
        if (mem) return mem;
        collected = !collected && runtime_collect_for_request(size);
    }
    while (collected);
    runtime_part_refused(size);
    return NULL;
}

/* A section for several objects, aligned to its own size, so that half of what is reserved is used; or
 * several blocks for small ones, of which Mono then asks for less. */
static void *reserve_section(SIZE_T size, DWORD type, DWORD protection)
{
    void *mem = host_alloc(NULL, size, type, protection, eProcessCritical);

    if (!mem) return NULL;
    if (size < LARGE_OBJECT)
    {
        if (can_commit(mem, size, eAppDomainCritical)) return mem;
    }
    else
    {
        SIZE_T used = size / 2;
        bool collected = false;

        do
        {
            if (limits_allow(used) && can_commit(mem, used, eAppDomainCritical)) return mem;
            collected = !collected && runtime_collect_for_request(used);
        }
        while (collected);
        runtime_part_refused(used);
    }
    host_free(mem, 0, MEM_RELEASE);
    SetLastError(ERROR_COMMITMENT_LIMIT);
    return NULL;
}

/* Levels: one large object is task-critical; a section for many, app-domain-critical, so that a program that
 * was refused a large one can still make small ones; what Mono does not survive losing, process-critical, to
 * be met from the host's reserve. And until the runtime has started everything is process-critical, as the
 * CLR has it. */
static LPVOID WINAPI pages_VirtualAlloc(LPVOID address, SIZE_T size, DWORD type, DWORD protection)
{
    DWORD kind = type & (MEM_RESERVE | MEM_COMMIT);
    void *mem;

    if (protection == PAGE_READWRITE && size > LAST_RESORT && runtime_is_ready()
            && !runtime_is_collecting())
    {
        if (kind == (MEM_RESERVE | MEM_COMMIT) && size >= LARGE_OBJECT)
            return alloc_object(address, size, type, protection);
        if (kind == MEM_RESERVE && !address) return reserve_section(size, type, protection);
    }
    mem = host_alloc(address, size, type, protection, eProcessCritical);
    if (mem && kind == MEM_COMMIT && size == SMALL_OBJECTS) limits_small_objects(size);
    return mem;
}

static BOOL WINAPI pages_VirtualFree(LPVOID address, SIZE_T size, DWORD type)
{
    return host_free(address, size, type);
}

static BOOL WINAPI pages_VirtualProtect(LPVOID address, SIZE_T size, DWORD protection, DWORD *old_protection)
{
    HRESULT hr;

    host_enter();
    hr = IHostMemoryManager_VirtualProtect(host, address, size, protection, old_protection);
    host_leave();
    return hr == S_OK;
}

static SIZE_T WINAPI pages_VirtualQuery(LPCVOID address, MEMORY_BASIC_INFORMATION *info, SIZE_T size)
{
    SIZE_T result = 0;
    HRESULT hr;

    host_enter();
    hr = IHostMemoryManager_VirtualQuery(host, (void *)address, info, size, &result);
    host_leave();
    return SUCCEEDED(hr) ? result : 0;
}

/* Keeps the reference, as heap_init does. */
void pages_init(IHostMemoryManager *memory)
{
    host = memory;
}

void pages_get_imports(struct import *imports)
{
    static const struct
    {
        const char *name;
        void *replacement;
        void **original;
        bool needed;
    }
    rows[PAGES_IMPORTS] =
    {
        { "VirtualAlloc", pages_VirtualAlloc, (void **)&original_VirtualAlloc, true },
        { "VirtualFree", pages_VirtualFree, (void **)&original_VirtualFree, true },
        { "VirtualProtect", pages_VirtualProtect, (void **)&original_VirtualProtect, false },
        { "VirtualQuery", pages_VirtualQuery, (void **)&original_VirtualQuery, false },
    };
    unsigned int i;

    for (i = 0; i < PAGES_IMPORTS; i++)
    {
        imports[i].name = rows[i].name;
        imports[i].replacement = rows[i].replacement;
        imports[i].original = rows[i].original;
        imports[i].needed = rows[i].needed;
    }
}
