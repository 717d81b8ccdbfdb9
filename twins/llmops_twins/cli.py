"""The command `twins`: start, use and stop local emulators of AWS and Azure. `llmops twin` mounts the same verbs."""

import importlib
import json
import logging
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from llmops_kit.core.errors import KitError

Judge = Annotated[
    Literal["strict", "off"],
    typer.Option(help="strict: check every call's permissions; off: allow every known caller."),
]
Pace = Annotated[
    float, typer.Option(help="Seconds that a status change takes, such as an endpoint's.", min=0, metavar="SECONDS")
]
Port = Annotated[
    int, typer.Option(help="Port on 127.0.0.1; 0: a free one, which is kept.", min=0, max=65_535, metavar="PORT")
]
Containers = Annotated[
    Literal["run", "none"],
    typer.Option(help="run: endpoints and jobs run their images; none: only their status changes."),
]
Region = Annotated[
    str, typer.Option("--region", "--location", help="Region (AWS) or location (Azure) in `env`.", metavar="NAME")
]
Home = Annotated[Path | None, typer.Option(help="Folder of the twin's state.", metavar="FOLDER")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class TwinCommands:
    """The commands of one cloud's twin.

    Args:
        word: the cloud's word, "aws".
        name: the cloud's name, "AWS".
        account: the emulated account, "an account".
        place: the cloud's word for a region.
        default_place: default region of clients.
        packages: packages that the twin needs.
        faults: examples for the help of `fault`.
        command: the command before the verb, "twins aws".
        find_home: returns the folder of a twin from the call's context and `--home`.
    """

    word: str
    name: str
    account: str
    place: str
    default_place: str
    packages: tuple[str, ...]
    faults: tuple[str, ...]
    command: str = ""
    find_home: Callable[[typer.Context, Path | None], Path] = lambda _context, home: home or Path()

    def app(self, kind: type[typer.Typer] = typer.Typer) -> typer.Typer:
        """Returns the commands as a Typer application of that class."""
        app = kind(no_args_is_help=True, help=self._help())
        started = "Start the twin, or change the settings of one that runs. State survives `down` and a reboot.\n\n{}"
        env = "Print the variables that point this shell's clients, and Pulumi, at the twin.\n\n{}"
        fault = "Inject a fault, such as throttling or a crashed container.\n\n{}"
        examples = [f"fault {words}" for words in self.faults]
        for name, verb, text in (
            ("up", self.up, started.format(self._examples("up", "up --judge off --pace 0"))),
            ("env", self.env, env.format(f'eval "$({self.command} env)"')),
            (
                "status",
                self.status,
                "Show the twin's contents and what it does not judge. Exit code 1: it is not running.",
            ),
            ("down", self.down, "Stop the twin's processes. Its state is kept."),
            (
                "reset",
                self.reset,
                f"Empty the twin: {self.account} as on its first day. Removes the Pulumi state in it too.",
            ),
            ("snapshot", self.snapshot, "Save the twin's state for `restore`. Endpoints must be deleted first."),
            ("restore", self.restore, "Bring the twin back to its snapshot, without a restart."),
            ("fault", self.fault, fault.format(self._examples(*examples))),
            ("faults", self.list_faults, "List active faults and how often each one struck."),
        ):
            app.command(name, help=text)(verb)
        app.command("serve", hidden=True, help="Serve the twin of a folder in the foreground, until SIGTERM.")(
            self.serve
        )
        return app

    def up(
        self,
        context: typer.Context,
        judge: Judge = "strict",
        pace: Pace = 0.5,
        port: Port = 0,
        place: Region = "",
        containers: Containers = "run",
        home: Home = None,
        as_json: Json = False,
    ) -> None:
        folder = self.find_home(context, home)
        settings = {"judge": judge, "pace": pace, "containers": containers, self.place: place or self.default_place}
        info = self._control().up(folder, port=port, **settings, say=say)
        option = "" if home is None else f" --home {shlex.quote(str(home))}"
        text = f'the twin of {self.name} listens on {info.url}\n  eval "$({self.command} env{option})"'
        _print({"home": str(folder), **vars(info)}, as_json, text)

    def env(self, context: typer.Context, home: Home = None, as_json: Json = False) -> None:
        values: Mapping[str, str | None] = self._control().environment(self.find_home(context, home))
        lines = [f"unset {n}" if v is None else f"export {n}={shlex.quote(v)}" for n, v in values.items()]
        _print(values, as_json, "\n".join(lines))
        if sys.stdout.isatty() and not as_json:
            say(f'(to set them in this shell, run: eval "$({self.command} env)")')

    def status(self, context: typer.Context, home: Home = None, as_json: Json = False) -> None:
        folder = self.find_home(context, home)
        found = self._control().status(folder)
        text = f"the twin of {self.name} in {folder} is not running; `{self.command} up` starts it"
        if found:
            text = _fields({"home": folder} | {n: v for n, v in found.items() if n not in ("schema", "pids", "port")})
        _print({"home": str(folder), "runs": found is not None, **(found or {})}, as_json, text)
        if found is None:
            raise typer.Exit(1)

    def down(self, context: typer.Context, home: Home = None, as_json: Json = False) -> None:
        folder = self.find_home(context, home)
        ran = self._control().down(folder, say)
        text = f"the twin is down; `{self.command} up` continues from its state" if ran else "the twin was not running"
        _print({"home": str(folder), "ran": ran}, as_json, text)

    def reset(self, context: typer.Context, home: Home = None, as_json: Json = False) -> None:
        """Empty the twin, and the Pulumi state of stacks in it."""
        folder = self.find_home(context, home)
        self._control().reset(folder, say)
        shutil.rmtree(folder / "state/.pulumi", ignore_errors=True)
        text = f"the twin in {folder} is empty, and so is the state of its stacks"
        _print({"home": str(folder), "empty": True}, as_json, text)

    def snapshot(self, context: typer.Context, home: Home = None, as_json: Json = False) -> None:
        self._control().snapshot(self.find_home(context, home))
        _print({"snapshot": True}, as_json, f"saved; `{self.command} restore` goes back to this state")

    def restore(self, context: typer.Context, home: Home = None, as_json: Json = False) -> None:
        self._control().restore(self.find_home(context, home))
        _print({"restored": True}, as_json, "restored")

    def fault(
        self,
        context: typer.Context,
        kind: Annotated[str, typer.Argument(help="Kind of the fault; `faults --kinds` lists all.")],
        members: Annotated[list[str] | None, typer.Argument(help="Scope.", metavar="MEMBER=VALUE")] = None,
        home: Home = None,
        as_json: Json = False,
    ) -> None:
        folder, control = self.find_home(context, home), self._control()
        given = dict(self._member(text) for text in members or [])
        control.add_fault(folder, kind, given)
        does = control.kinds_of_faults(folder)[kind]["does"]
        _print({"fault": kind, **given, "does": does}, as_json, f"from now on: {does}")

    def list_faults(
        self,
        context: typer.Context,
        clear: Annotated[bool, typer.Option("--clear", help="Remove all faults.")] = False,
        kinds: Annotated[bool, typer.Option("--kinds", help="List the kinds of faults.")] = False,
        home: Home = None,
        as_json: Json = False,
    ) -> None:
        folder, control = self.find_home(context, home), self._control()
        if kinds:
            found = control.kinds_of_faults(folder)
            rows = [{"fault": name, "does": kind["does"], "members": kind["members"]} for name, kind in found.items()]
            text = "\n".join(f"{r['fault']}: {r['does']}\n{_indented(r['members'])}" for r in rows)
        else:
            if clear:
                control.clear_faults(folder)
            rows = [{"fault": kind, **each} for kind, found in control.faults(folder).items() for each in found]
            text = "\n".join(" ".join(f"{n}={v}" for n, v in row.items() if n != "made") for row in rows) or "no faults"
        _print(rows, as_json, text)

    def serve(
        self,
        home: Annotated[Path, typer.Option(metavar="FOLDER")],
        port: Port = 0,
        judge: Judge = "strict",
        pace: Pace = 0.5,
        containers: Containers = "run",
        place: Region = "",
        stand_in: Annotated[bool, typer.Option(help="Start a stand-in for Pulumi's plugin if it is missing.")] = True,
    ) -> None:
        from llmops_twins.core.twin import TwinSettings

        self.require_packages()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        settings = TwinSettings(judge=judge, pace=pace, containers=containers)
        server = importlib.import_module(f"llmops_twins.{self.word}.server")
        server.serve(home.absolute(), port, settings, place or self.default_place, stand_in)

    def _help(self) -> str:
        # Each paragraph is one line: typer keeps the line breaks of all paragraphs but the first.
        return (
            f"Emulate {self.account} of {self.name}: its APIs, permissions, quotas and errors.\n\n"
            + self._examples("up")
            + f'\neval "$({self.command} env)"\n\n'
            + f"From then on, every {self.name} client in this shell talks to the twin, plain `pulumi up` included. "
            "Other shells are not affected."
        )

    def _examples(self, *verbs: str) -> str:
        return "\n".join(f"{self.command} {verb}" for verb in verbs)

    def _control(self) -> Any:
        self.require_packages()
        return importlib.import_module(f"llmops_twins.{self.word}.control")

    def require_packages(self) -> None:
        """Checks that the cloud's extra is installed.

        Raises:
            KitError: a package is missing.
        """
        if missing := [name for name in self.packages if not find_spec(name)]:
            fix = f"pip install 'llmops-twins[{self.word}]'"
            raise KitError(f"the package {missing[0]} is not installed", where=f"twin of {self.name}", fix=fix)

    def _member(self, text: str) -> tuple[str, str]:
        name, equals, value = text.partition("=")
        if not equals:
            raise KitError(
                f"{text!r} is not of the form MEMBER=VALUE", where=f"{self.command} fault", fix=f"{text}=VALUE"
            )
        return name, value


CLOUDS = (
    TwinCommands(
        word="aws",
        name="AWS",
        account="an account",
        place="region",
        default_place="us-east-1",
        packages=("moto", "flask", "boto3"),
        faults=(
            "throttle service=sagemaker operation=Create* times=3",
            "eventual service=iam operation=CreateRole seconds=5",
            "cut_stream endpoint=chat-* after_bytes=200",
        ),
    ),
    TwinCommands(
        word="azure",
        name="Azure",
        account="a subscription",
        place="location",
        default_place="westeurope",
        packages=("werkzeug", "trustme", "jwt", "jsonschema"),
        faults=(
            "throttle operation=*/write times=3",
            "role_propagation seconds=5",
            "cut_stream endpoint=chat-* after_bytes=200",
        ),
    ),
)


def _mount(
    cloud: TwinCommands, kind: type[typer.Typer], command: str, find_home: Callable[[typer.Context, Path | None], Path]
) -> typer.Typer:
    return replace(cloud, command=command, find_home=find_home).app(kind)


mount_aws, mount_azure = (partial(_mount, cloud) for cloud in CLOUDS)
"""Entry points of the group `llmops.twins`: `llmops twin` mounts the commands under its own words."""


def say(line: str) -> None:
    """Prints progress on standard error, because standard output is for results."""
    print(_plain(line), file=sys.stderr, flush=True)


def make_app() -> typer.Typer:
    """Returns the command line."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Local emulators of AWS (SageMaker) and Azure (Azure ML) that really run your containers.",
    )
    for cloud in CLOUDS:
        mounted = replace(cloud, command=f"twins {cloud.word}", find_home=partial(_find_home, cloud.word))
        app.add_typer(mounted.app(), name=cloud.word)
    return app


def main() -> NoReturn:
    """Runs the command line; an error ends it with the exit code of its class."""
    try:
        make_app()()
    except KitError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    sys.exit(0)


def _find_home(word: str, _context: typer.Context, given: Path | None) -> Path:
    return given.expanduser().absolute() if given else Path(".twins", word).absolute()


def _print(data: Any, as_json: bool, text: str) -> None:
    print(json.dumps(data, indent=2, default=str) if as_json else _plain(text))


def _plain(text: str) -> str:
    """Returns the text with control characters escaped, which could otherwise control a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)


def _fields(found: Mapping[str, Any]) -> str:
    lines = []
    for name, value in found.items():
        label = name.replace("_", " ")
        if isinstance(value, list | Mapping):
            lines += [f"{label}:{'' if value else ' -'}", *filter(None, [_indented(value)])]
        else:
            lines.append(f"{label}: {'-' if value == '' else value}")
    return "\n".join(lines)


def _indented(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name}: {each}" for name, each in value.items()]
    return "\n".join(f"  {', '.join(f'{n} {v}' for n, v in e.items()) if isinstance(e, Mapping) else e}" for e in value)
