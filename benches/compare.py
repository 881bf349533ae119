#!/usr/bin/env python3
"""What it costs to bring a pipeline up to date: dpt beside ninja, Snakemake and DVC, on the same graph (`chains.py`), all
in one run of this script.

    python3 benches/compare.py                 # builds dpt, measures, prints tables
    python3 benches/compare.py --write         # and puts them into docs/performance.md
    python3 benches/compare.py --install       # first puts Snakemake and DVC into target/compare/venv
    python3 benches/compare.py --before OLD    # only this dpt beside another build of it, in pairs

Tools take turns within each round, so that a busy machine is busy for all of them. CPU time (of the tool and all its
children) is steadier than the clock; both are shown, as the least and the median over the rounds."""

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import chains as graph

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "compare" / "venv"
SNAKEMAKE, DVC = "snakemake==9.27.1", "dvc==3.67.1"


class Sample:
    """One process: seconds on the clock, CPU seconds with its children, peak memory in MB, what it said."""

    def __init__(self, argv, cwd, env=None):
        with tempfile.TemporaryFile() as out:
            began = time.perf_counter()
            process = subprocess.Popen(argv, cwd=cwd, stdout=out, stderr=out, env={**os.environ, **(env or {})})
            _, status, usage = os.wait4(process.pid, 0)
            self.wall = time.perf_counter() - began
            out.seek(0)
            self.text = out.read().decode(errors="replace")
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(map(str, argv))} in {cwd} ended with {process.returncode}:\n{self.text[-2000:]}")
        self.cpu = usage.ru_utime + usage.ru_stime
        self.memory = usage.ru_maxrss / 1024


class Tool:
    """A tool on a graph of its own: how it runs, how its no-op is told."""

    def __init__(self, name, argv, idle, prepare, env=None):
        self.name, self.argv, self.idle, self.prepare, self.env = name, argv, idle, prepare, env or {}

    def on(self, nodes, work):
        chains = graph.Chains(nodes, Path(work) / f"{self.name}-{nodes}")
        self.prepare(chains)
        return chains

    def run(self, chains, idle=False, argv=None):
        sample = Sample(argv or self.argv, chains.folder, self.env)
        if idle and not re.search(self.idle, sample.text):
            sys.exit(f"{self.name} found work where there was none:\n{sample.text[-2000:]}")
        return sample


def tools(args):
    """Those that are installed."""
    dpt = str(args.dpt)
    found = {"dpt": Tool("dpt", [dpt, "run", "pipeline.toml"], "nothing to do", graph.dpt)}
    ninja = shutil.which("ninja")
    if ninja:
        found["ninja"] = Tool("ninja", [ninja], "no work to do", graph.ninja)
    snakemake = shutil.which("snakemake", path=f"{VENV / 'bin'}:{os.environ['PATH']}")
    if snakemake:
        argv = [snakemake, "--cores", str(os.cpu_count())]
        found["Snakemake"] = Tool("Snakemake", argv, "Nothing to be done", graph.snakemake)
    dvc = shutil.which("dvc", path=f"{VENV / 'bin'}:{os.environ['PATH']}")
    if dvc:
        def prepare(chains):
            graph.dvc(chains)
            Sample([dvc, "init", "--no-scm", "-q"], chains.folder)
        env = {"DVC_NO_ANALYTICS": "1"}
        found["DVC"] = Tool("DVC", [dvc, "repro"], "up to date", prepare, env)
    return found


class Table:
    """Rows of measurements: tool, what, samples."""

    def __init__(self):
        self.rows = []

    def add(self, nodes, what, samples):
        """`samples`: by tool, in rounds."""
        base = samples.get("dpt")
        for tool, runs in samples.items():
            row = [f"{nodes:,}", what, tool]
            for value in (lambda s: s.wall, lambda s: s.cpu):
                row.append(f"{ms(min(map(value, runs)))} / {ms(statistics.median(map(value, runs)))}")
            row.append(f"{max(s.memory for s in runs):.0f}")
            for value in (lambda s: s.wall, lambda s: s.cpu):
                row.append(ratio(base, runs, value) if base and tool != "dpt" else "1")
            self.rows.append(row)
            print("  ".join(row), flush=True)

    def markdown(self):
        head = ["nodes", "what", "tool", "wall ms", "CPU ms", "peak MB", "wall, times dpt's", "CPU, times dpt's"]
        align = ["---:", "---", "---", "---:", "---:", "---:", "---:", "---:"]
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, align, *self.rows])


def ms(seconds):
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"


def ratio(base, runs, value):
    """The median of the rounds' ratios; where the rounds differ in number, of the medians."""
    if len(base) == len(runs):
        times = statistics.median(value(b) / value(a) for a, b in zip(base, runs))
    else:
        times = statistics.median(map(value, runs)) / statistics.median(map(value, base))
    return f"{times:.2f}" if times < 10 else f"{times:,.0f}"


def interleave(rounds, jobs):
    """Runs each job once a round, in turn; every other round begins with the last. `jobs`: name to function."""
    samples = {name: [] for name in jobs}
    for turn in range(rounds):
        for name in list(jobs) if turn % 2 else reversed(jobs):
            samples[name].append(jobs[name]())
    return samples


def first_runs(table, nodes, found, names, work, rounds=1):
    """Runs from nothing. The graphs are left as finished, for what follows."""
    samples, chains = {}, {}
    for turn in range(rounds):
        for name in names:
            if name in found:
                shutil.rmtree(Path(work) / f"{name}-{nodes}", ignore_errors=True)
                chains[name] = found[name].on(nodes, work)
                samples.setdefault(name, []).append(found[name].run(chains[name]))
    table.add(nodes, "first run", samples)
    return chains


def seeded(found, names, nodes, work):
    """Graphs as a finished run leaves them, for tools whose own first run takes too long."""
    chains = {}
    for name in names:
        if name in found:
            chains[name] = found[name].on(nodes, work)
            chains[name].write_outputs()
            if name == "DVC":
                graph.dvc_lock(chains[name])
    return chains


def idle(table, nodes, found, chains, rounds):
    # Once unmeasured: a tool may finish its books.
    for name in chains:
        found[name].run(chains[name], idle=True)
    jobs = {name: lambda name=name: found[name].run(chains[name], idle=True) for name in chains}
    table.add(nodes, "nothing to do", interleave(rounds, jobs))


def leaf(table, nodes, found, chains, rounds):
    number = iter(range(1_000_000))
    def job(name):
        chains[name].change_leaf(next(number))
        return found[name].run(chains[name])
    table.add(nodes, "one source changed", interleave(rounds, {name: lambda name=name: job(name) for name in chains}))


def looks(table, nodes, found, chains, rounds):
    """What dpt alone has."""
    dpt, folder = found["dpt"], chains["dpt"]
    for what in (["status"], ["graph", "--format", "json"]):
        argv = [dpt.argv[0], what[0], "pipeline.toml", *what[1:]]
        table.add(nodes, f"`dpt {' '.join(what)}`", interleave(rounds, {"dpt": lambda: dpt.run(folder, argv=argv)}))


def before(args, work):
    """This dpt beside another build of it, and that build beside a copy of itself: so much is noise."""
    copy = Path(work) / "dpt-before"
    shutil.copy2(args.before, copy)
    pair = {"before": args.before.resolve(), "dpt": args.dpt, "noise": copy}
    rows = []

    def pairs(what, rounds, run):
        samples = interleave(rounds, {name: lambda name=name: run(name) for name in pair})
        row = [what, str(rounds)]
        for value in (lambda s: s.wall, lambda s: s.cpu, lambda s: s.memory):
            for name in ("dpt", "noise"):
                least = min(map(value, samples[name])) / min(map(value, samples["before"]))
                median = statistics.median(value(a) / value(b) for a, b in zip(samples[name], samples["before"]))
                row.append(f"{least:.3f} / {median:.3f}")
        rows.append(row)
        print("  ".join(row), flush=True)

    def fresh(name, nodes, scripts=0):
        folder = Path(work) / f"{name}-pair"
        shutil.rmtree(folder, ignore_errors=True)
        chains = graph.Chains(nodes, folder)
        graph.dpt(chains, scripts)
        return chains

    def run(name, chains):
        return Sample([pair[name], "run", "pipeline.toml"], chains.folder)

    pairs("first run of 150 commands", args.rounds, lambda name: run(name, fresh(name, 150)))
    what = "first run of 150 commands, each with a copy of 20 scripts"
    pairs(what, args.rounds, lambda name: run(name, fresh(name, 150, 20)))
    for nodes in [1_002, 10_002] + [args.most] * (args.most > 10_002):
        chains = {name: fresh(name, nodes) for name in pair}
        for name in 2 * list(pair):
            run(name, chains[name])
        rounds = args.rounds if nodes < 100_000 else 5
        pairs(f"nothing to do, {nodes:,} nodes", rounds, lambda name: run(name, chains[name]))
    head = ["what", "rounds", *(f"{value}{of}" for value in ("wall", "CPU", "memory") for of in ("", ", noise"))]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def system_calls(found, chains):
    """How often dpt asks the system, nothing being to do."""
    if not shutil.which("strace"):
        return "(no strace)"
    with tempfile.NamedTemporaryFile() as log:
        argv = ["strace", "-f", "-c", "-o", log.name, *found["dpt"].argv]
        found["dpt"].run(chains["dpt"], idle=True, argv=argv)
        rows = [line.split() for line in Path(log.name).read_text().splitlines()]
    calls = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit()}
    total = calls.pop("total", sum(calls.values()))
    most = sorted(calls.items(), key=lambda item: -item[1])[:4]
    return f"{total:,} calls: " + ", ".join(f"{name} {count:,}" for name, count in most) + ", …"


def hashing(args, work):
    """A file of some GB, in the page cache, beside b3sum."""
    path = Path(work) / "checkpoint.bin"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(args.hash_mb):
            file.write(block)
    jobs = {"dpt": lambda: Sample([str(args.dpt), "hash", str(path)], work)}
    if b3sum := shutil.which("b3sum"):
        jobs["b3sum"] = lambda: Sample([b3sum, str(path)], work)
    for job in jobs.values():
        job()
    samples = interleave(args.rounds, jobs)
    digests = {name: re.search(r"[0-9a-f]{64}", runs[0].text).group() for name, runs in samples.items()}
    if len(set(digests.values())) > 1:
        sys.exit(f"the digests differ: {digests}")
    path.unlink()
    lines = [f"| {args.hash_mb / 1024:.1f} GB in the page cache | seconds, least / median | GB/s | CPU s | times dpt's |"]
    lines.append("|---|---:|---:|---:|---:|")
    for name, runs in samples.items():
        walls = [s.wall for s in runs]
        rate = args.hash_mb / 1024 / min(walls)
        cpu = statistics.median(s.cpu for s in runs)
        times = ratio(samples["dpt"], runs, lambda s: s.wall)
        lines.append(f"| {name} | {min(walls):.2f} / {statistics.median(walls):.2f} | {rate:.1f} | {cpu:.2f} | {times} |")
    print("\n".join(lines))
    return "\n".join(lines)


def machine():
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return f"{os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, {platform.system()} {platform.release()}; load {load} at the start"


def versions(args, found):
    said = {"dpt": Sample([str(args.dpt), "--version"], ROOT).text.strip()}
    for name, tool in found.items():
        if name != "dpt":
            said[name] = f"{name} {Sample([tool.argv[0], '--version'], ROOT).text.strip().splitlines()[-1]}"
    return ", ".join(said.values())


def write(text, part="compare"):
    page = ROOT / "docs" / "performance.md"
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    old = page.read_text()
    head, rest = old.split(begin)
    page.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}")
    print(f"written to {page}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dpt", type=Path, help="the program to measure [default: a release build of this tree]")
    parser.add_argument("--rounds", type=int, default=11, help="rounds of quick runs [%(default)s]")
    parser.add_argument("--dir", type=Path, help="where to work [default: below target/]")
    parser.add_argument("--most", type=int, default=100_000, help="nodes of the largest graph [%(default)s]")
    parser.add_argument("--hash-mb", type=int, default=4096, help="MB of the file to hash [%(default)s]")
    parser.add_argument("--install", action="store_true", help=f"first install {SNAKEMAKE} and {DVC} into {VENV}")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--before", type=Path, help="another build of dpt: measure only the two, in pairs")
    args = parser.parse_args()
    if args.install:
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "-q", SNAKEMAKE, DVC], check=True)
    if not args.dpt:
        subprocess.run(["cargo", "build", "--release", "-p", "dpt"], cwd=ROOT, check=True)
        args.dpt = ROOT / "target" / "release" / "dpt"
    args.dpt = args.dpt.resolve()
    if args.before:
        with tempfile.TemporaryDirectory(dir=args.dir) as work:
            text = f"{machine()}; this build over the one before, least / median\n\n{before(args, work)}"
        print(text)
        return write(text, "before") if args.write else None
    found = tools(args)
    missing = {"ninja", "Snakemake", "DVC"} - set(found)
    if missing:
        print(f"not installed, so left out: {', '.join(sorted(missing))}")
    where = args.dir or ROOT / "target" / "compare"
    where.mkdir(parents=True, exist_ok=True)
    head = [machine(), versions(args, found), f"`python3 benches/compare.py`, {time.strftime('%Y-%m-%d')}"]
    print("\n".join(head))
    table = Table()
    with tempfile.TemporaryDirectory(dir=where) as work:
        # All four at a size that all of them can do.
        chains = first_runs(table, 102, found, ["dpt", "ninja", "Snakemake", "DVC"], work)
        chains = first_runs(table, 1_002, found, ["dpt", "ninja", "Snakemake"], work)
        chains |= seeded(found, ["DVC"], 1_002, work)
        idle(table, 1_002, found, {n: c for n, c in chains.items() if n in ("dpt", "ninja")}, args.rounds)
        idle(table, 1_002, found, chains, 2)
        leaf(table, 1_002, found, chains, 1)
        chains = first_runs(table, 10_002, found, ["dpt", "ninja"], work)
        idle(table, 10_002, found, chains, args.rounds)
        leaf(table, 10_002, found, chains, args.rounds)
        looks(table, 10_002, found, chains, args.rounds)
        calls = system_calls(found, chains)
        if args.most > 10_002:
            chains = first_runs(table, args.most, found, ["dpt"], work)
            idle(table, args.most, found, chains, 3)
        hashed = hashing(args, work)
    text = "\n\n".join(["\n".join(f"- {line}" for line in head), table.markdown(), f"A run without work of 10,002 nodes makes {calls}", hashed])
    if args.write:
        write(text)


if __name__ == "__main__":
    main()
