/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * Programs that meet a limit, to be run under clrhost --limit. churn MEGABYTES: makes that much garbage, with
 * a live set that grows and shrinks. hoard: keeps everything until there is no more, and goes on. native
 * COUNT PER-SECOND: keeps little, but what it drops holds memory of the runtime's own that only a collection
 * gives back.
 */

using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;

public static class Limits
{
    const int MiB = 1 << 20;

    class Small
    {
        public Small Next;
        public byte[] Load;
    }

    /* The live set swings between 4 and liveMegabytes MiB, eight times: half of it lists of small objects,
     * half of it arrays of up to 4 MiB. */
    static int Churn(long megabytes, int liveMegabytes)
    {
        const int listLength = 400, listBytes = listLength * 180;
        long total = megabytes * MiB, made = 0, arrayBytes = 0, most = 0;
        var random = new Random(1);
        var lists = new List<Small>();
        var arrays = new List<byte[]>();

        while (made < total)
        {
            int length = random.Next(10) == 0 ? random.Next(MiB, 4 * MiB) : random.Next(1000, 100000);
            var array = new byte[length];
            array[length - 1] = (byte)length;
            Small list = null;
            for (int i = 0; i < listLength; i++)
                list = new Small { Next = list, Load = new byte[random.Next(16, 200)] };
            made += length + listBytes;
            if (random.Next(4) == 0)
            {
                arrays.Add(array);
                arrayBytes += length;
                lists.Add(list);
            }

            double phase = made * 8.0 / total % 1;
            double target = (4 + (liveMegabytes - 4) * (phase < 0.5 ? 2 * phase : 2 - 2 * phase)) * MiB / 2;
            while (arrayBytes > target)
            {
                int k = random.Next(arrays.Count);
                if (arrays[k][arrays[k].Length - 1] != (byte)arrays[k].Length)
                    return Say("an array is damaged", 3);
                arrayBytes -= arrays[k].Length;
                arrays[k] = arrays[arrays.Count - 1];
                arrays.RemoveAt(arrays.Count - 1);
            }
            while (lists.Count * (long)listBytes > target) lists.RemoveAt(random.Next(lists.Count));
            most = Math.Max(most, arrayBytes + lists.Count * (long)listBytes);
        }

        /* Time for the host to see that there is room again, on a busy machine too. */
        arrays.Clear();
        lists.Clear();
        GC.Collect();
        Thread.Sleep(2000);
        return Say("churn: " + made / MiB + " MiB made, at most " + most / MiB + " of them alive", 0);
    }

    /* How many of them there was room for. On a thread of its own: a collector that looks through stacks
     * conservatively may find what was left there. */
    static int FillWith(int size)
    {
        int count = 0;
        var thread = new Thread(() =>
        {
            Small list = null;

            try
            {
                for (;; count++) list = new Small { Next = list, Load = new byte[size] };
            }
            catch (OutOfMemoryException e)
            {
                list = null;
                /* As a program would that reports it: this takes memory of its own. */
                if (e.ToString().Length < 20) count = 0;
            }
        });

        thread.Start();
        thread.Join();
        return count;
    }

    /* Small ones last: what Mono has once taken for them it keeps for them. */
    static int Hoard()
    {
        for (int round = 0; round < 4; round++)
        {
            int large = FillWith(4 * MiB) * 4, medium = FillWith(100000) / 10;

            Console.WriteLine("hoard: {0} MiB of large arrays, {1} of medium ones", large, medium);
            if (large < 4 || medium < 4) return Say("too little before there was no more", 3);
        }
        for (int round = 0; round < 4; round++)
        {
            int small = FillWith(100) / 6000;

            Console.WriteLine("hoard: {0} MiB of small objects", small);
            if (small < 4) return Say("too little before there was no more", 3);
        }
        return Say("hoard: goes on", 0);
    }

    delegate int Callback(int number);

    /* A function pointer for each delegate: of this kind of garbage the collector sees a hundred bytes
     * apiece, and none of the thousand that the runtime holds for it. Notifications come every ten seconds,
     * and it takes Mono some more to free what they collect: on a slow machine it must not catch up. */
    static int Native(int count, int perSecond)
    {
        long sum = 0;

        for (int i = 0; i < count; i++)
        {
            int number = i;
            Callback callback = k => k + number;
            sum += Marshal.GetFunctionPointerForDelegate(callback) != IntPtr.Zero ? 1 : 0;
            if (i % 15 == 0) Thread.Sleep(15 * 1000 / perSecond);
        }
        return Say("native: " + count + " function pointers", sum == count ? 0 : 3);
    }

    static int Say(string text, int code)
    {
        Console.WriteLine(text);
        return code;
    }

    public static int Main(string[] args)
    {
        switch (args[0])
        {
            case "churn": return Churn(long.Parse(args[1]), args.Length > 2 ? int.Parse(args[2]) : 48);
            case "hoard": return Hoard();
            case "native": return Native(int.Parse(args[1]), int.Parse(args[2]));
        }
        return 2;
    }
}
