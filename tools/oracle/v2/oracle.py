"""The oracle of DeepSeek-V2 and V3: Hugging Face transformers in float32 on the CPU, with the experts it chose.

FP8 weights become code times scale, rounded to float32. The stored classes are the released ones' descendants; where
they leave out what the released code does (V2: renormalised weights), the engine refuses the configuration.
"""
import json
import logging
import os

import numpy as np
import torch
from safetensors import safe_open
from transformers import (DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM,
                          __version__)

VERSIONS = f"transformers {__version__}"
CLASSES = {"deepseek_v2": (DeepseekV2Config, DeepseekV2ForCausalLM),
           "deepseek_v3": (DeepseekV3Config, DeepseekV3ForCausalLM)}
TILE = 128

torch.set_num_threads(1)
logging.getLogger("transformers").setLevel(logging.ERROR)  # of the invented YaRN factors


def read_tensors(directory):
    """All tensors as float32, quantised ones multiplied by their scales."""
    raw = {}
    for file in sorted(os.listdir(directory)):
        if file.startswith("model") and file.endswith(".safetensors"):
            with safe_open(os.path.join(directory, file), "pt") as f:
                raw |= {name: f.get_tensor(name) for name in f.keys()}
    tensors = {}
    for name, value in raw.items():
        if name.endswith("_scale_inv"):
            continue
        value = value.to(torch.float32)
        scale = raw.get(name + "_scale_inv")
        if scale is not None:
            spread = scale.repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)
            value = value * spread[:value.shape[0], :value.shape[1]]
        tensors[name] = value
    return tensors


def stack_experts(tensors, config):
    """The library keeps a layer's experts in two tensors."""
    for layer in range(config["first_k_dense_replace"], config["num_hidden_layers"]):
        p = f"model.layers.{layer}.mlp.experts."
        gate, up, down = ([tensors.pop(f"{p}{e}.{name}_proj.weight") for e in range(config["n_routed_experts"])]
                          for name in ("gate", "up", "down"))
        tensors[p + "gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(gate, up)])
        tensors[p + "down_proj"] = torch.stack(down)


def is_draft(name, config):
    return any(name.startswith(f"model.layers.{config['num_hidden_layers'] + i}.")
               for i in range(config.get("num_nextn_predict_layers", 0)))


def open_model(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        settings = json.load(f)
    settings.pop("quantization_config", None)
    config_class, model_class = CLASSES[settings["model_type"]]
    config = config_class(**settings)
    config._attn_implementation, config._experts_implementation = "eager", "eager"
    tensors = {name: t for name, t in read_tensors(directory).items() if not is_draft(name, settings)}
    stack_experts(tensors, settings)
    model = model_class(config).to(torch.float32).eval()
    model.load_state_dict(tensors, strict=True)
    return model


def run(directory, ids, noise=None):
    """Logits [n][vocab] and the choices, as {name: array}.

    `noise` = (size, seed) multiplies every embedded value by 1 + size * a normal number: do the choices hold?
    """
    return run_model(open_model(directory), {}, ids, noise)


def run_model(model, choices, ids, noise):
    """`choices` may be filled by others too, while the model runs."""
    for number, layer in enumerate(model.model.layers):
        if hasattr(layer.mlp, "gate"):
            layer.mlp.gate.register_forward_hook(
                lambda module, args, result, key=f"layers.{number}.router":
                choices.__setitem__(key, np.sort(result[2].numpy(), -1).astype("<f4")))
    with torch.no_grad():
        if noise:
            weight = model.model.embed_tokens.weight
            factor = 1 + noise[0] * np.random.default_rng(noise[1]).standard_normal(tuple(weight.shape))
            weight *= torch.tensor(factor.astype(np.float32))
        logits = model(torch.tensor([ids]), use_cache=False).logits
    return logits[0].numpy(), choices
