"""The reward language: one line to a tree, and a tree to its canonical line.

    LI * RP * QR
    branch(open_ended=LI * RP * QR, closed_ended=RP * rescale(AR, 0, 3.5, 0, 5.12))

The line is read by Python's `ast` and checked node by node against a whitelist: nothing in it is ever
evaluated as Python. Its length and nesting are limited before it is parsed, so that no line can hang or
fill the memory; constants become floats, and arithmetic happens only when a reward scores. A line that is
rejected is a RewardError that says what is wrong, shows where, and says what is allowed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from proxygold.errors import ConfigError, RewardError
from proxygold.features.installed import offered_names
from proxygold.features.registry import Argument, Feature, feature_names, find_feature, nearest
from proxygold.rewards.reward_model_use import reward_model_use
from proxygold.rewards.scan import MAX_LENGTH, MAX_NESTING, NESTING_RULE, check_before_parsing, show
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
    walk,
)

__all__ = ["FUNCTIONS", "check_tree", "parse", "to_line"]

_OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}

# Every function with how it is written, for messages.
FUNCTIONS: Mapping[str, str] = {
    "min": "min(x, y, ...)",
    "max": "max(x, y, ...)",
    "clip": "clip(x, low, high)",
    "rescale": "rescale(x, low, high, new_low, new_high)",
    "match": "match(x, target)",
    "log1p": "log1p(x)",
    "tanh": "tanh(x)",
    "sigmoid": "sigmoid(x)",
    "branch": "branch(open_ended=x, closed_ended=y)",
    "RM": 'RM("model")',
}

_WHAT_IS_ALLOWED = (
    "A reward is made of features, numbers, + - * / **, parentheses and the functions " + ", ".join(FUNCTIONS) + "."
)

# What people try, in the words they would use for it.
_FORBIDDEN: Mapping[type[ast.AST], str] = {
    ast.Attribute: "a dot between names",
    ast.Subscript: "indexing with [ ]",
    ast.Lambda: "a lambda",
    ast.IfExp: "if ... else (use branch(open_ended=..., closed_ended=...) on the query type)",
    ast.Compare: "a comparison",
    ast.BoolOp: "and / or",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "an f-string",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.List: "a list",
    ast.Set: "a set",
    ast.Dict: "a dictionary",
    ast.Tuple: "a tuple (a comma outside of a function)",
    ast.Starred: "unpacking with *",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}


def parse(line: str, named: Mapping[str, str] | None = None) -> Node:
    """The tree of a reward line.

    `named` maps the names of named rewards to the lines they stand for. Raises RewardError for every line
    that is not in the language.
    """
    check_before_parsing(line)
    text = line.strip().replace("\n", " ")
    try:
        body = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise RewardError(_syntax_message(text, error)) from None
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        raise RewardError(show(text, 0, f"the line cannot be read ({error})", _WHAT_IS_ALLOWED)) from None
    tree = _Reader(text, named or {}).read(body)
    check_tree(tree)
    return tree


def _syntax_message(text: str, error: SyntaxError) -> str:
    detail = error.msg.removeprefix("invalid syntax").removeprefix(". ")
    problem = "the line is not complete or has a mistake here" + (f" ({detail})" if detail else "")
    # `offset` is one-based, and 0 or None where the line ends too early.
    return show(text, error.offset - 1 if error.offset else len(text), problem, _WHAT_IS_ALLOWED)


class _Reader:
    """One walk from Python's syntax tree to ours, with the text at hand for messages."""

    def __init__(self, text: str, named: Mapping[str, str]) -> None:
        self.text = text
        self.named = named

    def fail(self, node: ast.AST, problem: str, allowed: str = _WHAT_IS_ALLOWED) -> RewardError:
        # ast counts columns in UTF-8 bytes.
        offset = len(self.text.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore"))
        return RewardError(show(self.text, offset, problem, allowed.strip()))

    def read(self, node: ast.expr, level: int = 1) -> Node:
        if level > MAX_NESTING:
            raise self.fail(
                node,
                f"the reward is nested deeper than {MAX_NESTING} levels",
                NESTING_RULE,
            )
        if isinstance(node, ast.BinOp):
            return self._binary(node, level)
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.USub):
                return Negative(self.read(node.operand, level + 1))
            raise self.fail(node, "only the minus sign may stand before a value")
        if isinstance(node, ast.Constant):
            return Number(self._constant(node))
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Call):
            return self._call(node, level)
        raise self.fail(node, f"{_FORBIDDEN.get(type(node), 'this')} is not part of the reward language")

    def _binary(self, node: ast.BinOp, level: int) -> Node:
        symbol = _OPERATORS.get(type(node.op))
        if symbol is None:
            hint = "Use ** for a power." if isinstance(node.op, ast.BitXor) else ""
            raise self.fail(
                node.right,
                "the operator before this is not part of the reward language",
                f"Allowed: + - * / **. {hint}".strip(),
            )
        return Binary(symbol, self.read(node.left, level + 1), self.read(node.right, level + 1))

    def _constant(self, node: ast.Constant) -> float:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            kind = {str: "a text", bytes: "a text", bool: "True or False"}.get(type(value), "this")
            raise self.fail(node, f"{kind} cannot stand here: a number or a feature is expected")
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if not math.isfinite(result):
            raise self.fail(node, "the number is too large", "The largest is about 1.8e308.")
        return result

    def _name(self, node: ast.Name) -> Node:
        if node.id in self.named:
            return parse(self.named[node.id])
        feature = find_feature(node.id)
        if feature is not None:
            return FeatureUse(feature.name)
        if node.id in FUNCTIONS:
            raise self.fail(node, f"{node.id} is a function and needs arguments", f"Write {FUNCTIONS[node.id]}.")
        raise self._unknown(node, node.id)

    def _unknown(self, node: ast.AST, name: str) -> RewardError:
        features = list(dict.fromkeys([*feature_names(), *offered_names()]))
        known = [*features, *self.named, *FUNCTIONS]
        return self.fail(
            node,
            f"unknown name {name if len(name) <= 40 else name[:40] + '...'!r}",
            f"{nearest(name, known)} Features: {', '.join(features)}. "
            f"Named rewards: {', '.join(self.named) or 'none'}. "
            f'Functions: {", ".join(FUNCTIONS)}. Your own features: @feature("name") or plugins=.',
        )

    def _call(self, node: ast.Call, level: int) -> Node:
        if not isinstance(node.func, ast.Name):
            raise self.fail(node, "only a feature or a function can be called, by its plain name")
        name = node.func.id
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                raise self.fail(argument, "unpacking with * is not part of the reward language")
        given = set()
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.fail(keyword, "unpacking with ** is not part of the reward language")
            if keyword.arg in given:
                raise self.fail(keyword, f"{name} is given {keyword.arg} twice", "Give it once.")
            given.add(keyword.arg)
        feature = find_feature(name)
        if feature is not None:
            return self._feature(node, feature)
        if name in self.named:
            raise self.fail(node, f"{name} is a named reward and takes no arguments", f"Write {name}.")
        if name not in FUNCTIONS:
            raise self._unknown(node, name)
        if name == "branch":
            return self._branch(node, level)
        if name == "RM":
            return self._reward_model(node)
        if node.keywords:
            raise self.fail(node.keywords[0], f"{name} takes no keyword arguments", f"Write {FUNCTIONS[name]}.")
        return self._function(node, name, level)

    def _feature(self, node: ast.Call, feature: Feature) -> Node:
        if node.args:
            raise self.fail(
                node.args[0],
                f"{feature.name} takes keyword arguments only",
                f"It takes: {', '.join(feature.parameters) or 'no arguments'}.",
            )
        arguments = {str(keyword.arg): self._literal(keyword.value) for keyword in node.keywords}
        try:
            arguments = feature.check_arguments(arguments)
        except RewardError as error:
            problem, _, allowed = str(error).partition(". ")
            raise self.fail(node, problem, allowed) from None
        return FeatureUse(
            feature.name,
            # Arguments equal to their default are left out, so that `RP(n=3)` and `RP` are one reward.
            tuple(
                (name, arguments[name])
                for name, parameter in feature.parameters.items()
                if name in arguments and arguments[name] != parameter.default
            ),
        )

    def _literal(self, node: ast.expr) -> Argument:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bool):
            return node.value
        return self._float(node, "an argument must be a number, a text in quotes, True or False")

    def _float(self, node: ast.expr, problem: str) -> float:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return -self._constant(node.operand)
        if isinstance(node, ast.Constant):
            return self._constant(node)
        raise self.fail(node, problem, "It must be written out: nothing is computed here.")

    def _branch(self, node: ast.Call, level: int) -> Node:
        write = f"Write {FUNCTIONS['branch']}."
        if node.args:
            raise self.fail(node.args[0], "the arms of branch need their names", write)
        arms = {str(keyword.arg): keyword for keyword in node.keywords}
        for name, keyword in arms.items():
            if name not in ("open_ended", "closed_ended"):
                raise self.fail(keyword, f"branch has no arm {name!r}", write)
        missing = [name for name in ("open_ended", "closed_ended") if name not in arms]
        if missing:
            raise self.fail(node, f"branch needs the arm {missing[0]}", write)
        return Branch(*(self.read(arms[name].value, level + 1) for name in ("open_ended", "closed_ended")))

    def _reward_model(self, node: ast.Call) -> Node:
        names = [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args]
        given = {str(keyword.arg): self._literal(keyword.value) for keyword in node.keywords}
        try:
            return reward_model_use(names, given)
        except (RewardError, ConfigError) as error:
            problem, _, allowed = str(error).partition(". ")
            raise self.fail(node.args[0] if node.args else node, problem.rstrip("."), allowed) from None

    def _function(self, node: ast.Call, name: str, level: int) -> Node:
        arguments = node.args
        wrong_count = {
            "min": len(arguments) < 2,
            "max": len(arguments) < 2,
            "clip": len(arguments) != 3,
            "rescale": len(arguments) != 5,
            "match": len(arguments) != 2,
        }.get(name, len(arguments) != 1)
        if wrong_count:
            raise self.fail(node, f"{name} got {len(arguments)} arguments", f"Write {FUNCTIONS[name]}.")
        if name in ("clip", "rescale"):
            limits = [self._float(limit, f"the limits of {name} must be plain numbers") for limit in arguments[1:]]
            operand = self.read(arguments[0], level + 1)
            try:
                return Clip(operand, *limits) if name == "clip" else Rescale(operand, *limits)
            except RewardError as error:
                problem, _, remedy = str(error).partition(". ")
                raise self.fail(node, problem, remedy) from None
        operands = tuple(self.read(argument, level + 1) for argument in arguments)
        return Match(*operands) if name == "match" else Function(name, operands)


# How tightly each form binds, as in Python's grammar.
_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(1, 6)
_BINDING: Mapping[str, int] = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "**": _POWER}


def to_line(node: Node) -> str:
    """The canonical line of a tree: short names, `repr` floats, no parentheses but those that are needed.

    `parse(to_line(node)) == node` for every tree that can be parsed.
    """
    match node:
        case Number(value):
            return repr(value)
        case FeatureUse(name, arguments):
            written = ", ".join(f"{key}={value!r}" for key, value in arguments)
            return f"{name}({written})" if written else name
        case RewardModelUse(model, arguments):
            place = [repr(model)] if model else []
            return f"RM({', '.join([*place, *(f'{key}={value!r}' for key, value in arguments)])})"
        case Negative(operand):
            return "-" + _inside(operand, _SIGN)
        case Binary(symbol, left, right):
            binding = _BINDING[symbol]
            # Sums and products group to the left, powers to the right; `2 ** -x` needs no parentheses,
            # `(-x) ** 2` does.
            around = (binding + 1, _SIGN) if symbol == "**" else (binding, binding + 1)
            return f"{_inside(left, around[0])} {symbol} {_inside(right, around[1])}"
        case Function(name, operands):
            return f"{name}({', '.join(map(to_line, operands))})"
        case Clip(operand, low, high):
            return f"clip({to_line(operand)}, {low!r}, {high!r})"
        case Rescale(operand, low, high, new_low, new_high):
            return f"rescale({to_line(operand)}, {low!r}, {high!r}, {new_low!r}, {new_high!r})"
        case Match(operand, target):
            return f"match({to_line(operand)}, {to_line(target)})"
        case Branch(open_ended, closed_ended):
            return f"branch(open_ended={to_line(open_ended)}, closed_ended={to_line(closed_ended)})"


def _inside(node: Node, at_least: int) -> str:
    line = to_line(node)
    binding = _ATOM
    if isinstance(node, Binary):
        binding = _BINDING[node.operator]
    elif isinstance(node, Negative):
        binding = _SIGN
    return line if binding >= at_least else f"({line})"


def check_tree(node: Node) -> None:
    """Raises RewardError for a tree that could not be read back, or whose constants alone give no finite number."""
    length, levels = len(to_line(node)), depth(node)
    if length > MAX_LENGTH or levels > MAX_NESTING:
        raise RewardError(
            f"written out in full, the reward has {length} characters and {levels} levels; "
            f"allowed are {MAX_LENGTH} and {MAX_NESTING}. "
            "Make it shorter, or write part of it as a feature of your own."
        )
    for part in walk(node):
        if isinstance(part, Binary) and (value := _constant(part)) is not None and not math.isfinite(value):
            raise RewardError(
                f"{to_line(part)} is no finite number, so no row could be scored. "
                "Constants are floats of at most about 1.8e308; nothing can be divided by 0."
            )


_ARITHMETIC: Mapping[str, Callable[[float, float], object]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}


def _constant(node: Node) -> float | None:
    """The value of a node that is made of numbers only, NaN if it has none; None for any other node."""
    match node:
        case Number(value):
            return value
        case Negative(operand):
            value_of = _constant(operand)
            return None if value_of is None else -value_of
        case Binary(symbol, left, right):
            operands = _constant(left), _constant(right)
            if operands[0] is None or operands[1] is None:
                return None
            try:
                result = _ARITHMETIC[symbol](operands[0], operands[1])
            except ArithmeticError:
                return math.nan
            return result if isinstance(result, float) else math.nan  # a broken power of a negative is complex
    return None
