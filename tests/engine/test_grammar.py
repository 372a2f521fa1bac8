#!/usr/bin/env python3
"""JSON schemas against the package jsonschema: what a random model writes under a schema is valid, what is valid is
accepted, what is not is not. Usage: test_grammar.py GRAMMAR_WALK MODEL... [--seed N] [--schemas N]"""

import argparse
import json
import random
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("the package jsonschema is missing")
    sys.exit(77)

parser = argparse.ArgumentParser()
parser.add_argument("walk")
parser.add_argument("models", nargs="+")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--schemas", type=int, default=150)
options = parser.parse_args()
print("seed", options.seed)
dice = random.Random(options.seed)

NAMES = ["a", "ab", "name", "path", "x y", "é", 'q"', "b\\", "值"]
PATTERNS = ["^[a-z]+$", "^\\d{2,4}$", "b", "^(foo|bar)?[A-Z_]\\w*$", "^[^\"<]{0,5}$", "é$", "^a.c$", "^[\\w.-]+@\\w+\\.com$",
            "^[ \\t]*$", "^[\\u4e00-\\u9fff]{1,3}$", "^x|y$"]


def some(values, least=0):
    return dice.sample(values, dice.randint(least, len(values)))


def string_schema():
    schema = {"type": "string"}
    if dice.random() < 0.4:
        schema["pattern"] = dice.choice(PATTERNS)
    elif dice.random() < 0.3:
        schema["minLength"] = dice.randint(0, 4)
        schema["maxLength"] = schema["minLength"] + dice.randint(0, 4)
    return schema


def number_schema():
    schema = {"type": dice.choice(["integer", "number"])}
    low = dice.randint(-30, 120)
    if dice.random() < 0.5:
        schema[dice.choice(["minimum", "exclusiveMinimum"])] = low
    if dice.random() < 0.5:
        schema[dice.choice(["maximum", "exclusiveMaximum"])] = low + dice.randint(2, 2000)
    return schema


def object_schema(depth):
    names = some(NAMES)
    schema = {"type": "object", "properties": {name: any_schema(depth - 1) for name in names}}
    if names and dice.random() < 0.7:
        schema["required"] = some(names, 1)
    schema["additionalProperties"] = dice.choice([False, False, True, {"type": "integer"}])
    if dice.random() < 0.2:
        del schema["additionalProperties"]
    return schema


def array_schema(depth):
    schema = {"type": "array", "items": any_schema(depth - 1)}
    if dice.random() < 0.3:
        schema["prefixItems"] = [any_schema(depth - 1) for _ in range(dice.randint(1, 2))]
    if dice.random() < 0.5:
        schema["minItems"] = dice.randint(0, 3)
        schema["maxItems"] = schema["minItems"] + dice.randint(0, 3)
    return schema


def value(depth):
    if depth == 0 or dice.random() < 0.7:
        return dice.choice([None, True, False, 0, 1, 12, -7, 0.5, 1e20, "", "a", "ab", "12", "foo", "é", 'q"', "\n", "值", "b"])
    if dice.random() < 0.5:
        return [value(depth - 1) for _ in range(dice.randint(0, 3))]
    return {name: value(depth - 1) for name in some(NAMES)[:3]}


def any_schema(depth):
    kind = dice.random()
    if depth <= 0:
        return dice.choice([string_schema, number_schema, lambda: {"type": ["boolean", "null"]},
                            lambda: {"enum": [value(1) for _ in range(dice.randint(1, 4))]},
                            lambda: {"const": value(1)}])()
    if kind < 0.3:
        return object_schema(depth)
    if kind < 0.45:
        return array_schema(depth)
    if kind < 0.6:
        return {dice.choice(["anyOf", "oneOf"]): [any_schema(depth - 1) for _ in range(dice.randint(1, 3))]}
    if kind < 0.65:
        return {"type": ["string", "null", "integer"], "minLength": 2, "minimum": 3, "description": "two kinds"}
    if kind < 0.7:
        first, second = object_schema(depth), {"type": "object", "required": some(NAMES)[:1]}
        return {"allOf": [first, second]}
    if kind < 0.75:
        return {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
                "additionalProperties": False, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    if kind < 0.8:
        return dice.choice([{}, True, {"title": "anything", "x-unknown": 1}])
    if kind < 0.85:
        return {"$ref": "#/$defs/list"}
    return any_schema(0)


def root_schema():
    schema = any_schema(3)
    if not isinstance(schema, dict):
        return schema
    return {**schema, "$defs": {"list": {"type": "object", "properties": {
        "value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]}},
        "required": ["value", "next"], "additionalProperties": False}}}


def resolved(schema, root):
    while isinstance(schema, dict) and "$ref" in schema:
        schema = root["$defs"]["list"]
    return schema


TEXTS = ["", "a", "ab", "abc", "12", "123", "foo", "FOO", "fooA_1", "é", "caé", "axc", "b", "xb", "me@x.com", " ", "\t\n", "值", "值值",
         "x", "y", 'say "hi"', "back\\slash", "<", "12345", "null"]


def document(schema, root, depth):
    """Often valid."""
    schema = resolved(schema, root)
    if not isinstance(schema, dict) or depth == 0:
        return value(1)
    for key in ("anyOf", "oneOf"):
        if key in schema and dice.random() < 0.8:
            chosen = dice.choice(schema[key])
            return document({**({} if chosen is True else chosen), **{k: v for k, v in schema.items() if k not in (key, "$defs")}},
                            root, depth - 1)
    if "allOf" in schema:
        merged = {}
        for part in schema["allOf"]:
            merged = {**part, **merged, "required": part.get("required", []) + merged.get("required", [])}
        return document(merged, root, depth - 1)
    if "enum" in schema:
        return dice.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        kind = dice.choice(kind)
    if kind == "object":
        made = {}
        names = list(schema.get("properties", {}))
        dice.shuffle(names)
        for name in names:
            if name in schema.get("required", []) or dice.random() < 0.5:
                made[name] = document(schema["properties"][name], root, depth - 1)
        for name in schema.get("required", []):
            made.setdefault(name, dice.choice([1, value(1)]))
        if dice.random() < 0.3:
            made[dice.choice(NAMES)] = dice.choice([3, value(1)])
        return made
    if kind == "array":
        prefix = schema.get("prefixItems", [])
        n = dice.randint(schema.get("minItems", 0), schema.get("maxItems", 4))
        return [document(prefix[i] if i < len(prefix) else schema.get("items", {}), root, depth - 1) for i in range(n)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", -50))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 3000))
        number = dice.choice([low, high, dice.randint(low, high), low + 1, high - 1, low - 1, high + 1])
        return number + dice.choice([0.5, 0.25]) if kind == "number" and dice.random() < 0.4 else number
    if kind == "string":
        return dice.choice(TEXTS)
    return {"boolean": True, "null": None}.get(kind, value(2))


def spelt(doc):
    """As models write it: plainly, in one of a few layouts."""
    layout = dice.choice([{"separators": (",", ":")}, {}, {"indent": 2}])
    return json.dumps(doc, ensure_ascii=False, **layout)


def is_odd(doc):
    """Valid in a spelling that is left out on purpose: whole numbers with a fraction, exponents of a range."""
    if isinstance(doc, float):
        return True
    if isinstance(doc, dict):
        return any(is_odd(v) for v in doc.values())
    return isinstance(doc, list) and any(is_odd(v) for v in doc)




failures = 0
counts = {"schemas": 0, "impossible": 0, "written": 0, "unfinished": 0, "accepted": 0, "refused": 0}


def fail(what, schema, text):
    global failures
    failures += 1
    print(f"{what}\n  schema {json.dumps(schema, ensure_ascii=False)}\n  text   {text!r}")


def loose(schema):
    """The schema as the grammar understands it: alternatives need not exclude each other."""
    return json.loads(json.dumps(schema).replace('"oneOf"', '"anyOf"'))


def ask(process, question):
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


for model in options.models:
    with subprocess.Popen([options.walk, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for number in range(options.schemas):
            schema = root_schema()
            validator = jsonschema.Draft202012Validator(loose(schema))
            answer = ask(process, {"schema": schema, "walks": 4, "seed": dice.randrange(10**9), "steps": 400})
            counts["schemas"] += 1
            if "error" in answer:
                counts["impossible"] += 1
                if not answer["error"].startswith("#: nothing matches"):
                    fail("an error: " + answer["error"], schema, "")
            for text in answer.get("texts", []):
                if text is None:
                    counts["unfinished"] += 1
                    continue
                counts["written"] += 1
                try:
                    problem = jsonschema.exceptions.best_match(validator.iter_errors(json.loads(text)))
                except ValueError as error:
                    problem = error
                if problem is not None:
                    fail(f"written though not valid: {problem}", schema, text)
            documents = [document(schema, schema, 6) for _ in range(12)]
            texts = [spelt(doc) for doc in documents]
            answer = ask(process, {"schema": schema, "documents": texts})
            if "error" in answer:
                for doc, text in zip(documents, texts):
                    if validator.is_valid(doc):
                        fail("there is a document though none should match", schema, text)
                continue
            for doc, text, accepted in zip(documents, texts, answer["accepted"]):
                valid = validator.is_valid(doc)
                counts["accepted"] += accepted
                counts["refused"] += not accepted
                if valid and not accepted and not is_odd(doc):
                    fail("valid though not accepted", schema, text)
                if accepted and not valid:
                    fail("accepted though not valid", schema, text)
        process.stdin.close()

print(counts)
if counts["written"] < counts["unfinished"] or min(counts["accepted"], counts["refused"]) < options.schemas:
    print("too little of it says anything")
    failures += 1
sys.exit(1 if failures else 0)
