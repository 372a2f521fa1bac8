"""Texts for tools/oracle/tokenizer: files of this machine and what a seed generates.

Half of the asked-for bytes are generated, and more where a machine holds too few files, so that the
comparison means the same everywhere. The same seed gives the same generated texts.
"""
import collections
import os
import random

FOLDERS = ["/usr/include", "/usr/lib/python3", "/usr/lib/node_modules", "/usr/share", "/usr/lib/gcc"]
FILE_BYTES_MAX = 200_000
# A share of the files' bytes each, so that C headers do not crowd out the rest.
EXTENSIONS = (
    "c h hpp cpp py pyi js mjs ts css html json yml yaml xml sh pl pm rb lua go rs java md rst txt po "
    "tex sql awk vim el m4 am cmake in conf service ini toml svg diff tcl asm S ml hs scm svelte vue ipynb"
).split()

SPACES = " \t\n\r\v\f\x1c\x1f\u0085\u00a0\u1680\u180e\u2000\u2003\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
EMOJI = ["👩‍💻", "👨‍👩‍👧‍👦", "🇩🇪", "🏳️‍🌈", "🏽", "❤️", "😀", "🤦🏾‍♂️", "\u200d", "\ufe0f", "\u20e3", "1\ufe0f\u20e3"]
MARKS = "\u0300\u0301\u0327\u0308\u0345\u0483\u0591\u05bc\u064b\u0670\u093e\u094d\u0e31\u0e34\u1ab0\u20d0\ufe20\u3099\u309a"
# (first, last, weight): scripts, symbols, controls, private use, unassigned, the ends of planes.
RANGES = [
    (0x00, 0x1F, 3), (0x20, 0x7E, 20), (0x7F, 0x9F, 2), (0xA0, 0xFF, 4), (0x100, 0x24F, 3),
    (0x250, 0x36F, 2), (0x370, 0x3FF, 2), (0x400, 0x52F, 3), (0x590, 0x6FF, 3), (0x900, 0x97F, 2),
    (0xE00, 0xE7F, 2), (0x1100, 0x11FF, 1), (0x1E00, 0x1FFF, 2), (0x2000, 0x206F, 3),
    (0x2070, 0x218F, 2), (0x2190, 0x2BFF, 3), (0x3000, 0x30FF, 6), (0x3100, 0x4DFF, 1),
    (0x4E00, 0x9FA5, 8), (0x9FA6, 0x9FFF, 1), (0xA000, 0xABFF, 1), (0xAC00, 0xD7FF, 2),
    (0xE000, 0xF8FF, 1), (0xF900, 0xFFFD, 3), (0xFFFE, 0xFFFF, 1), (0x10000, 0x1FFFF, 3),
    (0x1F300, 0x1FAFF, 4), (0x20000, 0x33FFF, 1), (0xE0000, 0xE01EF, 1), (0x0, 0x10FFFF, 2),
]  # fmt: skip
WORDS = (
    "static return struct for while if else import class def self function const let var int void the of "
    "and to in is error buffer length index value über façade naïve Straße привет мир код ελληνικά שלום "
    "مرحبا नमस्ते ไทย 한국어 日本語 カタカナ ひらがな 漢字 中文 你好 tokenizer HTTPServer snake_case camelCase x1 i"
).split()


def character(rng):
    first, last, _ = rng.choices(RANGES, [weight for _, _, weight in RANGES])[0]
    while True:
        code = rng.randint(first, last)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def run(rng, alphabet, longest):
    return "".join(rng.choices(alphabet, k=rng.randint(1, longest)))


def byte_alphabet():
    """From the characters of a byte-level vocabulary to bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(moved)}


class Tokens:
    """Bytes of vocabulary entries and written forms of added tokens."""

    def __init__(self, known):
        alphabet = byte_alphabet()
        self.added = [token["content"] for token in known["added_tokens"]]
        self.entries = [
            bytes(alphabet[c] for c in entry)
            for entry in known["model"]["vocab"]
            if all(c in alphabet for c in entry)
        ]


def code_line(rng):
    words = [rng.choice(WORDS) for _ in range(rng.randint(1, 12))]
    glue = [" ", " ", " ", "(", ")", "_", ".", " = ", ", ", "->", "::", " += ", "[0]", ";", ' "', "' "]
    return " " * rng.choice([0, 4, 8, 8, 12, 16]) + "".join(w + rng.choice(glue) for w in words) + "\n"


def mixture(rng, added):
    kind = rng.randrange(13)
    if kind <= 3:
        return "".join(code_line(rng) for _ in range(rng.randint(1, 6)))
    if kind == 4:
        return "".join(chr(rng.randint(0x4E00, 0x9FAF)) for _ in range(rng.randint(1, 60))) + "，。"
    if kind == 5:
        return run(rng, "0123456789٠١२३４Ⅷ½²𝟙", 20)
    if kind == 6:
        return run(rng, SPACES, 12) if rng.random() < 0.7 else run(rng, " \n", 1)[0] * rng.randint(1, 300)
    if kind == 7:
        return "".join(rng.choice("aeoकнあア") + run(rng, MARKS, 3) for _ in range(rng.randint(1, 8)))
    if kind == 8:
        return run(rng, EMOJI, 5)
    if kind == 9:
        token = rng.choice(added)
        return token if rng.random() < 0.7 else token[rng.randrange(2) : -1]
    if kind == 10:
        return run(rng, PUNCTUATION + " aZ\n", 20)
    if kind == 11:
        return "".join(character(rng) for _ in range(rng.randint(1, 30)))
    return run(rng, "abcdefghijklmnopqrstuvwxyz", 60)


def random_string(rng, tokens):
    kind = rng.randrange(5)
    if kind == 0:
        return "".join(character(rng) for _ in range(rng.randint(1, 40)))
    if kind == 1:
        joined = b"".join(rng.choice(tokens.entries) for _ in range(rng.randint(1, 12)))
        return joined.decode(errors="replace")
    if kind == 2:
        return rng.randbytes(rng.randint(1, 60)).decode(errors=rng.choice(["replace", "ignore"]))
    if kind == 3:
        parts = [rng.choice(tokens.entries).decode(errors="ignore") for _ in range(rng.randint(1, 6))]
        parts += [rng.choice(tokens.added), character(rng), run(rng, SPACES, 4)]
        rng.shuffle(parts)
        return "".join(parts)
    return "".join(mixture(rng, tokens.added)[:50] for _ in range(rng.randint(1, 3)))


def candidates():
    """Paths by extension, in a fixed order."""
    found = collections.defaultdict(list)
    for folder in FOLDERS:
        for path, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                extension = name.rpartition(".")[2]
                if extension in EXTENSIONS:
                    found[extension].append(os.path.join(path, name))
    return found


def read_text(path):
    """None for what is no file or not UTF-8."""
    try:
        with open(path, "rb") as file:
            return file.read(FILE_BYTES_MAX).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def read_files(n_bytes):
    """[(extension, text)]: each round takes a file of every extension until there are enough bytes."""
    queues = [(extension, iter(paths)) for extension, paths in sorted(candidates().items())]
    texts, total = [], 0
    while queues and total < n_bytes:
        for queue in list(queues):
            path = next(queue[1], None)
            text = read_text(path) if path else ""
            if path is None:
                queues.remove(queue)
            elif text:
                texts.append((queue[0], text))
                total += len(text.encode())
    return texts


class Corpus:
    def __init__(self, seed, n_bytes):
        self.seed = seed
        self.n_bytes = n_bytes
        self.files = read_files(n_bytes // 2)

    def describe(self):
        size = sum(len(text.encode()) for _, text in self.files)
        kinds = len({extension for extension, _ in self.files})
        return f"{len(self.files)} files of {kinds} kinds, {size / 1e6:.1f} MB; the rest from seed {self.seed}"

    def texts(self, known):
        """At least n_bytes: the files, mixtures of some hundred to some hundred thousand bytes, one
        long line, every character once."""
        rng, added = random.Random(self.seed), [token["content"] for token in known["added_tokens"]]
        every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
        texts = [text for _, text in self.files] + ["".join(every), " ".join(every), "a".join(every)]
        texts.append("".join(mixture(rng, added) for _ in range(20_000)).replace("\n", ""))
        total = sum(len(text.encode()) for text in texts)
        while total < self.n_bytes:
            parts = rng.choice([1, 10, 100, 1000])
            texts.append("".join(mixture(rng, added) for _ in range(parts)))
            total += len(texts[-1].encode())
        return texts

    def strings(self, known, n):
        rng, tokens = random.Random(self.seed + 1), Tokens(known)
        return [random_string(rng, tokens) for _ in range(n)]

    def source(self, n_bytes):
        """Ordinary source text: the files of programming languages, or generated lines."""
        languages = set("c h hpp cpp py pyi js mjs ts css sh pl pm rb lua go rs java".split())
        rng, total, texts = random.Random(self.seed + 2), 0, []
        for extension, text in self.files:
            if extension in languages and total < n_bytes:
                texts.append(text)
                total += len(text.encode())
        while total < n_bytes:
            texts.append("".join(code_line(rng) for _ in range(1000)))
            total += len(texts[-1].encode())
        return texts

    def long_lines(self, n_bytes):
        rng = random.Random(self.seed + 3)
        letters = "abcdefghijklmnopqrstuvwxyz"
        yield "letters", "".join(rng.choices(letters, k=n_bytes))
        yield "one letter", "a" * n_bytes
        yield "spaces", " " * n_bytes
        yield "CJK", "".join(chr(rng.randint(0x4E00, 0x9FA5)) for _ in range(n_bytes // 3))
        yield "digits", "".join(rng.choices("0123456789", k=n_bytes))
        yield "punctuation", "".join(rng.choices(PUNCTUATION, k=n_bytes))
