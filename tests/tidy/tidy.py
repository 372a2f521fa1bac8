#!/usr/bin/env python3
"""What the shape of the source promises, checked. Usage: tidy.py RULE ROOT, or tidy.py list."""

import os
import re
import sys

# Dependencies point one way. A folder may include from itself and from these; folders that are not
# named here (bench, tests, tools) may include from any.
MAY_INCLUDE = {
    "base": {"base"},
    "proto": {"base", "proto"},
    "client": {"base", "proto", "client"},
    "engine": {"base", "engine"},
    "memory": {"base", "memory"},
    "daemon": {"base", "proto", "engine", "memory", "daemon"},
}
MODULES = set(MAY_INCLUDE) | {"bench", "tests", "tools"}

LINES_MAX = 800
FUNCTION_LINES_MAX = 70
NANO, NANO_BYTES_MAX = os.path.join("tests", "models", "nano"), 300_000     # loaded by hundreds of short tests

CODE = (".c", ".h")
SOURCES = CODE + (".proto", ".py", ".sh", ".build", ".map", ".in", ".service", ".socket")
TEXTS = SOURCES + (".md", ".scd")

# Written in pieces so that this file obeys its own rule.
UNFINISHED = re.compile(
    r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b|(?i:\bfor n" r"ow\b|\bplace" r"holders?\b|\bst" r"ub(s|bed)?\b)")
NAMELESS = re.compile(r"^(utils?|helpers?|common|misc|stuff)\.\w+$")
OUTSIDE = re.compile(r"\.\./sha" r"red\b")


def files(root, endings):
    """Paths below root, relative to it, without hidden folders and builds."""
    for folder, folders, names in os.walk(root):
        top = os.path.samefile(folder, root)
        folders[:] = sorted(
            f for f in folders
            if not f.startswith(".") and f != "__pycache__" and not (top and f.startswith("build")))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            is_script = path.startswith("scripts" + os.sep)
            if name.endswith(endings) or (is_script and endings is not CODE):
                yield path


def lines(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read().splitlines()


def module_of(path):
    return path.split(os.sep)[0]


def rule_includes(root):
    """Includes follow the one-way rule: base <- proto <- client, base <- engine, base <- memory; daemon all."""
    for path in files(root, CODE):
        allowed = MAY_INCLUDE.get(module_of(path), MODULES)
        for n, line in enumerate(lines(root, path), 1):
            match = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
            if not match:
                continue
            parts = match[1].split("/")
            if ".." in parts:
                yield f"{path}:{n}: includes by a relative path: {match[1]}"
            elif len(parts) > 1 and parts[0] in MODULES and parts[0] not in allowed:
                yield f"{path}:{n}: {module_of(path)}/ must not know {parts[0]}/: {match[1]}"


def rule_length(root):
    """No source file is longer than 800 lines."""
    for path in files(root, SOURCES):
        n = len(lines(root, path))
        if n > LINES_MAX:
            yield f"{path}: {n} lines; at most {LINES_MAX}"


def rule_functions(root):
    """No function is longer than 70 lines."""
    for path in files(root, CODE):
        start, starts_at = None, 0
        for n, line in enumerate(lines(root, path), 1):
            if line.endswith(") {") and line[0].isalpha():
                start, starts_at = line, n
            elif start is None and line.endswith(") {") and line[0] == " ":
                start, starts_at = line, n  # a head that was wrapped, or a block inside of data
            if line == "}" and start is not None:
                if n - starts_at + 1 > FUNCTION_LINES_MAX:
                    yield f"{path}:{starts_at}: {n - starts_at + 1} lines; at most {FUNCTION_LINES_MAX}"
                start = None


def rule_finished(root):
    """No source says that it is unfinished."""
    for path in files(root, SOURCES):
        for n, line in enumerate(lines(root, path), 1):
            match = UNFINISHED.search(line)
            if match:
                yield f"{path}:{n}: '{match[0]}': {line.strip()}"


def rule_names(root):
    """Every file is named after the one thing it holds."""
    for path in files(root, TEXTS):
        if NAMELESS.match(os.path.basename(path)):
            yield f"{path}: names no concept"


def rule_readmes(root):
    """Every top-level folder has a README.md."""
    folders = {module_of(p) for p in files(root, TEXTS) if os.sep in p}
    for folder in sorted(folders):
        if not os.path.isfile(os.path.join(root, folder, "README.md")):
            yield f"{folder}/: has no README.md"


def rule_self_contained(root):
    """Nothing refers to files outside of the source."""
    for path in files(root, TEXTS):
        for n, line in enumerate(lines(root, path), 1):
            if OUTSIDE.search(line):
                yield f"{path}:{n}: refers to a folder outside of the source: {line.strip()}"


def rule_nano(root):
    """The model for short tests has less than 300 KB in all files together."""
    folder = os.path.join(root, NANO)
    total = sum(os.path.getsize(os.path.join(folder, path)) for path in files(folder, ""))
    if not 0 < total < NANO_BYTES_MAX:
        yield f"{NANO}: {total} bytes; less than {NANO_BYTES_MAX}"


def constants(root, path):
    """Numbers that a header defines, by name: 512, (64ULL << 20), or another name."""
    ret = {}
    for line in lines(root, path):
        match = re.match(r"#define ([A-Z][A-Z0-9_]*)\s+(?:\(?(\d+)[uUlL]*(?: << (\d+)\))?|([A-Z][A-Z0-9_]*))(?!\S)", line)
        if match:
            name, number, shift, other = match.groups()
            ret[name] = ret.get(other) if other else int(number) << int(shift or 0)
    return ret


def rule_limits(root):
    """docs/limits.md says what daemon/limits.h defines, all of it, and nothing else of proto/ than is there."""
    page = os.path.join("docs", "limits.md")
    units = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    limits = constants(root, os.path.join("daemon", "limits.h"))
    others = {}
    for path in files(root, (".h",)):
        if module_of(path) == "proto":
            others.update(constants(root, path))
    for n, line in enumerate(lines(root, page), 1):
        match = re.match(r"\| `([A-Z0-9_]+)` \| (\d+) ?([KMG]iB|) \|", line)
        if not match:
            continue
        name, said = match[1], int(match[2]) * units[match[3]]
        defined = limits.pop(name, others.get(name))
        if defined != said:
            yield f"{page}:{n}: {name} is {defined}"
    for name in limits:
        yield f"{page}: says nothing of {name}"


RULES = {name[len("rule_"):]: rule for name, rule in globals().items() if name.startswith("rule_")}


def main():
    if sys.argv[1:] == ["list"]:
        for name, rule in RULES.items():
            print(f"{name}: {rule.__doc__}")
        return 0
    if len(sys.argv) != 3 or sys.argv[1] not in RULES:
        print(__doc__, file=sys.stderr)
        return 2
    rule, root = RULES[sys.argv[1]], sys.argv[2]
    complaints = list(rule(root))
    for complaint in complaints:
        print(complaint)
    if complaints:
        print(f"{len(complaints)} times against: {rule.__doc__}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
