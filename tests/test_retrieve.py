import json

import numpy as np
import pytest

from bot.head import read_head
from bot.retrieve import points_back, split_questions, standalone
from bot.training.head import OWN_QUESTIONS
from bot.turn import Message
from ingest.embed import DEFAULT_MODEL, PLAIN_MODEL, OnnxEmbedder, packaged_model
from ingest.training.train import held_out, read_questions
from kb.article import KB_DIR, read_articles


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("Is running bad for my back, and what shoes should I buy?", ["Is running bad for my back", "what shoes should I buy?"]),
        ("does heat help? how long should i rest", ["does heat help?", "how long should i rest"]),
        ("My back aches after long runs. Should I rest?", ["My back aches after long runs. Should I rest?"]),
        ("stiff and sore after a run", ["stiff and sore after a run"]),
        ("is it safe?", ["is it safe?"]),
        ("", [""]),
    ],
)
def test_a_message_is_split_only_into_questions_that_stand_alone(message, parts):
    assert split_questions(message) == parts


def test_a_short_question_takes_along_what_was_told():
    parts = split_questions("I take naproxen daily. Can I run? What about alcohol at parties?")
    assert parts[0] == "I take naproxen daily. Can I run?"
    assert parts[1] == "What about alcohol at parties?"


@pytest.mark.parametrize(
    "text",
    [
        "how often should I do them?",
        "and pilates?",
        "is that safe when I run?",
        "why not?",
        "tell me more",
        "how soon?",
        "and for the other one",
    ],
)
def test_a_follow_up_points_back(text):
    assert points_back(text)


@pytest.mark.parametrize(
    "text",
    [
        "How much water should I drink on long runs?",
        "Can cycling hurt my back?",
        "What is a slipped disc?",
        "shoes",
        "does running on grass help",
    ],
)
def test_a_change_of_subject_is_noticed(text):
    asked = [Message(role="user", content=t) for t in ("Does massage help?", text)]
    assert standalone(asked) == text


def test_the_subject_is_carried_over_several_turns():
    asked = [Message(role="user", content=t) for t in ("Is yoga good for back pain?", "and pilates?", "how often?")]
    assert standalone(asked) == "how often? (pilates yoga good back pain)"


@pytest.mark.model
@pytest.mark.parametrize(
    ("first", "then", "section"),
    [
        ("Does acupuncture work?", "is it safe?", "acupuncture#is-acupuncture-safe"),
        ("Is yoga good for back pain?", "and pilates?", "yoga-and-pilates#does-pilates-help-back-pain"),
        ("what is sciatica", "how long does it last", "sciatica#how-long-does-sciatica-last"),
        ("Does heat help?", "what about ice?", "heat-and-cold#does-ice-help-back-pain"),
        (
            "how do I warm up before a run",
            "does that prevent back pain",
            "warm-up-and-cool-down#does-a-warm-up-prevent-back-pain-when-running",
        ),
    ],
)
def test_a_follow_up_finds_its_section(bot, first, then, section):
    found = bot.open_retriever().retrieve(standalone([Message(role="user", content=text) for text in (first, then)]))
    best = found.passages[0].chunk
    assert f"{best.article_id}#{best.anchor}" == section


@pytest.mark.model
def test_two_questions_get_passages_for_both(bot):
    found = bot.open_retriever().retrieve("Is running bad for my back, and is acupuncture any good?")
    articles = {passage.chunk.article_id for passage in found.passages}
    assert len(found.parts) == 2
    assert "acupuncture" in articles
    assert len(articles) > 1


@pytest.mark.model
def test_the_adapted_vectors_agree_with_sentence_transformers(models):
    texts = ["numb", "Is running bad for my back?", "word " * 400, ""]
    theirs = packaged_model(adapted=True).encode(texts, normalize_embeddings=True)
    assert DEFAULT_MODEL != PLAIN_MODEL
    assert np.abs(OnnxEmbedder(models).embed(texts) - theirs).max() < 1e-4


@pytest.mark.model
def test_the_adapter_changes_what_is_near(models):
    ours, plain = OnnxEmbedder(models), OnnxEmbedder(models, PLAIN_MODEL)
    question = "will being pricked all over loosen me up"
    answer = "Does acupuncture help back pain? Acupuncture may ease long-lasting back pain a little, on average, for a short time."
    near = [float(embedder.embed([question])[0] @ embedder.embed([answer])[0]) for embedder in (ours, plain)]
    assert near[0] > near[1]


def test_the_head_gives_probabilities_and_bears_another_model():
    head = read_head()
    for size in (384, 768):
        kinds = head.kinds(np.ones(size) / size**0.5, head.mean)
        assert sum(kinds.values()) == pytest.approx(1.0)
        assert "answerable" in kinds


def test_labelled_questions_quote_the_articles():
    texts = {
        f"{article.meta.id}#{section.anchor}": {sentence.text for sentence in section.sentences}
        for article in read_articles(KB_DIR)[0]
        for section in article.sections
    }
    gone = [
        (question["id"], quote)
        for question in read_questions() + read_questions(OWN_QUESTIONS)
        for answer in question.get("answers", [])
        for quote in answer["quotes"]
        if quote not in texts.get(answer["section"], set())
    ]
    assert not gone


def test_the_head_is_told_apart_from_what_the_adapter_learned():
    questions = read_questions()
    held = [question for question in questions if held_out(question)]
    assert 0.08 < len(held) / len(questions) < 0.12
    card = json.loads((KB_DIR.parent / "bot" / "head.json").read_text(encoding="utf-8"))
    assert card["embedding_model"] == DEFAULT_MODEL
