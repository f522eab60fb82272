/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * A DLL that, loaded before mscoreehost.dll, is told of the process's end after it, and then still uses the
 * host: as a runtime does, whose other threads ExitProcess has killed wherever they were.
 */

#define COBJMACROS
#define INITGUID
#include <windows.h>
#include "mscoreehost.h"

static IHostMalloc *heap;
static IHostMemoryManager *manager;
static void *block, *region;
static volatile LONG *result;

/* result gets bit 0 when Free has answered S_OK, bit 1 for Alloc and Free of that, bit 2 for VirtualFree,
 * and bit 3 at the end. */
void WINAPI SetDetachWork(IHostMalloc *malloc, IHostMemoryManager *memory, void *mem, void *pages,
        volatile LONG *out)
{
    heap = malloc;
    manager = memory;
    block = mem;
    region = pages;
    result = out;
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
    void *mem;

    (void)instance;
    if (reason != DLL_PROCESS_DETACH || !reserved || !result) return TRUE;
    if (IHostMalloc_Free(heap, block) == S_OK) *result |= 1;
    if (IHostMalloc_Alloc(heap, 100, eTaskCritical, &mem) == S_OK && mem)
    {
        *(volatile char *)mem = 1;
        if (IHostMalloc_Free(heap, mem) == S_OK) *result |= 2;
    }
    if (IHostMemoryManager_VirtualFree(manager, region, 0, MEM_RELEASE) == S_OK) *result |= 4;
    *result |= 8;
    return TRUE;
}
