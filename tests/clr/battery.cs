/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copyright (C) 2026 the mscoreehost authors
 *
 * What managed programs do with a runtime, one group after the other, as TAP. Under clrhost every group takes
 * its memory from the host. Arguments: the groups to run; none: all. --times: tells what each took.
 */

using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading;
using System.Threading.Tasks;

public static class Battery
{
    class Failure : Exception
    {
        public Failure(string what) : base(what)
        {
        }
    }

    static void Check(bool condition, string what)
    {
        if (!condition) throw new Failure(what);
    }

    static void Equal<T>(T expected, T seen, string what)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, seen))
            throw new Failure(what + ": expected " + expected + ", seen " + seen);
    }

    static void Threads()
    {
        var threads = new Thread[64];
        object gate = new object();
        long sum = 0;

        for (int round = 0; round < 3; round++)
        {
            for (int i = 0; i < threads.Length; i++)
            {
                threads[i] = new Thread(start =>
                {
                    long mine = 0;
                    for (int k = 0; k < 1000; k++) mine += new int[k % 50 + 1].Length;
                    lock (gate) sum += mine + (int)start;
                });
                threads[i].Start(i);
            }
            foreach (var thread in threads) thread.Join();
        }
        Equal(3L * (64 * 20 * 1275 + 64 * 63 / 2), sum, "sum over all threads");

        var local = new ThreadLocal<int>(() => 5);
        bool aborted = false, ready = false;
        var victim = new Thread(() =>
        {
            try
            {
                ready = true;
                for (;;) Thread.Sleep(1 + local.Value - 5);
            }
            catch (ThreadAbortException)
            {
                aborted = true;
            }
        });
        victim.Start();
        while (!ready) Thread.Sleep(1);
        victim.Abort();
        Check(victim.Join(10000) && aborted, "abort");
    }

    static void Tasks()
    {
        var tasks = Enumerable.Range(0, 500).Select(i => Task.Run(async () =>
        {
            await Task.Yield();
            if (i % 50 == 0) await Task.Delay(1);
            return i * 2;
        })).ToArray();
        Task.WaitAll(tasks);
        Equal(499 * 500, tasks.Sum(t => t.Result), "sum of tasks");

        var words = new ConcurrentDictionary<int, int>();
        Parallel.For(0, 20000, i => words.AddOrUpdate(i % 97, 1, (k, v) => v + 1));
        Equal(20000, words.Values.Sum(), "concurrent counts");

        try
        {
            Task.WaitAll(Task.Run(() => { throw new InvalidOperationException("on purpose"); }));
            Check(false, "an exception in a task is lost");
        }
        catch (AggregateException e)
        {
            Check(e.InnerException is InvalidOperationException, "kind of the exception in a task");
        }
    }

    static void Plinq()
    {
        var primes = Enumerable.Range(2, 20000).AsParallel().WithDegreeOfParallelism(4)
            .Where(n => Enumerable.Range(2, (int)Math.Sqrt(n) - 1).All(d => n % d != 0))
            .OrderBy(n => n).ToArray();
        Equal(2262, primes.Length, "primes below 20002");
        Equal(19997, primes.Last(), "largest of them");

        var groups = Enumerable.Range(0, 50000).AsParallel().GroupBy(i => i % 7)
            .ToDictionary(g => g.Key, g => g.Count());
        Equal(50000, groups.Values.Sum(), "groups");
    }

    class Node
    {
        public Node Left, Right;
        public int Value;

        public static Node Grow(int depth)
        {
            var node = new Node { Value = depth };
            if (depth > 0)
            {
                node.Left = Grow(depth - 1);
                node.Right = Grow(depth - 1);
            }
            return node;
        }

        public int Count()
        {
            return 1 + (Left == null ? 0 : Left.Count()) + (Right == null ? 0 : Right.Count());
        }
    }

    static void Collections()
    {
        var stop = new ManualResetEvent(false);
        string wrong = null;
        var workers = Enumerable.Range(0, 6).Select(seed => new Thread(() =>
        {
            var random = new Random(seed);
            var kept = new Node[8];

            for (int i = 0; !stop.WaitOne(0); i++)
            {
                int slot = random.Next(kept.Length), depth = random.Next(3, 11);
                kept[slot] = Node.Grow(depth);
                if (kept[slot].Count() != (1 << depth + 1) - 1) wrong = "a tree of depth " + depth;
                var text = new StringBuilder();
                for (int k = 0; k < 50; k++) text.Append(k).Append(' ');
                if (text.Length != 140) wrong = "a string";
            }
        })).ToArray();

        foreach (var worker in workers) worker.Start();
        for (int i = 0; i < 25; i++)
        {
            GC.Collect(i % 3);
            Thread.Sleep(10);
        }
        stop.Set();
        foreach (var worker in workers) worker.Join();
        Check(wrong == null, "damaged: " + wrong);
    }

    class Finalized
    {
        public static int Count, Reborn;
        public static Finalized Kept;
        readonly byte[] load = new byte[100];
        readonly bool back;

        public Finalized(bool back)
        {
            this.back = back;
        }

        ~Finalized()
        {
            Interlocked.Add(ref Count, load.Length / 100);
            if (!back) return;
            Kept = this;
            Interlocked.Increment(ref Reborn);
        }
    }

    static WeakReference MakeGarbage()
    {
        for (int i = 0; i < 5000; i++) new Finalized(i == 2500);
        return new WeakReference(new object());
    }

    static void Finalizers()
    {
        WeakReference weak = null;
        var maker = new Thread(() => weak = MakeGarbage());

        Finalized.Count = Finalized.Reborn = 0;
        maker.Start();
        maker.Join();
        for (int i = 0; i < 50 && Finalized.Count < 4900; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        /* A conservative look at the stack may keep a few. */
        Check(Finalized.Count >= 4900, "finalizers run: " + Finalized.Count);
        Check(!weak.IsAlive, "weak reference");

        var pinned = GCHandle.Alloc(new byte[64], GCHandleType.Pinned);
        IntPtr address = pinned.AddrOfPinnedObject();
        GC.Collect();
        Equal(address, pinned.AddrOfPinnedObject(), "pinned object");
        pinned.Free();
    }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    delegate int Compare(IntPtr a, IntPtr b);

    [DllImport("msvcrt.dll", CallingConvention = CallingConvention.Cdecl)]
    static extern void qsort([In, Out] int[] items, UIntPtr count, UIntPtr size, Compare compare);

    static void Callbacks()
    {
        var random = new Random(1);
        var numbers = Enumerable.Range(0, 5000).Select(i => random.Next()).ToArray();
        var sorted = numbers.OrderBy(i => i).ToArray();
        int calls = 0;
        Compare compare = (a, b) =>
        {
            if (++calls % 1000 == 0) GC.Collect(0);
            return Marshal.ReadInt32(a).CompareTo(Marshal.ReadInt32(b));
        };

        qsort(numbers, (UIntPtr)numbers.Length, (UIntPtr)4, compare);
        Check(numbers.SequenceEqual(sorted), "qsort through a callback");
        Check(calls > 5000, "the callback was called");
    }

    /* Caught at once, from a null reference, and thrown in a callback through the native frames of qsort. */
    static void Exceptions()
    {
        int depth = 0;

        for (int i = 0; i < 2000; i++)
        {
            try
            {
                try
                {
                    if (i % 2 == 0) throw new ArgumentException("argument " + i);
                    object nothing = null;
                    nothing.ToString();
                }
                finally
                {
                    depth++;
                }
            }
            catch (ArgumentException e)
            {
                Equal("argument " + i, e.Message, "message");
            }
            catch (NullReferenceException)
            {
                depth--;
            }
        }
        Equal(0, depth - 1000, "finally blocks");

        for (int i = 0; i < 100; i++)
        {
            int calls = 0;
            Compare compare = (x, y) =>
            {
                if (++calls == 50 + i) throw new InvalidOperationException("in call " + calls);
                return Marshal.ReadInt32(x).CompareTo(Marshal.ReadInt32(y));
            };
            string caught = null;
            try
            {
                qsort(Enumerable.Range(0, 1000).Reverse().ToArray(), (UIntPtr)1000, (UIntPtr)4, compare);
            }
            catch (InvalidOperationException e)
            {
                caught = e.Message;
            }
            Equal("in call " + (50 + i), caught, "exception through native frames");
        }

        try
        {
            int zero = depth - 1000;
            Check(1 / zero < 0, "division by zero");
        }
        catch (DivideByZeroException)
        {
            depth = 0;
        }
        Equal(0, depth, "division by zero");
    }

    static void Emit()
    {
        for (int round = 0; round < 20; round++)
        {
            var method = new DynamicMethod("twice" + round, typeof(int), new[] { typeof(int) });
            var code = method.GetILGenerator();
            code.Emit(OpCodes.Ldarg_0);
            code.Emit(OpCodes.Ldc_I4, round);
            code.Emit(OpCodes.Mul);
            code.Emit(OpCodes.Ret);
            var call = (Func<int, int>)method.CreateDelegate(typeof(Func<int, int>));
            Equal(21 * round, call(21), "dynamic method");
        }

        var assembly = AppDomain.CurrentDomain.DefineDynamicAssembly(new AssemblyName("Made"),
            AssemblyBuilderAccess.Run);
        var module = assembly.DefineDynamicModule("Made");
        for (int i = 0; i < 20; i++)
        {
            var type = module.DefineType("Type" + i, TypeAttributes.Public);
            var field = type.DefineField("value", typeof(long), FieldAttributes.Public);
            var get = type.DefineMethod("Get", MethodAttributes.Public, typeof(long), Type.EmptyTypes);
            var code = get.GetILGenerator();
            code.Emit(OpCodes.Ldarg_0);
            code.Emit(OpCodes.Ldfld, field);
            code.Emit(OpCodes.Ret);
            var made = type.CreateType();
            object instance = Activator.CreateInstance(made);
            made.GetField("value").SetValue(instance, (long)i);
            Equal((long)i, made.GetMethod("Get").Invoke(instance, null), "method of a type made at run time");
        }
        System.Linq.Expressions.Expression<Func<int, int>> square = x => x * x;
        Equal(49, square.Compile()(7), "compiled expression");
    }

    public class Remote : MarshalByRefObject
    {
        public int Work(int n)
        {
            return Enumerable.Range(0, n).Select(i => i.ToString()).Sum(s => s.Length);
        }
    }

    static void Domains()
    {
        for (int i = 0; i < 5; i++)
        {
            var domain = AppDomain.CreateDomain("domain" + i);
            var remote = (Remote)domain.CreateInstanceAndUnwrap(typeof(Remote).Assembly.FullName,
                typeof(Remote).FullName);
            Equal(2890, remote.Work(1000), "work in another domain");
            AppDomain.Unload(domain);
        }
    }

    static void Files()
    {
        string folder = Path.Combine(Path.GetTempPath(), "battery" + Process.GetCurrentProcess().Id);

        Directory.CreateDirectory(folder);
        try
        {
            for (int i = 0; i < 20; i++)
            {
                string path = Path.Combine(folder, "f" + i);
                File.WriteAllText(path, new string((char)('a' + i), 1000 * i));
                Equal(1000L * i, new FileInfo(path).Length, "length of a file");
                Check(File.ReadAllText(path) == new string((char)('a' + i), 1000 * i), "contents of a file");
            }
            Equal(20, Directory.GetFiles(folder).Length, "files in the folder");

            string large = Path.Combine(folder, "large");
            var data = new byte[3 << 20];
            new Random(3).NextBytes(data);
            using (var stream = new FileStream(large, FileMode.Create)) stream.Write(data, 0, data.Length);
            using (var stream = new FileStream(large, FileMode.Open))
            {
                var back = new byte[data.Length];
                int length = 0, part;
                while ((part = stream.Read(back, length, back.Length - length)) > 0) length += part;
                Equal(data.Length, length, "length read");
                Check(back.SequenceEqual(data), "contents read");
            }
        }
        finally
        {
            foreach (string path in Directory.GetFiles(folder)) File.Delete(path);
            Directory.Delete(folder);
        }
    }

    static void Sockets()
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        var clients = new List<Thread>();
        int port, good = 0;

        listener.Start();
        port = ((IPEndPoint)listener.LocalEndpoint).Port;
        for (int i = 0; i < 8; i++)
        {
            int id = i;
            var client = new Thread(() =>
            {
                using (var connection = new TcpClient("127.0.0.1", port))
                {
                    var writer = new StreamWriter(connection.GetStream()) { AutoFlush = true };
                    var reader = new StreamReader(connection.GetStream());
                    for (int k = 0; k < 50; k++)
                    {
                        writer.WriteLine("message " + id + " " + k);
                        if (reader.ReadLine() == "MESSAGE " + id + " " + k) Interlocked.Increment(ref good);
                    }
                }
            });
            client.Start();
            clients.Add(client);
        }
        var accepted = Enumerable.Range(0, 8).Select(i => listener.AcceptTcpClient()).ToArray();
        var servers = accepted.Select(server => Task.Run(() =>
        {
            using (server)
            {
                var writer = new StreamWriter(server.GetStream()) { AutoFlush = true };
                var reader = new StreamReader(server.GetStream());
                string line;
                while ((line = reader.ReadLine()) != null) writer.WriteLine(line.ToUpperInvariant());
            }
        })).ToArray();
        foreach (var client in clients) client.Join();
        Task.WaitAll(servers);
        listener.Stop();
        Equal(400, good, "answers");
    }

    static void Regexes()
    {
        var text = string.Join(" ", Enumerable.Range(0, 3000)
            .Select(i => "user" + i + "@host" + i % 10 + ".example"));

        foreach (var options in new[] { RegexOptions.None, RegexOptions.Compiled })
        {
            var regex = new Regex(@"\b(?<name>[a-z]+\d+)@(?<host>host(\d)\.example)\b", options);
            Equal(3000, regex.Matches(text).Count, "matches");
            var hosts = regex.Matches(text).Cast<Match>().Select(m => m.Groups["host"].Value);
            Equal(300, hosts.Count(host => host == "host7.example"), "groups");
            Check(regex.Replace(text, "${name}").StartsWith("user0 user1 "), "replacement");
        }
    }

    static void BigArrays()
    {
        for (int i = 0; i < 6; i++)
        {
            var array = new long[2000000 + i * 100000];
            for (int k = 0; k < array.Length; k += 512) array[k] = k;
            long sum = 0;
            for (int k = 0; k < array.Length; k += 512) sum += array[k] - k;
            Equal(0L, sum, "contents");
            Check(array[1] == 0 && array[array.Length - 2] == 0, "a new array is zero");
        }
        var grid = new double[1000, 700];
        grid[999, 699] = 1.5;
        Equal(1.5, grid.Cast<double>().Sum(), "two dimensions");
    }

    static void LargeObjects()
    {
        var random = new Random(5);
        var kept = new byte[24][];

        for (int i = 0; i < 2000; i++)
        {
            int slot = random.Next(kept.Length);
            if (kept[slot] != null)
                Equal((byte)slot, kept[slot][kept[slot].Length - 1], "contents of a large object");
            kept[slot] = new byte[random.Next(9000, 600000)];
            Equal((byte)0, kept[slot][kept[slot].Length / 2], "a new object is zero");
            kept[slot][kept[slot].Length - 1] = (byte)slot;
        }
    }

    static int Dive(int depth)
    {
        return depth == 0 ? 0 : 1 + Dive(depth - 1);
    }

    static void Recursion()
    {
        int depth = 0, caught = 0;
        var thread = new Thread(() => depth = Dive(100000), 64 << 20);

        thread.Start();
        thread.Join();
        Equal(100000, depth, "depth");
        for (int i = 0; i < 3; i++)
        {
            var deep = new Thread(() =>
            {
                Func<int, int> f = null;
                f = n =>
                {
                    if (n == 0) throw new Failure("at the bottom");
                    return f(n - 1) + 1;
                };
                try
                {
                    f(2000);
                }
                catch (Failure)
                {
                    caught++;
                }
            });
            deep.Start();
            deep.Join();
        }
        Equal(3, caught, "exceptions through deep stacks");
    }

    static void Timers()
    {
        int ticks = 0;
        var done = new ManualResetEvent(false);

        using (new Timer(state => { if (Interlocked.Increment(ref ticks) == 20) done.Set(); }, null, 1, 5))
            Check(done.WaitOne(20000), "ticks of a timer");

        var clock = Stopwatch.StartNew();
        Check(Task.Delay(50).Wait(20000) && clock.ElapsedMilliseconds >= 40, "delay");
        using (var cancel = new CancellationTokenSource(30))
            Check(cancel.Token.WaitHandle.WaitOne(20000), "cancellation after a time");
    }

    static void Processes()
    {
        for (int i = 0; i < 3; i++)
        {
            var start = new ProcessStartInfo("cmd.exe", "/c echo from below& exit " + (5 + i))
            {
                UseShellExecute = false,
                RedirectStandardOutput = true,
            };
            using (var process = Process.Start(start))
            {
                string output = process.StandardOutput.ReadToEnd();
                Check(process.WaitForExit(60000), "end of the process");
                Equal("from below", output.Trim(), "output of the process");
                Equal(5 + i, process.ExitCode, "exit code of the process");
            }
        }
    }

    [StructLayout(LayoutKind.Sequential, CharSet = CharSet.Unicode)]
    struct Record
    {
        public int Number;
        [MarshalAs(UnmanagedType.ByValTStr, SizeConst = 16)]
        public string Name;
        public double Value;
    }

    static void Marshalling()
    {
        for (int i = 0; i < 500; i++)
        {
            IntPtr memory = Marshal.AllocHGlobal(Marshal.SizeOf(typeof(Record)));
            var record = new Record { Number = i, Name = "name" + i, Value = i / 4.0 };
            Marshal.StructureToPtr(record, memory, false);
            var back = (Record)Marshal.PtrToStructure(memory, typeof(Record));
            Equal(i, back.Number, "number");
            Equal("name" + i, back.Name, "name");
            Equal(i / 4.0, back.Value, "value");
            Marshal.DestroyStructure(memory, typeof(Record));
            Marshal.FreeHGlobal(memory);

            IntPtr text = Marshal.StringToCoTaskMemUni("text " + i);
            Equal("text " + i, Marshal.PtrToStringUni(text), "string");
            Marshal.FreeCoTaskMem(text);
            IntPtr bstr = Marshal.StringToBSTR("bstr " + i);
            Equal("bstr " + i, Marshal.PtrToStringBSTR(bstr), "BSTR");
            Marshal.FreeBSTR(bstr);
        }
        var bytes = Enumerable.Range(0, 100000).Select(i => (byte)i).ToArray();
        IntPtr block = Marshal.AllocHGlobal(bytes.Length);
        Marshal.Copy(bytes, 0, block, bytes.Length);
        var copy = new byte[bytes.Length];
        Marshal.Copy(block, copy, 0, copy.Length);
        Marshal.FreeHGlobal(block);
        Check(copy.SequenceEqual(bytes), "copied bytes");
    }

    static readonly KeyValuePair<string, Action>[] groups =
    {
        new KeyValuePair<string, Action>("threads", Threads),
        new KeyValuePair<string, Action>("tasks", Tasks),
        new KeyValuePair<string, Action>("plinq", Plinq),
        new KeyValuePair<string, Action>("gc-threads", Collections),
        new KeyValuePair<string, Action>("finalizers", Finalizers),
        new KeyValuePair<string, Action>("exceptions", Exceptions),
        new KeyValuePair<string, Action>("callbacks", Callbacks),
        new KeyValuePair<string, Action>("emit", Emit),
        new KeyValuePair<string, Action>("appdomains", Domains),
        new KeyValuePair<string, Action>("files", Files),
        new KeyValuePair<string, Action>("sockets", Sockets),
        new KeyValuePair<string, Action>("regex", Regexes),
        new KeyValuePair<string, Action>("big-arrays", BigArrays),
        new KeyValuePair<string, Action>("large-objects", LargeObjects),
        new KeyValuePair<string, Action>("recursion", Recursion),
        new KeyValuePair<string, Action>("timers", Timers),
        new KeyValuePair<string, Action>("processes", Processes),
        new KeyValuePair<string, Action>("marshal", Marshalling),
    };

    public static int Main(string[] args)
    {
        var chosen = groups.Where(g => args.All(a => a == "--times") || args.Contains(g.Key)).ToArray();
        var clock = Stopwatch.StartNew();
        int failed = 0;

        Console.WriteLine("1.." + chosen.Length);
        for (int i = 0; i < chosen.Length; i++)
        {
            try
            {
                clock.Restart();
                chosen[i].Value();
                Console.WriteLine("ok " + (i + 1) + " - " + chosen[i].Key);
                if (args.Contains("--times")) Console.WriteLine("# " + clock.ElapsedMilliseconds + " ms");
            }
            catch (Exception e)
            {
                failed++;
                Console.WriteLine("not ok " + (i + 1) + " - " + chosen[i].Key);
                Console.WriteLine("# " + e.ToString().Replace("\n", "\n# "));
            }
        }
        return failed == 0 && chosen.Length > 0 ? 0 : 1;
    }
}
