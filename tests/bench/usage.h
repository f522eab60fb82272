/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * How much memory this process has taken, by the system's own count.
 */

#ifndef BENCH_USAGE_H
#define BENCH_USAGE_H

#define PSAPI_VERSION 1
#include <windows.h>
#include <psapi.h>

struct usage
{
    long long committed;        /* private pages; those of a Linux library's own mmap are unknown here */
    long long resident;
};

static inline void get_usage(struct usage *usage)
{
    PROCESS_MEMORY_COUNTERS counters = {.cb = sizeof(counters)};
    MEMORY_BASIC_INFORMATION info;
    SYSTEM_INFO system;
    char *address;

    GetSystemInfo(&system);
    usage->committed = 0;
    for (address = system.lpMinimumApplicationAddress;
            address < (char *)system.lpMaximumApplicationAddress
            && VirtualQuery(address, &info, sizeof(info)) == sizeof(info);
            address = (char *)info.BaseAddress + info.RegionSize)
        if (info.State == MEM_COMMIT && info.Type == MEM_PRIVATE) usage->committed += info.RegionSize;

    GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof(counters));
    usage->resident = counters.WorkingSetSize;
}

#endif
