"""Fine-tunes bge-small-en-v1.5 into the red-flag classifier and writes it as one int8 ONNX file. `make guardrail-model` runs it.

Two heads on the mean-pooled encoder: the level (4 classes) and the flag codes (18, several may apply). Only `data/train-*.jsonl` is
learned from; `data/dev*.jsonl` sets the thresholds. The blind test set lives in evals/ and is read by nothing here.
After the first epoch the rows that were easy are read less often (selective backprop, Jiang 2019, arXiv 1910.00762), which halves the time.
"""

import argparse
import hashlib
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from bot.guardrail.classifier import MODEL, PIECES, read_tokenizer
from bot.guardrail.spelling import WORD, WORDS
from bot.guardrail.training.augment import in_company, noisy
from bot.guardrail.training.base import WIDTH, base_encoder, choose_pieces
from bot.guardrail.window import conversation_text
from kb.article import KB_DIR, read_articles
from kb.red_flags import CODES, LEVELS

DATA = Path(__file__).parent / "data"
EASY, EASY_AGAIN = 0.6, 0.35
"""The share of the rows that counts as easy, by the loss last seen, and how likely such a row is read again in an epoch."""
UNSURE_ARTICLES = {
    "bone-stress-injury",
    "non-spinal-causes",
    "nerve-pain-vs-referred-pain",
    "running-with-a-disc-problem",
    "energy-deficiency",
    "pain-during-a-run",
}


class Classifier(torch.nn.Module):
    """The encoder with its two heads; returns (level logits, code logits)."""

    def __init__(self, pieces: list[str]) -> None:
        """Start from the packaged encoder, cut to the word `pieces`."""
        super().__init__()
        self.encoder = base_encoder(pieces)
        self.dropout = torch.nn.Dropout(0.1)
        self.level = torch.nn.Linear(WIDTH, len(LEVELS))
        self.codes = torch.nn.Linear(WIDTH, len(CODES))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify a batch of token ids, shape (batch, length)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = self.dropout((hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9))
        return self.level(pooled), self.codes(pooled)


def read_rows(pattern: str) -> list[dict[str, Any]]:
    """Read messages, and each user turn of conversations with what stood before it, as rows of text, level and codes."""
    rows = []
    for path in sorted(DATA.glob(pattern)):
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            if "text" in item:
                rows.append({"text": item["text"], "level": item["expect"], "codes": item["codes"], "single": True})
                continue
            for i, turn in enumerate(item["messages"]):
                if turn["role"] == "user":
                    text = conversation_text([(m["role"], m["content"]) for m in item["messages"][: i + 1]])
                    rows.append({"text": text, "level": turn["expect"], "codes": turn.get("codes", []), "single": i == 0})
    return rows


def known_words(rows: list[dict[str, Any]]) -> list[str]:
    """Return the words that the messages use at least three times or the articles at all, the most frequent first: a speller's list."""
    said = Counter(word for row in rows for word in WORD.findall(row["text"].lower()))
    written = Counter(
        word
        for article in read_articles(KB_DIR)[0]
        for section in article.sections
        for sentence in section.sentences
        for word in WORD.findall(sentence.text.lower())
    )
    kept = {word for word, count in said.items() if count >= 3} | set(written)
    return sorted(kept, key=lambda word: (-(said[word] + written[word]), word))


def kb_questions() -> list[dict[str, Any]]:
    """Return the questions of our articles as harmless rows: how people ask about ordinary things, often in three words.

    Articles on red flags, conditions and medicines are left out, as their questions may state a symptom that is none.
    """
    skipped = {"red-flags", "conditions", "medicines", "special-groups"}
    return [
        {"text": question, "level": "none", "codes": [], "single": True}
        for article in read_articles(KB_DIR)[0]
        if article.meta.topic not in skipped and not article.meta.red_flags and article.meta.id not in UNSURE_ARTICLES
        for section in article.sections
        if "red flag" not in section.heading.lower() and "stop" not in section.heading.lower() and "doctor" not in section.heading.lower()
        for question in (section.heading, *section.questions[:2])
    ]


def train(rows: list[dict[str, Any]], pieces: list[str], *, epochs: int, seed: int, rate: float, batch: int = 32) -> Classifier:
    """Fine-tune the whole encoder on `rows`; deterministic for a seed, on one kind of machine and one number of threads."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = read_tokenizer(pieces)
    model = Classifier(pieces).train()
    benign = [row["text"] for row in rows if row["level"] == "none" and row["single"] and len(row["text"]) < 200]
    optimizer = torch.optim.AdamW(
        [
            {"params": model.encoder.parameters(), "lr": rate},
            {"params": [*model.level.parameters(), *model.codes.parameters()], "lr": rate * 10},
        ],
        weight_decay=0.01,
    )
    steps = (1 + (epochs - 1) * (1 - EASY + EASY * EASY_AGAIN)) * len(rows) / batch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / (0.06 * steps)) * max(0.01, 1 - step / steps))
    # The mean of the weights over the last few hundred steps generalises better than the last weights.
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995))
    losses = np.full(len(rows), np.inf)
    for epoch in range(epochs):
        started, seen = time.perf_counter(), []
        easy = losses < np.quantile(losses, EASY) if epoch else np.zeros(len(rows), dtype=bool)
        prepared = [(variant(row, benign, rng), i) for i, row in enumerate(rows) if not easy[i] or rng.random() < EASY_AGAIN]
        rng.shuffle(prepared)
        # Batches of like length waste less padding; their order is shuffled.
        blocks = [sorted(prepared[i : i + batch * 20], key=lambda p: len(p[0])) for i in range(0, len(prepared), batch * 20)]
        batches = [block[i : i + batch] for block in blocks for i in range(0, len(block), batch)]
        rng.shuffle(batches)
        for part in batches:
            encoded = tokenizer.encode_batch([text for text, _ in part])
            ids, mask = (torch.tensor([getattr(e, name) for e in encoded]) for name in ("ids", "attention_mask"))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                levels, codes = model(ids, mask)
            each = row_losses(levels.float(), codes.float(), [rows[i] for _, i in part])
            losses[[i for _, i in part]] = each.detach().numpy()
            optimizer.zero_grad()
            each.mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            seen.append(float(each.detach().mean()))
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}/{epochs}: {len(prepared)} rows, loss {np.mean(seen):.4f}, {seconds:.0f} s", flush=True)  # noqa: T201
    trained: Classifier = average.module.eval()
    return trained


def variant(row: dict[str, Any], benign: list[str], rng: random.Random) -> str:
    """Return a row's text as it is read this time: three in ten messages in harmless company, and some mistyped."""
    text = row["text"]
    if row["single"] and rng.random() < 0.30:
        text = in_company(text, rng.choice(benign), rng)
    return noisy(text, rng)


def row_losses(levels: torch.Tensor, codes: torch.Tensor, rows: list[dict[str, Any]]) -> torch.Tensor:
    """Return each row's loss, shape (len(rows),): cross-entropy of its level plus three times that of its codes."""
    wanted_levels = torch.tensor([LEVELS.index(row["level"]) for row in rows])
    wanted_codes = torch.tensor([[float(code in row["codes"]) for code in CODES] for row in rows])
    level = torch.nn.functional.cross_entropy(levels, wanted_levels, label_smoothing=0.03, reduction="none")
    return level + 3.0 * torch.nn.functional.binary_cross_entropy_with_logits(codes, wanted_codes, reduction="none").mean(1)


def export(model: Classifier, path: Path) -> None:
    """Write the classifier as one ONNX file with int8 weights."""
    ids, mask = torch.ones((2, 8), dtype=torch.long), torch.ones((2, 8), dtype=torch.long)
    axes = {0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("length", min=2, max=512)}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            model,
            (ids, mask),
            str(whole),
            dynamo=True,
            input_names=["input_ids", "attention_mask"],
            output_names=["level", "codes"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
            external_data=False,
            verbose=False,
        )
        quantize_dynamic(str(whole), str(path), weight_type=QuantType.QInt8, per_channel=True)
    # Where in the source each node came from is a megabyte that nobody reads.
    bare = onnx.load(str(path))
    for node in bare.graph.node:
        del node.metadata_props[:]
    del bare.graph.value_info[:]
    onnx.save(bare, str(path))


def main() -> None:
    """Train, export, and record what was learned from what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--train", default="train-*.jsonl")
    parser.add_argument("--out", type=Path, default=MODEL)
    options = parser.parse_args()
    rows = read_rows(options.train) + kb_questions()
    print(f"{len(rows)} training rows", flush=True)  # noqa: T201
    WORDS.write_text("\n".join(known_words(rows)) + "\n", encoding="utf-8")
    pieces = choose_pieces(row["text"] for row in rows)
    PIECES.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    model = train(rows, pieces, epochs=options.epochs, seed=options.seed, rate=options.rate)
    export(model, options.out)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(DATA.glob(options.train)))).hexdigest()
    card = {
        "levels": list(LEVELS),
        "codes": list(CODES),
        "rows": len(rows),
        "epochs": options.epochs,
        "seed": options.seed,
        "rate": options.rate,
        "data_sha256": digest,
        "model_sha256": hashlib.sha256(options.out.read_bytes()).hexdigest(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    options.out.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {options.out} ({options.out.stat().st_size / 1e6:.1f} MB)", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
