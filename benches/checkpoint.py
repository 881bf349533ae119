#!/usr/bin/env python3
"""What the first run of a pipeline with a local checkpoint costs, beside `cp` and `b3sum` of the same file, in the page cache.

    python3 benches/checkpoint.py --mb 4000           # uses target/release/dpt
    python3 benches/checkpoint.py --dpt OLD --dpt NEW # beside each other

The checkpoint has the tensors of a T5 of that size, filled with what cannot be shared or packed. Shown are seconds on the clock
and of CPU time, and the bytes that went through calls such as `read` and `copy_file_range` (`/proc/PID/io`); what is hashed
through a memory map is in none of them. How often each byte is hashed, `tests/hashed.rs` counts. The file system's syncs are in
the seconds of a first run, and not in those of `cp`: `--cache /dev/shm/…` leaves them out."""

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 768
PIPELINE = """schema = 1
[source.t5]
url = "file:t5"
[stage.model]
kind = "download"
source = "t5"
format = "checkpoint"
"""


def checkpoint(folder, mb):
    """A folder that looks like a T5 of `mb` megabytes."""
    folder.mkdir()
    matrix = WIDTH * WIDTH * 4
    names = ["shared.weight"] + [f"encoder.block.{i}.layer.0.SelfAttention.q.weight" for i in range(mb * 10**6 // matrix)]
    tensors = {n: {"dtype": "F32", "shape": [WIDTH, WIDTH], "data_offsets": [i * matrix, (i + 1) * matrix]} for i, n in enumerate(names)}
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    block = os.urandom(matrix)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for i in range(len(names)):
            file.write(struct.pack("<Q", i) + block[8:])
    config = {"model_type": "t5", "d_model": WIDTH, "vocab_size": 32128}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


def measure(argv, cwd):
    """Seconds, CPU seconds, and MB through calls that read and that write."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    # Ended, and not yet taken away: what it read is still told.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    wall = time.perf_counter() - began
    io = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{argv} ended with {process.returncode}:\n{said.decode()}")
    return wall, usage.ru_utime + usage.ru_stime, int(io["rchar"]) / 1e6, int(io["wchar"]) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dpt", type=Path, action="append", help="the program, perhaps several [target/release/dpt]")
    parser.add_argument("--mb", type=int, default=1000, help="the size of the checkpoint")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, help="where the store is made, and removed [in a temporary folder]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        path = checkpoint(work / "t5", args.mb)
        (work / "p.toml").write_text(PIPELINE)
        cache = args.cache or work / "cache"

        def first(dpt):
            shutil.rmtree(cache, ignore_errors=True)
            return measure([dpt, "run", "p.toml", "--cache", cache], work)

        jobs = {"cp": lambda: measure(["cp", path, work / "copy"], work)}
        if shutil.which("b3sum"):
            jobs["b3sum"] = lambda: measure(["b3sum", path], work)
        for dpt in args.dpt or [ROOT / "target/release/dpt"]:
            dpt = dpt.resolve()
            jobs[f"first run ({dpt.name})"] = lambda dpt=dpt: first(dpt)
            jobs[f"again ({dpt.name})"] = lambda dpt=dpt: measure([dpt, "run", "p.toml", "--cache", cache], work)
        samples = {name: [] for name in jobs}
        for _ in range(args.rounds):
            for name, job in jobs.items():
                samples[name].append(job())
        shutil.rmtree(cache, ignore_errors=True)
        print(f"| {path.stat().st_size / 1e6:,.0f} MB | seconds, least / median | CPU s | MB read | MB written |")
        print("|---|---:|---:|---:|---:|")
        for name, runs in samples.items():
            wall, cpu, read, wrote = ([run[i] for run in runs] for i in range(4))
            middle = statistics.median
            print(f"| {name} | {min(wall):.2f} / {middle(wall):.2f} | {middle(cpu):.2f} | {middle(read):,.0f} | {middle(wrote):,.0f} |")


if __name__ == "__main__":
    main()
