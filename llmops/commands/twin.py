"""twin: a stand-in for a cloud on this machine, for which nobody pays."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contract.errors import KitError, require_packages
from llmops.commands import Json
from llmops.context import Context, say

if TYPE_CHECKING:
    from types import ModuleType

_OF_FAULTS = ("fault", "met", "made")
_DEFAULT_HOME = Path(".llmops/twins/aws")
_Home = Annotated[
    Path | None, typer.Option(help="The twin's folder. Default: .llmops/twins/aws in the project.", metavar="FOLDER")
]

twin = typer.Typer(no_args_is_help=True, help="A stand-in for a cloud on this machine: try everything, pay nothing.")
aws = typer.Typer(
    no_args_is_help=True,
    help="""The twin of an AWS account: its APIs on this machine, with its permissions, quotas and refusals.

    llmops twin aws up
    eval "$(llmops twin aws env)"
    llmops up --stack aws-dev

    From then on every AWS client of this shell, plain `pulumi up` included,
    talks to the twin. Another shell talks to AWS as before.""",
)
twin.add_typer(aws, name="aws")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(twin, name="twin", rich_help_panel="Clouds")


@aws.command("up")
def up(
    context: typer.Context,
    judge: Annotated[
        Literal["strict", "off"], typer.Option(help="Judge every call's permissions, or let all callers do all.")
    ] = "strict",
    pace: Annotated[float, typer.Option(help="Seconds of a status change, such as to InService.", min=0)] = 0.5,
    port: Annotated[int, typer.Option(help="0: chosen once and kept.", min=0, max=65_535)] = 0,
    region: Annotated[str, typer.Option(help="The region that the environment names.")] = "us-east-1",
    containers: Annotated[
        Literal["run", "none"], typer.Option(help="Let endpoints and jobs run their images, or only change in status.")
    ] = "run",
    home: _Home = None,
    as_json: Json = False,
) -> None:
    """Start the twin, or change how it judges while it runs. What it holds survives `down` and a reboot.

    llmops twin aws up
    llmops twin aws up --judge off --pace 0
    """
    folder = _home(context.obj, home)
    wanted = {"port": port, "judge": judge, "pace": pace, "region": region, "containers": containers}
    info = _control().up(folder, **wanted, say=say)
    if as_json:
        from llmops.tables import print_json

        print_json({"home": str(folder), **vars(info)})
        return
    option = "" if home is None else f" --home {shlex.quote(str(home))}"
    print(f'the twin of AWS answers at {info.url}\n  eval "$(llmops twin aws env{option})"')


@aws.command("status")
def status(context: typer.Context, home: _Home = None, as_json: Json = False) -> None:
    """Say what runs, what the account holds, and what the twin does not do. Exit code 1 when it does not run."""
    from llmops.tables import print_fields, print_json

    folder = _home(context.obj, home)
    found = _control().status(folder)
    if as_json:
        print_json({"home": str(folder), "runs": found is not None, **(found or {})})
    elif found is None:
        print(f"the twin of AWS in {folder} does not run; `llmops twin aws up` starts it")
    else:
        print_fields(_words(folder, found), as_json=False)
    if found is None:
        raise typer.Exit(1)


@aws.command("down")
def down(context: typer.Context, home: _Home = None) -> None:
    """Stop the twin's processes. What it holds is kept."""
    folder = _home(context.obj, home)
    ran = _control().down(folder, say)
    print("the twin is down; `llmops twin aws up` continues with what it holds" if ran else "the twin did not run")


@aws.command("reset")
def reset(context: typer.Context, home: _Home = None) -> None:
    """Empty the twin: an account as on its first day. The states of its stacks go too, since they tell of it."""
    folder = _home(context.obj, home)
    _control().reset(folder, say)
    _forget_states(folder / "state")
    print(f"the twin in {folder} is empty, and so is the state of its stacks")


@aws.command("env")
def env(context: typer.Context, home: _Home = None, as_json: Json = False) -> None:
    """Print the variables that point a shell's AWS clients, and Pulumi, at the twin; and nowhere else.

    Credentials, profiles and roles of the shell are unset. The twin's own are
    stand-ins that open nothing. The state of its stacks is in its folder.

    eval "$(llmops twin aws env)"
    llmops twin aws env --json
    """
    values: Mapping[str, str | None] = _control().environment(_home(context.obj, home))
    if as_json:
        from llmops.tables import print_json

        print_json(values)
        return
    for name, value in values.items():
        print(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")
    if sys.stdout.isatty():
        say('(this shell does not take them from here: eval "$(llmops twin aws env)")')


@aws.command("fault")
def fault(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="What goes wrong; `llmops twin aws faults --kinds` lists all.")],
    members: Annotated[list[str] | None, typer.Argument(help="What it is about.", metavar="[MEMBER=VALUE]...")] = None,
    home: _Home = None,
) -> None:
    """Let something go wrong in the twin: what happens on AWS now and then, when you want to see it.

    llmops twin aws fault throttle service=sagemaker operation=Create* times=3
    llmops twin aws fault eventual service=iam operation=CreateRole seconds=5
    llmops twin aws fault cut_stream endpoint=chat-* after_bytes=200
    """
    given = dict(_member(text) for text in members or [])
    folder = _home(context.obj, home)
    _control().add_fault(folder, kind, given)
    print(f"from now on: {_control().kinds_of_faults(folder)[kind]['does']}")


@aws.command("faults")
def faults(
    context: typer.Context,
    clear: Annotated[bool, typer.Option("--clear", help="Let nothing more go wrong.")] = False,
    kinds: Annotated[bool, typer.Option("--kinds", help="List what can be made to go wrong.")] = False,
    home: _Home = None,
    as_json: Json = False,
) -> None:
    """List the faults that still may happen, and how often each happened so far.

    llmops twin aws faults
    llmops twin aws faults --kinds
    llmops twin aws faults --clear
    """
    from llmops.tables import print_rows

    folder = _home(context.obj, home)
    if kinds:
        rows = [
            {"fault": name, "does": kind["does"], "members": "; ".join(f"{m}: {f}" for m, f in kind["members"].items())}
            for name, kind in _control().kinds_of_faults(folder).items()
        ]
        print_rows(rows, ["fault", "does", "members"], as_json)
        return
    if clear:
        _control().clear_faults(folder)
    rows = [{"fault": kind, **each} for kind, found in _control().faults(folder).items() for each in found]
    shown = [{**row, "members": " ".join(f"{m}={v}" for m, v in row.items() if m not in _OF_FAULTS)} for row in rows]
    print_rows(rows if as_json else shown, ["fault", "members", "met"], as_json, empty="nothing more goes wrong")


def _member(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise KitError(f"{text!r} is no MEMBER=VALUE", where="llmops twin aws fault", fix=f"{text}=VALUE")
    return name, value


def _control() -> "ModuleType":
    require_packages("aws-twin", "moto", "flask", "boto3")
    from twins.aws import control

    return control


def _home(here: Context, given: Path | None) -> Path:
    """The twin's folder: as given, else in the project."""
    if given is not None:
        return (here.cwd / given.expanduser()).absolute()
    try:
        return here.project.folder / _DEFAULT_HOME
    except KitError as e:
        raise KitError(e.what, where=e.where, fix=f"{e.fix}; or say where the twin lives: --home FOLDER") from None


def _forget_states(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder / ".pulumi", ignore_errors=True)


def _words(home: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """The twin's own words about itself, one line a thing."""
    fields: dict[str, Any] = {"home": home}
    for name, value in found.items():
        if name in ("schema", "pids", "port"):
            continue
        if isinstance(value, list):
            value = [_line(item) for item in value]
        elif isinstance(value, Mapping):
            value = [f"{k}: {v}" for k, v in value.items()]
        fields[name] = value
    return fields


def _line(item: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in item.items()) if isinstance(item, Mapping) else str(item)
