"""The protocol registry, by example and against a model."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gleitzeitd.errors import MethodNotSupported, ProtocolNotFound, ProviderNotAvailable
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events.base import delivered_names, receivers
from gleitzeitd.events.hub import ComponentDisconnected
from gleitzeitd.machines.base import Reply, SetTimer, Tell
from gleitzeitd.machines.protocol_registry import SILENT_CHECKS, ProtocolRegistry, Settings
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.model.protocol import Method, Protocol
from tests.drive import Dialogue, notes, replies, tells

ME = ComponentId("registry-1")
P1, P2, P3 = ComponentId("provider-1"), ComponentId("provider-2"), ComponentId("provider-3")
PYTHON = Protocol(name="python/v1", methods={"python/execute": Method()})
SHELL = Protocol(name="shell/v1", methods={"shell/run": Method(), "shell/check": Method()})
INITIALIZE, CHECK = Tell(r.Initialize()), Tell(r.HealthCheck())
TIMER = "health check"


def registry(**options):
    d = Dialogue(ProtocolRegistry(ME, Settings(**options))).start()
    d << SetTimer(TIMER, options.get("health_check_seconds", 10.0))
    return d.silent()


def serve(d, provider=P1, protocol=PYTHON, capacity=2, epoch=0):
    """A provider registers; what comes out is not looked at."""
    d.receive(r.RegisterProtocol(protocol=protocol), source=provider).take()
    hello = r.RegisterProvider(protocol=protocol.name, capacity=capacity, epoch=epoch)
    d.receive(hello, source=provider).take()
    return d


def info(provider=P1, protocol="python/v1", capacity=2, health="unknown", epoch=0):
    return r.ProviderInfo(
        component_id=provider, protocol=protocol, capacity=capacity, health=health, epoch=epoch
    )


def gone(provider, epoch=0, role=Role.PROVIDER):
    return ComponentDisconnected(component_id=provider, component_type=role, epoch=epoch)


def found(d, protocol="python/v1", method=None):
    d >> r.FindProvider(protocol=protocol, method=method)
    (effect,) = d.take()
    assert isinstance(effect, Reply) and isinstance(effect.event, r.ProviderFound)
    return effect.event


def health(d, provider, said="ok"):
    return d.receive(r.HealthStatus(health=said), source=provider)


# --- registering


def test_a_registry_that_comes_to_a_hub_has_all_providers_register_again():
    d = registry()
    d.hub_connected() << INITIALIZE
    d.hub_connected() << INITIALIZE
    d.silent()


def test_one_reply_answers_a_provider_and_tells_everybody_else():
    d = registry()
    d.receive(r.RegisterProtocol(protocol=PYTHON), source=P1)
    d << Reply(r.ProtocolRegistered(protocol=PYTHON), d.envelope)
    d.receive(r.RegisterProvider(protocol="python/v1", capacity=2), source=P1)
    d << Reply(r.ProviderRegistered(provider=info()), d.envelope)
    d.silent()


def test_a_provider_may_define_its_own_protocol_anew_without_a_note():
    d = serve(registry())
    other = Protocol(name="python/v1", methods={"python/run": Method()})
    d.receive(r.RegisterProtocol(protocol=other), source=P1) << replies(r.ProtocolRegistered)
    assert found(d, method="python/run").protocols == [other]


def test_a_different_definition_replaces_the_one_before_and_is_noted_once():
    d = serve(registry())
    other = Protocol(name="python/v1", methods={"python/eval": Method()})
    d.receive(r.RegisterProtocol(protocol=PYTHON)) << replies(r.ProtocolRegistered)
    d.receive(r.RegisterProtocol(protocol=other)) << notes("warning") << replies(r.ProtocolRegistered)
    assert found(d).protocols == [other]
    d.receive(r.RegisterProtocol(protocol=PYTHON)) << replies(r.ProtocolRegistered)
    d.silent()


def test_the_oldest_definition_that_nobody_serves_is_forgotten_when_there_are_too_many():
    d = serve(registry(max_protocols=2))
    for name in ("a/v1", "b/v1"):
        d.receive(r.RegisterProtocol(protocol=Protocol(name=name))) << replies(r.ProtocolRegistered)
    d >> r.ListProtocols()
    (effect,) = d.take()
    assert [protocol.name for protocol in effect.event.protocols] == ["b/v1", "python/v1"]


def test_a_provider_of_an_unknown_protocol_is_soon_told_to_register_again():
    d = registry()
    d.receive(r.RegisterProvider(protocol="python/v1", capacity=2), source=P1)
    d << replies(r.ProviderRegistered) << SetTimer(TIMER, 1.0)
    assert found(d).error.code == ProviderNotAvailable.code
    d.expire(TIMER) << INITIALIZE << CHECK << SetTimer(TIMER, 10.0)
    d.silent()


# --- finding


def test_providers_with_room_come_first_and_ailing_ones_last():
    d = registry()
    for provider, capacity in ((P1, 0), (P2, 2), (P3, 2)):
        serve(d, provider, capacity=capacity)
    health(d, P2, "no disk").take()
    answer = found(d)
    assert [p.component_id for p in answer.providers] == [P3, P2, P1]
    assert answer.protocols == [PYTHON] and answer.error is None


@pytest.mark.parametrize(
    ("protocol", "method", "error", "text"),
    [
        ("pyhton/v1", None, ProtocolNotFound, "did you mean python/v1?"),
        ("python/v1", "python/exekute", MethodNotSupported, "did you mean python/execute?"),
        (None, "shell/runn", MethodNotSupported, "did you mean shell/run?"),
        ("shell/v1", "shell/run", ProviderNotAvailable, "no provider of shell/v1"),
        (None, "shell/run", ProviderNotAvailable, "no provider of shell/v1"),
    ],
)
def test_what_cannot_be_found_is_an_error_with_what_comes_nearest(protocol, method, error, text):
    d = serve(registry())
    d.receive(r.RegisterProtocol(protocol=SHELL)).take()
    answer = found(d, protocol, method)
    assert answer.providers == [] and answer.error.code == error.code and text in answer.error.message


def test_without_a_protocol_everything_is_listed_or_what_has_the_method():
    d = serve(serve(registry()), P2, SHELL)
    everything = found(d, None)
    assert [p.component_id for p in everything.providers] == [P1, P2]
    assert everything.protocols == [PYTHON, SHELL]
    assert found(d, None, "shell/run").providers == [info(P2, "shell/v1")]
    assert found(registry(), None) == r.ProviderFound(providers=[])


def test_protocols_are_listed_by_name_also_those_that_nobody_serves():
    d = serve(registry(), P2, SHELL)
    d.receive(r.RegisterProtocol(protocol=PYTHON)).take()
    d >> r.ListProtocols()
    d << replies(r.ProtocolList(protocols=[PYTHON, SHELL], providers=[info(P2, "shell/v1")]))


# --- leaving


def test_a_provider_that_disconnects_is_forgotten_and_its_protocol_is_not():
    d = serve(registry())
    (d >> gone(P1)) << SetTimer(TIMER, 1.0)
    assert found(d).error.code == ProviderNotAvailable.code
    d.receive(gone(P1)).silent()
    d.receive(gone("engine-1", role=Role.EXECUTION_ENGINE)).silent()


def test_the_late_end_of_an_earlier_process_removes_nothing():
    d = serve(registry(), epoch=5)
    d.receive(gone(P1, epoch=4)).silent()
    assert found(d).providers == [info(epoch=5)]


def test_a_provider_that_is_still_there_by_another_hub_is_told_to_register_again():
    d = serve(registry())
    d >> gone(P1) << SetTimer(TIMER, 1.0)
    d.expire(TIMER) << CHECK << SetTimer(TIMER, 10.0)
    health(d, P1) << SetTimer(TIMER, 1.0)
    health(d, P1).silent()
    d.expire(TIMER) << INITIALIZE << CHECK << SetTimer(TIMER, 10.0)
    assert found(serve(d)).providers == [info()]


# --- health


def test_every_good_answer_announces_the_provider_again():
    d = serve(registry())
    d.expire(TIMER) << CHECK << SetTimer(TIMER, 10.0)
    assert d.now == 10.0
    health(d, P1) << tells(r.ProviderRegistered(provider=info(health="ok")))
    d.silent()


def test_a_provider_whose_checks_fail_gets_no_more_work_until_one_succeeds():
    d = serve(registry())
    health(d, P1, "no disk") << tells(r.ProviderRegistered(provider=info(health="no disk")))
    health(d, P1, "no disk") << tells(r.ProviderRegistered(provider=info(health="no disk")))
    sick = r.ProviderRegistered(provider=info(capacity=0, health="no disk"))
    out = tells(r.Shutdown(reason="health: no disk"), to=P1)
    health(d, P1, "no disk") << notes("warning") << tells(sick) << out
    health(d, P1, "no disk") << tells(sick)
    assert found(d).providers == [info(capacity=0, health="no disk")]
    assert d.machine.figures() == {"protocols": 1, "providers": 1, "failing_providers": 1}
    well = tells(r.ProviderRegistered(provider=info(health="ok")))
    health(d, P1) << notes("info") << tells(r.Initialize()) << well
    d.silent()


def test_a_provider_that_does_not_answer_fails_its_checks_and_is_forgotten_at_last():
    d = serve(registry())
    silent = "does not answer health checks"
    for number in range(SILENT_CHECKS + 1):
        d.expire(TIMER)
        if number == 3:
            d << notes("warning") << tells(r.ProviderRegistered(provider=info(capacity=0, health=silent)))
            d << tells(r.Shutdown, to=P1)
        d << CHECK << SetTimer(TIMER, 10.0)
        d.silent()
    assert d.machine.figures()["providers"] == 0


def test_a_provider_that_starts_anew_starts_well():
    d = serve(registry(failed_checks=1), epoch=1)
    health(d, P1, "no disk").take()
    assert found(d).providers[0].capacity == 0
    assert found(serve(d, epoch=1)).providers[0].capacity == 0
    assert found(serve(d, epoch=2)).providers == [info(epoch=2)]


def test_the_machine_handles_what_is_delivered_to_registries():
    handled = {name.removeprefix("on_") for name in dir(ProtocolRegistry) if name.startswith("on_")}
    assert handled == {name for name in delivered_names() if Role.PROTOCOL_REGISTRY in receivers(name)}


# --- against a model


class Providers(RuleBasedStateMachine):
    """Who has registered and not gone is found, with its newest word, and nobody else."""

    providers = st.sampled_from([P1, P2, P3])
    protocols = st.sampled_from([PYTHON, SHELL])

    def __init__(self):
        super().__init__()
        self.d = registry()
        self.known: dict[ComponentId, tuple[str, int, int]] = {}
        self.defined: set[str] = set()
        self.epochs = dict.fromkeys((P1, P2, P3), 1)

    @rule(provider=providers, protocol=protocols, capacity=st.integers(0, 2))
    def register(self, provider, protocol, capacity):
        serve(self.d, provider, protocol, capacity, self.epochs[provider])
        self.known[provider] = (protocol.name, capacity, self.epochs[provider])
        self.defined.add(protocol.name)

    @rule(provider=providers)
    def restart(self, provider):
        self.epochs[provider] += 1

    @rule(provider=providers, before=st.integers(0, 1))
    def leave(self, provider, before):
        epoch = self.epochs[provider] - before
        self.d.receive(gone(provider, epoch)).take()
        if provider in self.known and self.known[provider][2] <= epoch:
            del self.known[provider]

    @rule(provider=providers)
    def answer(self, provider):
        announced = [e for e in health(self.d, provider).take() if isinstance(e, Tell)]
        assert bool(announced) == (provider in self.known)

    @rule()
    def check(self):
        self.d.expire(TIMER).take()
        for provider in self.known:
            health(self.d, provider).take()

    @invariant()
    def everybody_finds_who_is_there(self):
        for name in ("python/v1", "shell/v1"):
            answer = found(self.d, name)
            wanted = {p: capacity for p, (served, capacity, _) in self.known.items() if served == name}
            assert {p.component_id: p.capacity for p in answer.providers} == wanted
            assert (answer.error is None) == bool(wanted)
            rooms = [p.capacity > 0 for p in answer.providers]
            assert rooms == sorted(rooms, reverse=True)

    @invariant()
    def there_is_always_a_next_health_check(self):
        assert TIMER in self.d.timers


TestProviders = Providers.TestCase
TestProviders.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
