import re
import time

import pytest

from bot.guardrail.check import check_message
from bot.guardrail.language import detect, read_foreign
from bot.guardrail.literals import Haystack
from bot.turn import Message
from kb.languages import fold, read_languages

pytestmark = pytest.mark.model
EMERGENCIES = {
    "es": "no siento mi culo y no puedo orinar desde ayer",
    "fr": "j'ai mal au dos et je n'arrive plus à uriner",
    "de": "Ich kann seit gestern nicht mehr pinkeln und mein Rücken tut weh",
    "it": "ho mal di schiena e non riesco a urinare da stamattina",
    "hi": "मेरी कमर में दर्द है और मुझे पेशाब नहीं आ रहा",
    "zh": "腰痛很厉害，小便解不出来",
}


@pytest.mark.parametrize("code", EMERGENCIES)
def test_an_emergency_in_another_language_is_answered_in_it(bot, code):
    reply = bot.respond([Message(role="user", content=EMERGENCIES[code])], region="EU")
    language = read_languages()[code]
    assert reply.escalation.level == "emergency"
    assert language.levels["emergency"].format(emergency="112") in reply.text
    assert language.english_only in reply.text and not reply.citations


def test_every_danger_wording_is_a_valid_pattern():
    patterns = [pattern for language in read_languages().values() for found in language.patterns.values() for pattern in found]
    assert len(patterns) > 2000 and all(pattern.regex.pattern == pattern.p for pattern in patterns)


@pytest.mark.parametrize("code", sorted(read_languages()))
def test_what_cannot_be_judged_gets_that_language_s_danger_signs(bot, code):
    language = read_languages()[code]
    reply = bot.respond([Message(role="user", content=language.cannot_judge)])
    assert detect(language.cannot_judge) == code
    assert reply.escalation.level != "none"
    assert all(sign in reply.text for sign in language.danger_signs)


def test_a_language_without_words_gets_the_danger_signs_in_english(bot):
    reply = bot.respond([Message(role="user", content="Η μέση μου πονάει πολύ σήμερα")])
    assert reply.escalation.level != "none" and "numbness around your bottom" in reply.text


def test_mixed_speech_is_read():
    assert check_message([Message(role="user", content="My back hurts y no puedo orinar")]).level == "emergency"


@pytest.mark.parametrize(
    "text", ["numb bum", "lower back tight af", "C25K week 6 run 2", "quads n glutes DOMS", "knackered lumbar spasm innit"]
)
def test_short_and_slangy_english_is_english(text):
    assert detect(text) == "en"


def judged(*texts):
    """Return the verdict on user messages, each answered by the assistant."""
    messages = [Message(role="user", content=texts[0])]
    for text in texts[1:]:
        messages += [Message(role="assistant", content="Ok."), Message(role="user", content=text)]
    return check_message(messages)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("ammi ko subah se peshab nahi aa raha, bohat takleef hai", "ur"),
        ("msh ader atabawel w dahri bywga3ni", "ar"),
        ("spina bolit i ya ne mogu popisat", "ru"),
        ("komor betha ar prosrab hocche na", "bn"),
        ("anche se dormo non sento piu niente tra le gambe", "it"),
        ("ölmek istiyorum", "tr"),
    ],
)
def test_an_emergency_without_accents_or_in_latin_letters_is_answered_in_its_language(text, language):
    verdict = judged(text)
    assert (verdict.level, verdict.language) == ("emergency", language)


def test_an_english_emergency_among_foreign_words_is_read():
    assert judged("Hola, tengo dolor de espalda y I can't pee since yesterday").level == "emergency"


@pytest.mark.parametrize("code", sorted(read_languages()))
def test_greetings_and_thanks_do_not_alarm(code):
    assert [phrase for phrase in read_languages()[code].greetings if judged(phrase).level != "none"] == []


@pytest.mark.parametrize(
    "then",
    [
        "gracias",
        "ok",
        "What stretches help?",
        "What stretches would you suggest for a tight lower back after a long run at the weekend please?",
    ],
)
def test_a_foreign_flag_stays_in_force(then):
    verdict = judged("no puedo orinar desde ayer y me duele la espalda", then)
    assert verdict.level == "emergency" and verdict.flags[0].turn == 0


def test_what_could_not_be_ruled_out_lasts_only_until_english_that_can_be_judged():
    unread = "La zona lumbar me molesta un poco desde el lunes"
    assert judged(unread).level == "see_doctor"
    assert judged(unread, "gracias").level == "see_doctor"
    verdict = judged(unread, "What stretches help a tight lower back?")
    assert (verdict.level, verdict.flags) == ("none", ())


def test_a_message_too_short_to_tell_keeps_the_language():
    verdict = judged("Hola", "me duele la espalda", "39 de fiebre")
    assert (verdict.level, verdict.language) == ("urgent", "es")
    assert judged("Hola", "me duele la espalda", "ok").language == "es"


def test_evidence_is_shown_as_written():
    assert judged("Nie czuję krocza od wczoraj").flags[0].evidence.startswith("Nie czuję")


def test_folding_leaves_scripts_whose_marks_are_letters():
    assert fold("żółć señor été") == "zolc senor ete"
    assert fold("أحمد مدرسةٌ") == "احمد مدرسه"
    assert (fold("がん"), fold("पैर में"), fold("পায়ে")) == ("がん", "पैर में", "পায়ে")


@pytest.mark.parametrize(
    "expression", ["(?<!no )(pain|pains?) in", "(me )?duele", "[ab]+c", "a(b|c*)d", "x{2,3}y", r"\w+ing", "(foo|ba[rz])~?1"]
)
def test_looking_for_literals_first_finds_what_the_expression_does(expression):
    regex = re.compile(expression)
    for text in ("no pain in, pains in", "me duele duele", "aabc abac", "ad abd accd", "xyxxyxxxxy", "running ing", "foo1 baz~1", ""):
        haystack = Haystack(text)
        expected = [match.span() for match in regex.finditer(text)]
        assert [match.span() for match in haystack.matches(regex)] == expected
        assert haystack.holds(expression) or not expected


@pytest.mark.parametrize("piece", ["([{}])", "😀", "1", "qz xv kw ", "я боль x ", "no siento nada "])
def test_a_long_odd_message_is_read_in_time(piece):
    read_foreign("warm", "other")
    text = (piece * 8000)[:8000]
    read_foreign(text, "other")
    started = time.process_time()
    read_foreign(text, "other")
    assert time.process_time() - started < 1
