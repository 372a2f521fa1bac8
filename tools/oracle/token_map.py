#!/usr/bin/env python3
"""The Engram token map as the model's description has it, with Hugging Face's own normalizers.

Run as a program it writes tests/engine/token_map_cases.json: a small tokenizer.json whose tokens are
edges of that description, and its map.

    tools/oracle/token_map.py > tests/engine/token_map_cases.json
"""
import json

import numpy
from tokenizers import Regex, Tokenizer, __version__, normalizers

LONE_SPACE = "\ue000"
NORMALIZER = normalizers.Sequence(
    [
        normalizers.NFKC(),
        normalizers.NFD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"[ \t\r\n]+"), " "),
        normalizers.Replace(Regex(r"^ $"), LONE_SPACE),
        normalizers.Strip(),
        normalizers.Replace(LONE_SPACE, " "),
    ]
)

# Texts, and bytes that are a part of a character.
TOKENS = [
    "the", " The", "THE", "\tthe\n", "t he", "t  he", "\u00e9", "e\u0301", "\u00c9", "e", "E\u0327",
    "\u0301", "\u0301\u0302", " \u0301", "  ", "\n\n", " \r\n\t", "\u00a0", "\u3000", "\u2003",
    "\u2028", "\u0085", "\x0b", "\x0b\x0c", " \x0b", "\u200b", "\ue000", "\ue000 ", "a\ue000", "a ",
    "\uff21", "\uff41b", "\ufb01", "fi", "FI", "\u0130", "i\u0307", "\u0131", "\u017f", "s", "\u00df",
    "ss", "\u1e9e", "\u03a3", "\u03c3", "\u03c2", "\u212b", "\u00e5", "\u2460", "1", "\u00bd", "1\u20442",
    "\u0958", "\u0915", "\u093e", "\u0e33", "\u0e32", "\uac00", "\u1100\u1161", "\u4e00", "\uf900",
    "\u8c48", "\u30ac", "\u30ab\u3099", "\u30ab", "\uff76\uff9e", "\u20dd", "a\u20dd", "\U0001d400",
    "\U0001f44d\U0001f3fd", "\U0001f44d", "\ufe0f", "\u2764\ufe0f", "\u2764", "\ufffd", "a\ufffd", "",
    b"\xe4\xbd", b"\xf0\x9f", b"a\xc3", b"\xa0\xe4", "\x00", "\x00\x00", " a b ", "A\tB", "a\u00a0b",
    "\u2000a\u2000", "\u1680", "\u180e", "\ufeff", "\u00ad", "\u01c5", "\u01c6", "\u0345", "\u1fb3",
]  # fmt: skip
ADDED = [("<\uff5cUser\uff5c>", True), ("<|user|>", False), (" <|USER|> ", False), ("\u0302", True)]


def of(tokenizer):
    """A number for each id, as an array."""
    numbers, numbers_of_ids = {}, []
    for token in range(1 + max(tokenizer.get_vocab(True).values())):
        text = tokenizer.decode([token], skip_special_tokens=False)
        if "\ufffd" in text:
            key = tokenizer.id_to_token(token)
        else:
            key = NORMALIZER.normalize_str(text) or text
        numbers_of_ids.append(numbers.setdefault(key, len(numbers)))
    return numpy.array(numbers_of_ids, numpy.uint32)


def small_tokenizer():
    from tokenizer_texts import byte_alphabet

    written = {byte: character for character, byte in byte_alphabet().items()}
    vocab = {written[byte]: byte for byte in range(256)}
    for token in filter(None, TOKENS):
        raw = token if isinstance(token, bytes) else token.encode()
        vocab.setdefault("".join(written[byte] for byte in raw), len(vocab))
    added = [
        {"id": len(vocab) + i, "content": content, "special": special, "normalized": False,
         "single_word": False, "lstrip": False, "rstrip": False}
        for i, (content, special) in enumerate(ADDED)
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }


def main():
    root = small_tokenizer()
    numbers = of(Tokenizer.from_str(json.dumps(root))).tolist()
    cases = {"oracle": f"tokenizers {__version__}", "tokenizer": root, "map": numbers}
    print(json.dumps(cases, separators=(",", ":")))


if __name__ == "__main__":
    main()
