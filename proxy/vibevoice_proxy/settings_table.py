"""Names, defaults, and descriptions of the proxy's settings, for help, docs, and messages."""

from typing import Any

from pydantic import AliasChoices, SecretStr

from vibevoice_proxy.settings import Settings


def environment_name(name: str) -> str:
    """The environment variable of a setting, given its field or its alias."""
    field = Settings.model_fields.get(name)
    if field is None:
        return name.upper()
    if isinstance(alias := field.validation_alias, AliasChoices):
        return str(alias.choices[0])
    return f"{Settings.model_config.get('env_prefix', '')}{name}".upper()


def describe_settings() -> list[tuple[str, str, str]]:
    """(environment variable, default as written in the environment, description) of every
    setting."""
    return [
        (environment_name(name), _written(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _written(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return f"{default:g}" if isinstance(default, float) else str(default)
