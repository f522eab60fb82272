#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# memreplay from outside: real traces, small ones whose every number is known, broken ones, limits, and hosts
# with a fault. Run by make check, which sets the environment.

# shellcheck disable=SC2016,SC2154 # what eval and awk get is for them; make check sets builddir and srcdir

dir=$builddir/tests/memreplay.dir
rm -rf "$dir"
mkdir -p "$dir" && cd "$dir" || exit 99
dll=$builddir/dlls/mscoreehost/mscoreehost.dll
number=0
failures=0
broken=0

# Runs memreplay on the DLL; its output in the files out and err, its status in $status.
run()
{
    run_on --dll "$dll" "$@"
}

run_on()
{
    sh "$srcdir/tests/run-wine.sh" "$builddir/programs/memreplay/memreplay.exe" "$@" >out 2>err
    status=$?
    tr -d '\r' <err >err.unix && mv err.unix err
}

# The same with the trace on standard input. In a pipeline this is a shell of its own, so the status is in a
# file.
run_piped()
{
    RUN_INPUT=/dev/stdin
    export RUN_INPUT
    run -
    echo $status >status
}

# check NAME COMMAND...: the test passes if the command does.
check()
{
    name=$1
    shift
    number=$((number + 1))
    if "$@"; then
        echo "ok $number - $name"
    else
        failures=$((failures + 1))
        echo "not ok $number - $name"
        echo "# status $status"
        sed 's/^/# /' out err
    fi
}

# The numbers of a row of the table: host, counted, recorded.
row()
{
    sed -n "s/^$1  *//p" out | tr -s ' '
}

has_row()
{
    [ "$(row "$1")" = "$2" ]
}

fine()
{
    [ "$status" = 0 ] && [ ! -s err ] && has_row wrong nothing
}

# The end is the recorded one, and nothing was refused.
as_recorded()
{
    fine && has_row "refused, task" "0 0 0" && has_row "events skipped" "- 0 0" &&
        awk '/^left:/ { rows++; if ($(NF - 2) != $NF || $(NF - 1) != $NF) bad = 1 }
            END { exit bad || rows != 4 }' out
}

# broken LINE MESSAGE TEXT: a trace, in printf's language, that must be refused. They are many, and to start
# Wine takes longer than to read one, so they are all run by one batch file, in try_broken.
broken()
{
    broken=$((broken + 1))
    # shellcheck disable=SC2059 # the text is a format on purpose
    printf "$3" >broken$broken.trace
    echo "$1 $2" >broken$broken.expected
    printf '"%s" --dll "%s" %s.trace >%s.out 2>%s.err\r\necho %%errorlevel%% >%s.status\r\n' \
        "$(dos_path "$builddir/programs/memreplay/memreplay.exe")" "$(dos_path "$dll")" \
        broken$broken broken$broken broken$broken broken$broken >>broken.bat
}

dos_path()
{
    printf 'Z:%s' "$1" | tr / '\134'
}

try_broken()
{
    sh "$srcdir/tests/run-wine.sh" cmd /c broken.bat >broken.log 2>&1
    i=0
    while [ $i -lt $broken ]; do
        i=$((i + 1))
        status=$(tr -dc 0-9 <broken$i.status)
        tr -d '\r' <broken$i.out >out
        tr -d '\r' <broken$i.err >err
        read -r line message <broken$i.expected
        check "refused: $message" refused "broken$i.trace:$line: " "$message"
    done
}

refused()
{
    [ "$status" = 2 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] &&
        grep -qF "memreplay: $1" err && grep -qF "$2" err
}

fails_with()
{
    [ "$status" = "$1" ] && [ ! -s out ] && grep -q "^memreplay: $2" err
}

# Some request was refused at level $1, and the commit stayed below the limit.
limited()
{
    # shellcheck disable=SC2046
    fine && set -- $(row "refused, $1") && [ "$1" -gt 0 ] && [ "$1" = "$2" ] &&
        set -- $(row "peak committed") $(row limit) && [ "$1" -le "$4" ] && [ "$1" -gt $(($4 / 2)) ]
}

xz -dc "$srcdir/tests/data/startup.trace.xz" >startup.trace
xz -dc "$srcdir/tests/data/mcs-self.trace.xz" >mcs-self.trace

# ---- real traces ----

for trace in startup mcs-self; do
    run $trace.trace
    check "$trace, recorded threads" as_recorded
    run --threads one $trace.trace
    check "$trace, one thread" as_recorded
done
run --threads=one startup.trace
check "one thread: the host's peaks are the trace's" eval 'has_row "peak live bytes" "1392415 - 1392415" &&
    has_row "peak live blocks" "5112 - 5112" && has_row "peak pages committed" "22290432 - 22290432"'
run --no-fill startup.trace
check "without filling" as_recorded
run --com startup.trace
check "through the class object" as_recorded
run --repeat 3 startup.trace
check "three times" eval 'as_recorded && grep -q "median of 3" out'
xz -dc "$srcdir/tests/data/startup.trace.xz" | run_piped
status=$(cat status)
check "through a pipe" as_recorded
printf 'a 0 1 1\nx' | run_piped
status=$(cat status)
check "through a pipe, broken" refused "standard input:2: " "the last line is unfinished"
run --quiet startup.trace
check "quiet" eval '[ "$status" = 0 ] && [ ! -s out ] && [ ! -s err ]'

# ---- every number known ----

cat >tiny.trace <<'END'
# memory trace, format 1
# name: tiny
# threads: 1
# leaked-bytes: 200
a 0 1 100
z 0 2 50
r 0 1 3 200
f 0 2
V 0 1 65536 none
P 0 1 4096 8192 rw
D 0 1 4096 4096
V 0 2 8192 rx
P 0 2 0 4096 rw
U 0 2
END
run --threads one tiny.trace
check "small trace" eval 'fine &&
    has_row "peak live blocks" "3 - 2" && has_row "peak live bytes" "350 - 250" &&
    has_row "peak pages committed" "12288 - 12288" && has_row "left: blocks" "1 1 1" &&
    has_row "left: bytes" "200 200 200" && has_row "left: regions" "1 1 1" &&
    has_row "left: pages committed" "4096 4096 4096" &&
    grep -q "^tiny: 10 events of 1 threads, replayed on one" out'

cat >pages.trace <<'END'
V 0 1 16384 rw
P 0 1 4096 4096 none
P 0 1 0 16384 rwx
P 0 1 0 8192 rx
D 0 1 8192 4096
P 0 1 0 16384 rw
D 0 1 0 16384
P 0 1 0 4096 none
U 0 1
V 0 2 4096 rwx
END
run pages.trace
check "protections" eval 'as_recorded && has_row "left: pages committed" "4096 4096 4096" &&
    has_row "peak pages committed" "16384 - 16384"'

printf '%s\n' 'a 0 1 16' 'V 0 1 4096 rw' 'P 1 1 0 4096 rx' 'r 1 1 2 32' 'U 0 1' 'f 0 2' >handover.trace
run handover.trace
check "blocks and regions that go from thread to thread" eval 'as_recorded && has_row "left: blocks" "0 0 0"'

# Each thread frees what the one before it has made, as tightly as can be.
awk 'BEGIN { for (i = 1; i <= 40000; i++) {
    print "a", (i - 1) % 40, i, i % 300 + 1
    if (i > 1) print "f", (i - 1) % 40, i - 1
} }' >ring.trace
run ring.trace
check "40 threads in a ring" eval 'as_recorded && has_row "left: blocks" "1 1 1"'

awk 'BEGIN { for (i = 0; i < 300; i++) { print "a", i, i + 1, 24; if (i) print "f", i, i } }' >short.trace
run short.trace
check "300 threads, one after the other" eval 'as_recorded && grep -q "300 threads, at most 1 at a time" out'

# ---- limits ----

run --limit 50% startup.trace
check "startup at half of its peak" limited task
run --limit 50% --threads one startup.trace
check "startup at half of its peak, one thread" limited task
run --limit 50% mcs-self.trace
check "mcs-self at half of its peak" limited task
run --limit 1M --com --level appdomain startup.trace
check "a limit set later, level appdomain" eval 'limited "app domain" && has_row limit "1048576 - -"'
run --limit 1M --level process startup.trace
check "level process" limited process
run --limit 256K startup.trace
check "a limit that allows next to nothing" limited task
run --limit 1 startup.trace
check "a limit that not even a malloc fits into" fails_with 3 "CreateMalloc gives no malloc, 0x8007000e"

# ---- the time line ----

run --csv line.csv --limit 50% startup.trace
check "time line: heading" grep -qx \
    'seconds,events,heap_live,heap_committed,pages_committed,committed,peak_committed,limit' line.csv
check "time line: numbers" awk -F, 'NR == 1 { next }
    NF != 8 || $1 < seconds || $4 < $3 || $6 > $8 || $7 > $8 || $8 != 11783221 { bad = 1 }
    { seconds = $1; events = $2 }
    END { exit bad || NR < 500 || events != 41447 }' line.csv
if [ -c /dev/full ]; then
    run --csv /dev/full --quiet startup.trace
    check "time line on a full disk" fails_with 3 "cannot write"
fi
run --csv none/line.csv --quiet tiny.trace
check "time line in a folder that is not there" fails_with 3 "cannot write none/line.csv: "

# ---- broken traces ----

broken 1 "there is no event" ""
broken 1 "there is no event" "# memory trace, format 1\n"
broken 1 "memreplay knows format 1 only" "# memory trace, format 2\na 0 1 1\n"
broken 2 "the line is empty" "a 0 1 1\n\n"
broken 2 "a comment after the first event" "a 0 1 1\n# late\n"
broken 3 "unknown event 'q'" "# one\na 0 1 1\nq 0 1\n"
broken 1 "unknown event, byte 0x01" '\001 0 1\n'
broken 1 "unknown event, byte 0x20" ' a 0 1 1\n'
broken 2 "the last line is unfinished" "a 0 1 1\nf 0 1"
broken 1 "the thread is missing" "a\n"
broken 1 "no space before the thread" "aa 0 1 1\n"
broken 1 "the block is missing" "a 0\n"
broken 1 "the size is missing" "a 0 1\n"
broken 1 "the size is not a number" "a 0 1 \n"
broken 1 "the size is not a number" "a 0 1 -1\n"
broken 1 "the block is not a number" "a 0  1 1\n"
broken 1 "the block has a leading zero" "a 0 01 1\n"
broken 1 "the size is too large" "a 0 1 18446744073709551616\n"
broken 1 "does not fit a program of" "a 0 1 18446744073709551615\n"
broken 1 "the size is 0" "a 0 1 0\n"
broken 1 "something follows the last field" "a 0 1 1 1\n"
broken 1 "something follows the last field" "a 0 1 1\r\n"
broken 2 "something follows the last field" "a 0 1 1\nf 0 1 \n"
broken 1 "block 0 is none" "a 0 0 1\n"
broken 1 "block 2 is out of order: the next new one is 1" "a 0 2 1\n"
broken 2 "block 1 is born a second time" "a 0 1 1\na 0 1 1\n"
broken 3 "block 1 is born a second time" "a 0 1 1\nf 0 1\na 0 1 1\n"
broken 1 "block 1 was never born" "f 0 1\n"
broken 1 "block 0 is none" "f 0 0\n"
broken 3 "block 1 is dead already" "a 0 1 1\nf 0 1\nf 0 1\n"
broken 3 "block 1 is dead already" "a 0 1 1\nr 0 1 2 2\nf 0 1\n"
broken 1 "block 5 was never born" "r 0 5 1 8\n"
broken 1 "block 4294967297 was never born" "f 0 4294967297\n"
broken 2 "block 1 is born a second time" "a 0 1 1\nr 0 1 1 8\n"
broken 1 "thread 1 is out of order: the next new one is 0" "a 1 1 1\n"
broken 3 "thread 1, but the header says 1 threads" "# threads: 1\na 0 1 1\na 1 2 1\n"
broken 3 "block 2, but the header says 1 blocks" "# blocks: 1\na 0 1 1\na 0 2 1\n"
broken 3 "more events than the header says, 1" "# events: 1\na 0 1 1\na 0 2 1\n"
broken 2 "the trace ends here, after 1 of 2 events" "# events: 2\na 0 1 1\n"
broken 2 "threads is 3 here, but 1 in the events" "#\n# threads: 3\na 0 1 1\n"
broken 1 "threads-overlapping is 2 here, but 1 in the events" "# threads-overlapping: 2\na 0 1 1\n"
broken 1 "blocks is 2 here, but 1 in the events" "# blocks: 2\na 0 1 1\n"
broken 1 "regions is 1 here, but 0 in the events" "# regions: 1\na 0 1 1\n"
broken 1 "peak-live-bytes is 2 here, but 1 in the events" "# peak-live-bytes: 2\na 0 1 1\n"
broken 1 "peak-live-blocks is 2 here, but 1 in the events" "# peak-live-blocks: 2\na 0 1 1\n"
broken 1 "peak-mapped-bytes is 2 here, but 4096 in the events" "# peak-mapped-bytes: 2\nV 0 1 4096 none\n"
broken 1 "leaked-blocks is 0 here, but 1 in the events" "# leaked-blocks: 0\na 0 1 1\n"
broken 1 "leaked-bytes is 0 here, but 1 in the events" "# leaked-bytes: 0\na 0 1 1\n"
broken 1 "leaked-regions is 0 here, but 1 in the events" "# leaked-regions: 0\nV 0 1 4096 rw\n"
broken 1 "0 events 'f' here, but 1 below" "# event-kinds: a=1 z=0 r=0 f=0 V=0 P=0 D=0 U=0\na 0 1 1\nf 0 1\n"
broken 1 "event-kinds is not a=... to U=..." "# event-kinds: a=1 z=0\na 0 1 1\n"
broken 2 "threads is given twice" "# threads: 1\n# threads: 1\na 0 1 1\n"
broken 1 "threads has no value" "# threads:\na 0 1 1\n"
broken 1 "the threads is not a number" "# threads: many\na 0 1 1\n"
broken 1 "the size is not a whole number of 4096-byte pages" "V 0 1 100 rw\n"
broken 1 "the protection is missing" "V 0 1 4096\n"
broken 1 "the protection is none of" "V 0 1 4096 rwz\n"
broken 1 "the protection is none of" "V 0 1 4096 rw 1\n"
broken 1 "region 2 is out of order" "V 0 2 4096 rw\n"
broken 1 "region 1 was never mapped" "U 0 1\n"
broken 3 "region 1 is released already" "V 0 1 4096 rw\nU 0 1\nU 0 1\n"
broken 3 "region 1 is released already" "V 0 1 4096 rw\nU 0 1\nD 0 1 0 4096\n"
broken 3 "region 1 is born a second time" "V 0 1 4096 rw\nU 0 1\nV 0 1 4096 rw\n"
broken 2 "the range reaches beyond region 1, which has 8192 bytes" "V 0 1 8192 rw\nP 0 1 4096 8192 rw\n"
broken 2 "the range reaches beyond region 1" "V 0 1 8192 rw\nD 0 1 8192 4096\n"
broken 2 "the range reaches beyond region 1" "V 0 1 8192 rw\nD 0 1 18446744073709547520 8192\n"
broken 2 "offset and size are not whole 4096-byte pages" "V 0 1 8192 rw\nD 0 1 1 4096\n"
broken 2 "the size is 0" "V 0 1 8192 rw\nD 0 1 0 0\n"
broken 2 "the size is missing" "V 0 1 8192 rw\nD 0 1 4096\n"
try_broken

run "$srcdir/tests/data/startup.trace.xz"
check "still compressed" refused "" "startup.trace.xz:1: still compressed: xz -dc FILE | memreplay -"
head -n 20000 startup.trace >cut.trace
run cut.trace
check "cut between lines" refused "cut.trace:20000: " "the trace ends here, after 19974 of 41447 events"
head -c 300000 startup.trace >cut.trace
run cut.trace
check "cut in a line" refused "cut.trace:$(($(wc -l <cut.trace) + 1)): " "the last line is unfinished"
awk 'BEGIN { printf "#"; for (i = 0; i < 300000; i++) printf "long "; print "" }' >long.trace
run long.trace
check "a line without end" refused "long.trace:1: " "the line is too long"
run none.trace
check "no such file" refused "cannot open none.trace: " ""

# ---- the command line ----

run_on --version
check "version" eval '[ "$status" = 0 ] && grep -q "^memreplay [0-9]" out'
run_on --help
check "help" eval '[ "$status" = 0 ] && grep -q "^Usage: memreplay" out && [ "$(wc -L <out)" -le 80 ]'
run_on
check "no trace" fails_with 2 "no trace given"
run_on --frobnicate tiny.trace
check "unknown option" fails_with 2 "unknown option --frobnicate"
run_on tiny.trace pages.trace
check "two traces" fails_with 2 "one trace at a time"
run_on tiny.trace --csv
check "option without its value" fails_with 2 "--csv needs a value"
for bad in --limit=0 --limit=1X --limit=-1 --limit=99999999999999999999 --limit=5G% --threads=two \
    --level=high --repeat=0 --repeat=1001 --csv= --dll=; do
    run_on $bad tiny.trace
    check "$bad" fails_with 2 "${bad%%=*}: bad value"
done
run_on --dll "$dir/none.dll" tiny.trace
check "no such DLL" fails_with 3 "cannot load .*none.dll"
run_on --dll kernel32.dll tiny.trace
check "a DLL that is no host" fails_with 3 "CreateHostControl"
run_on --dll kernel32.dll --com tiny.trace
check "a DLL that is no COM server" fails_with 3 "DllGetClassObject"
MSCOREEHOST=nonsense=1
export MSCOREEHOST
run tiny.trace
check "a host that does not want to" fails_with 3 "CreateHostControl failed, 0x80070057"
MSCOREEHOST=limit=4M
run startup.trace
check "a limit from the environment" eval 'limited task && has_row limit "4194304 - -"'
unset MSCOREEHOST

# ---- hosts with a fault ----

# faulty NAME MESSAGE TRACE
faulty()
{
    BADHOST=$1
    export BADHOST
    run_on --dll "$dir/badhost.dll" --quiet "$3"
    unset BADHOST
    check "noticed: $1: $2" fails_with 1 "wrong: .*$2"
}

if $CC -std=gnu99 -Wall -Wextra -shared -static-libgcc -I"$builddir/include" -Wl,--kill-at -o badhost.dll \
    "$srcdir/tests/badhost.c" >out 2>&1; then
    run_on --dll "$dir/badhost.dll" startup.trace
    check "a host that keeps no accounts" eval 'fine &&
        has_row "left: blocks" "- 1155 1155" && has_row limit "- - -"'
    faulty overlap "the contents were overwritten" startup.trace
    faulty misaligned "Alloc gives S_OK and" startup.trace
    faulty null "Alloc gives S_OK and 0*$" startup.trace
    faulty s_false "Alloc gives 0x1 and" startup.trace
    faulty dangling "Alloc gives 0x8007000e and" startup.trace
    faulty e_fail "Alloc gives 0x80004005 and" startup.trace
    faulty free "Free gives 0x80131022" startup.trace
    faulty dirty "is not zero" startup.trace
    faulty offset "VirtualAlloc gives 0 and" tiny.trace
    faulty lasterror "sets the last error to 0" tiny.trace
    faulty keep "VirtualFree gives 0x80131022" tiny.trace
    faulty oldprotect "old protection 0x10, not 0x" tiny.trace
    faulty scribble "was overwritten" pages.trace
    faulty accounts "live bytes: the host counts 7, 200 is right" tiny.trace
    faulty accounts "the limit of 1000 bytes was passed, by 1" tiny.trace
    BADHOST=nomanager
    export BADHOST
    run_on --dll "$dir/badhost.dll" tiny.trace
    check "a host without a manager" fails_with 3 "GetHostManager gives no memory manager, 0x80004002"
    BADHOST=nomalloc
    run_on --dll "$dir/badhost.dll" tiny.trace
    check "a host without a malloc" fails_with 3 "CreateMalloc gives no malloc, 0x80004005"
    unset BADHOST
else
    status=none
    : >err
    check "the faulty host compiles" false
fi

cd "$builddir" || exit 99
rm -rf "$dir"
echo "1..$number"
[ $failures = 0 ]
