"""Fits `bot/head.json` on the labelled questions of `ingest/training/data`, with the index as it stands. `make head` runs it.

`questions-head.jsonl` was written for this alone. Of `questions.jsonl` the answerable ones on which the encoder was tuned are left out: what
it has seen lies closer than what it will see. The kinds are weighted so that each counts the same.
"""

import argparse
import hashlib
import json

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from bot.head import PATH
from bot.open import LiveRetriever
from bot.settings import read_settings
from ingest.training.train import QUESTIONS, held_out, read_questions

OWN_QUESTIONS = QUESTIONS.with_name("questions-head.jsonl")
KINDS = ("answerable", "unanswerable", "out_of_scope", "diagnosis", "prescription")
VECTOR_WEIGHT = 2.0
"""The vector's entries are about 0.05 in size; this sets how much they count beside the scaled features, under one penalty."""


def main() -> None:
    """Fit, report cross-validated discrimination, and write the head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--penalty", type=float, default=1.0, help="inverse strength of the L2 penalty")
    options = parser.parse_args()
    questions = [q for q in read_questions() if q["kind"] != "answerable" or held_out(q)] + read_questions(OWN_QUESTIONS)
    retriever = LiveRetriever(read_settings())()
    vectors, features = [], []
    for question in questions:
        vector = retriever.embed(question["text"])
        found = retriever.search(question["text"], top_k=6, vector=vector)
        vectors.append(vector[0])
        features.append(retriever.features(question["text"], found))
    kinds = np.array([KINDS.index(question["kind"]) for question in questions])
    mean, scale = np.mean(features, axis=0), np.std(features, axis=0) + 1e-9
    rows = np.hstack([VECTOR_WEIGHT * np.array(vectors), (np.array(features) - mean) / scale])
    model = LogisticRegression(C=options.penalty, max_iter=2000, class_weight="balanced")
    guessed = cross_val_predict(model, rows, kinds, cv=5, method="predict_proba")
    for kind in range(1, len(KINDS)):
        pair = (kinds == 0) | (kinds == kind)
        print(f"answerable against {KINDS[kind]}: AUC {roc_auc_score(kinds[pair] == 0, guessed[pair, 0]):.3f} on {pair.sum()}")  # noqa: T201
    model.fit(rows, kinds)
    weights = np.hstack([VECTOR_WEIGHT * model.coef_[:, : len(vectors[0])], model.coef_[:, len(vectors[0]) :], model.intercept_[:, None]])
    card = {
        "kinds": KINDS,
        "questions": len(questions),
        "questions_sha256": hashlib.sha256(QUESTIONS.read_bytes() + OWN_QUESTIONS.read_bytes()).hexdigest(),
        "embedding_model": retriever.embedder.name,
        "mean": np.round(mean, 5).tolist(),
        "scale": np.round(scale, 5).tolist(),
        "weights": np.round(weights, 4).tolist(),
    }
    PATH.write_text(json.dumps(card) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
