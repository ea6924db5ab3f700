"""The settings: options, then `BACKTALK_*` in the environment, then `.env`, then these defaults. Read once, passed down."""

import os
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.embed import DEFAULT_MODEL
from kb.article import KB_DIR


class BadSetting(Exception):
    """A setting is unknown or has a value that it cannot have; the message is one line that names it."""


def default_index() -> Path:
    """Return where the index lives by default: in a clone beside the code, else in the user's data folder."""
    root = KB_DIR.parent
    return root / ".backtalk" if (root / "pyproject.toml").is_file() else Path(platformdirs.user_data_dir("backtalk"))


class Settings(BaseSettings):
    """All settings of the product. A key for a language model is read by its own library from its own variable."""

    model_config = SettingsConfigDict(env_prefix="BACKTALK_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    kb: Path = Field(default=KB_DIR, description="Folder of the knowledge base.")
    index: Path = Field(default_factory=default_index, description="Folder of the search index.")
    chroma_url: str = Field(
        default="",
        pattern=r"^(https?://[^/]+(/[^/]+/[^/]+)?/?)?$",
        description="A Chroma server, such as http://localhost:8000 or https://HOST/TENANT/DATABASE, instead of the embedded one.",
    )
    embedding_model: str = Field(
        default=DEFAULT_MODEL, description="Embedding model; another one is a path that sentence-transformers can load."
    )
    llm: str = Field(default="", description="Chat model as provider:model, such as openai:gpt-5-mini; empty for none.")
    llm_base_url: str = Field(default="", description="Address of an OpenAI-compatible server for the chat model.")
    llm_api_key: SecretStr | None = Field(default=None, description="Key for the chat model, if its library does not find its own.")
    llm_timeout_s: float = Field(
        default=20.0, gt=0, description="Seconds that the chat model may take; then the extractive answer is given."
    )
    llm_second_opinion: bool = Field(
        default=False, description="Ask the chat model whether the guardrail overlooked a red flag; it can only raise the level."
    )
    region: str = Field(default="ZZ", description="Region whose numbers are given when a request names none: GB IE US CA AU NZ IN EU.")
    allowed_origins: str = Field(default="", description="Comma-separated sites that may embed the widget and call the API from a page.")
    api_keys: SecretStr | None = Field(
        default=None, description="Comma-separated keys, one of which API calls must bring; none by default."
    )
    rate_limit: str = Field(
        default="600/minute", description="API calls that one address may make, such as 600/minute; empty for no limit."
    )
    log_level: Literal["critical", "error", "warning", "info"] = Field(
        default="error", description="What 'serve' logs, as JSON lines on standard error; 'info' has a line a turn, without its words."
    )
    reviewed_only: bool = Field(default=False, description="Serve only articles that a clinician has reviewed.")


def read_settings(**options: object) -> Settings:
    """Read the settings; options that are None count as not given.

    Raises:
        BadSetting: an unknown `BACKTALK_*` name, or a value that does not fit.
    """
    known = {f"BACKTALK_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith("BACKTALK_") and name not in known:
            raise BadSetting(f"{name}: no such setting; known are {', '.join(sorted(known))}")
    try:
        return Settings(**{key: value for key, value in options.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadSetting(f"BACKTALK_{str(first['loc'][0]).upper()}: {first['msg']}: {first['input']!r}") from error
