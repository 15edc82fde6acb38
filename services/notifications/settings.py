"""Settings from environment variables: NOTIFICATIONS_SMTP_HOST, and so on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, SecretStr


class Settings(BaseModel):
    """Each field is a variable NOTIFICATIONS_ plus its name; with _FILE, a file with the value."""

    smtp_host: str = "127.0.0.1"
    smtp_port: int = 1025
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_starttls: bool = False
    smtp_timeout_seconds: float = 10.0
    sender: str = "shop@example.com"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings. Raises ValueError, and OSError for a file that cannot be read."""
        texts = {name: _text(environ, f"NOTIFICATIONS_{name.upper()}") for name in cls.model_fields}
        return cls.model_validate({name: text for name, text in texts.items() if text})


def _text(environ: Mapping[str, str], variable: str) -> str:
    file = environ.get(f"{variable}_FILE")
    return Path(file).read_text().strip() if file else environ.get(variable, "")
