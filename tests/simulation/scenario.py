"""From a seed to a scenario: what is asked, how the service behaves, and everything that goes wrong."""

from __future__ import annotations

from random import Random

import msgspec
from scheduler import SECOND
from service import Storm, Weather
from world import DAY, HOUR, MINUTE, START, Life, Plan, Retry, Scenario

from ledger.core.events import OUTCOMES, BudgetSet, Policy
from ledger.service.simulator.settings import Mix, Settings

INPUT_USD, TOKEN_USD = 0.00005, 0.0000025
"""About what the prompt of a request of these worlds can cost at most, and what a token of its answer costs."""
LONGEST_ANSWER = 8
PAUSED_TURN = "[[simulate:pause_turn]]"
MARKERS = (
    "[[simulate:errored:overloaded_error:1]]",
    "[[simulate:errored:api_error]]",
    "[[simulate:errored:invalid_request_error]]",
    "[[simulate:errored:billing_error:1]]",
    "[[simulate:expired:1]]",
    "[[simulate:refusal]]",
    "[[simulate:refusal_midway]]",
    "[[simulate:max_tokens]]",
    "[[simulate:pause_turn]]",
    "[[simulate:reject]]",
    "[[simulate:poison]]",
)


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    random = Random(seed)
    calm_after = random.choice((0, MINUTE, HOUR, HOUR, 5 * HOUR, DAY))
    settle = random.choice((60, 120, 900)) * SECOND
    on_uncertain = random.choice(("repeat", "repeat", "repeat", "hold"))
    beyond = random.random() < 0.15  # batches that become visible only after the settle time
    visible = random.choice((0, settle // 2, settle - 8 * SECOND)) if not beyond else random.randrange(1, 8) * settle
    lives = _lives(random)
    endless = random.random() < 0.02
    slow = endless or random.random() < 0.1
    poll = 30 * MINUTE if slow else random.choice((60, 300, 900)) * SECOND
    weather = _weather(random, START + calm_after, visible, slow=slow, endless=endless)
    if lives and random.random() < 0.06:
        # A copy put back forgets batches; what of them somebody deleted or nobody can read is forgotten for good.
        for life in lives:
            life.restores, life.stalls_after = random.random() < 0.7, 0
        weather.deleted_rate = weather.archived_rate = weather.lasting_row_fault_rate = weather.never_ends_rate = 0.0
    plans = [_plan(random, settle, poll, on_uncertain, lives)]
    if random.random() < 0.1:
        plans.append(_plan(random, settle, poll, on_uncertain, _lives(random)))
    _prime(Random(seed ^ 0xCAC4E), plans)
    _brake(Random(seed ^ 0xB4A4E), plans)
    _retry(Random(seed ^ 0x2E72A), plans)
    longest = random.choice((20, 300, 3000))
    settings = Settings(
        cache_across_batches=bool(seed % 5),
        seed=seed % 4,  # of the texts, which are slow to make up and say nothing
        turnaround_minimum_seconds=5,
        turnaround_maximum_seconds=longest,
        cancel_seconds=random.choice((1, 60)),
        output_tokens_minimum=1,
        output_tokens_maximum=LONGEST_ANSWER,
        # A batch that never ends fills a small queue for ever, and then nothing but patience is left.
        queue_maximum=100_000 if weather.never_ends_rate else random.choice((100_000, 100_000, 12)),
        mix=random.choice((Mix(), Mix(errored={}), Mix(errored={"overloaded_error": 0.1}, expired=0.05))),
    )
    return Scenario(
        seed=seed,
        settings=settings,
        weather=weather,
        offset_us=random.choice((0, 0, 7 * SECOND, -HOUR, 2 * HOUR)),
        plans=plans,
        # A recovery waits for the settle time once, and holds nothing: batches that show up later were forgotten.
        guarantee_one=not beyond or (on_uncertain == "hold" and not any(life.restores for life in lives)),
    )


def _brake(random: Random, plans: list[Plan]) -> None:
    """Give some plans a budget, a canary, a low threshold for errors; drawn apart, so that the rest stays as it was."""
    for plan in plans:
        if random.random() < 0.4:
            plan.max_tokens = random.choice((LONGEST_ANSWER, 100))
            usd = (INPUT_USD + TOKEN_USD * plan.max_tokens) * len(plan.texts) * random.choice((0.1, 0.4, 0.7, 1.0, 1.5))
            mode = "expected" if random.random() < 0.1 else "worst"
            plan.budget = BudgetSet(max_usd=f"{usd:.6f}", mode=mode)  # type: ignore[arg-type]
            plan.frugal = random.random() < 0.7
            # A search costs money without a byte of the request: what the bound says it does not hold for.
            plan.texts = [text.replace(PAUSED_TURN, "") for text in plan.texts]
        if random.random() < 0.3:
            plan.policy = msgspec.structs.replace(
                plan.policy,
                canary="always",
                canary_requests=random.choice((1, 2, 3)),
                canary_wait_us=random.choice((MINUTE, HOUR, DAY)),
            )
        if random.random() < 0.5:
            plan.policy = msgspec.structs.replace(plan.policy, max_error_rate=random.choice(("0", "0.1", "0.5")))


def _prime(random: Random, plans: list[Plan]) -> None:
    """Give some plans prompts that share a prefix or two, and let most of those be primed; drawn apart, likewise."""
    for plan in plans:
        if random.random() < 0.25 and len(plan.texts) > 1:
            plan.shared = random.choice((("Be brief. ",), ("Be brief. ",), ("Be quick. ", "Be gentle. ")))
            plan.policy = msgspec.structs.replace(
                plan.policy,
                prime_cache=random.random() < 0.9,
                canary_wait_us=random.choice((MINUTE, HOUR, 2 * HOUR, DAY)),
            )


def _retry(random: Random, plans: list[Plan]) -> None:
    """Have some plans' people ask again, once or twice, what went wrong or even what went well; drawn apart, too."""
    for plan in plans:
        if random.random() < 0.15:
            outcomes = (None, ("errored", "truncated", "refused", "invalid"), OUTCOMES)
            plan.retries = tuple(
                Retry(random.choice(outcomes), random.random() < 0.5) for _ in range(random.choice((1, 1, 2)))
            )


def _weather(random: Random, calm_from: int, visible: int, *, slow: bool, endless: bool) -> Weather:
    def rate(highest: float) -> float:
        return random.random() * highest if random.random() < 0.5 else 0.0

    storms = []
    for _ in range(random.choice((0, 0, 1, 2))):
        begins = START + random.randrange(2 * HOUR)
        storms.append(Storm(begins, min(begins + random.randrange(HOUR), max(calm_from, begins)), random.choice(
            (429, 500, 503, 529))))  # fmt: skip
    return Weather(
        calm_from=calm_from,
        call_failure_rate=rate(0.4),
        refusal_rate=rate(0.3),
        ambiguous_rate=rate(0.6),
        wrong_counts_rate=rate(0.2),
        early_refusal_rate=rate(0.05),
        row_fault_rate=rate(0.5),
        lasting_row_fault_rate=rate(0.2),
        visible_within=visible,
        expire_rate=rate(0.2),
        slow_batch_rate=0.3 if slow else 0.0,
        never_ends_rate=0.2 if endless else 0.0,
        deleted_rate=rate(0.1) if random.random() < 0.3 else 0.0,
        archived_rate=rate(0.1) if random.random() < 0.3 else 0.0,
        stranger_rate=rate(0.4),
        storms=storms,
        hides_workspace=random.random() < 0.1,
        hides_date=random.choice((0.5, 1.0)) if random.random() < 0.06 else 0.0,
        latency_us=random.choice((0, 50_000, 2 * SECOND)),
    )


def _lives(random: Random) -> list[Life]:
    return [_life(random) for _ in range(random.choice((0, 0, 1, 2, 4)))]


def _life(random: Random) -> Life:
    life = Life(
        absent_for=random.choice((1, SECOND, MINUTE, HOUR, DAY)),
        append_stall_rate=random.choice((0.0, 0.0, 0.1)),
        wrong_workspace=random.random() < 0.03,
    )
    way = random.random()
    if way < 0.45:
        life.dies_at_append, life.durable = random.randrange(1, 40), random.random() < 0.5
    elif way < 0.7:
        life.dies_after = random.randrange(1, random.choice((SECOND, MINUTE, HOUR)))
    elif way < 0.85:
        life.stalls_after = random.randrange(1, random.choice((SECOND, MINUTE, HOUR)))
        life.stalls_for = random.choice((SECOND, 4 * SECOND, 20 * SECOND, HOUR))
    if random.random() < 0.15:
        life.jumps = ((random.randrange(HOUR), random.choice((-2 * HOUR, -MINUTE, MINUTE, 30 * HOUR))),)
    if random.random() < 0.08:
        life.cancels_after = random.randrange(1, HOUR)
    return life


def _plan(random: Random, settle: int, poll: int, on_uncertain: str, lives: list[Life]) -> Plan:
    count = random.choice((1, 2, 3, 5, 8, 12))
    marked = random.choice((0.0, 0.0, 0.1, 0.3))
    texts = [f"Say {number}." + (random.choice(MARKERS) if random.random() < marked else "") for number in range(count)]
    priorities = [random.randrange(2) for _ in texts] if random.random() < 0.2 else [0] * count
    policy = Policy(
        chunk_requests=random.choice((1, 2, 3, 5)) if count < 8 else random.choice((2, 4, 6)),
        queue_requests=random.choice((10, 200_000)),
        max_attempts=random.choice((1, 2, 3)),
        poll_us=poll,
        settle_us=settle,
        on_uncertain=on_uncertain,  # type: ignore[arg-type]
    )
    return Plan(texts, priorities, policy, lives)
