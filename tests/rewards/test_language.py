"""The reward language: what it reads, what it prints, and what it refuses."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxygold.errors import RewardError
from proxygold.features import feature
from proxygold.rewards.language import parse, to_line
from proxygold.rewards.scan import MAX_NESTING
from proxygold.rewards.tree import (
    Binary,
    Branch,
    Clip,
    FeatureUse,
    Function,
    Match,
    Negative,
    Node,
    Number,
    Rescale,
    RewardModelUse,
    depth,
    number,
)

feature("tilt")(lambda example, *, by=0.5, mark="x", on=False: by)

NAMED = {"RER": "branch(open_ended=LI * RP * QR, closed_ended=RP * rescale(AR, 0, 3.5, 0, 5.12))"}

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = finite.map(abs)
tilts = st.builds(
    lambda by, mark, on: FeatureUse(
        "tilt", tuple((k, v) for k, v, d in (("by", by, 0.5), ("mark", mark, "x"), ("on", on, False)) if v != d)
    ),
    finite,
    st.text(max_size=8),
    st.booleans(),
)
leaves = st.one_of(
    st.builds(Number, positive),
    st.sampled_from([FeatureUse("LI"), FeatureUse("RP"), FeatureUse("QR"), FeatureUse("AR")]),
    st.just(FeatureUse("LI", (("words", "whitespace"),))),
    st.integers(1, 100).filter(lambda n: n != 3).map(lambda n: FeatureUse("RP", (("n", n),))),
    tilts,
    st.text(min_size=1, max_size=12).filter(str.strip).map(RewardModelUse),
    st.builds(
        lambda model, template, length: RewardModelUse(
            model, (("template", template), *((("max_length", length),) if length else ()))
        ),
        st.text(min_size=1, max_size=12).filter(str.strip),
        st.sampled_from(["chat", "hh", "ultrarm"]),
        st.none() | st.integers(1, 4096),
    ),
    st.just(RewardModelUse("", (("url", "http://127.0.0.1:8000/score"),))),
)
pairs = st.tuples(finite, finite).map(sorted)
ranges = pairs.filter(lambda pair: pair[0] < pair[1])


def bigger(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.one_of(
        st.builds(Negative, inner),
        st.builds(Binary, st.sampled_from(["+", "-", "*", "/", "**"]), inner, inner),
        st.builds(Function, st.sampled_from(["log1p", "tanh", "sigmoid"]), st.tuples(inner)),
        st.builds(Function, st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(lambda x, ends: Clip(x, *ends), inner, pairs),
        st.builds(lambda x, ends, new: Rescale(x, *ends, *new), inner, ranges, st.tuples(finite, finite)),
        st.builds(Match, inner, inner),
        st.builds(Branch, inner, inner),
    )


trees = st.recursive(leaves, bigger, max_leaves=12)


@settings(max_examples=400, deadline=None)
@given(trees)
def test_a_printed_tree_reads_back_as_the_same_tree(tree: Node) -> None:
    line = to_line(tree)
    try:
        read = parse(line)
    except RewardError as error:
        # Only what is too long, or constants that alone overflow, may be refused.
        assert len(line) > 2000 or "no finite number" in str(error)  # noqa: PT017
        return
    assert read == tree
    assert to_line(read) == line


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="LIRPQA()*+-/., =1209e'\"[]{}:\\\n_éx", max_size=60))
def test_any_text_is_a_reward_or_a_reward_error(line: str) -> None:
    try:
        tree = parse(line, NAMED)
    except RewardError:
        return
    assert parse(to_line(tree)) == tree


@pytest.mark.parametrize(
    ("line", "canonical"),
    [
        ("LI*RP  * QR", "LI * RP * QR"),
        ("length_incentive * repetition_penalty", "LI * RP"),
        ("query_relevance + answer_relevance", "QR + AR"),
        ("(LI * RP) * QR", "LI * RP * QR"),
        ("LI * (RP * QR)", "LI * (RP * QR)"),
        ("(LI + RP) * QR", "(LI + RP) * QR"),
        ("LI - (RP - QR)", "LI - (RP - QR)"),
        ("LI / (RP / 2)", "LI / (RP / 2.0)"),
        ("(LI ** RP) ** QR", "(LI ** RP) ** QR"),
        ("LI ** (RP ** QR)", "LI ** RP ** QR"),
        ("(-LI) ** 2", "(-LI) ** 2.0"),
        ("-(LI ** 2)", "-LI ** 2.0"),
        ("LI ** (-2)", "LI ** -2.0"),
        ("-(LI * RP)", "-(LI * RP)"),
        ("(-LI) * RP", "-LI * RP"),
        ("LI - (-RP)", "LI - -RP"),
        ("--LI", "--LI"),
        ("LI()", "LI"),
        ("RP(n=3)", "RP"),
        ("RP(n=4)", "RP(n=4)"),
        ("RP(n=4.0)", "RP(n=4)"),
        ('LI(words="whitespace")', "LI(words='whitespace')"),
        ("LI * 1e-3", "LI * 0.001"),
        ("LI * 5_000", "LI * 5000.0"),
        ('RM("org/model")', "RM('org/model')"),
        ('RM("modèle")', "RM('modèle')"),
        ("clip(AR, -1, 1)", "clip(AR, -1.0, 1.0)"),
        ("rescale(AR, 0, 3.5, 0, 5.12)", "rescale(AR, 0.0, 3.5, 0.0, 5.12)"),
        ("max(LI, RP, 0.5)", "max(LI, RP, 0.5)"),
        ("match(AR, LI * QR)", "match(AR, LI * QR)"),
        ("branch(closed_ended = AR, open_ended = QR)", "branch(open_ended=QR, closed_ended=AR)"),
        ("LI *\n  RP", "LI * RP"),
        ("RER", "branch(open_ended=LI * RP * QR, closed_ended=RP * rescale(AR, 0.0, 3.5, 0.0, 5.12))"),
        ("2 * RER", "2.0 * branch(open_ended=LI * RP * QR, closed_ended=RP * rescale(AR, 0.0, 3.5, 0.0, 5.12))"),
    ],
)
def test_canonical_lines(line: str, canonical: str) -> None:
    assert to_line(parse(line, NAMED)) == canonical
    assert to_line(parse(canonical)) == canonical


ALLOWED = "A reward is made of features, numbers, + - * / **, parentheses and the functions min, max, clip, rescale"


@pytest.mark.parametrize(
    ("line", "wrong", "column", "allowed"),
    [
        (
            "lenght_incentive * RP",
            "unknown name 'lenght_incentive'",
            1,
            "Did you mean length_incentive? Features: AR, LI",
        ),
        ("LI * rp", "unknown name 'rp'", 6, "Did you mean RP?"),
        ("LI * RRE", "unknown name 'RRE'", 6, "Did you mean RER?"),
        ("LI * nan", "unknown name 'nan'", 6, "Features: AR, LI"),
        ("x" * 100, "unknown name '" + "x" * 40 + "...'", 1, "Features: AR, LI"),
        ("sigmiod(LI)", "unknown name 'sigmiod'", 1, "Did you mean sigmoid?"),
        ("eval('1')", "unknown name 'eval'", 1, "Functions: min, max"),
        ("__import__('os').system('true')", "only a feature or a function can be called", 1, ALLOWED),
        ("__import__('os')", "unknown name '__import__'", 1, "Functions: min"),
        ("LI.__class__", "a dot between names is not part of the reward language", 1, ALLOWED),
        ("LI * RP[0]", "indexing with [ ] is not part", 6, ALLOWED),
        ("lambda: LI", "a lambda is not part", 1, ALLOWED),
        ("[LI for x in RP]", "a comprehension is not part", 1, ALLOWED),
        ("tanh(LI for LI in RP)", "a comprehension is not part", 5, ALLOWED),
        ("{LI}", "a set is not part", 1, ALLOWED),
        ("{'a': LI}", "a dictionary is not part", 1, ALLOWED),
        ("[LI]", "a list is not part", 1, ALLOWED),
        ("(LI := 3)", "an assignment is not part", 2, ALLOWED),
        ("f'{LI}'", "an f-string is not part", 1, ALLOWED),
        (
            "LI if RP else QR",
            "if ... else (use branch(open_ended=..., closed_ended=...) on the query type)",
            1,
            ALLOWED,
        ),
        ("LI > RP", "a comparison is not part", 1, ALLOWED),
        ("LI and RP", "and / or is not part", 1, ALLOWED),
        ("LI, RP", "a tuple (a comma outside of a function) is not part", 1, ALLOWED),
        ("await LI", "await is not part", 1, ALLOWED),
        ("LI ^ 2", "the operator before this is not part", 6, "Allowed: + - * / **. Use ** for a power."),
        ("LI % 2", "the operator before this is not part", 6, "Allowed: + - * / **."),
        ("+LI", "only the minus sign may stand before a value", 1, ALLOWED),
        ("not LI", "only the minus sign may stand before a value", 1, ALLOWED),
        ("True * LI", "True or False cannot stand here: a number or a feature is expected", 1, ALLOWED),
        ("'a' * 1000000000", "a text cannot stand here", 1, ALLOWED),
        ("LI * 1e999", "the number is too large", 6, "The largest is about 1.8e308."),
        ("9" * 400, "the number is too large", 1, "The largest is about 1.8e308."),
        ("2j * LI", "'2j' is neither a number nor a name", 1, "Numbers look like 2, 0.5 or 1e-3."),
        ("LI * 0x10", "'0x10' is neither a number nor a name", 6, "Numbers look like"),
        ("LI RP", "the line is not complete or has a mistake here", 4, ALLOWED),
        ("LI *", "the line is not complete or has a mistake here", 5, ALLOWED),
        ("(LI", "has a mistake here ('(' was never closed)", 1, ALLOWED),
        ("LI)", "has a mistake here (unmatched ')')", 3, ALLOWED),
        ("RM('org", "has a mistake here (unterminated string", 4, ALLOWED),
        ("LI; RP", "the character ';' (SEMICOLON) cannot be used here", 3, "plain ASCII"),
        ("LI # note", "the character '#' (NUMBER SIGN) cannot be used here", 4, "plain ASCII"),
        ("LI \\ RP", "(REVERSE SOLIDUS) cannot be used here", 4, "plain ASCII"),
        ("RP * \uff2c\uff29", "(FULLWIDTH LATIN CAPITAL LETTER L) cannot be used here", 6, "plain ASCII"),
        ("RP * \u041bI", "(CYRILLIC CAPITAL LETTER EL) cannot be used here", 6, "plain ASCII"),
        ("LI\u200b", "(ZERO WIDTH SPACE) cannot be used here", 3, "plain ASCII"),
        ("LI\x00", "(a control character) cannot be used here", 3, "plain ASCII"),
        ("LI \u2212 RP", "(MINUS SIGN) cannot be used here", 4, "plain ASCII"),
        ("RM('é') * LI * LX", "unknown name 'LX'", 16, "Features: AR, LI"),
        ("max(*LI)", "unpacking with * is not part", 5, ALLOWED),
        ("RP(**LI)", "unpacking with ** is not part", 4, ALLOWED),
        ("RP(n=3, n=4)", "RP is given n twice", 9, "Give it once."),
        ("RP(4)", "RP takes keyword arguments only", 4, "It takes: n, words."),
        ("QR(1)", "QR takes keyword arguments only", 4, "It takes: no arguments."),
        ("RP(m=4)", "RP has no argument 'm'", 1, "It takes: n, words."),
        ("LI(word='whitespace')", "LI has no argument 'word'", 1, "It takes: words. Did you mean words?"),
        ("RP(n=0)", "RP(n=0) is not allowed", 1, "The argument n must be a whole number from 1 to 100."),
        ("RP(n=2.5)", "RP(n=2.5) is not allowed", 1, "a whole number from 1 to 100."),
        ("RP(n=1e300)", "is not allowed", 1, "a whole number from 1 to 100."),
        ("RP(n=True)", "RP(n=True) is not allowed", 1, "a whole number"),
        ("RP(n='3')", "RP(n='3') is not allowed", 1, "a whole number"),
        ("LI(words='letters')", "LI(words='letters') is not allowed", 1, "'wordpunct', 'whitespace' or 'unicode'."),
        ("RP(n=LI)", "an argument must be a number, a text in quotes, True or False", 6, "nothing is computed here"),
        ("RP(n=1+2)", "an argument must be a number, a text in quotes, True or False", 6, "nothing is computed here"),
        ("RER()", "RER is a named reward and takes no arguments", 1, "Write RER."),
        ("max", "max is a function and needs arguments", 1, "Write max(x, y, ...)."),
        ("RM", "RM is a function and needs arguments", 1, 'Write RM("model").'),
        ("min(LI)", "min got 1 arguments", 1, "Write min(x, y, ...)."),
        ("log1p(LI, RP)", "log1p got 2 arguments", 1, "Write log1p(x)."),
        ("match(AR)", "match got 1 arguments", 1, "Write match(x, target)."),
        ("clip(AR, 0)", "clip got 2 arguments", 1, "Write clip(x, low, high)."),
        ("rescale(AR, 0, 3.5)", "rescale got 3 arguments", 1, "Write rescale(x, low, high, new_low, new_high)."),
        ("clip(AR, 0, LI)", "the limits of clip must be plain numbers", 13, "nothing is computed here"),
        ("rescale(AR, 0, 10**10, 0, 1)", "the limits of rescale must be plain numbers", 16, "nothing is computed here"),
        ("clip(LI, 1, 0)", "clip: the lower limit 1.0 is above the upper limit 0.0", 1, "Swap them."),
        ("rescale(AR, 1, 1, 0, 2)", "rescale: the range from 1.0 to 1.0 is empty", 1, "Give the lower end first"),
        ("tanh(x=LI)", "tanh takes no keyword arguments", 6, "Write tanh(x)."),
        ("branch(LI, RP)", "the arms of branch need their names", 8, "Write branch(open_ended=x, closed_ended=y)."),
        ("branch(open_ended=LI)", "branch needs the arm closed_ended", 1, "Write branch("),
        ("branch(open=LI, closed_ended=RP)", "branch has no arm 'open'", 8, "Write branch("),
        ("RM(LI)", "RM takes the name of a reward model in quotes", 4, 'Write RM("model").'),
        ("RM('  ')", "RM takes the name of a reward model in quotes", 4, 'Write RM("model").'),
    ],
)
def test_a_rejected_line_says_what_where_and_what_is_allowed(line: str, wrong: str, column: int, allowed: str) -> None:
    with pytest.raises(RewardError) as caught:
        parse(line, NAMED)
    problem, shown, caret, *rest = str(caught.value).split("\n")
    assert wrong in problem
    assert problem.endswith(f", at column {column}")
    if len(line) <= 120:
        # The caret stands below the column that the message names.
        assert caret.index("^") == 2 + column - 1
        assert shown[2:].isprintable()
    assert allowed in "\n".join(rest)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("", "the reward line is empty"),
        (" \n ", "the reward line is empty"),
        ("L" * 2001, "has 2001 characters; 2000 are allowed"),
        ("(" * 60 + "LI" + ")" * 60, "nested deeper than 50 levels"),
        ("[" * 51, "nested deeper than 50 levels"),
        ("-" * 51 + "LI", "nested deeper than 50 levels"),
        ("-(" * 30 + "LI" + ")" * 30, "nested deeper than 50 levels"),
        ("~" * 1999 + "1", "nested deeper than 50 levels"),
        ("**".join(["LI"] * 60), "nested deeper than 50 levels"),
        ("+".join(["LI"] * 52), "nested deeper than 50 levels"),
        ("tanh(" * 51 + "LI" + ")" * 51, "nested deeper than 50 levels"),
        ("max(" + "1," * 900 + "1)", "written out in full, the reward has 4508 characters and 2 levels"),
        ("10**10**10", "10.0 ** 10.0 ** 10.0 is no finite number"),
        ("LI * (9**9**9**9)", "9.0 ** 9.0 ** 9.0 is no finite number"),
        ("LI + 1 / 0", "1.0 / 0.0 is no finite number"),
        ("LI + (-8) ** 0.5", "(-8.0) ** 0.5 is no finite number"),
    ],
)
def test_lines_that_could_hang_or_fill_the_memory_are_refused_at_once(line: str, wrong: str) -> None:
    start = time.perf_counter()
    with pytest.raises(RewardError) as caught:
        parse(line)
    assert wrong in str(caught.value)
    # Not a benchmark: any evaluation of such a line takes minutes, or for ever.
    assert time.perf_counter() - start < 2


def test_a_line_that_is_no_text_is_refused() -> None:
    with pytest.raises(RewardError, match="a reward line is a text such as 'LI \\* RP', not int"):
        parse(3)  # type: ignore[arg-type]


def test_the_deepest_and_the_longest_line_that_are_allowed() -> None:
    deep = "tanh(" * (MAX_NESTING - 1) + "LI" + ")" * (MAX_NESTING - 1)
    assert depth(parse(deep)) == MAX_NESTING
    assert parse("(" * 50 + "LI" + ")" * 50) == FeatureUse("LI")
    long = "max(LI" + ", LI" * 498 + ")"
    assert len(long) <= 2000
    assert to_line(parse(long)) == long


def test_a_named_reward_counts_with_all_its_levels() -> None:
    with pytest.raises(RewardError, match="written out in full, the reward has .* levels"):
        parse("tanh(" * 48 + "RER" + ")" * 48, NAMED)


def test_numbers_are_not_negative_and_finite() -> None:
    assert number(-2) == Negative(Number(2.0))
    assert number(-0.0) == Negative(Number(0.0))
    for value in (-1.0, float("nan"), float("inf"), -0.0):
        with pytest.raises(RewardError, match="must be finite and not negative"):
            Number(value)
