"""The operators of the reward language as operators of Python: `reward("LI") * reward("RP")`."""

from __future__ import annotations

from typing import Self

__all__ = ["Composable"]


class Composable:
    """Gives a class + - * / ** and the minus sign, with its own kind and with numbers on either side."""

    def _combine(self, operator: str, left: object, right: object) -> Self:
        raise NotImplementedError

    def _negative(self) -> Self:
        raise NotImplementedError

    def __neg__(self) -> Self:
        return self._negative()

    def __add__(self, other: object) -> Self:
        return self._combine("+", self, other)

    def __radd__(self, other: object) -> Self:
        return self._combine("+", other, self)

    def __sub__(self, other: object) -> Self:
        return self._combine("-", self, other)

    def __rsub__(self, other: object) -> Self:
        return self._combine("-", other, self)

    def __mul__(self, other: object) -> Self:
        return self._combine("*", self, other)

    def __rmul__(self, other: object) -> Self:
        return self._combine("*", other, self)

    def __truediv__(self, other: object) -> Self:
        return self._combine("/", self, other)

    def __rtruediv__(self, other: object) -> Self:
        return self._combine("/", other, self)

    def __pow__(self, other: object) -> Self:
        return self._combine("**", self, other)

    def __rpow__(self, other: object) -> Self:
        return self._combine("**", other, self)
