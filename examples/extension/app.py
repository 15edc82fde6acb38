"""A service that counts the lines of each file that is put into a folder.

pip install ./examples/extension && eventmesh dev examples/extension/app.py
"""

from pathlib import Path

from eventmesh_watch import FileEvent, watch

from eventmesh import Retry, Service

app = Service("imports", middleware=["audit"])


# `on.watch("incoming", "*.csv")` is the same; a type checker does not know what is installed.
@app.function(watch("incoming", "*.csv"), retry=Retry(attempts=3, initial=1, jitter="none"))
def count_lines(file: FileEvent) -> int:
    return len(Path(file.path).read_text().splitlines())
