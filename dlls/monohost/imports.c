/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Finds and redirects the imports of a loaded module. That serves every Mono: a stock one has no other way to
 * be given an allocator, and in one built for it the allocator table points at the same imports.
 */

#include "monohost_private.h"

static const IMAGE_NT_HEADERS *image_headers(HMODULE module)
{
    const IMAGE_DOS_HEADER *dos = (const IMAGE_DOS_HEADER *)module;
    const IMAGE_NT_HEADERS *headers;

    if (dos->e_magic != IMAGE_DOS_SIGNATURE) return NULL;
    headers = (const IMAGE_NT_HEADERS *)((const char *)module + dos->e_lfanew);
    return headers->Signature == IMAGE_NT_SIGNATURE ? headers : NULL;
}

/* By name alone: malloc is in msvcrt.dll for one tool chain and in ucrtbase.dll or an api-ms-win-crt DLL for
 * another, and VirtualAlloc likewise. */
bool imports_find(HMODULE module, struct import *imports, unsigned int count)
{
    const IMAGE_NT_HEADERS *headers = image_headers(module);
    const IMAGE_DATA_DIRECTORY *directory;
    const IMAGE_IMPORT_DESCRIPTOR *descriptor;
    const char *base = (const char *)module;
    bool complete = true;
    unsigned int i;

    for (i = 0; i < count; i++) imports[i].slot = NULL;
    if (!headers) return false;
    directory = &headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    if (!directory->Size) return false;

    for (descriptor = (const void *)(base + directory->VirtualAddress); descriptor->Name; descriptor++)
    {
        const IMAGE_THUNK_DATA *names = (const void *)(base + descriptor->OriginalFirstThunk);
        IMAGE_THUNK_DATA *slots = (void *)(base + descriptor->FirstThunk);

        if (!descriptor->OriginalFirstThunk) continue;
        for (; names->u1.AddressOfData; names++, slots++)
        {
            const IMAGE_IMPORT_BY_NAME *name = (const void *)(base + names->u1.AddressOfData);

            if (IMAGE_SNAP_BY_ORDINAL(names->u1.Ordinal)) continue;
            for (i = 0; i < count; i++)
                if (!strcmp((const char *)name->Name, imports[i].name))
                    imports[i].slot = (void **)&slots->u1.Function;
        }
    }

    for (i = 0; i < count; i++)
    {
        if (imports[i].slot || !imports[i].needed) continue;
        WARN("The module %p does not import %s.\n", module, imports[i].name);
        complete = false;
    }
    return complete;
}

/* False: nothing has been redirected. All originals are known before the first slot changes, since the
 * replacements run from then on. */
bool imports_redirect(struct import *imports, unsigned int count)
{
    bool writable = true;
    DWORD protection;
    unsigned int i;

    for (i = 0; i < count && writable; i++)
    {
        if (!imports[i].slot) continue;
        writable = VirtualProtect(imports[i].slot, sizeof(void *), PAGE_READWRITE, &imports[i].protection);
        *imports[i].original = *imports[i].slot;
    }
    if (!writable) WARN("The import table cannot be written, error %lu.\n", GetLastError());
    else
        for (i = 0; i < count; i++)
            if (imports[i].slot) InterlockedExchangePointer(imports[i].slot, imports[i].replacement);

    /* Backwards: of several slots on one page, the first saw the protection that is to come back. */
    for (i = count; i-- > 0;)
        if (imports[i].slot && imports[i].protection)
            VirtualProtect(imports[i].slot, sizeof(void *), imports[i].protection, &protection);
    return writable;
}
