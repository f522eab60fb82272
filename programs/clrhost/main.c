/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * clrhost: runs a managed program under the memory host.
 */

#define INITGUID
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include "clrhost.h"
#include <shellapi.h>

static const char usage[] =
"Usage: clrhost [OPTION]... PROGRAM.EXE [ARGUMENT]...\n"
"Runs a managed program under the memory host and ends with its exit code.\n"
"\n"
"  --runtime DIR      a Mono runtime (DIR\\bin, DIR\\lib); else the one MSCOREEHOST_RUNTIME\n"
"                     names, else the Wine Mono of the prefix; on Windows .NET Framework\n"
"  --limit SIZE       let runtime and program commit no more than SIZE bytes; K, M, G may follow\n"
"  --host KEY=VALUE   an option of the host, as in the variable MSCOREEHOST; may be repeated\n"
"  --no-host          run the program without the host, to compare\n"
"  --summary          tell at the end what was taken, on standard error\n"
"  --csv FILE         write what is held, ten times a second\n"
"  --quiet            no summary\n"
"  --help, --version\n"
"\n"
"Exit status: the program's; 125 the command line is wrong; 126 the runtime or the host is\n"
"not to be had, or the program is not a managed one; 127 there is no such program.\n";

struct command_line
{
    const WCHAR *runtime, *csv;
    WCHAR host[1024];           /* as MSCOREEHOST has it */
    uint64_t limit;
    bool no_host, summary, quiet;
};

void complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "clrhost: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    fflush(stderr);
    va_end(args);
}

char *utf8(const WCHAR *text)
{
    int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *result = malloc(size);

    if (result) WideCharToMultiByte(CP_UTF8, 0, text, -1, result, size, NULL, NULL);
    return result;
}

WCHAR *full_path(const WCHAR *path)
{
    DWORD size = GetFullPathNameW(path, 0, NULL, NULL);
    WCHAR *result = size ? malloc(size * sizeof(*result)) : NULL;

    if (result) GetFullPathNameW(path, size, result, NULL);
    return result;
}

/* Installed it is beside this program or in the search path; in a build folder under dlls. */
HMODULE load_own_dll(const WCHAR *name)
{
    WCHAR path[MAX_PATH + 64], *end;
    HMODULE module;
    DWORD length;

    if ((module = LoadLibraryW(name))) return module;
    length = GetModuleFileNameW(NULL, path, MAX_PATH);
    if (!length || length >= MAX_PATH || !(end = wcsrchr(path, '\\'))) return NULL;
    swprintf(end, path + ARRAY_SIZE(path) - end, L"\\..\\..\\dlls\\%ls\\%ls.dll", name, name);
    return LoadLibraryExW(path, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
}

/* Digits, then nothing or K, M or G. */
static bool parse_size(const WCHAR *text, uint64_t *bytes)
{
    unsigned int shift = 0;
    uint64_t number = 0;

    if (*text < '0' || *text > '9') return false;
    for (; *text >= '0' && *text <= '9'; text++)
    {
        if (number > UINT64_MAX / 10 - 1) return false;
        number = number * 10 + (*text - '0');
    }
    if (*text == 'K' || *text == 'k') shift = 10;
    else if (*text == 'M' || *text == 'm') shift = 20;
    else if (*text == 'G' || *text == 'g') shift = 30;
    if (shift) text++;
    if (*text || !number || number > UINT64_MAX >> shift) return false;
    *bytes = number << shift;
    return true;
}

static bool add_host_option(struct command_line *line, const WCHAR *option)
{
    size_t length = wcslen(line->host);

    if (!wcschr(option, '=') || length + wcslen(option) + 2 > ARRAY_SIZE(line->host)) return false;
    if (length) wcscat(line->host, L",");
    wcscat(line->host, option);
    return true;
}

/* The value of an option: what follows its = or the next argument. */
static const WCHAR *option_value(int argc, WCHAR **argv, int *i, const WCHAR *name)
{
    size_t length = wcslen(name);

    if (wcsncmp(argv[*i], name, length)) return NULL;
    if (argv[*i][length] == '=') return argv[*i] + length + 1;
    if (argv[*i][length]) return NULL;
    if (*i + 1 < argc) return argv[++*i];
    complain("%ls needs a value", name);
    exit(EXIT_USAGE);
}

static bool parse_option(struct command_line *line, int argc, WCHAR **argv, int *i)
{
    const WCHAR *value;

    if (!wcscmp(argv[*i], L"--no-host")) line->no_host = true;
    else if (!wcscmp(argv[*i], L"--summary")) line->summary = true;
    else if (!wcscmp(argv[*i], L"--quiet")) line->quiet = true;
    else if ((value = option_value(argc, argv, i, L"--runtime"))) line->runtime = value;
    else if ((value = option_value(argc, argv, i, L"--csv"))) line->csv = value;
    else if ((value = option_value(argc, argv, i, L"--host"))) return add_host_option(line, value);
    else if ((value = option_value(argc, argv, i, L"--limit"))) return parse_size(value, &line->limit);
    else return false;
    return true;
}

/* The index of the program in argv; does not return where there is nothing to run. */
static int parse(struct command_line *line, int argc, WCHAR **argv)
{
    int i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++)
    {
        if (!wcscmp(argv[i], L"--")) return i + 1 < argc ? i + 1 : argc;
        if (!wcscmp(argv[i], L"--help"))
        {
            fputs(usage, stdout);
            exit(0);
        }
        if (!wcscmp(argv[i], L"--version"))
        {
            printf("clrhost %s\n", PACKAGE_VERSION);
            exit(0);
        }
        if (parse_option(line, argc, argv, &i)) continue;
        complain("wrong option or value: %ls; --help tells them", argv[i]);
        exit(EXIT_USAGE);
    }
    return i;
}

/* monohost keeps the heap off the end of the limit, where the runtime needs more for other things. Should it
 * get there all the same, large objects are to be refused before what the runtime does not survive losing.
 * Low memory is told before any of this begins. */
static void set_limit(HOST_CONTROL_OPTIONS *options, uint64_t limit)
{
    uint64_t share = min(limit / 4, (8 << 20) + limit / 128), percent = (limit - share) * 100 / limit;

    options->limit = limit;
    options->reserveProcess = share / 2;
    options->reserveAppDomain = share / 2;
    options->dwLowLoad = percent * 92 / 100;
    options->dwNeutralLoad = percent * 84 / 100;
    options->dwHighLoad = percent * 70 / 100;
}

/* The host reads the variable, and what is given here comes after what is in it. The program is to find the
 * variable as it was. */
static HRESULT create_control(const struct command_line *line, IHostControl **control)
{
    HRESULT (WINAPI *create)(const HOST_CONTROL_OPTIONS *options, REFIID iid, void **out);
    HOST_CONTROL_OPTIONS options = { .cbSize = sizeof(options) };
    WCHAR old[1024] = L"", both[2 * 1024];
    HMODULE module;
    HRESULT hr;

    if (!(module = load_own_dll(L"mscoreehost"))) return HRESULT_FROM_WIN32(GetLastError());
    if (!(create = (void *)GetProcAddress(module, "CreateHostControl")))
        return HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);

    if (line->limit) set_limit(&options, line->limit);
    GetEnvironmentVariableW(L"MSCOREEHOST", old, ARRAY_SIZE(old));
    swprintf(both, ARRAY_SIZE(both), L"%ls%ls%ls", old, old[0] && line->host[0] ? L"," : L"", line->host);
    if (line->host[0]) SetEnvironmentVariableW(L"MSCOREEHOST", both);
    hr = create(&options, &IID_IHostControl, (void **)control);
    if (line->host[0]) SetEnvironmentVariableW(L"MSCOREEHOST", old[0] ? old : NULL);
    return hr;
}

static int check_program(const WCHAR *path)
{
    WORD machine;

    switch (image_look(path, &machine))
    {
        case IMAGE_MISSING:
            complain("%ls cannot be opened, error %lu", path, GetLastError());
            return EXIT_NO_PROGRAM;
        case IMAGE_UNKNOWN:
            complain("%ls is not a program file", path);
            return EXIT_CANNOT_RUN;
        case IMAGE_NATIVE:
            complain("%ls is a native program for %s, not a managed one", path, image_machine_name(machine));
            return EXIT_CANNOT_RUN;
        case IMAGE_MANAGED:
            break;
    }
    return 0;
}

static int run(const struct command_line *line, int argc, WCHAR **argv)
{
    IHostControl *control = NULL, *given;
    bool framework = !line->runtime && framework_is_here();
    WCHAR *root;
    HRESULT hr;
    int status;

    if ((status = check_program(argv[0]))) return status;
    if (!framework && !mono_find(line->runtime, &root))
    {
        complain("no runtime: there is no Wine Mono in this prefix; name a Mono with --runtime or "
                "MSCOREEHOST_RUNTIME");
        return EXIT_CANNOT_RUN;
    }
    if (!line->no_host && FAILED(hr = create_control(line, &control)))
    {
        if (hr != E_INVALIDARG) complain("the host, mscoreehost.dll, cannot be had, error %#lx", hr);
        else complain("the host does not take its options: see --limit, --host and the variable MSCOREEHOST");
        return hr == E_INVALIDARG ? EXIT_USAGE : EXIT_CANNOT_RUN;
    }

    given = control;
    if (control && (line->summary || line->csv))
    {
        /* Counting costs time, so the runtime gets the counting host only where counts are asked for. */
        if (line->summary && !line->quiet) given = count_create(control);
        summary_begin(control, argv[0], line->summary && !line->quiet, line->csv);
    }
    status = framework ? framework_run(given, argc, argv) : mono_run(root, given, argc, argv);
    summary_end();
    return status;
}

int main(void)
{
    struct command_line line = { 0 };
    int argc, first;
    WCHAR **argv = CommandLineToArgvW(GetCommandLineW(), &argc);

    if (!argv) return EXIT_CANNOT_RUN;
    first = parse(&line, argc, argv);
    if (first >= argc)
    {
        complain("no program given\n%s", usage);
        return EXIT_USAGE;
    }
    if (!(argv[first] = full_path(argv[first]))) return EXIT_CANNOT_RUN;
    return run(&line, argc - first, argv + first);
}
