"""Puts the safety advice together from the policy's words: what to do, how soon, where, why, and what is safe meanwhile."""

from bot.turn import FlagFound, Verdict
from kb.languages import read_languages
from kb.red_flags import DEFAULT_REGION, Flag, Policy, Region, read_policy


def write_advice(verdict: Verdict, *, region: str | None, turn: int) -> str:
    """Return the advice for a verdict as Markdown; empty when its level is none and it did not fail.

    Args:
        verdict: what the guardrail found.
        region: code such as GB; unknown ones get the neutral wording.
        turn: number of the user's newest message, to tell "you wrote" from "earlier you wrote".
    """
    policy = read_policy()
    place = policy.region(region)
    if verdict.failed:
        return fail_closed_advice(region)
    if verdict.level == "none":
        return ""
    if verdict.language != "en":
        return foreign_advice(verdict, region)
    first = verdict.flags[0]
    flag = policy.flags[first.code]
    wording = policy.levels[verdict.level]
    # A flag's own place to go (crisis line, maternity unit) fits its usual level; at another level the level's words stand.
    own = flag.lead and flag.level == verdict.level
    lines = [
        _fill(flag.lead if own and flag.lead else wording.lead, place)
        + " "
        + _fill(flag.detail if own and flag.detail else wording.detail, place)
    ]
    others = _other_places(verdict, policy, place)
    if others:
        lines.append(others)
    lines.append(f"{_because(first, policy, turn)} {flag.why} {policy.phrases.not_diagnosis}")
    waiting = _waiting(verdict, policy)
    lines.append(policy.phrases.waiting + "\n" + "\n".join(f"- {item}" for item in waiting))
    if verdict.level != "emergency":
        lines.append(policy.phrases.worse.format(emergency=place.emergency, signs=policy.phrases.worse_signs))
    return "\n\n".join(lines)


def foreign_advice(verdict: Verdict, region: str | None) -> str:
    """Return the advice in the language of the message: the level's action where a danger word was found, and the danger signs.

    A language that we have no words for gets the danger signs in English.
    """
    language = read_languages().get(verdict.language)
    policy = read_policy()
    unclear = all(flag.code == "other" for flag in verdict.flags)
    if language is None:
        return f"{policy.phrases.cannot_judge}\n\n{_danger_signs(policy, region)}"
    known = (region or "").upper() in policy.regions and (region or "").upper() != DEFAULT_REGION
    number = policy.region(region).emergency if known else language.emergency_default
    signs = f"{language.danger_signs_title}\n" + "\n".join(f"- {sign}" for sign in language.danger_signs)
    lines = []
    if unclear:
        lines += [language.cannot_judge, signs, language.levels["emergency"].format(emergency=number)]
    else:
        level = "emergency" if verdict.level == "emergency" else "urgent" if verdict.level == "urgent" else "see_doctor"
        lines += [f"**{language.levels[level].format(emergency=number)}**"]  # type: ignore[index]
        lines += [f"{language.because.format(evidence=verdict.flags[0].evidence)} {language.not_diagnosis}"]
        if any(flag.code == "mental_crisis" for flag in verdict.flags):
            lines.append(language.crisis.format(emergency=number))
        if verdict.level != "emergency":
            lines += [signs, language.levels["emergency"].format(emergency=number)]
    return "\n\n".join([*lines, language.english_only])


def _danger_signs(policy: Policy, region: str | None) -> str:
    place = policy.region(region)
    signs = "\n".join(f"- {sign}" for sign in policy.phrases.danger_signs)
    where = f"**Call {place.emergency} or go to {place.emergency_department}.** To talk to someone about thoughts of ending your life: {place.crisis}."
    return f"{policy.phrases.danger_signs_title}\n{signs}\n\n{where}"


def fail_closed_advice(region: str | None) -> str:
    """Return the advice for a message that could not be checked: the danger signs and where to go."""
    policy = read_policy()
    return f"{policy.phrases.fail_closed}\n\n{_danger_signs(policy, region)}"


def _because(flag: FlagFound, policy: Policy, turn: int) -> str:
    phrase = policy.phrases.because if flag.turn == turn else policy.phrases.because_earlier
    return phrase.format(evidence=flag.evidence.strip(' .…“”"') or "…")


def _other_places(verdict: Verdict, policy: Policy, place: Region) -> str:
    """Name the second place to go where another flag of this level has its own, such as a crisis line."""
    seen = []
    for found in verdict.flags[1:]:
        flag: Flag = policy.flags[found.code]
        if flag.lead and flag.level == verdict.level and found.code != verdict.flags[0].code:
            seen.append(_fill(flag.lead, place))
    return " ".join(dict.fromkeys(seen))


def _waiting(verdict: Verdict, policy: Policy) -> list[str]:
    steps = [step for found in verdict.flags[:2] for step in policy.flags[found.code].waiting]
    return list(dict.fromkeys(steps))[:4]


def _fill(text: str, place: Region) -> str:
    return text.format(**place.model_dump())
