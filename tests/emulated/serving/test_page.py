"""The chat page in a real browser: with the keyboard alone, on a phone's width, against a real server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.models import BASE_ALIAS, base_model, copy_model
from tests.support.serving import API_KEY, ServingProcess, sign_version, until

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


@pytest.fixture(scope="module")
def slow_server(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """One with a real model: the tiny one has answered before a person, or a browser on a busy machine, can stop it."""
    folder = tmp_path_factory.mktemp("slow")
    sign_version(copy_model(base_model(), folder / "model"), keys)
    server = ServingProcess(folder / "model", keys, folder, LLMOPS_MODEL_NAME=BASE_ALIAS)
    try:
        yield server.wait_ready()
    finally:
        server.kill()


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


def test_escape_stops_an_answer_and_its_text_stays(page, slow_server: ServingProcess) -> None:
    page.goto(f"{slow_server.url}/#key={API_KEY}")
    page.locator("#facts span").nth(1).wait_for()
    shorten(page, 4000)
    page.keyboard.type("Count from 1 to 1000, one number in each line.")
    page.keyboard.press("Enter")
    text = page.locator(".assistant .text")
    until(lambda: len(text.inner_text()) > 20)
    assert slow_server.metric("llmops_running") == 1  # it is shown while it is written
    page.keyboard.press("Escape")
    page.locator(".under").wait_for()
    assert "stopped" in page.locator(".under").inner_text()
    shown = text.inner_text()
    assert len(shown) > 20
    until(lambda: slow_server.metric("llmops_engine_running") == 0)
    assert text.inner_text() == shown
    page.locator("#reset").press("Enter")
    assert page.locator("#welcome").is_visible()
    assert page.locator(".message").count() == 0


def test_the_order_of_focus(ready) -> None:
    ready.locator("#reset").wait_for()
    ready.keyboard.type("x")
    found = []
    for _ in range(3):
        found.append(ready.evaluate("document.activeElement.id"))
        ready.keyboard.press("Tab")
    assert found == ["prompt", "send", "change-key"]


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
    assert not page.locator("#key-form").is_visible()
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


MARKDOWN = """# Going back
Use `llmops rollback`, **then** *up*:

1. first `a`
2. second
   goes on

```bash
llmops up <b>*not bold*</b>
```
- [a link](javascript:alert(1)) <img src=x onerror=alert(1)>
- 2*3*4 and **open"""


def test_markdown_is_shown_as_elements_and_nothing_else_is(ready, faults: list[str]) -> None:
    pieces = [MARKDOWN[i : i + 7] for i in range(0, len(MARKDOWN), 7)]
    frames = [json.dumps({"choices": [{"delta": {"content": piece}}]}) for piece in pieces]
    body = "".join(f"data: {frame}\n\n" for frame in [*frames, "[DONE]"])
    ready.route("**/v1/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    ready.locator("#prompt").fill("How?")
    ready.locator("#prompt").press("Enter")
    ready.locator(".under").wait_for()
    shown = ready.locator(".assistant .text")
    assert shown.evaluate("e => [...e.children].map((c) => c.tagName)") == ["P", "P", "OL", "PRE", "UL"]
    assert shown.locator(".heading").inner_text() == "Going back"
    assert shown.locator("p code").all_inner_texts() == ["llmops rollback"]
    assert shown.locator("strong, em").all_inner_texts() == ["then", "up"]
    assert shown.locator("ol li").all_inner_texts() == ["first a", "second\ngoes on"]
    assert shown.locator("pre").inner_text() == "llmops up <b>*not bold*</b>"
    assert shown.locator("ul li").all_inner_texts() == [
        "[a link](javascript:alert(1)) <img src=x onerror=alert(1)>",
        "2*3*4 and **open",
    ]
    assert shown.locator("a, img, b").count() == 0
    assert faults == []


def test_questions_of_the_version_are_offered(page, shared_server: ServingProcess) -> None:
    def with_example(route) -> None:
        answer = route.fetch()
        models = answer.json()
        assert models["data"][0]["metadata"]["examples"] == []  # the tiny model's golden prompt expects nothing
        models["data"][0]["metadata"]["examples"] = ["Where is <i>it</i>?"]
        route.fulfill(response=answer, json=models)

    page.route("**/v1/models", with_example)
    page.goto(f"{shared_server.url}/#key={API_KEY}")
    shorten(page, 5)
    page.get_by_role("button", name="Where is <i>it</i>?").press("Enter")
    page.locator(".under").wait_for()
    assert page.locator(".user .text").inner_text() == "Where is <i>it</i>?"
    assert not page.locator("#welcome").is_visible()
