"""One Docker daemon for the session, with the base images."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.support.docker import Docker, NoDocker, docker_daemon, require_base, require_vllm


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon with the proxy's base image. If this machine cannot run one, the container tests are
    skipped, and the report says so."""
    with ExitStack() as stack:
        try:
            docker = stack.enter_context(docker_daemon(tmp_path_factory.mktemp("docker")))
            require_base(docker)
        except NoDocker as error:
            pytest.skip(f"NO CONTAINER WAS TESTED: {error}")
        yield docker


@pytest.fixture(scope="session")
def docker(daemon: Docker) -> Docker:
    """The daemon, with the proxy's image."""
    daemon.ask("compose", "-f", "docker/docker-compose.proxy-only.yml", "build")
    return daemon


@pytest.fixture(scope="session")
def docker_with_engine(docker: Docker) -> Docker:
    """The daemon, with the engine's base image."""
    try:
        require_vllm(docker)
    except NoDocker as error:
        pytest.skip(f"THE ENGINE'S CONTAINER WAS NOT TESTED: {error}")
    return docker
