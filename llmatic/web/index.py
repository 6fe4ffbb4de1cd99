"""The page at /: what runs here and how to talk to it.

Pure: takes what is to be shown, returns HTML without scripts and without outside resources. Any thread.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2330;--dim:#667085;--line:#d9dde5;--paper:#fff;--box:#f5f6f8;
--good:#157f3b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a2b3;--line:#333a47;--paper:#14171d;--box:#1d222b;
--good:#5bd68a}}
body{margin:0 auto;padding:3rem 1.25rem;max-width:46rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
h1{margin:0;font-size:1.6rem}h2{margin:2.2rem 0 .6rem;font-size:1.05rem}p{margin:.4rem 0}
.dim,th{color:var(--dim)}a{color:inherit}
table{width:100%;border-collapse:collapse}th,td{padding:.45rem .6rem .45rem 0;text-align:left;
vertical-align:top;border-bottom:1px solid var(--line)}th{font-weight:500;font-size:.85rem}
code,pre{font:.88rem/1.5 ui-monospace,monospace}pre{padding:.9rem 1rem;background:var(--box);
border-radius:.5rem;white-space:pre-wrap;overflow-wrap:anywhere}.ready{color:var(--good)}
"""


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One row of the page's table; `load` says what the model is busy with."""

    id: str
    aliases: tuple[str, ...]
    state: str
    description: str
    load: str = ""


def curl_line(base_url: str, model_id: str, *, embeds: bool = False, needs_key: bool = False) -> str:
    """One command that talks to a model, which `embeds` or else writes."""
    path = "embeddings" if embeds else "chat/completions"
    chat = {"messages": [{"role": "user", "content": "Say this is a test"}]}
    asked = {"model": model_id, **({"input": "This is a test"} if embeds else chat)}
    body = json.dumps(asked, separators=(",", ":"), ensure_ascii=False)
    key = " -H 'Authorization: Bearer YOUR_KEY'" if needs_key else ""
    return f"curl {base_url}/v1/{path}{key} -d {shlex.quote(body)}"


def render_index(models: Sequence[ModelLine], *, base_url: str, curl: str, needs_key: bool) -> bytes:
    """The page, UTF-8. `curl`: a command to try."""
    curl = escape(curl)
    key_note = "<p class=dim>Requests need an API key.</p>" if needs_key else ""
    return f"""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">
<title>llmatic</title><style>{_STYLE}</style></head>
<body><h1>llmatic</h1>
<p>Local language models behind the OpenAI API. Base URL: <code>{escape(base_url)}/v1</code></p>
{key_note}<h2>Models</h2>
{_table(models) if models else "<p class=dim>Listed by <code>/v1/models</code> for callers with a key.</p>"}
<h2>Try it</h2>
<pre>{curl}</pre>
<h2>More</h2>
<p><a href="/openapi.yaml">The API, described</a> · <a href="/readyz">Readiness</a> ·
<a href="/metrics">Metrics</a></p>
</body></html>
""".encode()


def _table(models: Sequence[ModelLine]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(model.id)}</code>{_aliases(model.aliases)}</td>"
        f'<td class="{"ready" if model.state == "ready" else "dim"}">{escape(model.state)}'
        f"{_below(model.load)}</td>"
        f"<td class=dim>{escape(model.description)}</td></tr>"
        for model in models
    )
    return f"<table><tr><th>Name</th><th>State</th><th></th></tr>{rows}</table>"


def _aliases(aliases: tuple[str, ...]) -> str:
    return _below(f"also {', '.join(aliases)}" if aliases else "")


def _below(note: str) -> str:
    return f"<br><span class=dim>{escape(note)}</span>" if note else ""
