#!/usr/bin/env python3
"""Writes engine/text_class_ranges.h: which characters Hugging Face `tokenizers` takes for what.

    tools/oracle/text_classes.py > engine/text_class_ranges.h

The package's regular expressions are asked about every code point, so the table holds the very
version of Unicode (16) with which texts for these models were cut.
"""
from tokenizers import Regex, __version__, pre_tokenizers

CLASSES = {"WORD": r"[\p{L}\p{M}]", "SYMBOL": r"[\p{P}\p{S}]", "NUMBER": r"\p{N}", "SPACE": r"\s"}
PER_LINE = 3
STEP = 50_000

HEAD = """/* Written by tools/oracle/text_classes.py from tokenizers %s: [first, last, class], in ascending
 * order; characters in no range are CLASS_OTHER. */
static const struct class_range ranges[] = {
"""


def members(pattern, code_points):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    rest = set()
    for i in range(0, len(code_points), STEP):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, code_points[i : i + STEP]))):
            rest.update(map(ord, piece))
    return set(code_points) - rest


def main():
    code_points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    class_of = {}
    for name, pattern in CLASSES.items():
        for code in members(pattern, code_points):
            assert code not in class_of
            class_of[code] = name
    ranges = []
    for code in sorted(class_of):
        if ranges and ranges[-1][1] == code - 1 and ranges[-1][2] == class_of[code]:
            ranges[-1][1] = code
        else:
            ranges.append([code, code, class_of[code]])
    entries = [f"{{ {first:#x}, {last:#x}, CLASS_{name} }}" for first, last, name in ranges]
    lines = [", ".join(entries[i : i + PER_LINE]) for i in range(0, len(entries), PER_LINE)]
    print("/* clang-format off */")
    print(HEAD % __version__, end="")
    print("".join(f"        {line},\n" for line in lines) + "};")
    print("/* clang-format on */")


if __name__ == "__main__":
    main()
