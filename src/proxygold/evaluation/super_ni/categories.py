"""The twelve categories of Super-NaturalInstructions' English test split, for files that do not name them."""

from __future__ import annotations

import re
from types import MappingProxyType

__all__ = ["CLASSIFICATION", "TEST_TASKS", "category_of"]

# Each category's tasks of the 119 by their numbers; a task's own file says its category first in `Categories`
# (github.com/allenai/natural-instructions, splits/default/test_tasks.txt).
_NUMBERS = {
    "Textual Entailment": "190 199 200 201 202 640 641 642 738 890 935 936 937 970 1344 1385 1386 1387 1388 1516 1529 "
    "1554 1612 1615",
    "Cause Effect Classification": "391 392 393 614 827 828 1393",
    "Coreference Resolution": "33 133 249 304 329 330 401 648 891 892 893 1390 1391 1664",
    "Dialogue Act Recognition": "362 879 880 1394 1531 1533 1534",
    "Answerability Classification": "20 50 226 232 233 242 290 349 520 1439 1442 1624 1640",
    "Word Analogy": "1152 1153 1154 1155 1156 1157 1158 1159",
    "Overlap Extraction": "39 281",
    "Keyword Tagging": "36 613 620 623 645",
    "Question Rewriting": "34 35 121 402 442 670 671 1195 1345 1562 1622",
    "Title Generation": "219 220 288 418 500 510 569 602 619 743 769 1161 1342 1356 1358 1540 1586 1659",
    "Data to Text": "102 677 760 957 1407 1409 1598 1631 1728",
    "Grammar Error Correction": "1557",
}

TEST_TASKS = MappingProxyType(
    {int(number): category for category, numbers in _NUMBERS.items() for number in numbers.split()}
)
"""The category of each of the 119 test tasks, by its number."""

CLASSIFICATION = frozenset(
    {
        *("Textual Entailment", "Cause Effect Classification", "Coreference Resolution"),
        *("Dialogue Act Recognition", "Answerability Classification", "Word Analogy"),
    }
)
"""Those whose answers are labels: the original tool reports exact match of them, and ROUGE-L of the others."""


def category_of(task: str) -> str | None:
    """The category of a test task by its name; None for any other.

    >>> category_of("task1557_jfleg_answer_generation"), category_of("task001_quoref_question_generation")
    ('Grammar Error Correction', None)
    """
    found = re.match(r"task(\d+)_", task)
    return TEST_TASKS.get(int(found[1])) if found else None
