#!/usr/bin/env python3
"""Writes tests/engine/tokenizer_cases.json: texts and the ids that Hugging Face `tokenizers` gives them.

    tools/oracle/tokenizer_cases.py models/seed-coder/tokenizer.json > tests/engine/tokenizer_cases.json

and tokenizer_cases.json in tests/engine/deepseek_cut from the file beside it.

Each case holds a text, its ids with special tokens recognised and, where they differ, its ids with
special tokens read as plain text. "overlapping" holds cases for the same file with the tokens of
"added" appended to its added_tokens: they contain, begin and overlap one another. The texts follow
from a fixed seed.
"""
import json
import random
import sys

from tokenizers import Tokenizer, __version__

SEED = 20260910
N_RANDOM = 420
N_OVERLAPPING = 200

FIXED = [
    "",
    " ",
    "a",
    "\u0000",
    "int main(void)\n{\n\treturn 0;\n}\n",
    "#include <stdio.h>\r\n\r\n  x = y  ;\r\n",
    "The quick brown fox. 12345678 3.14159",
    "你好，世界。ひらがなカタカナ 漢字123",
    "<｜User｜>你好<｜Assistant｜><think>推理</think>答案<｜end▁of▁sentence｜>",
    "<<｜User｜>><think></think></think",
    "<｜｜DSML｜｜>｜DSML｜<｜fim▁begin｜>a<｜fim▁hole｜>b<｜fim▁end｜>",
    "<｜place▁holder▁no▁1｜><｜place▁holder▁no▁｜>",
    "e\u0301 \u0301 \u0301\u0301x \u0903\u0915\u093e",
    "👩‍💻🇩🇪❤️🏽",
    " \t \u00a0\u3000\u180e\u2003x\u2028\u2029\u0085 ",
    "a" * 300,
    " " * 300,
    "\n" * 300,
    "=" * 300,
    "9" * 300,
]

# (text, special, normalized)
OVERLAPPING = [
    ("⟦a⟧", True, False),
    ("⟦a⟧⟦b⟧", True, False),
    ("⟦a⟧⟦b⟧⟦c⟧", False, False),
    ("b⟧", False, False),
    ("⟧⟦", False, True),
    ("⟦b⟧⟦", False, True),
    ("c⟧⟦", True, True),
]

SPACES = " \t\n\r\v\f\u0085\u00a0\u1680\u180e\u2000\u2003\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ aZ"
CODE = (
    "static int parse_header(const char *buf, size_t len) {\n        if (!buf || len < 4)\n"
    "                return -EINVAL;\n        for (size_t i = 0; i < len; i++)\n                "
    'sum += (buf[i] & 0xff) << 8; /* big endian */\n        printf("%s: %zu\\n", name, len);\n}\n'
    "def forward(self, x: Tensor) -> Tensor:\n    return x @ self.w.T + self.b\n"
)


def character(rng):
    while True:
        top = rng.choice([0x80, 0x800, 0x10000, 0x110000])
        code = rng.randrange(top)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def run(rng, alphabet, longest):
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, longest)))


def piece(rng, added):
    kind = rng.randrange(10)
    if kind == 0:
        return "".join(character(rng) for _ in range(rng.randrange(1, 12)))
    if kind == 1:
        start = rng.randrange(len(CODE) - 80)
        return CODE[start : start + rng.randrange(1, 80)]
    if kind == 2:
        return "".join(chr(rng.randrange(0x4DFB, 0x9FAE)) for _ in range(rng.randrange(1, 8)))
    if kind == 3:
        return run(rng, "0123456789٠١२३４Ⅷ½²", 12)
    if kind == 4:
        return run(rng, SPACES, 10)
    if kind == 5:
        return run(rng, "ae\u0301\u0308\u0327का्िé", 8)
    if kind == 6:
        return run(rng, ["👩‍💻", "🇩🇪", "🏽", "❤️", "😀", "\u200d", "\ufe0f"], 4)
    if kind == 7:
        text = rng.choice(added)
        return text if rng.random() < 0.7 else text[rng.randrange(2) : -1]
    if kind == 8:
        return run(rng, PUNCTUATION, 14)
    return run(rng, "abcdefghijklmnopqrstuvwxyz", 10)


def cases(tokenizer_json, texts):
    recognising, plain = Tokenizer.from_str(tokenizer_json), Tokenizer.from_str(tokenizer_json)
    plain.encode_special_tokens = True
    lines = []
    for text in texts:
        case = {"text": text, "ids": recognising.encode(text, add_special_tokens=False).ids}
        ids = plain.encode(text, add_special_tokens=False).ids
        if ids != case["ids"]:
            case["plain"] = ids
        lines.append(json.dumps(case, separators=(",", ":")))
    return ",\n".join(lines)


def with_overlapping_tokens(root):
    ids = [*root["model"]["vocab"].values(), *(token["id"] for token in root["added_tokens"])]
    next_id = 1 + max(ids)
    added = [
        {
            "id": next_id + i,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": normalized,
            "special": special,
        }
        for i, (content, special, normalized) in enumerate(OVERLAPPING)
    ]
    return added, json.dumps(root | {"added_tokens": root["added_tokens"] + added})


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        root = json.load(file)
    rng = random.Random(SEED)
    known = [token["content"] for token in root["added_tokens"]]
    texts = FIXED + [
        "".join(piece(rng, known) for _ in range(rng.randrange(1, 7))) for _ in range(N_RANDOM)
    ]
    added, overlapping_json = with_overlapping_tokens(root)
    tangles = [run(rng, "⟦⟦⟦⟧⟧⟧abc ", 30) for _ in range(N_OVERLAPPING // 2)]
    tangles += [run(rng, ["⟦a⟧", "⟦b⟧", "⟦c⟧", "⟦a", "b⟧", "⟦"], 8) for _ in range(N_OVERLAPPING // 2)]
    print('{"oracle":"tokenizers %s","cases":[' % __version__)
    print(cases(json.dumps(root), texts))
    print('],"added":%s,"overlapping":[' % json.dumps(added))
    print(cases(overlapping_json, tangles))
    print("]}")


if __name__ == "__main__":
    main()
