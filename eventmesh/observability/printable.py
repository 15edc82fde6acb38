"""Texts from outside, made safe to print: on a terminal, and in a log of lines."""

from __future__ import annotations

from typing import Final

_INVISIBLE: Final = (
    # C0 and C1 controls (ECMA-48) begin the sequences that move the cursor, change the title or
    # write the clipboard of a terminal.
    *range(0x20),
    *range(0x7F, 0xA0),
    # Line and paragraph separators, which some viewers break lines at.
    0x2028,
    0x2029,
    # Bidirectional controls make a text look like another one (Unicode Technical Report 36).
    0x061C,
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    # Halves of surrogate pairs cannot be encoded: printing one raises.
    *range(0xD800, 0xE000),
)

_LATIN_1: Final = 0xFF

_LINE_ESCAPES: Final = {
    code: f"\\u{code:04x}" if code > _LATIN_1 else f"\\x{code:02x}" for code in _INVISIBLE
} | {ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}
_TEXT_ESCAPES: Final = {
    code: escape for code, escape in _LINE_ESCAPES.items() if chr(code) not in "\t\n"
}


def printable_line(text: str) -> str:
    """Return the text with its control characters written as escapes, line breaks included."""
    return text if text.isprintable() else text.translate(_LINE_ESCAPES)


def printable(text: str) -> str:
    """Return the text with its control characters written as escapes, but tabs and line breaks."""
    return text if text.isprintable() else text.translate(_TEXT_ESCAPES)


def indented(text: str) -> str:
    """Return a printable text whose further lines are indented: none looks like the first."""
    return printable(text).replace("\n", "\n    ")
