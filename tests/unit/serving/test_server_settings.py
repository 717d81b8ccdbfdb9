"""The environment: every error names the variable and the fix."""

from pathlib import Path

import pytest

from llmops_kit.core.errors import ServingError
from llmops_kit.local_runtime.routing.router import RouterConfiguration
from llmops_kit.serving.server_settings import _VARIABLES, ServerSettings
from tests.support.checkout import CHECKOUT

KEY = "a-key-of-16-characters-or-more"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "api.key").write_text(KEY + "\n")
    (tmp_path / "signing.pub").write_text("-----BEGIN PUBLIC KEY-----")
    return {
        "LLMOPS_ROOT": str(tmp_path / "root"),
        "LLMOPS_API_KEY_FILE": str(tmp_path / "api.key"),
        "LLMOPS_PUBLIC_KEY_FILE": str(tmp_path / "signing.pub"),
        "PATH": "/usr/bin",
    }


def test_defaults(environ: dict[str, str], tmp_path: Path) -> None:
    settings = ServerSettings.from_environ(environ)
    assert settings.model == tmp_path / "root/opt/ml/model"
    assert (settings.api_key, settings.auth, settings.port, settings.host) == (KEY, "key", 8080, "0.0.0.0")
    assert settings.limits.max_body == 6_291_456
    assert settings.engine_settings.prefix_cache is False, "callers who don't trust each other may share a server"
    assert ServerSettings.from_environ(environ | {"LLMOPS_PREFIX_CACHE": "true"}).engine_settings.prefix_cache is True
    assert (settings.limits.max_connections, settings.limits.max_connections_per_address) == (2048, 1024)


@pytest.mark.vulnerability(8)
@pytest.mark.scorecard("slow-loris")
def test_vulnerability_8_headers_and_bodies_have_10_seconds_at_server_and_router(environ: dict[str, str]) -> None:
    assert ServerSettings.from_environ(environ).limits.read_seconds == 10
    router = RouterConfiguration.new(endpoint="chatbot", port=1)
    assert (router.header_seconds, router.read_seconds) == (10, 10)


@pytest.mark.scorecard("sigterm-streams")
def test_a_shutdown_fits_in_the_30_seconds_that_sagemaker_waits(environ: dict[str, str]) -> None:
    settings = ServerSettings.from_environ(environ)
    assert settings.lame_duck_seconds + settings.drain_seconds < 30


def test_azureml_mounts_the_model_elsewhere(environ: dict[str, str]) -> None:
    assert ServerSettings.from_environ(environ | {"AZUREML_MODEL_DIR": "/mnt/model"}).model == Path("/mnt/model")


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("LLMOPS_PRECISION", "f16", "auto, f32, bf16"),
        ("SAGEMAKER_BIND_TO_PORT", "80x", "0 to 65535"),
        ("SAGEMAKER_BIND_TO_PORT", "99999", "0 to 65535"),
        ("LLMOPS_PREFIX_CACHE", "yes", "false, true"),
        ("LLMOPS_THREADS", "-1", "0 to 1024"),
        ("LLMOPS_AUTH", "none", "key, platform"),
        ("LLMOPS_PLATFORM", "heroku", "sagemaker or azureml"),
        ("LLMOPS_MODEL_SHA256", "abc", "64 hex digits"),
        ("LLMOPS_REQUEST_SECONDS", "nan", "seconds from"),
        ("LLMOPS_QUALITY_SECONDS", "-1", "seconds from"),
        ("LLMOPS_GOLDEN", "ignored", "required, reported"),
        ("LLMOPS_MAX_BODY", "1", "1024 to"),
        ("LLMOPS_MAX_CONNECTIONS", "0", "1 to"),
        ("LLMOPS_MAX_CONNECTIONS_PER_ADDRESS", "many", "1 to"),
        ("LLMOPS_MODEL_SHA265", "0" * 64, "LLMOPS_MODEL_SHA256?"),
        ("LLMOPS_API_KEY_FILE", "", "name a file"),
        ("LLMOPS_METRICS_KEY_FILE", "/nonexistent/key", "name a file"),
        ("LLMOPS_WRITE_SECONDS", "0", "seconds from"),
        ("LLMOPS_MAX_QUEUE_TOKENS", "-1", "0 to"),
        ("LLMOPS_API_KEY_FILE", "/nonexistent/key", "name a file"),
        ("LLMOPS_PUBLIC_KEY_FILE", "", "nothing is loaded"),
    ],
)
def test_a_bad_value_names_its_variable(environ: dict[str, str], name: str, value: str, part: str) -> None:
    with pytest.raises(ServingError) as caught:
        ServerSettings.from_environ(environ | {name: value})
    assert name in caught.value.where
    assert part in caught.value.fix


def test_platform_is_refused_where_no_platform_authenticates(environ: dict[str, str]) -> None:
    with pytest.raises(ServingError) as caught:
        ServerSettings.from_environ(environ | {"LLMOPS_AUTH": "platform"})
    assert caught.value.where == "LLMOPS_AUTH"
    assert "LLMOPS_PLATFORM" in caught.value.fix


def test_platform_needs_no_key(environ: dict[str, str]) -> None:
    del environ["LLMOPS_API_KEY_FILE"]
    settings = ServerSettings.from_environ(environ | {"LLMOPS_AUTH": "platform", "LLMOPS_PLATFORM": "sagemaker"})
    assert settings.api_key == ""


@pytest.mark.parametrize(
    ("platform", "answer", "stream"), [("sagemaker", 55, 470), ("azureml", 170, 170), ("", 300, 300)]
)
def test_a_request_ends_within_what_its_platform_waits(
    environ: dict[str, str], platform: str, answer: float, stream: float
) -> None:
    environ["LLMOPS_PLATFORM"] = platform
    limits = ServerSettings.from_environ(environ).limits
    assert (limits.request_seconds, limits.stream_seconds) == (answer, stream)
    environ |= {"LLMOPS_REQUEST_SECONDS": "20", "LLMOPS_STREAM_SECONDS": "30"}
    limits = ServerSettings.from_environ(environ).limits
    assert (limits.request_seconds, limits.stream_seconds) == (20, 30)


def test_a_file_of_keys_may_stand_for_the_key(environ: dict[str, str]) -> None:
    environ["LLMOPS_METRICS_KEY_FILE"] = environ.pop("LLMOPS_API_KEY_FILE")
    environ["LLMOPS_API_KEYS_FILE"] = "/keys.json"
    settings = ServerSettings.from_environ(environ)
    assert (settings.api_key, settings.api_keys_file, settings.metrics_key) == ("", Path("/keys.json"), KEY)


@pytest.mark.parametrize("content", ["", "short", "two words that are long", "sch\u00f6n-and-long-enough"])
def test_an_unusable_key_is_refused_and_not_shown(environ: dict[str, str], content: str) -> None:
    Path(environ["LLMOPS_API_KEY_FILE"]).write_text(content)
    with pytest.raises(ServingError) as caught:
        ServerSettings.from_environ(environ)
    assert not content or content not in str(caught.value)


def test_a_public_key_from_the_models_own_folder_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    inside = tmp_path / "root/opt/ml/model/signing.pub"
    inside.parent.mkdir(parents=True)
    inside.write_text("-----BEGIN PUBLIC KEY-----")
    with pytest.raises(ServingError) as caught:
        ServerSettings.from_environ(environ | {"LLMOPS_PUBLIC_KEY_FILE": str(inside)})
    assert caught.value.where == "LLMOPS_PUBLIC_KEY_FILE"


def test_a_public_key_may_stand_in_the_environment(environ: dict[str, str]) -> None:
    """SageMaker mounts the model and nothing else."""
    del environ["LLMOPS_PUBLIC_KEY_FILE"]
    pem = "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----"
    assert ServerSettings.from_environ(environ | {"LLMOPS_PUBLIC_KEY": pem + "\n"}).public_key == pem


def test_the_file_in_which_servers_count_together_lies_in_a_folder_that_they_can_write(
    environ: dict[str, str], tmp_path: Path
) -> None:
    assert ServerSettings.from_environ(environ).usage_file is None
    given = environ | {"LLMOPS_USAGE_FILE": str(tmp_path / "usage.sqlite")}
    assert ServerSettings.from_environ(given).usage_file == tmp_path / "usage.sqlite"
    with pytest.raises(ServingError, match="not a folder that the server can write") as caught:
        ServerSettings.from_environ(given | {"LLMOPS_USAGE_FILE": str(tmp_path / "none/usage.sqlite")})
    assert caught.value.where == "LLMOPS_USAGE_FILE"
    assert caught.value.fix


def test_every_variable_stands_in_the_how_to_page() -> None:
    page = (CHECKOUT / "docs/how-to/server-limits.md").read_text()
    internal = {"LLMOPS_PHASE_FD", "LLMOPS_HANDOVER_SOCKET"}
    assert {name for name in _VARIABLES if f"`{name}`" not in page} == internal
