"""Where a chat template's text comes from when the configuration names one.

Owns the templates known by name and the reading of template files. Never compiles one.
"""

from pathlib import Path

from llmatic.core.errors import ConfigError

MAX_FILE_BYTES = 1_000_000

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

BUILTIN = {"chatml": CHATML}


def is_inline(override: str) -> bool:
    """True if `override` is itself a template's text, not a name or a path."""
    return "{{" in override or "{%" in override or "\n" in override


def template_source(override: str) -> str:
    """The template's text for a model's `chat_template:` key.

    `override` is a builtin name, the template's own text, or the path of a file. Raises ConfigError.
    """
    if override in BUILTIN:
        return BUILTIN[override]
    if is_inline(override):
        return override
    path = Path(override).expanduser()
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"chat_template: {path} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"chat_template: {path} is not UTF-8 text") from error
    except OSError as error:
        known = ", ".join(sorted(BUILTIN))
        raise ConfigError(
            f"chat_template: '{override}' is no builtin template ({known}) "
            f"and cannot be read as a file: {error.strerror}"
        ) from error
