"""What a preparation is given of the caller's environment."""

from pathlib import Path

from llmops_kit.cli.data.preparing import ray_credentials


def test_ray_gets_the_token_of_the_environment_or_of_its_file(tmp_path: Path) -> None:
    assert ray_credentials({"HOME": "/home/me"}, tmp_path) == {}
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0123")
    assert ray_credentials({}, tmp_path) == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "4567"}
    assert ray_credentials({"PATH": "/bin", **given}, tmp_path) == given
    assert ray_credentials({"RAY_AUTH_TOKEN": "4567"}, tmp_path) == given
    from_file = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    assert ray_credentials({"RAY_AUTH_MODE": "token"}, tmp_path) == from_file
