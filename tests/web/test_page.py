"""The chat page in a headless Chromium, over a real server with a scripted dialogue."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from assistant.dialogue.types import Adapter, Done, Plan, Recommendation, Text, Usage
from assistant.errors import EngineUnavailable, InvalidRequest
from retrieval.wish import Wish
from tests.api.fakes import DONE, PLAN, REPLY, SCRIPT, ScriptedAssistant, app_with, new_key, served

pytestmark = pytest.mark.browser

# How long a slow machine may take to show what is expected, in milliseconds.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on PATH; install it with `apt-get install chromium`")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path)
        yield launched
        launched.close()


@dataclass
class Open:
    """The opened page, what it complained of, and the dialogue behind it."""

    page: Page
    assistant: ScriptedAssistant
    complaints: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        box = self.page.get_by_label("Your message")
        box.fill(text)
        box.press("Enter")

    def until(self, holds: Callable[[], object]) -> None:
        """Let the page and the server work until `holds` does."""
        for _ in range(PATIENCE // 20):
            if holds():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("it did not come true in time")

    @property
    def button(self):
        return lambda name: self.page.get_by_role("button", name=name, exact=True)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, ScriptedAssistant]]:
    assistant = ScriptedAssistant()
    with served(app_with(assistant)) as url:
        yield url, assistant


@pytest.fixture
def chat(browser: Browser, server: tuple[str, ScriptedAssistant]) -> Iterator[Open]:
    url, assistant = server
    assistant.script, assistant.closed = SCRIPT, 0
    assistant.requests.clear()
    page = browser.new_page(viewport={"width": 900, "height": 700})
    page.set_default_timeout(PATIENCE)
    opened = Open(page, assistant)
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.on("console", lambda line: opened.complaints.append(line.text) if line.type == "error" else None)
    page.goto(url)
    yield opened
    page.close()


def test_a_message_brings_a_reply_and_cards_with_the_records(chat):
    chat.say("Something like Alien")
    log = chat.page.get_by_role("log")

    expect(log).to_contain_text("Something like Alien")
    expect(log).to_contain_text("".join(REPLY))
    cards = chat.page.get_by_role("list", name="Recommendations").locator("> li")
    expect(cards).to_have_count(2)
    for text in ("Alien", "1979", "dread in deep space", "distress call", "Ridley Scott", "horror", "science fiction"):
        expect(cards.first).to_contain_text(text)
    expect(log).to_have_attribute("aria-busy", "false")
    assert chat.complaints == []


def test_a_suggestion_begins_the_conversation(chat):
    chat.page.locator(".suggestions button").first.click()
    expect(chat.page.get_by_role("log")).to_contain_text("".join(REPLY))
    assert "Alien" in chat.assistant.requests[0].messages[0].content


def test_a_follow_up_sends_the_conversation_and_the_wish(chat):
    chat.say("Something like Alien")
    expect(chat.page.locator(".item")).to_have_count(2)
    chat.say("Something older")
    expect(chat.page.locator(".item")).to_have_count(4)

    turn = chat.assistant.requests[1]
    said = [(message.role, message.content) for message in turn.messages]
    assert said == [("user", "Something like Alien"), ("assistant", "".join(REPLY)), ("user", "Something older")]
    assert chat.assistant.requests[0].wish is None
    assert turn.wish == PLAN.wish


def test_a_verdict_is_given_changed_and_taken_back(chat):
    told, status = [], [200]

    def answer(route):
        told.append(route.request.post_data_json)
        body = {"error": {"message": "The server cannot reach its state database. Try again."}}
        route.fulfill(status=status[0], json={} if status[0] == 200 else body)

    chat.page.route("**/v1/feedback", answer)
    chat.say("Something like Alien")
    good, bad = chat.button("Good picks"), chat.button("Not for me")
    for button, pressed in ((good, "true"), (bad, "true"), (bad, "false")):
        button.click()
        expect(button).to_have_attribute("aria-pressed", pressed)
    assert [one["verdict"] for one in told] == ["accepted", "rejected", "withdrawn"]
    assert {one["recommendation_id"] for one in told} == {PLAN.recommendation_id}

    status[0] = 503
    good.click()
    expect(chat.page.get_by_role("group", name="Your verdict")).to_contain_text("state database")
    expect(good).to_have_attribute("aria-pressed", "false")


def test_shift_enter_writes_a_new_line_and_enter_sends(chat):
    box = chat.page.get_by_label("Your message")
    box.press_sequentially("one")
    box.press("Shift+Enter")
    box.press_sequentially("two")
    assert chat.assistant.requests == []
    box.press("Enter")
    expect(chat.page.locator(".item")).to_have_count(2)
    assert chat.assistant.requests[0].messages[0].content == "one\ntwo"


@pytest.mark.parametrize("script", [[60.0], [PLAN, Text("Two that"), 60.0]], ids=["waiting", "streaming"])
def test_stop_ends_the_generation_and_keeps_what_came(chat, script):
    chat.assistant.script = script
    chat.say("Something like Alien")
    log = chat.page.get_by_role("log")
    expect(log).to_have_attribute("aria-busy", "true")
    chat.until(lambda: chat.assistant.requests)
    if len(script) > 1:
        expect(log).to_contain_text("Two that")
    chat.button("Stop").click()

    expect(log).to_contain_text("You stopped this reply.")
    expect(log).to_have_attribute("aria-busy", "false")
    chat.until(lambda: chat.assistant.closed == 1)


def test_an_error_says_its_cause_and_retry_asks_again(chat):
    chat.assistant.script = [EngineUnavailable("The engine is starting; it takes about a minute.")]
    chat.say("Something like Alien")
    expect(chat.page.get_by_role("alert")).to_contain_text("The engine is starting")

    chat.assistant.script = SCRIPT
    chat.button("Retry").click()
    expect(chat.page.locator(".item")).to_have_count(2)
    expect(chat.page.get_by_role("alert")).to_have_count(0)
    assert [len(turn.messages) for turn in chat.assistant.requests] == [1, 1]


def test_an_error_in_the_middle_of_a_reply_can_be_retried(chat):
    chat.assistant.script = [PLAN, Text("Two that"), EngineUnavailable("The engine stopped.")]
    chat.say("Something like Alien")
    expect(chat.page.get_by_role("alert")).to_contain_text("The engine stopped.")
    expect(chat.button("Retry")).to_be_visible()


def test_a_refusal_that_retrying_cannot_mend_offers_a_new_conversation(chat):
    chat.assistant.script = [InvalidRequest("The conversation is too long.", "messages")]
    chat.say("Something like Alien")
    alert = chat.page.get_by_role("alert")
    expect(alert).to_contain_text("too long")
    expect(chat.button("Retry")).to_have_count(0)
    alert.get_by_role("button", name="New conversation").click()
    expect(chat.page.locator(".welcome")).to_be_visible()


def test_a_server_that_is_gone_is_told_with_what_to_do(chat):
    chat.page.route("**/v1/chat/completions", lambda route: route.abort())
    chat.say("Something like Alien")
    expect(chat.page.get_by_role("alert")).to_contain_text("make run")
    expect(chat.button("Retry")).to_be_visible()


def test_a_new_conversation_forgets_the_old_one_and_stops_its_reply(chat):
    chat.assistant.script = [PLAN, Text("Two that"), 60.0]
    chat.say("Something like Alien")
    expect(chat.page.get_by_role("log")).to_contain_text("Two that")
    chat.button("New conversation").click()
    expect(chat.page.get_by_role("log")).to_be_empty()
    chat.assistant.script = SCRIPT
    chat.say("A comedy")
    expect(chat.page.locator(".item")).to_have_count(2)

    turn = chat.assistant.requests[-1]
    assert [message.content for message in turn.messages] == ["A comedy"]
    assert turn.wish is None
    stored = "[localStorage.length, sessionStorage.length, document.cookie]"
    assert chat.page.evaluate(stored) == [0, 0, ""]


def test_a_key_is_asked_for_once_and_forgotten_with_the_tab(browser):
    app = app_with(ScriptedAssistant())
    key = new_key(app)
    with served(app) as url:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(url)
        opened = Open(page, ScriptedAssistant())
        opened.say("Something like Alien")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("asks for an API key")
        expect(page.get_by_label("API key")).to_be_focused()
        page.get_by_label("API key").fill("sk-sotto-wrong")
        opened.button("Use this key").click()
        expect(alert).to_contain_text("does not take this API key")
        page.get_by_label("API key").fill(key)
        opened.button("Use this key").click()
        expect(page.locator(".item")).to_have_count(2)
        expect(page.locator(".description")).to_have_count(2)
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 1, ""]
        page.close()


def test_text_of_the_model_and_the_catalogue_stays_text(chat):
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    pick = Recommendation(id="x", title=attack, year=None, rank=1, score=1.0, reason=attack)
    plan = Plan("recommend", Wish(), (pick,), (), "rec-2", Adapter())
    chat.assistant.script = [plan, Text(attack), DONE]
    chat.say(attack)
    expect(chat.page.locator(".item")).to_contain_text(attack)
    assert chat.page.locator(".answer img, .answer script, .question img").count() == 0
    assert [line for line in chat.complaints if "404" not in line] == []


def test_the_view_follows_the_reply_only_while_it_is_at_the_end(chat):
    lines = [Text("A line of a long reply.\n")] * 80
    chat.assistant.script = [PLAN, *lines, 60.0]
    view, latest = chat.page.locator(".view"), chat.button("Latest ↓")
    at_end = "view => view.scrollHeight - view.scrollTop - view.clientHeight < 2"
    chat.say("Tell me much")
    expect(chat.page.locator(".reply")).to_have_text("A line of a long reply.\n" * 80, use_inner_text=False)
    assert view.evaluate(at_end)
    chat.button("Stop").click()

    chat.assistant.script = [PLAN, *lines, 0.6, *lines, Done("stop", Usage())]
    chat.say("And again")
    expect(chat.page.locator(".writing")).to_be_visible()
    view.evaluate("view => view.scrollTo(0, 40)")
    expect(latest).to_be_visible()
    expect(chat.page.locator(".item")).to_have_count(4)
    assert view.evaluate("view => view.scrollTop") == 40
    latest.click()
    assert view.evaluate(at_end)
    expect(latest).to_have_count(0)


def test_the_cards_do_not_push_the_question_out_of_a_small_view(chat):
    chat.page.set_viewport_size({"width": 375, "height": 500})
    chat.say("Something like Alien")
    expect(chat.page.locator(".genres")).to_have_count(2)
    expect(chat.page.locator(".question")).to_be_in_viewport(ratio=1)
    expect(chat.page.locator(".reply")).to_be_in_viewport(ratio=1)
    expect(chat.button("Latest ↓")).to_be_visible()


def test_it_fits_a_phone(chat):
    chat.page.set_viewport_size({"width": 320, "height": 560})
    chat.say("Something like Alien")
    expect(chat.page.locator(".item")).to_have_count(2)
    assert chat.page.evaluate("document.documentElement.scrollWidth") == 320
    expect(chat.button("Send")).to_be_in_viewport()


def test_the_docs_show_every_route_without_another_host(chat):
    asked: list[str] = []
    chat.page.on("request", lambda request: asked.append(request.url))
    base = chat.page.url
    chat.page.goto(f"{base}docs")
    # Swagger UI is large, and takes a busy machine a while to read.
    expect(chat.page.locator("#swagger-ui")).to_contain_text("/v1/chat/completions", timeout=60_000)
    assert [url for url in asked if not url.startswith((base, "data:"))] == []
    assert chat.complaints == []
