"""Our exports in the eyes of Python programs: transformers, the gguf package of llama.cpp, and unpackers of GPTQ and
compressed-tensors written in numpy from the formats' descriptions. Called by python.test.ts; each command prints one JSON object.

    oracle.py logits FOLDER IDS.json LOGITS.f32     transformers against our engine's logits [tokens, vocabulary]
    oracle.py gguf FILE FOLDER                      every tensor against a Hugging Face folder in fp32
    oracle.py gptq FOLDER FP32_FOLDER               every weight, likewise
    oracle.py compressed FOLDER FP32_FOLDER
"""

import json
import re
import sys
from pathlib import Path

import numpy as np


def load(folder):
    from safetensors.torch import load_file

    tensors = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        tensors.update(load_file(file))
    return tensors


def values(tensor):
    return tensor.float().numpy()


def logits(folder, ids_file, ours_file):
    import torch
    import transformers

    torch.set_num_threads(1)
    ids = torch.tensor([json.loads(Path(ids_file).read_text())])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        theirs = model(ids).logits[0].double().log_softmax(-1)
    ours = torch.from_numpy(np.fromfile(ours_file, np.float32)).reshape(theirs.shape).double().log_softmax(-1)
    targets = ids[0, 1:].unsqueeze(1)
    perplexity = lambda p: float((-p[:-1].gather(1, targets).mean()).exp())
    return {
        "versions": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "difference": float((theirs - ours).abs().max()),
        "sameChoice": bool((theirs.argmax(-1) == ours.argmax(-1)).all()),
        "theirs": perplexity(theirs),
        "ours": perplexity(ours),
        "tokens": len(tokenizer),
    }


NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def gguf(file, folder):
    from gguf import GGUFReader
    from gguf.quants import dequantize

    config = json.loads((Path(folder) / "config.json").read_text())
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    expected = load(folder)
    types, differing = {}, []
    tensors = GGUFReader(file).tensors
    for tensor in tensors:
        block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor.name)
        short = block[2] if block else tensor.name.removesuffix(".weight")
        name = f"model.layers.{block[1]}.{NAMES[short]}.weight" if block else f"{NAMES[short]}.weight"
        want = values(expected[name])
        if short in heads:
            # llama.cpp rotates neighbours: [heads, 2, half] becomes [heads, half, 2].
            want = want.reshape(heads[short], 2, -1, want.shape[1]).swapaxes(1, 2).reshape(want.shape)
        found = dequantize(tensor.data, tensor.tensor_type).reshape(want.shape)
        kind = tensor.tensor_type.name
        types[kind] = types.get(kind, 0) + 1
        if not np.array_equal(found.view(np.uint32), want.astype(np.float32).view(np.uint32)):
            differing.append(tensor.name)
    return {"tensors": len(tensors), "types": types, "differing": differing}


def stream(words, bits):
    """Integers of a little-endian stream of bits along axis 0 of 32-bit words [words, columns]."""
    as_bits = (words.view(np.uint32)[:, None, :] >> np.arange(32, dtype=np.uint32)[None, :, None]) & 1
    as_bits = as_bits.reshape(-1, words.shape[1])
    count = as_bits.shape[0] // bits
    groups = as_bits[: count * bits].reshape(count, bits, -1)
    return (groups << np.arange(bits, dtype=np.uint32)[None, :, None]).sum(1).astype(np.int64)


def compare(found, expected):
    differing = [
        name for name, weight in found.items() if not np.array_equal(weight, values(expected[f"{name}.weight"]))
    ]
    return {"linears": len(found), "differing": differing}


def gptq(folder, reference):
    settings = json.loads((Path(folder) / "config.json").read_text())["quantization_config"]
    bits, plus = settings["bits"], 1 if settings["checkpoint_format"] == "gptq" else 0
    tensors, found = load(folder), {}
    for name in [key.removesuffix(".qweight") for key in tensors if key.endswith(".qweight")]:
        part = lambda kind: tensors[f"{name}.{kind}"].numpy()
        codes = stream(part("qweight"), bits)
        zeros = stream(np.ascontiguousarray(part("qzeros").T), bits).T + plus
        group = part("g_idx")
        scales = part("scales").astype(np.float32)
        found[name] = (scales[group] * (codes - zeros[group]).astype(np.float32)).T
    return {"format": settings["checkpoint_format"], "bits": bits, **compare(found, load(reference))}


def compressed(folder, reference):
    groups = json.loads((Path(folder) / "config.json").read_text())["quantization_config"]["config_groups"].values()
    tensors, found = load(folder), {}
    for name in [key.removesuffix(".weight_packed") for key in tensors if key.endswith(".weight_packed")]:
        settings = next(g["weights"] for g in groups if name in g["targets"] or "Linear" in g["targets"])
        bits = settings["num_bits"]
        rows, columns = tensors[f"{name}.weight_shape"].tolist()
        unpack = lambda words, count: stream(np.ascontiguousarray(words), bits)[:count] - 2 ** (bits - 1)
        codes = unpack(tensors[f"{name}.weight_packed"].numpy().T, columns).T
        scales = values(tensors[f"{name}.weight_scale"])
        zeros = np.zeros(scales.shape, np.int64)
        if not settings["symmetric"]:
            zeros = unpack(tensors[f"{name}.weight_zero_point"].numpy(), rows)
        wide = lambda of: np.repeat(of, columns // of.shape[1], axis=1)
        found[name] = wide(scales) * (codes - wide(zeros)).astype(np.float32)
    return {"bits": sorted({g["weights"]["num_bits"] for g in groups}), **compare(found, load(reference))}


if __name__ == "__main__":
    commands = {"logits": logits, "gguf": gguf, "gptq": gptq, "compressed": compressed}
    print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])))
