"""Events: through the application's structlog, or through `logging`."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from avmm.log import LOGGER, configure_when_needed, get_logger


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Whatever ran before in this process."""
    configuration = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    configure_when_needed(lambda: None)
    logger = logging.getLogger(LOGGER)
    level = logger.level
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(level)
    if configuration is not None:
        structlog.configure(**configuration)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, LOGGER)
    return caplog


@pytest.fixture
def captured() -> Iterator[LogCapture]:
    """What an application hears that has configured structlog."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture
    structlog.reset_defaults()


def test_an_event_is_a_record_with_its_fields_in_the_order_they_were_given(heard: pytest.LogCaptureFixture) -> None:
    logger = get_logger(vm="vm0").bind(disk="disk0")
    logger.warning("disk request failed", count=2)
    logger.debug("not asked for")
    (record,) = heard.records
    assert (record.name, record.levelname) == ("avmm", "WARNING")
    assert record.getMessage() == "event='disk request failed' vm='vm0' disk='disk0' count=2"


def test_a_field_told_again_is_the_last_one(heard: pytest.LogCaptureFixture) -> None:
    get_logger(vm="vm0", disk="disk0").warning("disk request failed", disk="disk1")
    (record,) = heard.records
    assert record.getMessage() == "event='disk request failed' vm='vm0' disk='disk1'"


def test_levels(heard: pytest.LogCaptureFixture) -> None:
    heard.set_level(logging.DEBUG, LOGGER)
    logger = get_logger()
    for tell in (logger.debug, logger.info, logger.warning, logger.error):
        tell("x")
    assert [record.levelname for record in heard.records] == ["DEBUG", "INFO", "WARNING", "ERROR"]


def test_an_application_with_structlog_hears_structlog_events(captured: LogCapture, heard: pytest.LogCaptureFixture) -> None:
    logger = get_logger(vm="vm0")
    logger.info("vm started", vcpus=2)
    assert captured.entries == [{"vm": "vm0", "vcpus": 2, "event": "vm started", "log_level": "info"}]
    assert not heard.records


def test_whose_own_levels_count(captured: LogCapture) -> None:
    logging.getLogger(LOGGER).setLevel(logging.ERROR)
    try:
        get_logger().info("vm started")
    finally:
        logging.getLogger(LOGGER).setLevel(logging.NOTSET)
    assert [entry["event"] for entry in captured.entries] == ["vm started"]


def test_an_event_that_nobody_hears_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "structlog")
    get_logger().info("vm started")
    assert "structlog" not in sys.modules
    get_logger().error("vm failed")
    assert "structlog" in sys.modules


def test_what_configures_structlog_when_needed_leaves_an_applications_alone(captured: LogCapture) -> None:
    configure_when_needed(lambda: structlog.configure(processors=[LogCapture()]))
    get_logger().warning("guest fault")
    assert [entry["event"] for entry in captured.entries] == ["guest fault"]


def test_a_logger_made_before_the_configuration_follows_it(heard: pytest.LogCaptureFixture) -> None:
    logger = get_logger(vm="vm0")
    logger.info("one")
    capture = LogCapture()
    structlog.configure(processors=[capture])
    try:
        logger.info("two")
    finally:
        structlog.reset_defaults()
    logger.info("three")
    assert [entry["event"] for entry in capture.entries] == ["two"]
    assert [record.getMessage() for record in heard.records] == ["event='one' vm='vm0'", "event='three' vm='vm0'"]


HELLO = str(Path(__file__).parents[3] / "examples/guests/images/hello.img")
HEAVY = ("pydantic", "structlog", "rich", "fastapi", "uvicorn", "httpx", "prometheus_client", "opentelemetry", "perfetto", "tqdm")


def test_what_a_small_machine_does_not_need_is_not_imported() -> None:
    """What importing these takes is a multiple of the life of a guest that says hello."""
    code = f"import sys; from avmm.cli.main import main; main(['run', '--kernel', {HELLO!r}])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"avmm.vm", "avmm_unicorn._native"} <= set(done.stdout.split())
    assert not set(HEAVY) & set(done.stdout.split())


DEVICES = ("--device", "virtio-rng", "--net", "none", "--hvc", "none", "--initrd", HELLO)
OURS = """
import inspect, sys
from avmm.cli.main import main
main(sys.argv[1:])
for module in [module for name, module in sys.modules.items() if name.startswith("avmm")]:
    for cls in [cls for cls in vars(module).values() if inspect.isclass(cls) and cls.__module__ == module.__name__]:
        methods = [(name, inspect.unwrap(method).__code__) for name, method in vars(cls).items() if inspect.isfunction(method)]
        print(f"{module.__name__}.{cls.__name__}", *[name for name, code in methods if code.co_filename.startswith("<")])
"""


def test_nothing_is_compiled_for_a_small_machine() -> None:
    """A data class compiles its methods whenever it is imported: a `Record` has them."""
    done = subprocess.run(
        [sys.executable, "-c", OURS, "run", "--kernel", HELLO, *DEVICES], capture_output=True, text=True, check=True
    )
    classes = dict(line.partition(" ")[::2] for line in done.stdout.splitlines() if line.startswith("avmm"))
    assert {"avmm.vm.Vm", "avmm_arm64.fdt.Board", "avmm_virtio.virtqueue.QueueStats"} <= classes.keys()
    assert {name: methods for name, methods in classes.items() if methods} == {}
