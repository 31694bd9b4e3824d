"""The rules from comparisons to verdicts: quantifiers over pairs of data and network, and rates within a pair."""

import numpy as np
import pandas as pd
import pytest
from claim_rows import verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

from afterkernel.claims import Claim, ComparisonOutcome, judge
from afterkernel.claims.claim import Part, Sample
from afterkernel.claims.inference import Region

EFFECTS = {"+": 5.0, "-": -5.0, "0": 0.0}
NOISE = np.random.default_rng(3).normal(size=(40, 10))
NOISE -= NOISE.mean(axis=1, keepdims=True)


class Drawn(Claim):
    """A claim whose parts have the samples given: that their values are above 0."""

    def __init__(self, parts, quantifier):
        self.samples, self.quantifier = parts, quantifier

    def parts(self, rows):
        fields = {"region": Region(low=0.0), "unit": "", "decimals": 2, "sides": ("", ""), "missing": "nothing"}
        return [
            Part(title=f"part {place}", quantifier=self.quantifier, samples=list(samples), **fields)
            for place, samples in enumerate(self.samples)
        ]


def pairs(*words):
    """Samples of one pair per word and one rate per letter: it holds (+), fails (-), is open (0), is not tested (x)."""
    found = []
    for pair, word in enumerate(words):
        for place, letter in enumerate(word):
            where = {"rate": 0.01 * 3**place}
            if letter == "x":
                found.append(Sample("data", f"net {pair}", (), obstacle="losses differ", **where))
            else:
                values = EFFECTS[letter] + NOISE[len(found)]
                found.append(Sample("data", f"net {pair}", tuple(values), seeds=tuple(range(10)), **where))
    return found


def verdict(quantifier, *words):
    return judge(Drawn([pairs(*words)], quantifier), pd.DataFrame())


RULES = {
    "all": {
        ("++", "++"): "confirmed",
        ("++", "+0"): "undecided",
        ("++", "0-"): "refuted",
        ("++", "+-"): "depends on the learning rate",
        ("--", "+-"): "refuted",
        ("+x", "++"): "confirmed",  # what can't be compared is not counted where another rate can
        ("xx", "++"): "undecided",
        ("x-", "++"): "refuted",
    },
    "some": {
        ("+0", "--"): "confirmed",
        ("+-", "00"): "depends on the learning rate",
        ("+-", "0+"): "confirmed",
        ("--", "--"): "refuted",
        ("--", "-0"): "undecided",
        ("00", "00"): "undecided",
        ("-x", "--"): "refuted",
    },
    "most": {
        ("+0", "++", "00"): "confirmed",
        ("+0", "++", "-0"): "undecided",
        ("++", "00"): "undecided",
        ("+-", "++"): "depends on the learning rate",
        ("+-",): "depends on the learning rate",
        ("+-", "00", "00"): "undecided",
        ("-0", "--", "++"): "refuted",
        ("-0", "+-", "00"): "depends on the learning rate",
    },
    "some but not all": {
        ("++", "0-"): "confirmed",
        ("++", "+-"): "depends on the learning rate",
        ("++", "++"): "refuted",
        ("--", "--"): "refuted",
        ("++",): "undecided",
        ("++", "+0"): "undecided",
    },
}


@pytest.mark.parametrize(
    ("quantifier", "words", "expected"),
    [(quantifier, words, expected) for quantifier, rules in RULES.items() for words, expected in rules.items()],
)
def test_the_rule_of_each_quantifier(quantifier, words, expected):
    found = verdict(quantifier, *words)
    assert found.verdict == expected
    assert found.reason


letters = st.text("+-0x", min_size=1, max_size=3)


@settings(max_examples=80, deadline=None)
@given(st.lists(letters, min_size=1, max_size=4), st.sampled_from(list(RULES)))
def test_a_pair_that_contradicts_itself_never_decides_alone(words, quantifier):
    """Where a pair holds at one rate and fails at another, the verdict is never of that pair."""
    found = verdict(quantifier, *words)
    part = found.parts[0]
    clear = {one for one in range(len(words)) if not {"+", "-"} <= set(words[one])}
    if found.verdict in ("confirmed", "refuted"):
        assert clear
        assert part.decisive.sample.network in {f"net {one}" for one in clear}
    if found.verdict.startswith("depends"):
        assert len(clear) < len(words)
        assert len(part.decisive_pair) == len(words[int(part.decisive.sample.network[4:])])
    if quantifier == "all" and found.verdict == "confirmed":
        assert all(set(word) <= {"+", "x"} and "+" in word for word in words)


def test_effects_of_opposite_sign_at_two_rates_are_neither_confirmed_nor_refuted():
    """Intervals [0.026, 0.103], [-0.076, -0.005] and [-0.224, -0.118], as a sweep of digits had them."""
    samples = []
    for place, (low, high) in enumerate([(0.026, 0.103), (-0.076, -0.005), (-0.224, -0.118)]):
        noise = NOISE[place] / NOISE[place].std(ddof=1) * (high - low) / 2 / 2.262 * np.sqrt(10)
        values = tuple((low + high) / 2 + noise)
        samples.append(Sample("digits 3/8", "vgg", values, seeds=tuple(range(10)), rate=(0.03, 0.1, 0.3)[place]))
    for quantifier in ("most", "all"):
        found = judge(Drawn([samples], quantifier), pd.DataFrame())
        assert found.verdict == "depends on the learning rate"
        assert "both ways within digits 3/8 vgg" in found.reason
        assert len(found.parts[0].decisive_pair) == 3


def test_a_contradiction_counts_by_its_own_p_value():
    """Among many comparisons a weak effect at another rate is not shown, and yet it stops a refutation."""
    weak = tuple(1.1 + NOISE[30])
    others = [Sample("data", f"other {place}", tuple(NOISE[place]), seeds=tuple(range(10))) for place in range(29)]
    strong = Sample("data", "net", tuple(-5 + NOISE[31]), seeds=tuple(range(10)), rate=0.3)
    holds = Sample("data", "net", weak, seeds=tuple(range(10)), rate=0.03)
    assert judge(Drawn([[strong, holds, *others]], "all"), pd.DataFrame()).verdict == "depends on the learning rate"
    assert judge(Drawn([[strong, *others]], "all"), pd.DataFrame()).verdict == "refuted"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("++", "++"), "confirmed"),
        (("++", "--"), "refuted"),
        (("+-", "--"), "refuted"),
        (("+-", "00"), "depends on the learning rate"),
        (("++", "00"), "undecided"),
    ],
)
def test_a_claim_of_several_parts(parts, expected):
    found = judge(Drawn([pairs(word) for word in parts], "all"), pd.DataFrame())
    assert found.verdict == expected
    assert len(verdicts(found)) == 2


def test_where_only_the_loss_differs_it_is_the_loss_on_which_it_depends():
    where = [{"rate": 0.1, "loss": 0.1}, {"rate": 0.1, "loss": 0.05}]
    samples = [
        Sample("data", "net", tuple(sign * 5 + NOISE[0]), seeds=tuple(range(10)), **one)
        for sign, one in zip((1, -1), where, strict=True)
    ]
    assert judge(Drawn([samples], "all"), pd.DataFrame()).verdict == "depends on the training loss"


def simulated(n, quantifier, effect=0.0, n_parts=1):
    """Findings of `n` sweeps of 8 pairs of data and net and 10 seeds, with a true effect in standard deviations."""
    draws = np.random.default_rng(7).normal(effect, 1.0, (n, n_parts, 8, 10)).tolist()
    made = [
        [
            [Sample("data", f"net {p}", tuple(one), seeds=tuple(range(10))) for p, one in enumerate(part)]
            for part in sweep
        ]
        for sweep in draws
    ]
    return [judge(Drawn(one, quantifier), pd.DataFrame()) for one in made]


@pytest.mark.parametrize(("n", "n_parts"), [(400, 1), (100, 4)])
def test_verdicts_on_nothing_are_rare(n, n_parts):
    found = simulated(n, "some", n_parts=n_parts)
    outcomes = [{one.outcome for _, one in one_finding.comparisons} for one_finding in found]
    # Over all comparisons of a claim together 5 %, half of it each way, and three standard errors of so many sweeps.
    either, each = (level + 3 * np.sqrt(level * (1 - level) / n) for level in (0.05, 0.025))
    assert 0.0025 <= np.mean([one != {ComparisonOutcome.OPEN} for one in outcomes]) <= either
    assert np.mean([ComparisonOutcome.HOLDS in one for one in outcomes]) <= each
    assert np.mean([ComparisonOutcome.FAILS in one for one in outcomes]) <= each
    assert np.mean([one.verdict == "confirmed" for one in found]) <= each


def test_real_effects_are_found():
    for quantifier in ("some", "all", "most"):
        found = simulated(30, quantifier, effect=4.0)
        assert np.mean([one.verdict == "confirmed" for one in found]) > 0.9
