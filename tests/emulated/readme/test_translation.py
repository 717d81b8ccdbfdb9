"""`make demo RECIPE=translation`, trained whole: its gate passes, and OpenAI's client gets translations."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.support.demo import Demo, deployed_demo

pytestmark = pytest.mark.long  # it trains for ten minutes on two idle cores


@pytest.fixture(scope="module")
def translation(demo: Demo) -> Iterator[Demo]:
    with deployed_demo(demo.folder, "translation") as made:
        yield made


def test_the_demo_trains_a_translator_that_translates(translation: Demo) -> None:
    for step in ("gate     passed", "translation@1 is live at"):
        assert step in translation.output
    (found,) = json.loads(translation.run(".venv/bin/llmops --stack demo-translation status --json"))["endpoints"]
    key = Path(found["key"]).read_text().strip()
    client = OpenAI(base_url=f"{found['url']}/v1", api_key=key, max_retries=0)
    answers = []
    for question in ("Translate to German: Delete the file", "Translate to French: Delete the file"):
        asked = client.chat.completions.create(model="translation", messages=[{"role": "user", "content": question}])
        answers.append(asked.choices[0].message.content or "")
    german, french = answers
    assert "Datei" in german
    assert "fichier" in french
