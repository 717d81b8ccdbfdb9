"""The chat page in a real browser: with the keyboard alone, on a phone's width, against a real server."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.support.servers.serving import API_KEY, ServingProcess, until

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not at /usr/bin/chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def faults() -> list[str]:
    return []


@pytest.fixture
def page(browser, faults: list[str]) -> Iterator:
    context = browser.new_context(viewport={"width": 360, "height": 740})
    tab = context.new_page()
    tab.set_default_timeout(120_000)
    tab.on("pageerror", lambda e: faults.append(str(e)))
    tab.on("console", lambda m: faults.append(m.text) if "Content Security" in m.text else None)
    yield tab
    context.close()


@pytest.fixture
def ready(page, shared_server: ServingProcess):
    """The page with the key from its address, connected."""
    page.goto(f"{shared_server.url}/#key={API_KEY}")
    page.locator("#facts span").nth(1).wait_for()
    return page


def shorten(page, tokens: int) -> None:
    """Let the page's requests ask for so many tokens: the tiny model never ends by itself."""

    def change(route) -> None:
        body = json.loads(route.request.post_data) | {"max_tokens": tokens}
        route.continue_(post_data=json.dumps(body))

    page.route("**/v1/chat/completions", change)


def test_the_key_leaves_the_address_and_the_version_is_shown(ready, shared_server: ServingProcess) -> None:
    assert ready.url == f"{shared_server.url}/"
    assert ready.locator("#model").inner_text() == "tiny@1"
    sha256 = shared_server.ask("GET", "/ping")[1]["sha256"]
    assert sha256[:12] in ready.locator("#facts").inner_text()
    ready.reload()  # the key is kept in the tab
    ready.locator("#facts span").nth(1).wait_for()


def test_a_conversation_with_the_keyboard_alone(ready, faults: list[str]) -> None:
    shorten(ready, 30)
    ready.keyboard.type("First line <b>bold</b>")
    ready.keyboard.press("Shift+Enter")
    ready.keyboard.type("second line")
    ready.keyboard.press("Enter")
    ready.locator(".under").first.wait_for()
    assert ready.locator(".user .text").inner_text() == "First line <b>bold</b>\nsecond line"
    assert ready.locator("#log b").count() == 0
    assert ready.locator(".assistant .text").inner_text()
    assert "30 tokens" in ready.locator(".under").inner_text()
    assert "tokens/s" in ready.locator(".under").inner_text()
    with ready.expect_request("**/v1/chat/completions") as asked:  # focus is back in the message field
        ready.keyboard.type("And now?")
        ready.keyboard.press("Enter")
    sent = json.loads(asked.value.post_data)["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "user"]
    assert len(sent[1]["content"]) == 30
    ready.locator(".under").nth(1).wait_for()
    assert faults == []


@contextmanager
def slowed(server: ServingProcess) -> Iterator[None]:
    """Let the engine work a few milliseconds out of 100: the tiny model has answered before a person, or a browser on a
    busy machine, can stop it.
    """
    engine, ended = server.engine_pid(), Event()

    def pulse() -> None:
        while not ended.wait(0.003):
            os.kill(engine, signal.SIGSTOP)
            time.sleep(0.1)
            os.kill(engine, signal.SIGCONT)

    with ThreadPoolExecutor(1) as pool:
        pulsing = pool.submit(pulse)
        try:
            yield
        finally:
            ended.set()
            pulsing.result()


def test_escape_stops_an_answer_and_its_text_stays(ready, shared_server: ServingProcess) -> None:
    shorten(ready, 1900)
    text = ready.locator(".assistant .text")
    with slowed(shared_server):
        ready.keyboard.type("Count from 1 to 1000, one number in each line.")
        ready.keyboard.press("Enter")
        until(lambda: len(text.inner_text()) > 40)
        assert shared_server.metric("llmops_running") == 1  # it is shown while it is written
        ready.keyboard.press("Escape")
        ready.locator(".under").wait_for()
        assert "stopped" in ready.locator(".under").inner_text()
        shown = text.inner_text()
        assert len(shown) > 20
        until(lambda: shared_server.metric("llmops_engine_running") == 0)
    assert text.inner_text() == shown
    ready.locator("#reset").press("Enter")
    assert ready.locator("#welcome").is_visible()
    assert ready.locator(".message").count() == 0


def test_the_order_of_focus(ready) -> None:
    ready.locator("#reset").wait_for()
    ready.keyboard.type("x")
    found = []
    for _ in range(3):
        found.append(ready.evaluate("document.activeElement.id"))
        ready.keyboard.press("Tab")
    assert found == ["prompt", "send", "change-key"]  # this model's chat template takes no tools


def test_nothing_scrolls_sideways_on_a_phone(ready) -> None:
    shorten(ready, 400)
    ready.keyboard.type("W" * 200)
    ready.keyboard.press("Enter")
    ready.locator(".under").wait_for()
    for selector in ("html", "#scroller"):
        assert ready.locator(selector).evaluate("e => e.scrollWidth <= e.clientWidth"), selector


def test_a_key_is_asked_for_and_a_wrong_one_told(page, shared_server: ServingProcess) -> None:
    page.goto(shared_server.url)
    page.locator("#key").wait_for()
    page.keyboard.type("not-the-key-0123456789")
    page.keyboard.press("Enter")
    until(lambda: "did not take this key" in page.locator("#key-why").inner_text())
    page.keyboard.type(API_KEY)
    page.keyboard.press("Enter")
    page.locator("#facts span").nth(1).wait_for()
    page.locator("#key-form").wait_for(state="hidden")
    assert page.evaluate("localStorage.length") == 0


def test_errors_are_told_in_words_and_can_be_tried_again(ready) -> None:
    cut = 'data: {"choices":[{"delta":{"content":"part"}}]}\n\ndata: {"error":{"message":"the engine failed"}}\n\n'
    ready.route("**/v1/chat/completions", lambda route: route.fulfill(body=cut, content_type="text/event-stream"))
    ready.locator("#prompt").fill("Hello")
    ready.locator("#prompt").press("Enter")
    ready.locator(".error").wait_for()
    assert "the engine failed" in ready.locator(".error").inner_text()
    assert ready.locator(".assistant .text").inner_text() == "part"
    ready.unroute("**/v1/chat/completions")
    shorten(ready, 5)
    ready.locator(".error button").press("Enter")
    ready.locator(".under", has_text="5 tokens").wait_for()
    assert ready.locator(".error").count() == 0
    assert ready.locator(".message").count() == 2


def answers(*texts: str, calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A streamed answer, for `route.fulfill`: its pieces of text, then its calls."""
    deltas = [{"content": text} for text in texts] + [{"tool_calls": [call]} for call in calls or []]
    frames = [json.dumps({"choices": [{"delta": delta}]}) for delta in deltas]
    body = "".join(f"data: {frame}\n\n" for frame in [*frames, "[DONE]"])
    return {"body": body, "content_type": "text/event-stream"}


def asked(page, text: str) -> None:
    page.locator("#prompt").fill(text)
    page.locator("#prompt").press("Enter")
    page.locator(".turn").last.locator(".under, .error").last.wait_for()


MARKDOWN = """# Going back
Use `llmops rollback`, **then** *up*, see [the page](https://docs.test/a "b"):

1. first `a`
2. second
   goes on
   - [x] inner &amp; done

| model | tokens/s |
|:--|--:|
| **a** | 12 |

> quoted

```bash
llmops up <b>*not bold*</b>
```
snake_case_name and **open"""


def test_markdown_is_shown_as_elements_and_its_blocks_stay_while_it_grows(ready, faults: list[str]) -> None:
    pieces = [MARKDOWN[i : i + 7] for i in range(0, len(MARKDOWN), 7)]
    ready.route("**/v1/chat/completions", lambda route: route.fulfill(**answers(*pieces)))
    asked(ready, "How?")
    shown = ready.locator(".assistant .text")
    tags = ["H3", "P", "OL", "DIV", "BLOCKQUOTE", "DIV", "P"]
    assert shown.evaluate("e => [...e.children].map((c) => c.tagName)") == tags
    assert shown.locator("p code").all_inner_texts() == ["llmops rollback"]
    assert shown.locator("p strong, p em").all_inner_texts() == ["then", "up"]
    assert shown.locator("ol > li").all_inner_texts() == ["first a", "second\ngoes on\n☑ inner & done"]
    assert shown.locator("th, td").all_inner_texts() == ["model", "tokens/s", "a", "12"]
    assert shown.locator("pre").inner_text() == "llmops up <b>*not bold*</b>"
    assert shown.locator(".code-bar").inner_text().split() == ["bash", "Copy"]
    link = shown.locator("a")
    assert [link.get_attribute(name) for name in ("href", "rel")] == [
        "https://docs.test/a",
        "noopener noreferrer nofollow",
    ]
    assert shown.locator("p").last.inner_text() == "snake_case_name and **open"
    grown = """async ([whole, step]) => {
      const { MarkdownView } = await import("/markdown.js");
      const show = (ends) => {
        const element = document.createElement("div"), view = new MarkdownView(element);
        const seen = ends.map((end) => { view.show(whole.slice(0, end)); return element.firstChild; });
        return [element.innerHTML, new Set(seen.slice(20)).size];
      };
      const ends = Array.from({ length: whole.length }, (_, i) => i + 1);
      return [show(ends), show([whole.length])];
    }"""
    letterwise, at_once = ready.evaluate(grown, [MARKDOWN, 1])
    assert letterwise[0] == at_once[0]
    assert letterwise[1] == 1  # the heading was made once, whatever came behind it
    assert faults == []


HOSTILE = r"""<script>window.hit = 1</script><img src=https://evil.test/a onerror="window.hit=1">
<svg onload=window.hit=1>

![x](https://evil.test/b.png) ![y](javascript:window.hit=1) <https://evil.test/c> [r]: https://evil.test/d
[a](javascript:window.hit=1) [b](data:text/html,<script>window.hit=1</script>) [c](//evil.test/e) [d](JaVaScRiPt:1)
[e](https://evil.test/f" onmouseover="window.hit=1) [f](&#106;avascript:window.hit=1) [g](vbscript:1) [h](file:///etc)
| <iframe src=https://evil.test/g> | &lt;b&gt; |
|--|--|
| <style>@import 'https://evil.test/h'</style> | `<b>` |

```html"><script>window.hit=1</script>
<link rel=stylesheet href=https://evil.test/i>
```
<form action=https://evil.test/j><input autofocus onfocus=window.hit=1>"""


def test_hostile_markdown_runs_nothing_and_loads_nothing(
    ready, faults: list[str], shared_server: ServingProcess
) -> None:
    requests: list[str] = []
    ready.on("request", lambda request: requests.append(request.url))
    deep = [
        "> " * 5000 + "x",
        "[" * 9000,
        "*a " * 5000,
        "- " * 3000 + "z",
        "<a " * 5000,
        "|a" * 3000 + "\n" + "|-" * 3000,
    ]
    texts = iter((HOSTILE, *deep))
    ready.route("**/v1/chat/completions", lambda route: route.fulfill(**answers(next(texts))))
    for _ in range(1 + len(deep)):
        asked(ready, "Be evil.")
    assert ready.evaluate("window.hit") is None
    assert {url for url in requests if not url.startswith(f"{shared_server.url}/")} == set()
    shown = ready.locator(".assistant .text")
    allowed = (
        "a,p,h3,h4,h5,h6,ul,ol,li,code,pre,strong,em,del,br,hr,blockquote,table,thead,tbody,tr,th,td,div,span,button"
    )
    assert shown.locator(f"xpath=.//*[not(contains(',{allowed},', concat(',', local-name(), ',')))]").count() == 0
    assert shown.locator("a").evaluate_all("all => all.every((a) => /^https?:/.test(a.href) && a.rel)") is True
    attributes = shown.locator("*").evaluate_all(
        "all => [...new Set(all.flatMap((e) => e.getAttributeNames()))].sort()"
    )
    assert set(attributes) <= {
        "class",
        "href",
        "rel",
        "target",
        "title",
        "tabindex",
        "role",
        "aria-label",
        "type",
        "start",
    }
    assert "<script>window.hit = 1</script>" in shown.first.inner_text()
    with pytest.raises(Exception, match="TrustedHTML"):
        ready.evaluate("document.body.innerHTML = '<b>x</b>'")
    faults.clear()  # what that last line reports


WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def describe_with(page, **metadata: Any) -> None:
    """Let the server say more of its model than the tiny one has."""

    def change(route) -> None:
        answer = route.fetch()
        models = answer.json()
        models["data"][0]["metadata"] |= metadata
        route.fulfill(response=answer, json=models)

    page.route("**/v1/models", change)


def test_calls_are_shown_and_their_results_sent(page, shared_server: ServingProcess, faults: list[str]) -> None:
    sent: list[dict[str, Any]] = []

    def answer(route) -> None:
        sent.append(json.loads(route.request.post_data))
        call = {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city"'},
        }
        rest = {"index": 0, "function": {"arguments": ':"Rome <b>"}'}}
        other = {"index": 1, "id": "call_2", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
        first = answers("I look.", calls=[call, rest, other])
        route.fulfill(**(first if len(sent) == 1 else answers("It is 21 degrees.")))

    describe_with(page, takes_tools=True)
    page.route("**/v1/chat/completions", answer)
    page.goto(f"{shared_server.url}/#key={API_KEY}")
    page.locator("#tools").press("Enter")
    field = page.locator("#tools-json")
    for text, complaint in (("[{", "no JSON"), ("{}", "a list"), ("[{}]", "Tool 1 has no name")):
        field.fill(text)
        page.get_by_role("button", name="Use these tools").press("Enter")
        assert complaint in page.locator(".complaint").inner_text()
    field.fill(json.dumps([WEATHER, {"name": "get_time"}]))
    page.get_by_role("button", name="Use these tools").press("Enter")
    assert page.locator("#tools").inner_text() == "Tools (2)"
    page.locator("#prompt").fill("How is the weather?")
    page.locator("#prompt").press("Enter")
    call = page.get_by_role("region", name="Call of get_weather")
    assert json.loads(call.locator("code").inner_text()) == {"city": "Rome <b>"}
    results = page.get_by_label("Result of")
    results.nth(0).fill('{"degrees": 21}')
    page.locator("#prompt").fill("not yet")
    assert page.locator("#send").is_disabled()
    results.nth(1).fill("noon")
    page.locator("#prompt").fill("")
    page.get_by_role("button", name="Send results").press("Enter")
    page.get_by_text("It is 21 degrees.").wait_for()
    assert sent[0]["tools"] == [WEATHER, {"type": "function", "function": {"name": "get_time"}}]
    assert [m["role"] for m in sent[1]["messages"]] == ["user", "assistant", "tool", "tool"]
    asked_for = sent[1]["messages"][1]["tool_calls"]
    assert [c["function"]["arguments"] for c in asked_for] == ['{"city":"Rome <b>"}', "{}"]
    assert [(m["tool_call_id"], m["content"]) for m in sent[1]["messages"][2:]] == [
        ("call_1", '{"degrees": 21}'),
        ("call_2", "noon"),
    ]
    assert faults == []


def test_two_variants_answer_side_by_side(page, shared_server: ServingProcess, faults: list[str]) -> None:
    def describe(route) -> None:
        variant = route.request.headers.get("x-llmops-variant", "")
        answer = route.fetch()
        models = answer.json()
        if variant == "*":  # the router's list, which is tested with it
            models["data"] = [
                {"id": v, "object": "variant", "weight": w} for v, w in (("v1", 0), ("v2", 100), ("v0", 0))
            ]
        elif variant:
            models["data"][0] |= {"id": f"tiny@{variant[1:]}"}
        route.fulfill(response=answer, json=models)

    sent: dict[str, list[dict[str, Any]]] = {"v2": [], "v1": []}

    def answer(route) -> None:
        variant = route.request.headers["x-llmops-variant"]
        sent[variant].append(json.loads(route.request.post_data))
        if variant == "v1" and len(sent[variant]) == 1:
            route.fulfill(status=429, json={"error": {"message": "busy"}})
        else:
            route.fulfill(**answers(f"I am {variant}. ", "So it is."))

    page.route("**/v1/models", describe)
    page.route("**/v1/chat/completions", answer)
    page.set_viewport_size({"width": 1200, "height": 800})
    page.goto(f"{shared_server.url}/#key={API_KEY}&compare")
    page.get_by_role("button", name="Side by side", pressed=True).wait_for()
    asked(page, "Who are you?")
    sides = page.locator(".side")
    until(lambda: page.locator(".under").count() == 1 and page.locator(".error").count() == 1)
    assert [text.partition(" ")[0] for text in page.locator(".side-name").all_inner_texts()] == ["tiny@2", "tiny@1"]
    assert "Too many are asking" in sides.nth(1).inner_text()
    for fact in ("first token after", "2 tokens", "tokens/s"):
        assert fact in sides.nth(0).locator(".under").inner_text()
    left, right = (sides.nth(i).bounding_box() for i in range(2))
    assert left
    assert right
    assert (left["y"], left["x"] < right["x"]) == (right["y"], True)
    page.get_by_role("button", name="Try again").press("Enter")
    until(lambda: page.locator(".under").count() == 2)
    asked(page, "Really?")
    until(lambda: page.locator(".under").count() == 4)
    said = [[m["content"] for m in sent[variant][-1]["messages"]] for variant in ("v2", "v1")]
    assert said == [["Who are you?", f"I am {variant}. So it is.", "Really?"] for variant in ("v2", "v1")]
    page.set_viewport_size({"width": 360, "height": 740})
    left, right = (sides.nth(i).bounding_box() for i in range(2))
    assert left
    assert right
    assert (left["x"], left["y"] < right["y"]) == (right["x"], True)
    assert page.locator("#scroller").evaluate("e => e.scrollWidth <= e.clientWidth")
    page.get_by_role("button", name="Side by side").press("Enter")  # alone again, with a new conversation
    assert page.locator(".turn").count() == 0
    assert faults == []


def test_questions_and_tools_of_the_version_are_offered(page, shared_server: ServingProcess) -> None:
    described = shared_server.ask("GET", "/v1/models")[1]["data"][0]["metadata"]
    assert [described[name] for name in ("examples", "tools", "takes_tools")] == [[], [], False]
    describe_with(page, examples=["Where is <i>it</i>?"], tools=[WEATHER], takes_tools=True)
    page.goto(f"{shared_server.url}/#key={API_KEY}")
    until(lambda: page.locator("#tools").inner_text() == "Tools (1)")
    page.locator("#tools").press("Enter")
    assert "get_weather" in page.locator("#tools-json").input_value()
    page.locator("#tools-json").fill("")
    page.get_by_role("button", name="Use these tools").press("Enter")
    shorten(page, 5)
    page.get_by_role("button", name="Where is <i>it</i>?").press("Enter")
    page.locator(".under").wait_for()
    assert page.locator(".user .text").inner_text() == "Where is <i>it</i>?"
    assert not page.locator("#welcome").is_visible()
