#!/usr/bin/env python3
"""Writes tests/engine/v2_pieces.json: the steps of DeepSeek-V2's pre-tokenizer, texts, and the pieces that Hugging Face
`tokenizers` (0.23.3) cuts them into.

    tools/oracle/split_cases.py > tests/engine/v2_pieces.json

The steps are the model's, written down here because its file is not ours to carry. The texts follow from a fixed seed.
"""
import json
import random
import sys

from tokenizers import Regex, pre_tokenizers

SEED, N_RANDOM = 5, 150

# Cased letters, as the model's tokenizer.json lists them.
LETTERS = (
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-"
    "\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-"
    "\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-"
    "\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-"
    "\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2"
    "\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-"
    "\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"
    "\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
SPLITS = ["[\r\n]", "\\s?[" + LETTERS + "]+",
          "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$",
          "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]

FIXED = [
    "Hello world, it's 2024!\n\n  def f(x):\n\treturn x+1  \n", "  trailing   ", "a  \n b\t\n",
    "数字123和漢字かな、。「」 한국어 text", "x²½Ⅷ 3.14e-10 ٣٤", "“quotes” — dash… ‘a’ $5 + 7 = 12 ~`|",
    "\r\n\r\n  \u3000 é naïve Ωμέγα привет\u00a0мир", "🙂 a🙂1", "   ", "1\n 2 \u2028 3",
]
KINDS = ["a", "Z", "é", "1", "９", "½", " ", "\n", "\r", "\t", ".", "_", "，", "。", "\u3000", "中", "か", "한", "\u0800", "🙂",
         "“", "~", "\u00a0", "\u2028", "$"]


def texts():
    yield from FIXED
    source = random.Random(SEED)
    for _ in range(N_RANDOM):
        few = [source.choice(KINDS) for _ in range(5)]
        yield "".join(source.choice(few) for _ in range(source.randint(1, 14)))


def main():
    cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated") for split in SPLITS] +
                                  [pre_tokenizers.Digits(individual_digits=True)])
    steps = [{"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False} for split in SPLITS]
    steps += [{"type": "Digits", "individual_digits": True},
              {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    cases = [[text, [piece for piece, _ in cut.pre_tokenize_str(text)]] for text in texts()]
    json.dump({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "cases": cases}, sys.stdout,
              ensure_ascii=False, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
