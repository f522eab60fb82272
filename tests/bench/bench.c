/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * bench: what an Alloc and a Free cost through IHostMalloc, in many situations. It measures any DLL that
 * exports CreateHostControl: ours, and those of host.c, which have other allocators behind the same
 * interface.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench.h"

static const char usage[] =
"Usage: bench [OPTION]... DLL [WORKLOAD]...\n"
"Prints the name of each workload (all of them where none is named) and the\n"
"nanoseconds of one Alloc and one Free, through the IHostMalloc of DLL.\n"
"\n"
"  --sysv         the methods in DLL have the calling convention of Linux\n"
"  --ms N         measure for at least N ms where there is one thread (6)\n"
"  --threads-ms N the same where there are several (25)\n"
"  --repeat N     take the median of N measurements on one malloc (3)\n"
"  --check        see first whether the blocks are sound\n"
"  --memory MIB   fill MIB MiB, and so on; print what that takes, in bytes\n"
"  --list         print the names of the workloads\n";

#define MAX_REPEAT 99

unsigned int mix[MIX_COUNT];

struct options
{
    bool sysv, check, list;
    unsigned int ms, threads_ms, repeat, memory;
};

/* Which of the two sets of workloads. */
struct calls
{
    bool (*run)(const struct settings *, unsigned int, const char **, unsigned int, double *);
    void (*check)(const struct settings *);
    void (*memory)(const struct settings *, SIZE_T);
};

static const struct calls calls = {bench_run, bench_check, bench_memory};
#ifdef _WIN64
bool bench_run_sysv(const struct settings *settings, unsigned int index, const char **name,
        unsigned int repeat, double *ns);
void bench_check_sysv(const struct settings *settings);
void bench_memory_sysv(const struct settings *settings, SIZE_T load);
static const struct calls calls_sysv = {bench_run_sysv, bench_check_sysv, bench_memory_sysv};
#endif

void fatal(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    fflush(stdout);
    /* Other threads may be in the middle of anything. */
    TerminateProcess(GetCurrentProcess(), 1);
    abort();
}

uint64_t time_ns(void)
{
    static LARGE_INTEGER frequency;
    LARGE_INTEGER now;

    if (!frequency.QuadPart) QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&now);
    return now.QuadPart * 1e9 / frequency.QuadPart;
}

static void make_mix(void)
{
    static const struct
    {
        unsigned int largest, share;    /* in a thousand */
    } classes[] =
    {
        {16, 100}, {32, 230}, {48, 170}, {64, 105}, {96, 115}, {128, 80}, {256, 110}, {512, 55}, {1024, 21},
        {2048, 8}, {4096, 4}, {8192, 1}, {32768, 1}
    };
    unsigned int i, class, point, smallest, state = 2463534242u;

    for (i = 0; i < MIX_COUNT; ++i)
    {
        point = next_random(&state) % 1000;
        for (class = 0; point >= classes[class].share; ++class) point -= classes[class].share;
        smallest = class ? classes[class - 1].largest + 1 : 8;
        mix[i] = smallest + next_random(&state) % (classes[class].largest - smallest + 1);
    }
}

static int __cdecl compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* False: there is no workload of this number. */
static bool measure(const struct calls *set, const struct settings *settings, unsigned int index,
        unsigned int repeat, char **names, int name_count)
{
    double ns[MAX_REPEAT];
    const char *name;
    int j;

    if (!set->run(settings, index, &name, 0, NULL)) return false;
    for (j = 0; j < name_count && strcmp(names[j], name); ++j) ;
    if (name_count && j == name_count) return true;

    set->run(settings, index, &name, repeat, ns);
    qsort(ns, repeat, sizeof(*ns), compare_doubles);
    printf("%s %.3f\n", name, ns[repeat / 2]);
    fflush(stdout);
    return true;
}

/* Returns the index of the first argument that is none of these, or 0: something is wrong. */
static int parse_options(int argc, char **argv, struct options *options)
{
    const struct
    {
        const char *name;
        bool *flag;
        unsigned int *number;
    } known[] =
    {
        {"--sysv", &options->sysv, NULL},
        {"--check", &options->check, NULL},
        {"--list", &options->list, NULL},
        {"--ms", NULL, &options->ms},
        {"--threads-ms", NULL, &options->threads_ms},
        {"--repeat", NULL, &options->repeat},
        {"--memory", NULL, &options->memory},
    };
    unsigned int j;
    int i;

    for (i = 1; i < argc && argv[i][0] == '-'; ++i)
    {
        for (j = 0; j < ARRAY_SIZE(known) && strcmp(known[j].name, argv[i]); ++j) ;
        if (j == ARRAY_SIZE(known)) return 0;
        if (known[j].flag) *known[j].flag = true;
        else if (++i == argc || !(*known[j].number = strtoul(argv[i], NULL, 10))) return 0;
    }
    return i < argc || options->list ? i : 0;
}

int main(int argc, char **argv)
{
    struct options options = {.ms = 6, .threads_ms = 25, .repeat = 3};
    const struct calls *set = &calls;
    struct settings settings;
    const char *name;
    unsigned int i;
    int first;

    if (!(first = parse_options(argc, argv, &options)))
    {
        fputs(usage, stderr);
        return 2;
    }
    if (options.list)
    {
        for (i = 0; set->run(NULL, i, &name, 0, NULL); ++i) printf("%s\n", name);
        return 0;
    }
    if (options.sysv)
    {
#ifdef _WIN64
        set = &calls_sysv;
#else
        fatal("--sysv is for 64 bits");
#endif
    }
    if (!(settings.dll = LoadLibraryA(argv[first])))
    {
        fprintf(stderr, "bench: cannot load %s, error %lu\n", argv[first], GetLastError());
        return 1;
    }
    settings.least_ns = options.ms * 1e6;
    settings.threads_ms = options.threads_ms;
    options.repeat = min(options.repeat, MAX_REPEAT);

    make_mix();
    if (options.check) set->check(&settings);
    if (options.memory) set->memory(&settings, (SIZE_T)options.memory << 20);
    else
        for (i = 0; measure(set, &settings, i, options.repeat, argv + first + 1, argc - first - 1); ++i) ;
    return 0;
}
