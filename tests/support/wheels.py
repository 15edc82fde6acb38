"""Wheels of pure Python packages, made without a build backend: those come from an index."""

import tomllib
from pathlib import Path
from zipfile import ZipFile


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of a project whose pyproject.toml names its entry points, and its packages.

    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    name, version = described["name"].replace("-", "_"), described["version"]
    info = f"{name}-{version}.dist-info"
    contents = {
        path.relative_to(project).as_posix(): path.read_text()
        for path in project.rglob("*.py")
        if path.parent != project
    }
    contents[f"{info}/METADATA"] = "\n".join(
        [
            "Metadata-Version: 2.1",
            f"Name: {described['name']}",
            f"Version: {version}",
            *(f"Requires-Dist: {needed}" for needed in described["dependencies"]),
            "",
        ]
    )
    contents[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents[f"{info}/entry_points.txt"] = "".join(
        f"[{group}]\n" + "".join(f"{point} = {target}\n" for point, target in points.items())
        for group, points in described["entry-points"].items()
    )
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return wheel
