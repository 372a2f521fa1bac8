"""Prometheus's text exposition format 0.0.4, read strictly: what a scraper may refuse or misread is an error here.
Python's standard library only."""

import math
import re

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9]+(?:\.[0-9]+)?|[+-]Inf|NaN)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
HEADER = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def read_labels(text):
    labels, at = {}, 0
    while text and at < len(text):
        label = LABEL.match(text, at)
        check(label, f"labels: {text}")
        check(label[1] not in labels, f"label {label[1]} twice: {text}")
        labels[label[1]] = label[2]
        at = label.end()
        check(at == len(text) or text[at] == ",", f"labels: {text}")
        at += 1
    check(not text or text[-1] != ",", f"labels: {text}")
    return labels


class Family:
    def __init__(self, name):
        self.name, self.help, self.type = name, None, None
        self.samples = {}  # (name, labels in order) -> value

    def add(self, name, labels, value):
        suffixes = ("_bucket", "_sum", "_count") if self.type == "histogram" else ("",)
        check(name in [self.name + s for s in suffixes], f"{name} among the samples of {self.name}")
        key = (name, tuple(sorted(labels.items())))
        check(key not in self.samples, f"{key} twice")
        self.samples[key] = value

    def check(self):
        check(self.help and self.type in ("counter", "gauge", "histogram"), f"{self.name}: HELP or TYPE")
        check(self.samples, f"{self.name}: no samples")
        check((self.type == "counter") == self.name.endswith("_total"), f"{self.name} is a {self.type}")
        check(not re.search(r"_(ms|us|ns|kib|mib|milliseconds|bucket|sum|count)(_|$)", self.name), f"{self.name}: unit")
        for key, value in self.samples.items():
            check(math.isfinite(value) and (self.type == "gauge" or value >= 0), f"{key} {value}")
        if self.type == "histogram":
            self.check_histograms()

    def check_histograms(self):
        series = {}
        for (name, labels), value in self.samples.items():
            rest = tuple((k, v) for k, v in labels if k != "le")
            part = name.removeprefix(self.name)
            check((part == "_bucket") == (rest != labels), f"{name}: le")
            entry = series.setdefault(rest, {"_bucket": [], "_sum": None, "_count": None})
            if part == "_bucket":
                entry[part].append((float(dict(labels)["le"]), value))
            else:
                entry[part] = value
        for rest, entry in series.items():
            buckets = entry["_bucket"]
            check(buckets == sorted(buckets) and len({b for b, _ in buckets}) == len(buckets), f"{self.name} {rest}: bounds")
            check([n for _, n in buckets] == sorted(n for _, n in buckets), f"{self.name} {rest}: not cumulative")
            check(buckets and buckets[-1] == (math.inf, entry["_count"]), f"{self.name} {rest}: +Inf and count")
            check(entry["_sum"] is not None, f"{self.name} {rest}: no sum")


def read(text):
    """The families by name; AssertionError says what is wrong."""
    families, current = {}, None
    check(text.endswith("\n"), "no end of the last line")
    for line in text[:-1].split("\n"):
        header = HEADER.fullmatch(line)
        if header and header[1] == "HELP":
            check(header[2] not in families, f"{header[2]} twice")
            current = families[header[2]] = Family(header[2])
            current.help = header[3]
        elif header:
            check(current and current.name == header[2] and not current.type and not current.samples, line)
            current.type = header[3]
        else:
            sample = SAMPLE.fullmatch(line)
            check(sample and current and current.type, f"no sample: {line!r}")
            current.add(sample[1], read_labels(sample[2]), float(sample[3]))
    for family in families.values():
        family.check()
    return families


def value(families, name, **labels):
    """Of one series; families of histograms go by their name without the suffix."""
    family = families.get(name) or families[re.sub(r"_(bucket|sum|count)$", "", name)]
    return family.samples[(name, tuple(sorted(labels.items())))]
