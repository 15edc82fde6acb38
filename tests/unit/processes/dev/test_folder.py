"""What processes of one `eventmesh dev` tell each other."""

import pytest

from eventmesh.processes.dev.folder import MAX_BYTES, MAX_FILES, DevFolder


@pytest.fixture
def folder(tmp_path):
    return DevFolder(tmp_path)


def test_nothing_is_known_at_first(folder):
    assert folder.read_saved() is None
    assert folder.take_failure() is None
    assert folder.swap_declared({"functions": {}}) == (None, None)


def test_files_count_until_their_code_runs(folder):
    folder.swap_declared({"functions": {"first": 1}})
    folder.note_saved(["a.py"], 1.0)
    folder.note_saved(["b.py", "a.py"], 2.0)
    saved = {"at": 2.0, "files": ["a.py", "b.py"], "more": 0}
    assert folder.read_saved() == saved
    assert folder.swap_declared({"functions": {}}) == ({"functions": {"first": 1}}, saved)
    assert folder.read_saved() is None
    assert folder.swap_declared({}) == ({"functions": {}}, None)


def test_only_so_many_files_are_named(folder):
    folder.note_saved([f"{number}.py" for number in range(MAX_FILES)], 1.0)
    folder.note_saved(["one.py", "more.py"], 2.0)
    saved = folder.read_saved()
    assert (len(saved["files"]), saved["more"]) == (MAX_FILES, 2)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b" " * (MAX_BYTES + 1)])
def test_a_damaged_file_is_no_file(folder, tmp_path, content):
    (tmp_path / "saved.json").write_bytes(content)
    assert folder.read_saved() is None


def test_what_cannot_be_written_stops_nobody(tmp_path, caplog):
    folder = DevFolder(tmp_path / "gone")
    folder.note_failure({"message": "wrong"})
    assert "failure cannot be kept over the restart: FileNotFoundError" in caplog.text
    assert folder.take_failure() is None
