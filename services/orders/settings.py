"""Settings from environment variables: ORDERS_CARRIER_URL, and so on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel


class Settings(BaseModel):
    """Each field is the variable ORDERS_ plus its name; with _FILE, a file with the value."""

    carrier_url: str = "http://127.0.0.1:8091"
    carrier_timeout_seconds: float = 5.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings. Raises ValueError, and OSError for a file that cannot be read."""
        texts = {name: _text(environ, f"ORDERS_{name.upper()}") for name in cls.model_fields}
        return cls.model_validate({name: text for name, text in texts.items() if text})


def _text(environ: Mapping[str, str], variable: str) -> str:
    file = environ.get(f"{variable}_FILE")
    return Path(file).read_text().strip() if file else environ.get(variable, "")
