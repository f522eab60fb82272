/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * memreplay: replays a recorded memory trace of a managed runtime through a memory host.
 */

#include <wchar.h>
#include <initguid.h>
#include "memreplay.h"

static const char usage[] =
"Usage: memreplay [OPTION]... TRACE\n"
"Replays the memory trace of a managed runtime through a memory host. TRACE is a\n"
"text file, or - for standard input: xz -dc app.trace.xz | memreplay -\n"
"\n"
"  --dll PATH       the host's DLL (mscoreehost.dll, where Windows finds it)\n"
"  --com            make the host through COM: by CoCreateInstance, or with --dll\n"
"                   by the class object of that DLL, registered or not\n"
"  --limit SIZE     let the host commit no more than SIZE bytes; K, M or G may\n"
"                   follow, or % for percent of the most that the trace itself\n"
"                   has in live blocks and committed pages at once\n"
"  --level LEVEL    task, appdomain or process: how critical requests are (task)\n"
"  --threads HOW    recorded: a thread for each recorded one, waiting only for\n"
"                   what it needs; one: all on one, in recorded order (recorded)\n"
"  --no-fill        do not write to blocks and pages nor check them: for timing\n"
"  --repeat N       replay N times, each on a new host, and tell the median time\n"
"  --csv FILE       write live, committed and peak bytes over time to FILE (those\n"
"                   of the last replay); memreplay.gp draws it\n"
"  --quiet          print nothing but what is wrong\n"
"  --help           print this\n"
"  --version        print the version\n"
"\n"
"Exit status: 0 all is well; 1 the host did something wrong; 2 the command line\n"
"or the trace is wrong; 3 no host, or the system lacks something.\n";

struct command_line
{
    const WCHAR *trace, *csv;
    struct host_options host;
    struct replay_options replay;
    unsigned int limit_percent;
    unsigned int passes;
    bool quiet;
};

static void complain_va(const char *tail, const char *format, va_list args)
{
    char text[512];

    vsnprintf(text, sizeof(text), format, args);
    fprintf(stderr, "memreplay: %s%s\n", text, tail);
    fflush(stderr);
}

void complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain_va("", format, args);
    va_end(args);
}

void complain_system(DWORD error, const char *format, ...)
{
    char tail[256] = ": ";
    va_list args;
    DWORD length;

    length = FormatMessageA(
            FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK, NULL,
            error, 0, tail + 2, sizeof(tail) - 2, NULL);
    if (!length) snprintf(tail, sizeof(tail), ": error %lu", error);
    else while (length && (tail[length + 1] == ' ' || tail[length + 1] == '.')) tail[length-- + 1] = 0;

    va_start(args, format);
    complain_va(tail, format, args);
    va_end(args);
}

void show_progress(const char *format, ...)
{
    char text[64];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "\r%-40s\r", text);
    fflush(stderr);
}

/* Digits; then nothing, or one of the suffixes. */
static bool parse_size(const WCHAR *text, uint64_t *bytes, unsigned int *percent)
{
    unsigned int shift = 0;
    uint64_t number = 0;

    if (*text < '0' || *text > '9') return false;
    for (; *text >= '0' && *text <= '9'; ++text)
    {
        if (number > (UINT64_MAX >> 30) / 10 - 1) return false;
        number = number * 10 + (*text - '0');
    }
    *bytes = *percent = 0;
    if (!number) return false;
    if (*text == '%' && !text[1] && number <= 100000)
    {
        *percent = number;
        return true;
    }
    if (*text == 'K' || *text == 'k') shift = 10;
    else if (*text == 'M' || *text == 'm') shift = 20;
    else if (*text == 'G' || *text == 'g') shift = 30;
    if (shift) ++text;
    if (*text || number > UINT64_MAX >> shift) return false;
    *bytes = number << shift;
    return true;
}

static bool parse_count(const WCHAR *text, unsigned int max, unsigned int *count)
{
    uint64_t value;
    WCHAR *end;

    if (*text < '0' || *text > '9') return false;
    value = wcstoul(text, &end, 10);
    *count = value;
    return !*end && value && value <= max;
}

/* The value of an option: what follows its = or the next argument. */
static bool take_value(int argc, WCHAR **argv, int *i, const WCHAR *name, const WCHAR **value)
{
    size_t length = wcslen(name);

    if (wcsncmp(argv[*i], name, length)) return false;
    if (argv[*i][length] == '=') *value = argv[*i] + length + 1;
    else if (argv[*i][length]) return false;
    else if (*i + 1 < argc) *value = argv[++*i];
    else *value = NULL;
    return true;
}

static bool parse_value_option(struct command_line *line, const WCHAR *name, const WCHAR *value)
{
    static const WCHAR *const levels[] = {L"task", L"appdomain", L"process"};
    unsigned int i;

    if (!wcscmp(name, L"--dll")) line->host.dll = value;
    else if (!wcscmp(name, L"--csv")) line->csv = value;
    else if (!wcscmp(name, L"--limit")) return parse_size(value, &line->host.limit, &line->limit_percent);
    else if (!wcscmp(name, L"--repeat")) return parse_count(value, MAX_PASSES, &line->passes);
    else if (!wcscmp(name, L"--threads"))
    {
        line->replay.one_thread = !wcscmp(value, L"one");
        return line->replay.one_thread || !wcscmp(value, L"recorded");
    }
    else
    {
        for (i = 0; i < ARRAY_SIZE(levels) && wcscmp(value, levels[i]); ++i) ;
        line->replay.level = i;
        return i < ARRAY_SIZE(levels);
    }
    return *value;
}

static bool is_option(const WCHAR *argument, const WCHAR *name)
{
    return !wcscmp(argument, name);
}

/* Returns false with the status to end with. */
static bool parse_command_line(int argc, WCHAR **argv, struct command_line *line, enum status *status)
{
    static const WCHAR *const value_options[] =
            {L"--dll", L"--csv", L"--limit", L"--repeat", L"--threads", L"--level"};
    const WCHAR *value;
    unsigned int j;
    int i;

    *status = STATUS_USAGE;
    for (i = 1; i < argc; ++i)
    {
        for (j = 0; j < ARRAY_SIZE(value_options); ++j)
            if (take_value(argc, argv, &i, value_options[j], &value)) break;
        if (j < ARRAY_SIZE(value_options))
        {
            if (!value)
            {
                complain("%ls needs a value", value_options[j]);
                return false;
            }
            if (parse_value_option(line, value_options[j], value)) continue;
            complain("%ls: bad value '%ls'", value_options[j], value);
            return false;
        }
        if (is_option(argv[i], L"--com")) line->host.com = true;
        else if (is_option(argv[i], L"--no-fill")) line->replay.fill = false;
        else if (is_option(argv[i], L"--quiet")) line->quiet = true;
        else if (is_option(argv[i], L"--help") || is_option(argv[i], L"--version"))
        {
            if (is_option(argv[i], L"--help")) fputs(usage, stdout);
            else printf("memreplay %s\n", PACKAGE_VERSION);
            *status = STATUS_FINE;
            return false;
        }
        else if (argv[i][0] == '-' && argv[i][1])
        {
            complain("unknown option %ls; see memreplay --help", argv[i]);
            return false;
        }
        else if (line->trace)
        {
            complain("one trace at a time; see memreplay --help");
            return false;
        }
        else line->trace = argv[i];
    }
    if (line->trace) return true;
    complain("no trace given; see memreplay --help");
    return false;
}

static enum status run(struct command_line *line)
{
    static double seconds[MAX_PASSES];
    struct replay_result result;
    enum status status;
    struct trace trace;
    uint64_t wrong = 0;
    struct host host;
    unsigned int i;

    if ((status = trace_read(line->trace, line->replay.progress, &trace)) != STATUS_FINE) return status;
    if (line->limit_percent) line->host.limit = trace.peak_total * line->limit_percent / 100;

    for (i = 0; i < line->passes; ++i)
    {
        if ((status = host_open(&line->host, &host)) != STATUS_FINE) return status;
        line->replay.sample = line->csv && i + 1 == line->passes;
        if ((status = replay_run(&trace, &host, &line->replay, &result)) != STATUS_FINE) return status;
        host_close(&host);
        seconds[i] = result.seconds;
        wrong += result.wrong;
    }
    if (!line->quiet) output_table(&trace, &line->replay, &result, seconds, line->passes, wrong);
    if (line->csv && (status = output_csv(line->csv, &result)) != STATUS_FINE) return status;
    return wrong ? STATUS_WRONG : STATUS_FINE;
}

int wmain(int argc, WCHAR **argv)
{
    struct command_line line = {.passes = 1, .replay = {.fill = true, .level = eTaskCritical}};
    static char buffers[2][4096];
    enum status status;
    DWORD mode;

    /* Without a buffer each character on a terminal is a call. */
    setvbuf(stdout, buffers[0], _IOFBF, sizeof(buffers[0]));
    setvbuf(stderr, buffers[1], _IOFBF, sizeof(buffers[1]));
    if (parse_command_line(argc, argv, &line, &status))
    {
        line.replay.progress = !line.quiet && GetConsoleMode(GetStdHandle(STD_ERROR_HANDLE), &mode);
        status = run(&line);
    }
    if (fflush(stdout) || ferror(stdout))
    {
        complain("cannot write the result");
        return status ? status : STATUS_SYSTEM;
    }
    return status;
}
