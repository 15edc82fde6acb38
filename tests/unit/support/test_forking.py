import subprocess
import sys

PROGRAM = """
import sys
sys.path[:0] = [{support!r}, {here!r}]
from forking import forked_with
import told

if __name__ == "__main__":
    process = forked_with("heavy").Process(target=told.whether_it_is_loaded)
    process.start()
    process.join(60)
"""


def test_modules_are_loaded_before_a_process_starts(tmp_path, request):
    support = str(request.config.rootpath / "tests/support")
    (tmp_path / "heavy.py").write_text("")
    (tmp_path / "told.py").write_text(
        "import sys\ndef whether_it_is_loaded():\n    print('heavy' in sys.modules, flush=True)\n"
    )
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(support=support, here=str(tmp_path)))
    ended = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "True\n"
