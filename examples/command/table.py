"""Writes one Markdown table of what was tokenised. Called by `pipelines/command.toml`; needs nothing but Python.

    python3 table.py TABLE.md tokens.json...
"""

import json
import sys

table, *files = sys.argv[1:]
with open(table, "w") as out:
    print("| task | split | rows |", file=out)
    print("| --- | --- | ---: |", file=out)
    for file in files:
        with open(file) as f:
            tokens = json.load(f)
        for name, split in sorted(tokens["splits"].items()):
            print(f"| {tokens['task']} | {name} | {split['rows']} |", file=out)
print(f"{len(files)} tasks")
