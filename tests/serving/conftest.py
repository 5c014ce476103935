"""Models to serve, and servers that serve them."""

import pytest

from tests.serving import look_alike, real_server


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory):
    """A folder of models, with a `models.config` in it."""
    from tests.serving import small_exports

    folder = tmp_path_factory.mktemp("served")
    small_exports.write_all(folder)
    return folder


@pytest.fixture(scope="session")
def server(served_folder):
    """The look-alike, without XLA, which is how a server runs by default."""
    with look_alike.running(served_folder / "models.config", served_folder) as running:
        yield running


def pytest_generate_tests(metafunc):
    if "any_server" in metafunc.fixturenames:
        here = [kind for kind in real_server.KINDS if not real_server.missing(kind)]
        servers = ["look_alike", *here]
        metafunc.parametrize("any_server", servers, indirect=True, scope="session")


@pytest.fixture(scope="session")
def any_server(request, served_folder):
    """The look-alike, and the real server where there is one."""
    if request.param == "look_alike":
        yield request.getfixturevalue("server")
        return
    with real_server.running(request.param, served_folder) as running:
        yield running
