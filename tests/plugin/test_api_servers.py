"""With several API processes, all of them pin decoding and are counted."""

import base64
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from scripts.stack import ROOT
from tests.support.engine import TINY, in_engine, start_engine
from tests.support.processes import wait_for

from vibevoice_vllm.transcription import prompt

pytestmark = pytest.mark.engine

REQUESTS = 12
SECONDS = 8.03


def test_every_api_process_pins(tmp_path: Path) -> None:
    """A caller's temperature has no effect in any of them. With two copies of the model, vLLM
    starts two API processes, as with `--api-server-count 2`, and each uses both engines."""
    log = tmp_path / "log"
    recording = (ROOT / "samples" / "one-speaker.wav").read_bytes()
    url_of_audio = "data:audio/wav;base64," + base64.b64encode(recording).decode()
    text = prompt(SECONDS).partition("<|AUDIO|>\n")[2].partition("<|im_end|>")[0]
    parts = [
        {"type": "audio_url", "audio_url": {"url": url_of_audio}},
        {"type": "text", "text": text},
    ]
    body = {
        "model": "vibevoice",
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 60,
        "temperature": 1.7,
    }

    with start_engine(TINY, log, "--data-parallel-size", "2") as url:

        def ask(seed: int) -> str:
            # One connection each: the kernel distributes them among the processes.
            answer = httpx2.post(
                f"{url}/v1/chat/completions", json={**body, "seed": seed}, timeout=300
            )
            assert answer.status_code == 200, answer.text
            return answer.json()["choices"][0]["message"]["content"]

        with ThreadPoolExecutor(4) as pool:
            answers = set(pool.map(ask, range(REQUESTS)))
        wait_for(lambda: in_engine(url) == 0)
        metrics = httpx2.get(f"{url}/metrics", timeout=60).text
    assert len(answers) == 1
    assert '"Content"' in answers.pop()
    assert len(set(re.findall(r"Started server process \[(\d+)\]", log.read_text()))) == 2
    finished = re.findall(r"^vllm:request_success_total\{[^}]*\} (\S+)$", metrics, re.MULTILINE)
    assert sum(float(count) for count in finished) == REQUESTS
