"""A JSON file of rows, read without holding it whole: Alpaca and ShareGPT, for two, are published as one array."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO

__all__ = ["array_elements"]

_BLOCK = 1 << 20
# Of a token that the end of the buffer cuts in two, the decoder complains at most so many characters before that end.
_LONGEST_TOKEN = 16


def array_elements(file: IO[bytes]) -> Iterator[bytes]:
    """The text of each element of the array in `file`, in order, as UTF-8.

    A file that holds objects one after another instead, which is what some files named .json are, gives these. Raises
    ValueError, with the place, when the text is not UTF-8, not JSON, ends too soon or goes on after the array; the
    elements before it are given out.
    """
    text = _Text(file)
    first = text.peek()
    if first not in ("[", "{"):
        raise ValueError("begins with neither [ nor {" if first else "holds nothing")
    if first == "{":
        while text.peek():
            yield text.value()
        return
    text.skip()
    if text.peek() == "]":
        text.skip()
    else:
        while True:
            yield text.value()
            if (sign := text.peek()) not in (",", "]"):
                raise ValueError(f"{'holds ' + repr(sign) if sign else 'ends'} where , or ] must be, {text.place()}")
            text.skip()
            if sign == "]":
                break
    if text.peek():
        raise ValueError(f"goes on after its array, {text.place()}")


class _Text:
    """A window of the file's text, from the first character that is not taken yet."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._decoder = json.JSONDecoder()
        self._window = ""
        self._at = 0
        self._before = 0  # characters that the window has left behind
        self._ended = False

    def place(self) -> str:
        return f"at character {self._before + self._at + 1}"

    def peek(self) -> str:
        """The next character that is no white space; nothing at the end."""
        while True:
            while self._at < len(self._window):
                if self._window[self._at] not in " \t\r\n":
                    return self._window[self._at]
                self._at += 1
            if not self._more():
                return ""

    def skip(self) -> None:
        self._at += 1

    def value(self) -> bytes:
        """The text of the value that comes next."""
        self.peek()
        while True:
            try:
                _, end = self._decoder.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                # Of a text that goes on beyond the window, the decoder names the start.
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self._window) - _LONGEST_TOKEN
                if not (cut and self._more()):
                    self._at = error.pos
                    raise ValueError(f"is not JSON {self.place()}: {error.msg}") from error
            except RecursionError as error:
                raise ValueError(f"is nested too deeply {self.place()}") from error
            else:
                # A number may go on beyond the window: of 1.5e+3, 1 is taken as long as that ends with "e+".
                if end + 2 < len(self._window) or not self._more():
                    break
        found = self._window[self._at : end]
        self._at = end
        return found.encode("utf-8")

    def _more(self) -> bool:
        """Read on, and forget what is taken. False at the end of the file, where nothing moves.

        As much as the window holds, so that a long value is not begun too often.
        """
        if self._ended:
            return False
        data = self._file.read(max(_BLOCK, len(self._window) - self._at))
        self._ended = not data
        try:
            read = self._utf8.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise ValueError(f"is not UTF-8 after character {self._before + len(self._window)}") from error
        if data:
            self._before += self._at
            self._window = self._window[self._at :] + read
            self._at = 0
        return bool(data)
