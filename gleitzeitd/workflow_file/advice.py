"""What to do about text that is no YAML or JSON: its parsers say what they did not expect, and no more."""

from __future__ import annotations

_ADVICE = (
    ("cannot start any token", "indent with spaces, and put a value that begins with it in quotes"),
    ("mapping values are not allowed", "put a value that holds ': ' in quotes, or correct the indentation"),
    ("could not find expected ':'", "expected 'key: value'; put a text of several lines behind 'key: |'"),
    ("did not find expected key", "correct the indentation, or close the quotes before it"),
    ("did not find expected '-' indicator", "indent the items of a list alike"),
    ("did not find expected ',' or '}'", "close the '{', or put a comma between"),
    ("did not find expected ',' or ']'", "close the '[', or put a comma between"),
    ("did not find expected node content", "expected a value there; put it in quotes"),
    ("unexpected end of stream", "close the quotes that were opened there"),
    ("unexpected document indicator", "close the quotes that were opened there"),
    (
        "did not find expected <document start>",
        "expected one document in the file",
    ),
    ("block sequence entries are not allowed", "begin a list in a line of its own"),
    ("block mapping entries are not allowed", "begin a table in a line of its own"),
    ("invalid unicode character escape", "write the character itself"),
    ("unknown escape character", "write a backslash as '\\\\', or use single quotes"),
    ("found undefined tag handle", "leave the tag out: only plain values are read"),
    ("incompatible yaml document", "leave the %YAML line out"),
    ("duplicate %yaml directive", "leave the %YAML line out"),
    ("duplicate %tag directive", "leave the %TAG lines out"),
    ("while scanning a directive", "leave the line out, or put a text that begins with '%' in quotes"),
    ("while scanning an anchor", "letters and digits can follow the '&'; put other texts in quotes"),
    ("while scanning an alias", "a name follows the '*'; put other texts in quotes"),
    ("while scanning a block scalar", "after '|' and '>' only '+', '-' or a digit can stand in the line"),
    ("while scanning a tag", "leave the tag out: only plain values are read"),
    ("while parsing a tag", "leave the tag out: only plain values are read"),
    ("tab", "indent with spaces"),
    # JSON.
    ("expecting value", "put a value there, or remove the comma before it"),
    ("expecting property name", "put a key in double quotes there, or remove the comma before it"),
    ("expecting ',' delimiter", "put a comma between, or close what was opened"),
    ("expecting ':' delimiter", "put a colon after the key"),
    ("unterminated string", "close the quotes that were opened there"),
    ("invalid control character", r"write it as an escape, as \n"),
    ("invalid \\", r"write a backslash as \\"),
    ("extra data", "expected one value in the file; remove what follows it"),
    ("illegal trailing comma", "remove the comma"),
)
"""What a parser's message holds, in small letters, and what helps; the first one counts."""
_OTHERWISE = "correct it there, or in the line before"


def advice(message: str) -> str:
    """``; what to do`` about a parser's message."""
    small = message.lower()
    return "; " + next((help_ for part, help_ in _ADVICE if part in small), _OTHERWISE)
