#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Copyright (C) 2026 the mscoreehost authors
#
# The package as a stranger meets it: installed into a folder, found through pkg-config, used by a C program
# (the README's, word for word) and a C++ program that see nothing else of this tree.

[ -n "${srcdir-}" ] && [ -n "${builddir-}" ] && [ -n "${prefix-}" ] || exit 99       # make check sets them
stage=$builddir/stage
bin=$stage$prefix/bin

if ! command -v pkg-config >/dev/null; then
    echo '1..0 # SKIP no pkg-config'
    exit
fi
echo 1..5
number=0

# report STATUS NAME
report()
{
    number=$((number + 1))
    [ "$1" = 0 ] || printf 'not '
    echo "ok $number - $2"
}

package()
{
    PKG_CONFIG_LIBDIR=$stage$prefix/lib/pkgconfig pkg-config --define-prefix "$@" mscoreehost
}

rm -rf "$stage"
$MAKE -C "$builddir" install DESTDIR="$stage" >&2 &&
    (cd "$stage$prefix" && ls bin/mscoreehost.dll bin/mscoreehost.manifest bin/memreplay.exe \
            lib/libmscoreehost.dll.a lib/pkgconfig/mscoreehost.pc include/mscoreehost.h \
            include/mscoreehost.idl) >&2
report $? install

cd "$stage" || exit 99
awk '/^```/ { if (inside) exit; inside = /^```c$/; next } inside' "$srcdir/README" >example.c
# shellcheck disable=SC2046,SC2086 # flags; CC may have some too
$CC -Wall -Wextra -Werror -o "$bin/example.exe" example.c $(package --cflags --libs) >&2
report $? c_compiles
out=$("$srcdir/tests/run-wine.sh" "$bin/example.exe")
echo "# $out"
echo "$out" | grep -q '^1000 bytes live, [1-9][0-9]* committed, limit 268435456$'
report $? c_runs

cat >example.cpp <<'EOF'
#define INITGUID
#include <cstdio>
#include <mscoreehost.h>

int main()
{
    IHostControl *control;
    IHostMemoryManager *memory;
    IHostMalloc *heap;
    void *block;

    if (CreateHostControl(nullptr, IID_IHostControl, reinterpret_cast<void **>(&control)) != S_OK) return 1;
    if (control->GetHostManager(IID_IHostMemoryManager, reinterpret_cast<void **>(&memory)) != S_OK) return 2;
    if (memory->CreateMalloc(MALLOC_THREADSAFE, &heap) != S_OK) return 3;
    if (heap->Alloc(1000, eTaskCritical, &block) != S_OK) return 4;
    if (heap->Free(block) != S_OK) return 5;
    std::puts(heap->Free(block) == HOST_E_INVALIDOPERATION ? "freed once" : "freed twice");
    return 0;
}
EOF
# shellcheck disable=SC2046,SC2086
$CXX -Wall -Wextra -Werror -static-libgcc -static-libstdc++ -o "$bin/examplecpp.exe" example.cpp \
        $(package --cflags --libs) >&2
report $? cpp_compiles
out=$("$srcdir/tests/run-wine.sh" "$bin/examplecpp.exe")
echo "# $out"
[ "$out" = 'freed once' ]
report $? cpp_runs
