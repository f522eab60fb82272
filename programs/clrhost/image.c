/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Looks at a program file before it is run, so that a wrong one gets a clear message.
 */

#include <stddef.h>
#include "clrhost.h"

static bool read_at(HANDLE file, DWORD offset, void *buffer, DWORD size)
{
    OVERLAPPED position = { .Offset = offset };
    DWORD done;

    return ReadFile(file, buffer, size, &done, &position) && done == size;
}

static enum image_kind look(HANDLE file, WORD *machine)
{
    union
    {
        WORD magic;
        IMAGE_OPTIONAL_HEADER32 small;
        IMAGE_OPTIONAL_HEADER64 large;
    } optional;
    IMAGE_DATA_DIRECTORY directories[IMAGE_NUMBEROF_DIRECTORY_ENTRIES];
    IMAGE_DOS_HEADER dos;
    IMAGE_FILE_HEADER header;
    DWORD signature, offset;

    if (!read_at(file, 0, &dos, sizeof(dos)) || dos.e_magic != IMAGE_DOS_SIGNATURE) return IMAGE_UNKNOWN;
    if (!read_at(file, dos.e_lfanew, &signature, sizeof(signature)) || signature != IMAGE_NT_SIGNATURE)
        return IMAGE_UNKNOWN;
    if (!read_at(file, dos.e_lfanew + sizeof(signature), &header, sizeof(header))) return IMAGE_UNKNOWN;
    *machine = header.Machine;

    offset = dos.e_lfanew + sizeof(signature) + sizeof(header);
    if (!read_at(file, offset, &optional.magic, sizeof(optional.magic))) return IMAGE_UNKNOWN;
    if (optional.magic == IMAGE_NT_OPTIONAL_HDR64_MAGIC)
        offset += offsetof(IMAGE_OPTIONAL_HEADER64, DataDirectory);
    else
        offset += offsetof(IMAGE_OPTIONAL_HEADER32, DataDirectory);
    if (!read_at(file, offset, directories, sizeof(directories))) return IMAGE_NATIVE;
    return directories[IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR].VirtualAddress ? IMAGE_MANAGED : IMAGE_NATIVE;
}

enum image_kind image_look(const WCHAR *path, WORD *machine)
{
    enum image_kind kind;
    HANDLE file;

    *machine = IMAGE_FILE_MACHINE_UNKNOWN;
    file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return IMAGE_MISSING;
    kind = look(file, machine);
    CloseHandle(file);
    return kind;
}

bool image_is_for_us(WORD machine)
{
#ifdef __x86_64__
    return machine == IMAGE_FILE_MACHINE_AMD64;
#else
    return machine == IMAGE_FILE_MACHINE_I386;
#endif
}

const char *image_machine_name(WORD machine)
{
    if (machine == IMAGE_FILE_MACHINE_AMD64) return "x86_64";
    if (machine == IMAGE_FILE_MACHINE_I386) return "i686";
    return "another processor";
}
