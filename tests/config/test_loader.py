"""config.yaml → Settings: the fixed points, the defaults, and one sentence for every mistake."""

from pathlib import Path

import pytest

from llmatic.config import ModelSpec, Settings, load_settings
from llmatic.core.errors import ConfigError

ISSUE = """\
models:
  my-model:
    engine: llama            # or sentence-transformers, …
    source: /data/my.gguf    # path, builtin:NAME, hf:org/repo/file
    aliases: [gpt-4o-mini]
    context: 16384           # tokens over all parallel sequences together
    parallel: 16
    threads: 2
    gpu_layers: -1
    preload: true
"""


def load(tmp_path: Path, text: str | bytes, **environ: str) -> Settings:
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(path, environ)


def refusal(tmp_path: Path, text: str | bytes, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environ)
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{tmp_path}/")


def model(tmp_path: Path, line: str) -> ModelSpec:
    return load(tmp_path, f"models:\n  m:\n    source: /x.gguf\n    {line}\n").models["m"]


def test_the_fixed_points(tmp_path: Path) -> None:
    assert load(tmp_path, ISSUE).models == {
        "my-model": ModelSpec(
            id="my-model",
            source="/data/my.gguf",
            engine="llama",
            aliases=("gpt-4o-mini",),
            context=16384,
            parallel=16,
            threads=2,
            gpu_layers=-1,
            preload=True,
        )
    }


def test_without_a_file_the_embedded_model_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = load_settings(None, {}).models["llmatic-tiny"]
    assert (spec.source, spec.preload, spec.aliases) == ("builtin:llmatic-tiny", True, ())


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, port in (("config.yaml", 1), ("variable.yaml", 2), ("option.yaml", 3)):
        (tmp_path / name).write_text(f"server: {{port: {port}}}")
    monkeypatch.chdir(tmp_path)
    variable = {"LLMATIC_CONFIG": "variable.yaml"}
    assert load_settings(None, {}).server.port == 1
    assert load_settings(None, variable).server.port == 2
    assert load_settings(Path("option.yaml"), variable).server.port == 3


def test_keys_without_a_value_keep_their_default(tmp_path: Path) -> None:
    text = "server:\n  host:\nworkers:\nmodels:\n  m:\n    source: /x\n    threads:\n    sampling:\n"
    assert load(tmp_path, text) == Settings(models={"m": ModelSpec(id="m", source="/x")})


def test_no_models_at_all(tmp_path: Path) -> None:
    assert load(tmp_path, "models: {}").models == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a/b.gguf", "{base}/a/b.gguf"),
        ("/a.gguf", "/a.gguf"),
        ("~/a.gguf", "{home}/a.gguf"),
        ("builtin:llmatic-tiny", "builtin:llmatic-tiny"),
        ("hf:org/repo/file.gguf", "hf:org/repo/file.gguf"),
        ("https://host/v1", "https://host/v1"),
    ],
)
def test_sources_are_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    spec = load(tmp_path, f"models: {{m: {{source: '{source}'}}}}").models["m"]
    assert spec.source == expected.format(base=tmp_path, home="/home/me")


def test_projectors_are_found_as_sources_are(tmp_path: Path) -> None:
    assert model(tmp_path, "projector: mm/proj.gguf").projector == f"{tmp_path}/mm/proj.gguf"
    assert model(tmp_path, "projector: hf:org/repo/mm.gguf").projector == "hf:org/repo/mm.gguf"
    assert model(tmp_path, "parallel: 1").projector is None


@pytest.mark.parametrize(
    "host", ["http://example.org", "example.org/path", "a b", "EXAMPLE.ORG", "*.*", "x:y"]
)
def test_hosts_of_media_that_are_none(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="is no host"):
        load(tmp_path, f"media: {{hosts: ['{host}']}}")


@pytest.mark.parametrize(
    "url", ["mysql://me:hunter2@h/d", "/var/lib/llmatic.db", "hunter2", "postgres:/hunter2"]
)
def test_a_database_that_is_none_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    (tmp_path / "config.yaml").write_text(f"store:\n  url: {url}\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:2: store\.url must be sqlite:") as refusal:
        load_settings(tmp_path / "config.yaml", {})
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("place", ["http://bucket", "s3:///prefix", "s3://"])
def test_a_place_for_blobs_that_is_none(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.blobs must be a folder, s3://bucket"):
        load(tmp_path, f"store: {{blobs: '{place}'}}")


@pytest.mark.parametrize("url", ["sqlite:///a.db", "postgresql://u:p@h/d", "postgresql+psycopg://h/d"])
def test_databases(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, f"store: {{url: '{url}', blobs: 's3://b/p'}}").store.url == url


def test_the_media_section(tmp_path: Path) -> None:
    text = "media: {hosts: [example.org, '*.example.net', 'a.b:8080', '[::1]:80', '*'], max_bytes: 1MiB, timeout_s: 2s}"
    media = load(tmp_path, text).media
    assert media.hosts == ("example.org", "*.example.net", "a.b:8080", "[::1]:80", "*")
    assert (media.max_bytes, media.timeout_s, media.allow_private) == (1 << 20, 2.0, False)


def test_template_files_are_relative_to_the_file(tmp_path: Path) -> None:
    assert model(tmp_path, "chat_template: t/own.jinja").chat_template == f"{tmp_path}/t/own.jinja"
    assert model(tmp_path, "chat_template: chatml").chat_template == "chatml"
    assert model(tmp_path, "chat_template: '{{ messages }}.jinja'").chat_template == "{{ messages }}.jinja"


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("90", 90), ("0.5", 0.5), ("10m", 600), ("1.5h", 5400), ("2d", 172800), ("500ms", 0.5), ("'30 s'", 30), ("never", None)],
)  # fmt: skip
def test_durations(tmp_path: Path, line: str, seconds: float | None) -> None:
    assert model(tmp_path, f"keep_alive: {line}").keep_alive_s == seconds


@pytest.mark.parametrize(
    ("line", "n_bytes"),
    [
        ("4096", 4096),
        ("16MB", 16_000_000),
        ("16MiB", 16 << 20),
        ("1.5 KiB", 1536),
        ("1GB", 10**9),
        ("2G", 2 * 10**9),
    ],
)
def test_sizes(tmp_path: Path, line: str, n_bytes: int) -> None:
    assert load(tmp_path, f"server: {{max_body_bytes: {line}}}").server.max_body_bytes == n_bytes


def test_sampling_and_options(tmp_path: Path) -> None:
    spec = model(
        tmp_path,
        "sampling: {temperature: 0, top_k: 40, stop: ['</a>', b]}\n"
        "    options: {batch: 512, mmap: false, tensor_split: [0.5, 1], name: x, nothing: null, deep: {a: 1e-3}}",
    )
    assert spec.sampling == {"temperature": 0, "top_k": 40, "stop": ["</a>", "b"]}
    assert spec.options == {
        "batch": 512, "mmap": False, "tensor_split": [0.5, 1], "name": "x", "nothing": None, "deep": {"a": 0.001},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ISSUE.replace("parallel", "paralel"), ":7: unknown key 'paralel' under models.my-model; did you mean 'parallel'?"),
        ("models:\n  m: {source: x, gpu-layers: 3}", ":2: unknown key 'gpu-layers' under models.m; did you mean 'gpu_layers'?"),
        ("sever:\n  port: 1", ":1: unknown section 'sever'; did you mean 'server'?"),
        ("server:\n  zzz: 1", ":2: unknown key 'zzz' under server; known: allowed_hosts, api_keys, cors_origins, "
         "drain_timeout_s, host, insecure, log_level, max_body_bytes, max_json_depth, port, share_prompt_cache, sse_keep_alive_s, unknown_fields"),
        ("models:\n  m:\n    source: x\n    sampling:\n      temp: 1",
         ":5: unknown key 'temp' under models.m.sampling; did you mean 'temperature'?"),
        ("models:\n  m:\n    source: x\n    parallel: many",
         ":4: models.m.parallel must be a whole number from 1 to 256, not the text 'many'"),
        ("models:\n  m:\n    source: x\n    parallel: 257",
         ":4: models.m.parallel must be a whole number from 1 to 256, not the number 257"),
        ("models:\n  m:\n    source: x\n    parallel: 1.5",
         ":4: models.m.parallel must be a whole number from 1 to 256, not the number 1.5"),
        ("models:\n  m:\n    source: x\n    context: 0", ":4: models.m.context must be a whole number from 1 to 2147483647, "
         "not the number 0"),
        ("models:\n  m:\n    source: x\n    context: 0x10", ":4: models.m.context must be a whole number from 1 to 2147483647, "
         "written in decimal, not the number 0x10"),
        ("models:\n  m:\n    source: x\n    preload: maybe", ":4: models.m.preload must be true or false, not the text 'maybe'"),
        ("models:\n  m:\n    source: x\n    aliases: a", ":4: models.m.aliases must be a list of texts, not the text 'a'"),
        ("models:\n  m:\n    source: x\n    keep_alive: soon", ":4: models.m.keep_alive must be a duration: seconds, or a "
         "number with ms, s, m, h or d, not the text 'soon'"),
        ("models:\n  m:\n    source: x\n    options: [1]", ":4: models.m.options must be a mapping, not a list"),
        ("models:\n  m:\n    source: x\n    engine: a b",
         ":4: models.m.engine must be an engine's name or package.module:Class, not 'a b'"),
        ("models:\n  m:\n    source: x\n    sampling: {temperature: 3}",
         ":4: models.m.sampling.temperature must be a number from 0 to 2, not the number 3"),
        ("models:\n  m:\n    source: x\n    sampling: {temperature: .nan}",
         ":4: models.m.sampling.temperature must be a number from 0 to 2, not the number .nan"),
        ("models:\n  m:\n    source: x\n    sampling: {stop: [a, b, c, d, e]}",
         ":4: models.m.sampling.stop must hold 1 to 4 texts, not 5"),
        ("models:\n  m:\n    source: 12", ":3: models.m.source must be text, not the number 12 (put it in quotes)"),
        ("models:\n  m:\n    source: ''", ":3: models.m.source must not be empty"),
        ("models:\n  m:\n    parallel: 1", ":2: models.m needs 'source:', a path, builtin:NAME or hf:org/repo/file, "
         "or 'base:', a model"),
        ("models:\n  m: 3", ":2: models.m must be a mapping, not the number 3"),
        ("models: [m]", ":1: models must be a mapping of ids, not a list"),
        ("server: {port: 65536}", ":1: server.port must be a whole number from 0 to 65535, not the number 65536"),
        ("server: {unknown_fields: drop}", ":1: server.unknown_fields must be one of refuse, ignore, not the text 'drop'"),
        ("server: {sse_keep_alive_s: 0}", ":1: server.sse_keep_alive_s must be a duration above zero: seconds, or a number "
         "with ms, s, m, h or d, not the number 0"),
        ("server: {max_body_bytes: 1KB}", ":1: server.max_body_bytes must be a size of at least 1024 bytes: bytes, or a "
         "number with KB, MB, GB, KiB, MiB, GiB, not the text '1KB'"),
        ("server: {cors_origins: [example.org]}", ":1: server.cors_origins: 'example.org' is no origin: "
         "write it like https://example.org, or *"),
        ("workers: {restart_backoff_s: 60}",
         ":1: workers.restart_backoff_s must not be above workers.restart_backoff_max_s"),
        ("models:\n  'a b': {source: x}", ":2: models: 'a b' is no model name: use letters, digits and . _ : @ + / -, "
         "beginning with a letter or digit, at most 200 characters"),
        ("models:\n  a/../b: {source: x}", ":2: models: 'a/../b' is no model name: the parts between slashes may not be "
         "empty, '.' or '..'"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == "config.yaml" + message


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("{source: x, aliases: [b]}", "{source: y}",
         ":2: alias 'b' of model 'a' is already the id of a model ({path}:3)"),
        ("{source: x, aliases: [gpt]}", "{source: y, aliases: [gpt]}",
         ":3: alias 'gpt' of model 'b' is already an alias of model 'a' ({path}:2)"),
    ],
)  # fmt: skip
def test_every_name_means_one_model(tmp_path: Path, first: str, second: str, message: str) -> None:
    found = refusal(tmp_path, f"models:\n  a: {first}\n  b: {second}\n")
    assert found == "config.yaml" + message.format(path=tmp_path / "config.yaml")


def test_a_message_is_one_line_whatever_was_written(tmp_path: Path) -> None:
    message = refusal(tmp_path, "server:\n  port: |\n    a\n    b\n")
    assert message.endswith("not the text 'a\\nb\\n'")


def test_numbers_beyond_all_bounds(tmp_path: Path) -> None:
    for key in ("server: {max_body_bytes", "server: {port", "server: {drain_timeout_s"):
        refusal(tmp_path, f"{key}: {'9' * 5000}}}")


@pytest.mark.parametrize("name", ["org/model", "llama3:8b", "a.b_c-d+e@f", "0"])
def test_names_of_models(tmp_path: Path, name: str) -> None:
    assert list(load(tmp_path, f"models:\n  {name}: {{source: x}}").models) == [name]


@pytest.mark.parametrize(
    "keys", ["[short]", "[12345678]", "s3cr3t-s3cr3t", "['s3cr3t\tkey']", "[[s3cr3t-s3cr3t]]"]
)
def test_no_message_repeats_a_key(tmp_path: Path, keys: str) -> None:
    message = refusal(tmp_path, f"server:\n  api_keys: {keys}\n")
    assert "api_keys" in message
    assert not any(secret in message for secret in ("short", "1234", "s3cr3t"))
