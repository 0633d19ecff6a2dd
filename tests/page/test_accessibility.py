"""axe-core finds no violation in any view."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect
from tests.support.fakes import FakeEngine
from tests.support.pages import OpenPage, choose, say_who_clones, talk

pytest_plugins = ("tests.support.page_fixtures",)

VIEWS = ("#transcribe", "#live", "#speak", "#status")
PHONE = {"width": 390, "height": 844}


def problems(page: Page, axe: Path) -> list[str]:
    """The violations that axe-core finds. Playwright evaluates it through DevTools, to which the
    page's policy does not apply."""
    page.evaluate(axe.read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    scheme: Literal["light", "dark"],
    open_page: OpenPage,
    page_engine: FakeEngine,
    node_modules: Path,
) -> None:
    """Views with content and with all sections open, at desktop and phone width."""
    axe = node_modules / "axe-core" / "axe.min.js"
    page = open_page(light="off", tts_model_type="espeak")
    say_who_clones(page, espeak=True)
    page.emulate_media(color_scheme=scheme)
    found = {}
    for view in VIEWS:
        page.get_by_role("navigation").locator(f"a[href='{view}']").click()
        if view == "#transcribe":
            choose(page, talk(), {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no"})
            expect(page.locator(".job .state")).to_have_text(["Done", "Failed"])
            page.locator(".segment .time").first.click()
        if view == "#speak":
            expect(page.get_by_text("Clone a voice")).to_be_visible()
            page.get_by_label("Text or script").fill("Speaker 1: One.\nSpeaker 2: Two.")
        if view == "#status":
            expect(page.locator(".plots figure")).to_have_count(5)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        for size in ({"width": 1200, "height": 900}, PHONE):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            if list_ := problems(page, axe):
                found[view, size["width"]] = list_
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], view
    assert found == {}


def test_the_dialog_for_the_key(open_page: OpenPage, node_modules: Path) -> None:
    """The dialog has an accessible name and the focus, and Escape closes it."""
    page = open_page("#status", light="off", api_keys=("sk-page",), open_listings=False)
    expect(page.get_by_role("dialog", name="This server needs a key")).to_be_visible()
    expect(page.get_by_label("API key")).to_be_focused()
    assert problems(page, node_modules / "axe-core" / "axe.min.js") == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert").filter(has_text="No API key provided")).to_be_visible()
