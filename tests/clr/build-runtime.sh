#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# Builds a Mono runtime for Windows (x86_64) out of Debian's source package, twice: "flagged", with
# --with-overridable-allocators, and "stock", without, as runtimes are usually built. Both are laid out as
# Wine Mono is. They go to a cache outside the checkout; what is there is not made again, and a run that was
# broken off goes on where it stopped.

set -eu

usage()
{
    cat <<END
usage: build-runtime.sh [--path | --keep | --help]

Builds the runtimes, prints the folder they are in (sub-folders flagged and stock).
  --path   only prints it; status 1 when they are not built
  --keep   leaves sources and objects (1.6 GB) in the cache

The cache is \$MSCOREEHOST_CACHE, else \${XDG_CACHE_HOME:-~/.cache}/mscoreehost.
END
}

# mono_cv_clang, PKG_CONFIG: configure would look at the build machine's. nls, btls, llvm, ikvm, boehm, docs,
# class libraries: not needed, or not for Windows.
flags="--build=x86_64-linux-gnu --host=x86_64-w64-mingw32 --with-overridable-allocators=yes
 --disable-boehm --disable-mcs-build --disable-nls --disable-btls --with-tls=none --with-mcs-docs=no
 --with-csc=mcs --disable-system-aot --enable-static=no --enable-shared=yes --with-ikvm-native=no
 --enable-llvm=no --disable-crash-reporting mono_cv_clang=no PKG_CONFIG=false CFLAGS=-O2 CXXFLAGS=-O2"
recipe=1    # to be raised with every change below that changes the result

mode=build
keep=
for arg
do
    case $arg in
    --path) mode=path ;;
    --keep) keep=yes ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done

version=$(dpkg-query -W -f '${source:Version}' mono-mcs 2>/dev/null) || {
    echo "build-runtime.sh: mono-mcs is not installed; './bootstrap clr' installs what is needed" >&2
    exit 1
}
# shellcheck disable=SC2086 # by its words, whatever the line breaks
key=$(echo "$recipe" $flags | sha1sum | cut -c1-8)
cache=${MSCOREEHOST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mscoreehost}
result=$cache/mono-$(printf '%s' "$version" | tr -c 'A-Za-z0-9.\n' '-')-$key
work=$result.work

if [ -e "$result/complete" ]
then
    printf '%s\n' "$result"
    exit 0
fi
[ $mode = build ] || exit 1

for tool in x86_64-w64-mingw32-gcc dpkg-source mcs mono ilasm make python3
do
    command -v $tool >/dev/null || {
        echo "build-runtime.sh: $tool is missing; './bootstrap clr' installs what is needed" >&2
        exit 1
    }
done

mkdir -p "$work"
start=$(date +%s)

say()
{
    printf '[%3d s] %s\n' $(($(date +%s) - start)) "$*" >&2
}

# step NAME TEXT FUNCTION: runs the function unless it has ended well before.
step()
{
    [ ! -e "$work/$1.done" ] || return 0
    say "$2"
    set +e      # a subshell in a condition would run without -e itself
    (set -e; cd "$work"; $3) >"$work/$1.log" 2>&1
    status=$?
    set -e
    if [ $status != 0 ]
    then
        tail -n 15 "$work/$1.log" >&2
        echo "build-runtime.sh: that failed; all of it is in $work/$1.log. Run the same command to go on." >&2
        exit 1
    fi
    : >"$work/$1.done"
}

# Own lists and own sources: the machine's apt configuration stays as it is.
download()
{
    rm -rf apt
    mkdir -p apt/parts apt/lists/partial apt/cache/archives/partial
    for file in /etc/apt/sources.list.d/*.sources
    do
        [ ! -e "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"apt/parts/${file##*/}"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list
    do
        [ ! -e "$file" ] || sed -n 's/^deb[[:space:]]/deb-src /p' "$file" >"apt/parts/${file##*/}.list"
    done
    cat >apt/apt.conf <<END
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/apt/parts";
Dir::State::lists "$work/apt/lists";
Dir::Cache "$work/apt/cache";
APT::Sandbox::User "root";
END
    # One archive of many may fail to answer; what counts is that the source is found.
    APT_CONFIG=$work/apt/apt.conf apt-get update || true
    APT_CONFIG=$work/apt/apt.conf apt-get source --download-only "mono=$version"
}

unpack()
{
    rm -rf src && dpkg-source --no-check -x mono_*.dsc src
}

do_configure()
{
    rm -rf build && mkdir build && cd build && ../src/configure --prefix="$work/prefix" $flags
}

# Progress: a line per hundred objects, on a terminal one line that counts.
do_make()
{
    { nice make -j"$(nproc)" -C build/mono; echo $? >make.status; } 2>&1 | tee -a make.all | \
    awk -v tty="$(test -t 3 && echo yes)" '
        / (CC|CCLD|CXX) / {
            n++
            if (tty) printf "\r         %d of about 350 files", n
            else if (n % 100 == 0) printf "         %d of about 350 files\n", n
            fflush()
        }
        END { if (tty) printf "\r%40s\r", "" }' >&3
    [ "$(cat make.status)" = 0 ] || { tail -n 30 make.all; return 1; }
}

compile()
{
    do_make && nice make -j"$(nproc)" -C build/support
}

# The two edits: this mcs rejects valid code that only the list for Windows contains. CS0213 on "fixed" of an
# "in" parameter; and a Queue of tuples in a generic class is taken for one of the class's own type
# parameters.
edit_class_library()
{
    cd src/external/corefx/src
    file=Common/src/CoreLib/Interop/Windows/Kernel32/Interop.TimeZone.cs
    sed -i -e 's/TIME_ZONE_INFORMATION(in TIME_DYNAMIC/TIME_ZONE_INFORMATION(TIME_DYNAMIC/' \
        -e '/fixed (TIME_DYNAMIC_ZONE_INFORMATION\* pFrom = &dtzi)/d' \
        -e 's/\*(TIME_ZONE_INFORMATION\*)pFrom;/*(TIME_ZONE_INFORMATION*)\&dtzi;/' $file
    grep -q '(TIME_ZONE_INFORMATION\*)&dtzi' $file

    file=System.IO.FileSystem/src/System/IO/Enumeration/FileSystemEnumerator.Windows.cs
    assign='            _directoryHandle = next.Key;\n            _currentPath = next.Value;'
    sed -i -e 's/Queue<(IntPtr[^>]*)>/Queue<KeyValuePair<IntPtr, string>>/' \
        -e 's/Enqueue((\([^()]*\)))/Enqueue(new KeyValuePair<IntPtr, string>(\1))/' \
        -e 's/(_directoryHandle, _currentPath) = \(_pending.Dequeue()\);/var next = \1;\n'"$assign"'/' \
        -e 's/_pending.Dequeue().Handle/_pending.Dequeue().Key/' $file
    [ "$(grep -c 'KeyValuePair<IntPtr, string>' $file)" = 3 ]
}

class_library()
{
    tools=$work/tools
    mkdir -p "$tools"
    mcs=src/mcs
    cecil=$(dpkg -L libmono-cecil-private-cil | grep '/Mono.Cecil.dll$' | head -n 1)
    [ -e edited ] || { (edit_class_library); : >edited; }
    mcs -out:"$tools/gensources.exe" $mcs/tools/gensources/gensources.cs
    cp "$cecil" "$tools"
    mcs -langversion:7 -r:"$tools/Mono.Cecil.dll" -d:NO_SYMBOLS -out:"$tools/cil-stringreplacer.exe" \
        $mcs/tools/cil-stringreplacer/cil-stringreplacer.cs $mcs/class/Mono.Options/Mono.Options/Options.cs

    cd $mcs/class/corlib
    mono "$tools/gensources.exe" --strict --platformsdir:../../build corlib.win32.sources corlib.dll \
        win32 net_4_x
    ilasm System.Runtime.CompilerServices/Unsafe.il /dll /noautoinherit /out:corlib.unsafe.dll.tmp
    reference=$(sed -n 's/^REFERENCE_SOURCES_FLAGS = -d://p' Makefile)
    resources='resources/charinfo.nlp LinkerDescriptor/mscorlib.xml'
    for part in core tailoring cjkCHS cjkCHT cjkJA cjkKO cjkKOlv2
    do
        resources="$resources resources/collation.$part.bin"
    done
    mcs /codepage:65001 /nologo /noconfig /deterministic -unsafe -nostdlib \
        -nowarn:612,618,3001,3002,3003,1635,1699 -d:INSIDE_CORLIB,MONO_CULTURE_DATA -d:LIBC -d:"$reference" \
        -d:FEATURE_MACL,FEATURE_REMOTING,MONO_COM,FEATURE_COMINTEROP,FEATURE_ROLE_BASED_SECURITY \
        -d:MONO_FEATURE_THREAD_ABORT,MONO_FEATURE_THREAD_SUSPEND_RESUME,MONO_FEATURE_MULTIPLE_APPDOMAINS \
        -d:BIT64,REGISTRY_ASSEMBLY -d:NET_4_0 -d:NET_4_5 -d:NET_4_6 -d:MONO -d:WIN_PLATFORM -optimize \
        /langversion:latest -d:MONO_FEATURE_SRE -d:MONO_FEATURE_CONSOLE -d:FEATURE_CRYPTO_CONFIGURABLE \
        -runtimemetadataversion:v4.0.30319 $(printf -- '-resource:%s ' $resources) -target:library \
        -out:"$tools/mscorlib.dll" @corlib.win32.sources
    mono "$tools/cil-stringreplacer.exe" --mscorlib-debug \
        --resourcestrings:../referencesource/mscorlib/mscorlib.txt --ilreplace:corlib.unsafe.dll.tmp \
        "$tools/mscorlib.dll"
}

# install_runtime NAME
install_runtime()
{
    rm -rf "$result/$1"
    mkdir -p "$result/$1/bin"
    x86_64-w64-mingw32-strip -o "$result/$1/bin/libmono-2.0-x86_64.dll" \
        build/mono/mini/.libs/libmonosgen-2.0.dll
}

install_flagged()
{
    install_runtime flagged
    cd "$result/flagged"
    x86_64-w64-mingw32-strip -o bin/MonoPosixHelper.dll "$work/build/support/.libs/libMonoPosixHelper.dll"
    mkdir -p lib/mono/4.5/Facades etc/mono/4.5
    cp -L /usr/lib/mono/4.5/*.dll lib/mono/4.5
    cp -L /usr/lib/mono/4.5/Facades/*.dll lib/mono/4.5/Facades
    cp "$work/tools/mscorlib.dll" lib/mono/4.5
    cp "$work/src/data/net_4_5/machine.config" etc/mono/4.5
}

# What the flag changes is in files that ask for it (gmem.c and gstr.c of eglib): those are compiled once more
# with the definition taken out of config.h, whose time stamp stays, or make would start all over.
stock()
{
    touch -r build/config.h stamp
    sed -i '/^#define ENABLE_OVERRIDABLE_ALLOCATORS /d' build/config.h
    touch -r stamp build/config.h
    (cd src && grep -rl --include='*.[ch]' ENABLE_OVERRIDABLE_ALLOCATORS mono) | while read -r file
    do
        object=$(basename "$file" .c)
        find build/mono -name "*-$object.lo" -o -name "*-$object.o" | xargs -r rm -f
    done
    nice make -j"$(nproc)" -C build/mono
    install_runtime stock
    cd "$result/stock"
    cp ../flagged/bin/MonoPosixHelper.dll bin
    cp -al ../flagged/lib ../flagged/etc .
}

exec 3>&2
say "Mono $version for Windows: built once, about 6 minutes, into $result"
step download "downloading the source package (113 MB)" download
step unpack "unpacking (1.3 GB)" unpack
step configure "configuring" do_configure
step compile "compiling the runtime" compile
step classes "compiling the class library for Windows" class_library
step flagged "installing the runtime" install_flagged
step stock "the same without overridable allocators" stock
: >"$result/complete"
[ -n "$keep" ] || rm -rf "$work"
say "done, $(du -sh "$result" | cut -f1)"
printf '%s\n' "$result"
