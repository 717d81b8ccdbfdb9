"""The commands of the how-to pages, one page after the other, as a reader types them."""

import re

import pytest

from tests.emulated.howto.conftest import FOLDER, PAGES, Site


@pytest.mark.parametrize("page", PAGES)
def test_each_page_says_what_the_twin_can_not_show(page: str) -> None:
    assert "## What only a real cloud can show" in (FOLDER / f"{page}.md").read_text()


def test_a_base_model_comes_in(site: Site) -> None:
    (imported,) = site.page("own-base-model")
    assert imported.count("small-base@1\n") >= 2
    assert "licence  Apache-2.0" in imported


def test_own_data_are_trained(site: Site) -> None:
    *_, trained, refused = site.page("own-data")
    assert "gate     passed" in trained
    assert "model    prices@1" in trained
    assert "where: recipes/prices.jsonl:11: messages" in refused


def test_two_spot_instances_are_taken_back_once(site: Site) -> None:
    (trained,) = site.page("spot-and-multi-node")
    assert "its spot instances were taken back" in trained
    assert "rank=1 of=2" in trained
    assert "model    prices@2" in trained
    assert "machines     2 x ml.m5.xlarge, spot" in trained


def test_versions_come_and_go(site: Site) -> None:
    first, second, turned, cleared = site.page("rollouts")
    assert re.search(r"^(two|nine)", first.splitlines()[-1]), "the model answers what it was taught"
    assert "prices@2 is live at" in second
    assert re.search(r"prices +prices@2 +prices@2 +ready", second)
    assert "prices@1 is marked rejected" in turned
    assert re.search(r"prices +prices@1 +prices@2 ", turned)
    assert "prices@1 is cleared" in cleared
    assert "+      model: prices@2@sha256:" in cleared


def test_foreign_clients_get_the_same_answers(site: Site) -> None:
    openai, sdk, trained = site.page("sagemaker-sdk")
    assert re.match(r"two|nine", openai)
    assert sdk == openai
    assert "Completed" in trained
