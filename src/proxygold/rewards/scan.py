"""What is checked on a reward line as text, before any parser sees it, and how a place in it is shown."""

from __future__ import annotations

import re
import unicodedata

from proxygold.errors import RewardError

__all__ = ["MAX_LENGTH", "MAX_NESTING", "NESTING_RULE", "check_before_parsing", "show"]

MAX_LENGTH = 2000
MAX_NESTING = 50

NESTING_RULE = "Every operator, function and pair of parentheses is a level; n operators in a row are n levels."

# The pieces of a line. A text in quotes is one piece, so that what it holds is not counted.
_PIECE = re.compile(
    r"""(?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
      | (?P<open>[(\[{]) | (?P<close>[)\]}]) | (?P<separator>,) | (?P<power>\*\*)
      | (?P<sign>[-+~]) | (?P<space>\s+) | (?P<equals>=)
      | (?P<word>[A-Za-z0-9_.]+) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)

# What may begin with a digit; the sign of an exponent is a piece of its own.
_NUMBER = re.compile(r"[\d_]*\.?[\d_]*(?:[eE]\d*)?")

_SHOWN = 60


def show(line: str, place: int, problem: str, allowed: str) -> str:
    """A message: what is wrong, the line (or a part of it) with a caret below the place, what is allowed."""
    start = max(0, min(place - _SHOWN // 2, len(line) - _SHOWN)) if len(line) > 2 * _SHOWN else 0
    end = start + _SHOWN if len(line) > 2 * _SHOWN else len(line)
    before, after = "..." if start else "", "..." if end < len(line) else ""
    window = "".join(character if character.isprintable() else " " for character in line[start:end])
    caret = " " * (len(before) + place - start) + "^"
    return f"{problem}, at column {place + 1}\n  {before}{window}{after}\n  {caret}\n{allowed}"


def check_before_parsing(line: str) -> None:
    """Raises RewardError for a line that is empty, too long, too deep, or holds a foreign character."""
    if not isinstance(line, str):
        raise RewardError(f"a reward line is a text such as 'LI * RP', not {type(line).__name__}.")
    if len(line) > MAX_LENGTH:
        raise RewardError(
            f"the reward line has {len(line)} characters; {MAX_LENGTH} are allowed. "
            "Write part of it as a feature of your own."
        )
    text = line.strip().replace("\n", " ")
    if not text:
        raise RewardError("the reward line is empty. Write one such as 'LI * RP * QR', or the preset 'RER'.")
    _check_pieces(text)


def _check_pieces(text: str) -> None:
    # Signs and powers nest without brackets: `----x`, `x ** x ** x`. Both are counted for each open bracket.
    chains = [0]
    # A sign after a value is an operator; the one after `=` belongs to a number, which is no level.
    after_value = False
    for piece in _PIECE.finditer(text):
        kind = piece.lastgroup
        if kind == "other":
            _check_character(text, piece.start(), piece.group())
        if kind == "word" and piece.group()[0].isdigit() and not _NUMBER.fullmatch(piece.group()):
            problem = f"{piece.group()[:40]!r} is neither a number nor a name"
            raise RewardError(show(text, piece.start(), problem, "Numbers look like 2, 0.5 or 1e-3."))
        if kind == "open":
            chains.append(0)
            after_value = False
        elif kind == "close":
            if len(chains) > 1:
                chains.pop()
            after_value = True
        elif kind == "power" or (kind == "sign" and not after_value):
            chains[-1] += 1
            after_value = False
        elif kind in ("text", "word", "equals"):
            after_value = True
        elif kind != "space":
            # A comma or a weaker operator ends the chain.
            chains[-1] = 0
            after_value = False
        if len(chains) - 1 + sum(chains) > MAX_NESTING:
            raise RewardError(
                show(
                    text,
                    piece.start(),
                    f"the reward is nested deeper than {MAX_NESTING} levels",
                    NESTING_RULE,
                )
            )


def _check_character(text: str, place: int, piece: str) -> None:
    # ASCII that is no operator of ours is left to the parser, which can say more about it.
    if piece in "*/<>!@%^&|:'\"":
        return
    name = unicodedata.name(piece, "a control character")
    raise RewardError(
        show(
            text,
            place,
            f"the character {piece!r} ({name}) cannot be used here",
            "Names and operators are plain ASCII; other characters may stand in quotes only.",
        )
    )
