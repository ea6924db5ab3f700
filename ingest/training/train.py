"""Tunes all-MiniLM-L6-v2 to how people ask about what the articles say, as a low-rank adapter. `make adapter` runs it.

Method: LoRA (Hu 2021, arXiv 2106.09685) on every linear layer, learned by contrast (in-batch negatives, Henderson 2017, arXiv 1705.00652):
a question and the sentence or section that answers it should lie close, and far from what answers the other questions of the batch.
Learned from the articles' own questions and `data/questions.jsonl`; every tenth of these is held out to calibrate what comes later.
No eval question is read here; a test holds them apart.
"""

import argparse
import hashlib
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoModel, AutoTokenizer

from ingest.chunk import Chunk, chunk_articles
from ingest.embed import ADAPTER, SCALE, weights
from kb.article import KB_DIR, read_articles

QUESTIONS = Path(__file__).parent / "data" / "questions.jsonl"
HELD_OUT = 10
RANK = 16
TEMPERATURE = 0.05
BATCH = 48
QUESTION_TOKENS, SENTENCE_TOKENS, SECTION_TOKENS = 40, 56, 128


class LowRank(torch.nn.Module):
    """A weight matrix plus the product of two thin ones, which alone are learned."""

    def __init__(self, weight: torch.Tensor) -> None:
        """Start at zero change."""
        super().__init__()
        self.down = torch.nn.Parameter(torch.randn(RANK, weight.shape[1]) / weight.shape[1] ** 0.5)
        self.up = torch.nn.Parameter(torch.zeros(weight.shape[0], RANK))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the changed weight."""
        return weight + SCALE * self.up @ self.down


@dataclass(frozen=True)
class Pair:
    """A question, the chunk that answers it, and which of its sentences do (none named: any, the first above all)."""

    question: str
    chunk: Chunk
    sentences: tuple[int, ...] = ()


def read_questions(path: Path = QUESTIONS) -> list[dict[str, Any]]:
    """Read the labelled questions, one JSON object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def held_out(question: dict[str, Any]) -> bool:
    """Say whether a question is kept from training."""
    return int(question["id"].rpartition("-")[2]) % HELD_OUT == 0


def read_pairs() -> list[Pair]:
    """Pair the articles' own questions, and the labelled ones, with what answers them."""
    chunks = chunk_articles(read_articles(KB_DIR)[0])
    pairs = [Pair(question, chunk) for chunk in chunks for question in (chunk.heading, *chunk.questions)]
    for item in read_questions():
        if item["kind"] != "answerable" or held_out(item):
            continue
        for answer in item["answers"]:
            for chunk in chunks:
                if f"{chunk.article_id}#{chunk.anchor}" != answer["section"]:
                    continue
                numbers = tuple(n for n, sentence in enumerate(chunk.sentences) if sentence.text in answer["quotes"])
                if numbers:
                    pairs.append(Pair(item["text"], chunk, numbers))
    return pairs


def batches(pairs: list[Pair], rng: random.Random) -> Iterator[list[Pair]]:
    """Deal the pairs out, half of them among others of their own topic, where telling them apart is hard."""
    dealt = rng.sample(pairs, len(pairs))
    half = len(dealt) // 2
    near = sorted(dealt[:half], key=lambda pair: (pair.chunk.topic, pair.chunk.article_id, rng.random()))
    out = [part[i : i + BATCH] for part in (near, dealt[half:]) for i in range(0, len(part), BATCH)]
    rng.shuffle(out)
    yield from (part for part in out if len(part) > 1)


class Encoder(torch.nn.Module):
    """The packaged encoder with its adapter; returns unit vectors."""

    def __init__(self) -> None:
        """Freeze the encoder and put an adapter on each of its linear layers."""
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(str(weights()), local_files_only=True)
        self.model = AutoModel.from_pretrained(str(weights()), local_files_only=True)
        self.model.requires_grad_(False)
        self.adapted: dict[str, LowRank] = {}
        for name, module in list(self.model.encoder.named_modules()):
            if isinstance(module, torch.nn.Linear):
                change = LowRank(module.weight)
                torch.nn.utils.parametrize.register_parametrization(module, "weight", change)
                self.adapted[name] = change

    def forward(self, texts: list[str], max_tokens: int) -> torch.Tensor:
        """Return one unit vector a text, shape (len(texts), 384)."""
        encoded = self.tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.nn.utils.parametrize.cached():
            hidden = self.model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).last_hidden_state
        mask = encoded["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def answer_texts(part: list[Pair], rng: random.Random) -> tuple[list[str], int]:
    """Return what stands for the answers of a batch, as it is indexed, and how many word pieces to read of each."""
    if rng.random() < 0.08:
        return [pair.chunk.embedded_text for pair in part], SECTION_TOKENS
    texts = []
    for pair in part:
        first_mostly = rng.choice([0, 0, 0, rng.randrange(len(pair.chunk.sentences))])
        number = rng.choice(pair.sentences) if pair.sentences else first_mostly
        texts.append(pair.chunk.sentence_text(number))
    return texts, SENTENCE_TOKENS


def train(pairs: list[Pair], *, epochs: int, seed: int, rate: float) -> Encoder:
    """Learn the adapter; deterministic for a seed on one kind of machine."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = Encoder()
    model.train()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=rate, weight_decay=0.0)
    steps = epochs * (len(pairs) // BATCH + 2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / (0.08 * steps)) * max(0.02, 1 - step / steps))
    for epoch in range(epochs):
        started, losses = time.perf_counter(), []
        for part in batches(pairs, rng):
            questions = model([pair.question for pair in part], QUESTION_TOKENS)
            answers = model(*answer_texts(part, rng))
            scores = questions @ answers.T / TEMPERATURE
            # Two questions on one section are no negatives of each other.
            same = torch.tensor([[a.chunk.id == b.chunk.id and i != j for j, b in enumerate(part)] for i, a in enumerate(part)])
            scores = scores.masked_fill(same, -1e4)
            target = torch.arange(len(part))
            loss = cross_entropy(scores, target) + 0.3 * cross_entropy(scores.T, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/{epochs}: loss {sum(losses) / len(losses):.4f}, {time.perf_counter() - started:.0f} s", flush=True)  # noqa: T201
    model.eval()
    return model


def save(model: Encoder, path: Path) -> None:
    """Write the two thin matrices of each layer, in half precision."""
    tensors = {}
    for name, change in model.adapted.items():
        tensors[f"{name}.down"] = change.down.detach().half().contiguous()
        tensors[f"{name}.up"] = change.up.detach().half().contiguous()
    save_file(tensors, str(path))


def main() -> None:
    """Train, save, and record what was learned from what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=5e-4)
    options = parser.parse_args()
    pairs = read_pairs()
    print(f"{len(pairs)} pairs", flush=True)  # noqa: T201
    save(train(pairs, epochs=options.epochs, seed=options.seed, rate=options.rate), ADAPTER)
    card = {
        "base": "sentence-transformers/all-MiniLM-L6-v2",
        "rank": RANK,
        "pairs": len(pairs),
        "epochs": options.epochs,
        "seed": options.seed,
        "rate": options.rate,
        "questions_sha256": hashlib.sha256(QUESTIONS.read_bytes()).hexdigest(),
        "adapter_sha256": hashlib.sha256(ADAPTER.read_bytes()).hexdigest(),
    }
    ADAPTER.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
