"""What Markdown a text holds, counted line by line."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Markdown", "count_markdown"]

# Bullets of Markdown and of plain text, or a number; then white space and, somewhere, a letter or digit, so that a
# rule such as `* * *` is none.
_ITEM = re.compile(r"\s*+(?:>\s*+)?(?:[-*+•‣◦–]|\(?\d{1,3}[.)])\s++(?=.*\w)")
_HEADER = re.compile(r"#{1,6}\s++(?=\S)")
_BOLD = re.compile(r"\*\*(?=[^\s*])[^*]++\*\*|(?<!\w)__(?=[^\s_])[^_]++__(?!\w)")
_FENCE = re.compile(r"\s*+(`{3,}+|~{3,}+)(.*)")


@dataclass(frozen=True, slots=True)
class Markdown:
    """How many of each a text has. `lines` are all that are not blank."""

    lines: int = 0
    headers: int = 0
    bold: int = 0
    items: int = 0
    fences: int = 0
    table_rows: int = 0

    @property
    def elements(self) -> int:
        return self.headers + self.bold + self.items + self.fences + self.table_rows


def count_markdown(text: str) -> Markdown:
    """Count headers, bold spans, list items, code blocks and table rows. What is in a code block counts as lines only.

    >>> count_markdown("# Plan\\n1. **Mix**\\n- bake\\n```\\n# no header\\n```\\n| a | b |\\n|---|---|")
    Markdown(lines=8, headers=1, bold=1, items=2, fences=1, table_rows=1)
    """
    lines = headers = bold = items = fences = table_rows = 0
    fence = ""
    for line in text.splitlines():
        if not line or line.isspace():
            continue
        lines += 1
        mark = _FENCE.match(line)
        if fence:
            # A block ends at a fence of its own kind, at least as long, with nothing behind it.
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif mark and "`" not in mark[2]:
            fences += 1
            fence = mark[1]
        else:
            headers += bool(_HEADER.match(line))
            items += bool(_ITEM.match(line))
            table_rows += _is_table_row(line.strip())
            bold += len(_BOLD.findall(line))
    return Markdown(lines, headers, bold, items, fences, table_rows)


def _is_table_row(line: str) -> bool:
    # The row of dashes below a table's head is no row.
    return line.startswith("|") and line.count("|") > 1 and not set(line) <= set("|-: ")
