"""Fixtures that many files share, one for each file; a file that needs more has its own of the same name."""
import pytest

from harness import Origin


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    return tmp_path_factory.mktemp(request.module.__name__)


@pytest.fixture(scope="module")
def origin():
    server = Origin()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def trackers(folder):
    """Every host of the web, for Chromium."""
    from chromium import EveryHost, tracker  # skips where there is no selenium
    with EveryHost(folder, tracker) as server:
        yield server
