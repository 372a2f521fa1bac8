"""The families of models that are compared: one folder each.

  configurations.py  NAMED, draw(seed): cases; FORMATS: of weights, of "bf16" and "released"
  checkpoint.py      write(case, directory, released): a model directory
  oracle.py          run(directory, ids, noise=None): (logits, choices), VERSIONS; imported only when it runs
"""
import importlib

NAMES = ("v41", "v4", "nsa", "v2", "v3", "v32")


class Family:
    def __init__(self, name):
        self.name = name
        self.configurations = importlib.import_module(f"{name}.configurations")
        self.checkpoint = importlib.import_module(f"{name}.checkpoint")

    @property
    def oracle(self):
        return importlib.import_module(f"{self.name}.oracle")
