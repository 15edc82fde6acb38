import pytest

from eventmesh.observability.printable import indented, printable, printable_line

CLIPBOARD = "\x1b]52;c;cm0gLXJmIC8=\x07"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain ünïcode 茶", "plain ünïcode 茶"),
        (CLIPBOARD, r"\x1b]52;c;cm0gLXJmIC8=\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\tb\r\nc", r"a\tb\r\nc"),
        ("\x7f\x00", r"\x7f\x00"),
        ("safe\u202efdp.exe", r"safe\u202efdp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("half \ud800", r"half \ud800"),
    ],
)
def test_a_line_has_no_control_characters(text, line):
    assert printable_line(text) == line


def test_a_text_keeps_its_tabs_and_lines():
    assert printable("one\ttwo\nthree\r\x1b[2J") == "one\ttwo\nthree\\r\\x1b[2J"


def test_further_lines_are_indented():
    assert indented("one\ntwo\x07") == "one\n    two\\x07"


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_every_control_character_is_escaped(code):
    assert printable_line(chr(code)).isprintable()
