"""The page: what it says, and what it never contains."""

from __future__ import annotations

import re
from base64 import b64encode
from decimal import Decimal
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from histories import DAY, HOUR, MADE_AT, NOON, SECOND, Script

from ledger.core.events import OUTCOMES
from ledger.core.waterfall import STEPS
from ledger.report.charts import STEP_WORDS
from ledger.report.incidents import INCIDENTS_AT_MOST
from ledger.report.making import AUDITED_EVENTS_AT_MOST, RESULTS_AT_MOST, gather, make_report
from ledger.report.outcomes import MEANINGS
from ledger.report.page import percent, usd
from ledger.report.timeline import ROWS_AT_MOST, ROWS_CHOSEN

FORBIDDEN = {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "foreignobject", "audio"}


class Parsed(HTMLParser):
    """Every element and its attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def parsed(path: Path) -> Parsed:
    return Parsed(path.read_text(encoding="utf-8"))


def test_no_page_can_load_or_run_anything(pages: dict[str, Path]) -> None:
    for name, path in pages.items():
        for tag, attributes in parsed(path).elements:
            assert tag not in FORBIDDEN, (name, tag)
            assert "style" not in attributes, name
            assert not [each for each in attributes if each.startswith("on")], name
            for key in ("href", "src", "xlink:href"):
                assert attributes.get(key, "#").startswith("#"), (name, attributes)  # type: ignore[union-attr]


def test_the_policy_allows_the_one_style_by_its_hash_and_nothing_else(pages: dict[str, Path]) -> None:
    for path in pages.values():
        page = path.read_text(encoding="utf-8")
        (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
        expected = b64encode(sha256(style.encode()).digest()).decode()
        policies = [
            attributes["content"]
            for tag, attributes in Parsed(page).elements
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policies == [f"default-src 'none'; style-src 'sha256-{expected}'; base-uri 'none'; form-action 'none'"]
        assert page.index("Content-Security-Policy") < page.index("<style>")


def test_hostile_ids_answers_and_kinds_are_text(pages: dict[str, Path]) -> None:
    page = parsed(pages["hostile"])
    for words in (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(2)>',
        "</style><script>alert(3)</script>",
        r"\u202egnp.exe \u0000\u001b[31m {{ 7 * 7 }}",
        "</bdi></dd><iframe src='https://evil.example/'></iframe>",
        '<link rel=stylesheet href="https://evil.example/x.css">',
        "<svg onload=alert(4)><use href='https://evil.example/#x'/></svg>",
        r"{% raw %}]]><!-- {{ f.ledger_id }} \u2066",
        "<b>kind</b>",
        "<script>alert(5)</script> x.ledger",
    ):
        assert words in page.text


def test_examples_can_be_left_out(ledgers: dict[str, Path]) -> None:
    page = make_report(ledgers["hostile"], with_examples=False, made_at=MADE_AT).html.decode()
    assert "alert(1)" not in page
    assert "evil.example" not in page
    assert "Examples were left out of this page." in page


def test_what_was_redacted_is_not_shown(tmp_path: Path) -> None:
    script = Script(tmp_path / "x.ledger")
    script.take_in(0, ["kept", "forgotten"])
    chunk = script.seal(0, 0, 2)
    odd, texts = dict.fromkeys((0, 1), "truncated"), {0: "This may stay.", 1: "This must go."}
    script.whole(SECOND, chunk, served=SECOND, odd=odd, texts=texts)
    script.redact(9 * SECOND, 1)
    script.close()
    text = Parsed(make_report(tmp_path / "x.ledger", made_at=MADE_AT).html.decode()).text
    assert "kept This may stay." in text
    assert "forgotten (what came back was deleted: ledger redact)" in text
    assert "This must go." not in text


def test_no_directory_of_the_machine_is_named(pages: dict[str, Path]) -> None:
    for name, path in pages.items():
        page = path.read_text(encoding="utf-8")
        assert str(path.parent.parent) not in page, name
        assert "/home/ada" not in page, name


def test_every_page_has_every_section_and_every_link_leads_to_one(pages: dict[str, Path]) -> None:
    sections = ["summary", "timeline", "outcomes", "money", "sizes", "pace", "retention", "proof", "incidents"]
    for path in pages.values():
        elements = parsed(path).elements
        assert [attributes["id"] for tag, attributes in elements if tag == "section"] == sections
        ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in elements:
            if "href" in attributes:
                assert str(attributes["href"])[1:] in ids


def test_a_run_that_was_simulated_says_so_first(pages: dict[str, Path]) -> None:
    assert "Simulated. No service was asked" in parsed(pages["slow"]).text.replace(" .", ".")


def test_a_slow_batch_is_drawn_beside_fast_ones_and_single_errors_are_seen(ledgers: dict[str, Path]) -> None:
    found = gather(ledgers["slow"], with_audit=False, with_examples=True, made_at=MADE_AT)
    (fold,) = found.timeline.folds
    assert fold.label == "22 h 16 min"
    rows = found.timeline.rows
    assert len(rows) == 41
    widths = [next(bar.width_percent for bar in row.bars if bar.kind == "run") for row in rows]
    assert min(widths) > 4
    assert [share.kind for share in rows[0].shares] == ["succeeded", "errored"]
    (kind,) = found.kinds
    assert (kind.outcome, kind.error, kind.results) == ("errored", "overloaded_error", 20)
    assert kind.examples[0].custom_id.startswith("item-")
    assert kind.examples[0].text == "An answer."


def test_many_batches_are_counted_in_areas_and_some_of_them_drawn(ledgers: dict[str, Path]) -> None:
    found = gather(ledgers["many"], with_audit=False, with_examples=True, made_at=MADE_AT).timeline
    assert 40 <= len(found.rows) <= 72
    assert [area.kind for area in found.areas] == ["fetch", "wait", "run", "send"]
    assert "of 80 batches" in found.clipped
    numbers = [int(row.label) for row in found.rows]
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (1, 80)


def test_money_adds_up_to_the_costs_of_the_ledger(ledgers: dict[str, Path]) -> None:
    from ledger import Ledger

    found = gather(ledgers["slow"], with_audit=False, with_examples=True, made_at=MADE_AT)
    total = Ledger(ledgers["slow"]).costs().total
    assert found.proof is not None
    assert found.proof.total == total
    assert found.falls[0].label == "estimate"
    assert found.falls[-1].amount == total.cost_usd
    assert sum(fall.amount for fall in found.falls[:-1]) == found.falls[-1].amount
    level, top = found.falls[0].amount, max(fall.percent + fall.width_percent for fall in found.falls)
    assert top == 100
    highest = found.falls[0].amount * 100 / Decimal(str(found.falls[0].width_percent))
    for fall in found.falls[1:-1]:
        low, high = sorted((level, level + fall.amount))
        assert fall.percent == pytest.approx(float(100 * low / highest), abs=0.01)
        assert fall.width_percent == pytest.approx(float(100 * (high - low) / highest), abs=0.01)
        level += fall.amount
    assert found.by_attempt is not None
    assert [row.key for row in found.by_attempt.rows] == ["1", "2"]


def test_every_step_and_every_outcome_has_its_words() -> None:
    assert set(STEP_WORDS) == set(STEPS)
    assert set(MEANINGS) == {*OUTCOMES, "pending"}


def test_lengths_are_those_of_all_results(ledgers: dict[str, Path]) -> None:
    found = gather(ledgers["slow"], with_audit=False, with_examples=True, made_at=MADE_AT)
    assert found.proof is not None
    assert found.sampled == 1
    assert found.answers is not None
    assert found.answers.largest == "1,024"
    assert [quantile.label for quantile in found.answers.quantiles] == ["half", "90%", "99%"]


def test_deadlines_are_counted_down(tmp_path: Path) -> None:
    script = Script(tmp_path / "x.ledger")
    script.take_in(0, ["a", "b", "c"])
    chunk = script.seal(0, 0, 3)
    script.submit(0, chunk, took=0)

    def countdown(after: int) -> tuple[str, float, float, bool]:
        found = gather(tmp_path / "x.ledger", with_audit=False, with_examples=True, made_at=NOON + after)
        (one,) = found.retention.countdowns
        assert (one.chunk, one.requests) == (1, 3)
        return one.what, one.days_left, one.percent, one.is_near

    assert countdown(6 * HOUR) == ("the batch expires", 0.75, 25, False)
    assert countdown(21 * HOUR) == ("the batch expires", 0.125, 87.5, True)
    assert countdown(30 * HOUR) == ("the batch expires", 0, 100, True)
    script.end(22 * HOUR, chunk)
    assert countdown(14 * DAY + 12 * HOUR) == ("results are gone", 14.5, 50, False)
    assert countdown(28 * DAY)[3]
    script.collect(23 * HOUR, chunk)
    script.close()
    found = gather(tmp_path / "x.ledger", with_audit=False, with_examples=True, made_at=NOON).retention
    assert (found.countdowns, found.stored, found.copies_from) == ([], 1, NOON + 29 * DAY)


def test_a_small_ledger_is_audited_and_a_large_one_when_asked(ledgers: dict[str, Path]) -> None:
    assert AUDITED_EVENTS_AT_MOST == 50_000
    audited = make_report(ledgers["days"], made_at=MADE_AT)
    assert audited.audit is not None
    assert audited.audit.ok
    assert "The audit found nothing wrong." in audited.html.decode()
    left = make_report(ledgers["days"], with_audit=False, made_at=MADE_AT)
    assert left.audit is None
    assert "Not audited for this page." in left.html.decode()


def test_a_changed_event_is_named_on_the_page(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "x.ledger"
    script = Script(path)
    script.take_in(SECOND, ["a", "b"])
    chunk = script.seal(2 * SECOND, 0, 2)
    script.whole(3 * SECOND, chunk, served=SECOND)
    script.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE event SET at = at + 1 WHERE type = 'batch_created'")
    connection.close()
    report = make_report(path, made_at=MADE_AT)
    assert report.audit is not None
    assert not report.audit.ok
    assert "The audit found" in report.html.decode()


def test_the_same_ledger_gives_the_same_page(ledgers: dict[str, Path], pages: dict[str, Path]) -> None:
    for name in ("days", "hostile"):
        assert make_report(ledgers[name], made_at=MADE_AT).html == pages[name].read_bytes()


def test_pages_stay_small(pages: dict[str, Path]) -> None:
    for name, path in pages.items():
        assert path.stat().st_size < 200_000, name


def test_a_report_can_be_made_while_a_process_writes(tmp_path: Path) -> None:
    script = Script(tmp_path / "x.ledger")
    script.take_in(SECOND, ["a", "b"])
    chunk = script.seal(2 * SECOND, 0, 2)
    script.submit(3 * SECOND, chunk)
    report = make_report(tmp_path / "x.ledger", made_at=MADE_AT)
    assert report.position == script.state.position
    script.end(9 * SECOND, chunk)  # the writer goes on undisturbed
    script.collect(12 * SECOND, chunk)
    script.close()
    assert make_report(tmp_path / "x.ledger", made_at=MADE_AT).position > report.position


def test_the_documentation_names_the_limits_as_they_are() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "report.md").read_text(encoding="utf-8")
    assert f"Up to {ROWS_AT_MOST} batches have a row each" in text
    assert f"for up to {ROWS_CHOSEN}:" in text
    assert f"The first {INCIDENTS_AT_MOST} incidents" in text
    assert f"up to {AUDITED_EVENTS_AT_MOST:,} events" in text
    assert f"Of more than {RESULTS_AT_MOST / 1e6} million results" in text
    (block,) = re.findall(r"^```console\n.*?^```", text, re.MULTILINE | re.DOTALL)
    assert block in (root / "README.md").read_text(encoding="utf-8")  # where it is run


def test_a_sample_is_said_to_be_one(ledgers: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.report.making.RESULTS_AT_MOST", 1_000)
    page = make_report(ledgers["slow"], with_audit=False, made_at=MADE_AT).html.decode()
    assert "one stretch of the log out of 3" in page


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0%"), (0.0004, "<0.01%"), (0.33, "0.33%"), (12.345, "12.3%"), (50, "50%"), (99.97, ">99.9%"), (100, "100%")],
)
def test_a_share_of_some_is_never_said_to_be_none(share: float, said: str) -> None:
    assert percent(share) == said


def test_an_unknown_price_is_no_zero() -> None:
    assert usd(None) == "unknown"
