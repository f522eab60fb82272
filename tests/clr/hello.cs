/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * The smallest program: says what it was given, ends with a code of its own.
 */

using System;
using System.Linq;

namespace Hello
{
    public static class Program
    {
        public static int Main(string[] args)
        {
            Console.WriteLine("hello " + string.Join("|", args));
            return 7;
        }

        /* For ICLRRuntimeHost::ExecuteInDefaultAppDomain. */
        public static int Run(string argument)
        {
            Console.WriteLine("hello " + argument);
            return Enumerable.Range(0, 1000).Select(i => i.ToString().Length).Sum() % 100;
        }
    }
}
