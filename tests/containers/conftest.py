"""One Docker daemon for the session, and the bases of the images."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.support.docker import Docker, NoDocker, docker_daemon, require_base, require_vllm


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon with the proxy's base. If this machine cannot run one, no container is tested, and
    the report says so."""
    with ExitStack() as stack:
        try:
            docker = stack.enter_context(docker_daemon(tmp_path_factory.mktemp("docker")))
            require_base(docker)
        except NoDocker as error:
            pytest.skip(f"NO CONTAINER WAS TESTED: {error}")
        yield docker


@pytest.fixture(scope="session")
def docker(daemon: Docker) -> Docker:
    """With the proxy's image."""
    daemon.ask("compose", "-f", "docker/docker-compose.proxy-only.yml", "build")
    return daemon


@pytest.fixture(scope="session")
def docker_with_engine(docker: Docker) -> Docker:
    """With what the engine's image is made of."""
    try:
        require_vllm(docker)
    except NoDocker as error:
        pytest.skip(f"THE ENGINE'S CONTAINER WAS NOT TESTED: {error}")
    return docker
