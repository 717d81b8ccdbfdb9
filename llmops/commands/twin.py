"""twin: a stand-in for a cloud on this machine, for which nobody pays."""

import importlib
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contract.errors import KitError, require_packages
from llmops.commands import Json
from llmops.context import Context, say

if TYPE_CHECKING:
    from types import ModuleType

_OF_FAULTS = ("fault", "met", "made")

twin = typer.Typer(no_args_is_help=True, help="A stand-in for a cloud on this machine: try everything, pay nothing.")


@dataclass(frozen=True)
class _Cloud:
    """What the verbs of one cloud's twin say of it. `requires`: an extra of the kit, and packages that it has."""

    word: str
    name: str
    holds: str
    stack: str
    place: str
    first: str
    requires: tuple[str, ...]
    faults: tuple[str, ...]

    def control(self) -> "ModuleType":
        """The life of its twins."""
        require_packages(*self.requires)
        return importlib.import_module(f"twins.{self.word}.control")

    def home(self, here: Context, given: Path | None) -> Path:
        """The twin's folder: as given, else in the project."""
        if given is not None:
            return (here.cwd / given.expanduser()).absolute()
        try:
            return here.project.folder / f".llmops/twins/{self.word}"
        except KitError as e:
            raise KitError(e.what, where=e.where, fix=f"{e.fix}; or say where the twin lives: --home FOLDER") from None


_AWS = _Cloud(
    word="aws",
    name="AWS",
    holds="an account",
    stack="aws-dev",
    place="region",
    first="us-east-1",
    requires=("aws-twin", "moto", "flask", "boto3"),
    faults=(
        "throttle service=sagemaker operation=Create* times=3",
        "eventual service=iam operation=CreateRole seconds=5",
        "cut_stream endpoint=chat-* after_bytes=200",
    ),
)
_AZURE = _Cloud(
    word="azure",
    name="Azure",
    holds="a subscription",
    stack="azure-dev",
    place="location",
    first="westeurope",
    requires=("azure-twin", "werkzeug", "trustme", "jwt"),
    faults=(
        "throttle service=Microsoft.MachineLearningServices operation=*/write times=3",
        "role_propagation seconds=5",
        "cut_stream endpoint=chat-* after_bytes=200",
    ),
)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(twin, name="twin", rich_help_panel="Clouds")


@twin.command("replay", no_args_is_help=True)
def replay(
    context: typer.Context,
    cloud: Annotated[str, typer.Argument(help="Whose recording it is: aws or azure.", metavar="CLOUD")],
    recording: Annotated[Path, typer.Argument(help="As `llmops smoke --record` writes it.", metavar="FILE")],
    against: Annotated[
        Path | None,
        typer.Option(help="A recording of the twin that was made before: no twin is started.", metavar="FILE"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold a recording of a real account against the twin, and print where the twin answers otherwise.

    The smoke test runs on a twin of its own, which takes minutes. Statuses, codes of errors and the
    members of answers are compared; ids, times and other values are not. Exit code 1 when they differ.

    llmops smoke aws --record aws.json
    llmops twin replay aws aws.json
    """
    from rich.console import Console

    from llmops.rehearsal.clouds import find_cloud
    from llmops.rehearsal.smoke.replay import replay
    from llmops.terminal.tables import print_json

    here: Context = context.obj
    paths = [each and (here.cwd / each).absolute() for each in (recording, against)]
    assert paths[0]
    found = replay(find_cloud(cloud), here.project, paths[0], paths[1], Console(stderr=True, highlight=False), say)
    if as_json:
        print_json([each.row for each in found])
    else:
        for each in found:
            print(each.line)
        print(f"{len(found)} differences" if found else "they do not differ")
    if found:
        raise typer.Exit(1)


def _add(cloud: _Cloud) -> None:
    """Add the verbs of one cloud's twin."""
    verbs = typer.Typer(
        no_args_is_help=True,
        help=f"""The twin of {cloud.name}: its APIs on this machine, with its permissions, quotas and refusals.

        llmops twin {cloud.word} up
        eval "$(llmops twin {cloud.word} env)"
        llmops up --stack {cloud.stack}

        From then on every {cloud.name} client of this shell, plain `pulumi up` included,
        talks to the twin. Another shell talks to {cloud.name} as before.""",
    )
    twin.add_typer(verbs, name=cloud.word)
    _add_up(verbs, cloud)
    _add_status(verbs, cloud)
    _add_end(verbs, cloud)
    _add_env(verbs, cloud)
    _add_faults(verbs, cloud)


def _add_up(verbs: typer.Typer, cloud: _Cloud) -> None:
    home_option = _home_option(cloud)

    @verbs.command(
        "up",
        help=f"""Start the twin, or change how it judges while it runs. What it holds survives `down` and a reboot.

        llmops twin {cloud.word} up
        llmops twin {cloud.word} up --judge off --pace 0""",
    )
    def up(
        context: typer.Context,
        judge: Annotated[
            Literal["strict", "off"], typer.Option(help="Judge every call's permissions, or let all callers do all.")
        ] = "strict",
        pace: Annotated[float, typer.Option(help="Seconds of a status change, such as an endpoint's.", min=0)] = 0.5,
        port: Annotated[int, typer.Option(help="0: chosen once and kept.", min=0, max=65_535)] = 0,
        place: str = typer.Option(
            cloud.first, f"--{cloud.place}", help=f"The {cloud.place} that the environment names.", metavar="TEXT"
        ),
        containers: Annotated[
            Literal["run", "none"],
            typer.Option(help="Let endpoints and jobs run their images, or only change in status."),
        ] = "run",
        home: Path | None = home_option,
        as_json: Json = False,
    ) -> None:
        folder = cloud.home(context.obj, home)
        wanted = {"port": port, "judge": judge, "pace": pace, cloud.place: place, "containers": containers}
        info = cloud.control().up(folder, **wanted, say=say)
        if as_json:
            from llmops.terminal.tables import print_json

            print_json({"home": str(folder), **vars(info)})
            return
        option = "" if home is None else f" --home {shlex.quote(str(home))}"
        print(f'the twin of {cloud.name} answers at {info.url}\n  eval "$(llmops twin {cloud.word} env{option})"')


def _add_status(verbs: typer.Typer, cloud: _Cloud) -> None:
    home_option = _home_option(cloud)

    @verbs.command(
        "status",
        help=f"Say what runs, what {cloud.holds} holds, and what the twin does not do. "
        "Exit code 1 when it does not run.",
    )
    def status(context: typer.Context, home: Path | None = home_option, as_json: Json = False) -> None:
        from llmops.terminal.tables import print_fields, print_json

        folder = cloud.home(context.obj, home)
        found = cloud.control().status(folder)
        if as_json:
            print_json({"home": str(folder), "runs": found is not None, **(found or {})})
        elif found is None:
            print(f"the twin of {cloud.name} in {folder} does not run; `llmops twin {cloud.word} up` starts it")
        else:
            print_fields(_words(folder, found), as_json=False)
        if found is None:
            raise typer.Exit(1)


def _add_end(verbs: typer.Typer, cloud: _Cloud) -> None:
    home_option = _home_option(cloud)

    @verbs.command("down", help="Stop the twin's processes. What it holds is kept.")
    def down(context: typer.Context, home: Path | None = home_option, as_json: Json = False) -> None:
        from llmops.terminal.tables import print_done

        folder = cloud.home(context.obj, home)
        ran = cloud.control().down(folder, say)
        kept = f"the twin is down; `llmops twin {cloud.word} up` continues with what it holds"
        print_done(kept if ran else "the twin did not run", {"home": str(folder), "ran": ran}, as_json)

    @verbs.command(
        "reset",
        help=f"Empty the twin: {cloud.holds} as on its first day. "
        "The states of its stacks go too, since they tell of it.",
    )
    def reset(context: typer.Context, home: Path | None = home_option, as_json: Json = False) -> None:
        from llmops.terminal.tables import print_done

        folder = cloud.home(context.obj, home)
        cloud.control().reset(folder, say)
        _forget_states(folder / "state")
        words = f"the twin in {folder} is empty, and so is the state of its stacks"
        print_done(words, {"home": str(folder), "empty": True}, as_json)


def _add_env(verbs: typer.Typer, cloud: _Cloud) -> None:
    home_option = _home_option(cloud)

    @verbs.command(
        "env",
        help=f"""Print the variables that point a shell's {cloud.name} clients, and Pulumi, at the twin alone.

        Credentials, profiles and roles of the shell are unset. The twin's own are
        stand-ins that open nothing. The state of its stacks is in its folder.

        eval "$(llmops twin {cloud.word} env)"
        llmops twin {cloud.word} env --json""",
    )
    def env(context: typer.Context, home: Path | None = home_option, as_json: Json = False) -> None:
        values: Mapping[str, str | None] = cloud.control().environment(cloud.home(context.obj, home))
        if as_json:
            from llmops.terminal.tables import print_json

            print_json(values)
            return
        for name, value in values.items():
            print(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")
        if sys.stdout.isatty():
            say(f'(this shell does not take them from here: eval "$(llmops twin {cloud.word} env)")')


def _add_faults(verbs: typer.Typer, cloud: _Cloud) -> None:
    home_option = _home_option(cloud)
    examples = "\n".join(f"        llmops twin {cloud.word} fault {words}" for words in cloud.faults)

    @verbs.command(
        "fault",
        help=f"""Let something go wrong in the twin: what happens on {cloud.name} now and then, when you want to see it.

{examples}""",
    )
    def fault(
        context: typer.Context,
        kind: str = typer.Argument(help=f"What goes wrong; `llmops twin {cloud.word} faults --kinds` lists all."),
        members: Annotated[
            list[str] | None, typer.Argument(help="What it is about.", metavar="[MEMBER=VALUE]...")
        ] = None,
        home: Path | None = home_option,
        as_json: Json = False,
    ) -> None:
        from llmops.terminal.tables import print_done

        given = dict(_member(text, cloud) for text in members or [])
        folder = cloud.home(context.obj, home)
        control = cloud.control()
        control.add_fault(folder, kind, given)
        does = control.kinds_of_faults(folder)[kind]["does"]
        print_done(f"from now on: {does}", {"fault": kind, **given, "does": does}, as_json)

    @verbs.command(
        "faults",
        help=f"""List the faults that still may happen, and how often each happened so far.

        llmops twin {cloud.word} faults
        llmops twin {cloud.word} faults --kinds
        llmops twin {cloud.word} faults --clear""",
    )
    def faults(
        context: typer.Context,
        clear: Annotated[bool, typer.Option("--clear", help="Let nothing more go wrong.")] = False,
        kinds: Annotated[bool, typer.Option("--kinds", help="List what can be made to go wrong.")] = False,
        home: Path | None = home_option,
        as_json: Json = False,
    ) -> None:
        from llmops.terminal.tables import print_rows

        folder, control = cloud.home(context.obj, home), cloud.control()
        if kinds:
            print_rows(_kinds(control.kinds_of_faults(folder)), ["fault", "does", "members"], as_json)
            return
        if clear:
            control.clear_faults(folder)
        rows = [{"fault": kind, **each} for kind, found in control.faults(folder).items() for each in found]
        shown = [{**r, "members": " ".join(f"{m}={v}" for m, v in r.items() if m not in _OF_FAULTS)} for r in rows]
        print_rows(rows if as_json else shown, ["fault", "members", "met"], as_json, empty="nothing more goes wrong")


def _home_option(cloud: _Cloud) -> Any:
    place = f".llmops/twins/{cloud.word}"
    return typer.Option(None, help=f"The twin's folder. Default: {place} in the project.", metavar="FOLDER")


def _kinds(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"fault": name, "does": kind["does"], "members": "; ".join(f"{m}: {f}" for m, f in kind["members"].items())}
        for name, kind in found.items()
    ]


def _member(text: str, cloud: _Cloud) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise KitError(f"{text!r} is no MEMBER=VALUE", where=f"llmops twin {cloud.word} fault", fix=f"{text}=VALUE")
    return name, value


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


_add(_AWS)
_add(_AZURE)
