"""One Docker daemon for the session, and the bases of the images."""

from collections.abc import Iterator

import pytest
from tests.support.docker import Docker, NoDocker, docker_daemon, require_base, require_vllm


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon; where none can be started no container is tested, and the report says so."""
    try:
        with docker_daemon(tmp_path_factory.mktemp("docker")) as docker:
            yield docker
    except NoDocker as error:
        pytest.skip(f"NO CONTAINER WAS TESTED: {error}")


@pytest.fixture(scope="session")
def docker(daemon: Docker) -> Docker:
    """With the proxy's image."""
    require_base(daemon)
    daemon.ask("compose", "-f", "docker/docker-compose.proxy-only.yml", "build")
    return daemon


@pytest.fixture(scope="session")
def docker_with_engine(docker: Docker) -> Docker:
    """With what the engine's image is made of."""
    require_vllm(docker)
    return docker
