"""The same graph for every tool: chains of six nodes. The first node of a chain reads a small source file, each other one
the output of the one before; each writes the line that it read and its own number. One process a node, `sh` built-ins
alone, so that what is measured is the tool."""

import hashlib
from pathlib import Path

LENGTH = 6


class Chains:
    """`nodes` nodes (rounded up to whole chains) below `folder`."""

    def __init__(self, nodes, folder):
        self.count = -(-nodes // LENGTH)
        self.nodes = self.count * LENGTH
        self.folder = Path(folder)
        (self.folder / "src").mkdir(parents=True)
        (self.folder / "out").mkdir()
        for chain in range(self.count):
            self.source(chain).write_text(f"{chain}\n")

    def source(self, chain):
        return self.folder / "src" / f"{chain}.txt"

    def change_leaf(self, number):
        """Changes the source of the last chain, so that its six nodes are stale."""
        self.source(self.count - 1).write_text(f"changed {number}\n")

    def input(self, chain, step):
        return f"src/{chain}.txt" if step == 0 else f"out/{chain}.{step - 1}.txt"

    def output(self, chain, step):
        return f"out/{chain}.{step}.txt"

    def each(self):
        for chain in range(self.count):
            for step in range(LENGTH):
                yield chain, step, self.input(chain, step), self.output(chain, step)

    def text(self, chain, step):
        """What node `step` of a chain writes while its source is unchanged."""
        return f"{chain}" + "".join(f".{i}" for i in range(step + 1)) + "\n"

    def write_outputs(self):
        """As a finished run leaves them, for tools whose own first run does not end."""
        for chain, step, _, output in self.each():
            (self.folder / output).write_text(self.text(chain, step))


def command(step, source, target):
    return f'read x < {source}; echo "$x.{step}" > {target}'


def _pattern(step, chain):
    return f"src/{chain}.txt" if step == 0 else f"out/{chain}.{step - 1}.txt"


def dpt(chains, scripts=0):
    """Six stages over one axis: what one writes by hand. Its store lies beside the pipeline. Each command gets a copy of a
    folder with so many `scripts`."""
    (chains.folder / "cache").mkdir()
    for number in range(scripts):
        (chains.folder / "scripts").mkdir(exist_ok=True)
        (chains.folder / "scripts" / f"{number}.sh").write_text(f"# {number}\n" * 50)
    lines = ["schema = 1", "", "[axes]", f"chain = {{ from = 0, count = {chains.count} }}"]
    for step in range(LENGTH):
        source = "{files.source}" if step == 0 else "{in.before/line.txt}"
        shell = command(step, '"$1"', '"$2"')
        lines += ["", f"[stage.s{step}]", 'kind = "command"', 'axes = ["chain"]']
        lines += ['files = { source = "src/{chain}.txt" }' if step == 0 else f'needs = {{ before = "s{step - 1}" }}']
        lines += [f"run = ['sh', '-c', '{shell}', 'sh', '{source}', '{{out.line}}']", 'outputs = { line = "line.txt" }']
        lines += ['code = ["scripts"]'] if scripts else []
    (chains.folder / "pipeline.toml").write_text("\n".join(lines) + "\n")


def ninja(chains):
    lines = []
    for step in range(LENGTH):
        lines += [f"rule r{step}", "  command = " + command(step, "$in", "$out").replace('"$x', '"$$x')]
    for _, step, source, target in chains.each():
        lines.append(f"build {target}: r{step} {source}")
    (chains.folder / "build.ninja").write_text("\n".join(lines) + "\n")


def snakemake(chains):
    lines = ["rule all:", f'    input: [f"out/{{c}}.{LENGTH - 1}.txt" for c in range({chains.count})]']
    for step in range(LENGTH):
        source = _pattern(step, "{c}")
        shell = command(step, "{input}", "{output}")
        lines += [f"rule s{step}:", f'    input: "{source}"', f'    output: "out/{{c}}.{step}.txt"']
        lines += [f"    shell: {shell!r}"]
    (chains.folder / "Snakefile").write_text("\n".join(lines) + "\n")


def dvc(chains):
    """One `foreach` stage a step. Outputs stay outside DVC's cache, which spares it work."""
    lines = ["stages:"]
    for step in range(LENGTH):
        source, target = _pattern(step, "${item}"), f"out/${{item}}.{step}.txt"
        lines += [f"  s{step}:", "    foreach: [" + ", ".join(str(c) for c in range(chains.count)) + "]", "    do:"]
        lines += [f"      cmd: '{command(step, source, target)}'", f"      deps: ['{source}']"]
        lines += [f"      outs: [{{'{target}': {{cache: false}}}}]"]
    (chains.folder / "dvc.yaml").write_text("\n".join(lines) + "\n")


def dvc_lock(chains):
    """The lock of a finished run: DVC's own first run is quadratic in the number of stages."""
    def file(path):
        data = (chains.folder / path).read_bytes()
        return [f"    - path: {path}", "      hash: md5", f"      md5: {hashlib.md5(data).hexdigest()}", f"      size: {len(data)}"]
    lines = ["schema: '2.0'", "stages:"]
    for chain, step, source, target in chains.each():
        lines += [f"  s{step}@{chain}:", f"    cmd: {command(step, source, target)}", "    deps:", *file(source), "    outs:", *file(target)]
    (chains.folder / "dvc.lock").write_text("\n".join(lines) + "\n")
