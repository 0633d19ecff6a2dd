"""How many requests are in flight at once: found by trying, as TCP finds its window.

It doubles while that pays, by the rule with which BBR's start-up knows that the pipe is full: three
rounds in which throughput did not grow by a quarter (Cardwell et al., "BBR: Congestion-Based
Congestion Control", ACM Queue 2016). A 429 halves it, once a round (the multiplicative decrease of
Chiu and Jain, 1989; RFC 5681). After some rounds it tries anew, since servers come and go.

A round is as many answers as there may be requests in flight, to requests sent since it began.
Recordings differ in length, so throughput is not counted from what arrives by chance within a
round, but by Little's law: requests in flight times seconds of audio for a second waited.
"""

START = 8
MOST = 256
GROWTH = 1.25
FLAT_ROUNDS = 3
ROUNDS_BETWEEN_TRIES = 8


class Limit:
    """`value` requests may be in flight. Pure: told of what was sent and of what came back."""

    def __init__(self, fixed: int | None = None) -> None:
        self.value = fixed or START
        self._is_fixed = fixed is not None
        self._round = 0
        self._answers = 0
        self._audio = 0.0
        self._waited = 0.0
        self._is_growing = True
        self._rounds = 0
        """Flat rounds while growing, else those since the last try."""
        self._best = (0.0, self.value)
        """Most audio seconds a second, and the limit that gave them."""

    def sent(self) -> int:
        """The round of a request that is sent now, to be handed back with its answer."""
        return self._round

    def answered(self, sent: int, audio: float, waited: float) -> None:
        """A recording of `audio` seconds was transcribed `waited` seconds after it was sent."""
        if sent != self._round or self._is_fixed:
            return
        self._answers += 1
        self._audio += audio
        self._waited += waited
        if self._answers >= self.value:
            throughput = self.value * self._audio / max(self._waited, 1e-9)
            self._next_round(self._decide(throughput))

    def busy(self, sent: int) -> None:
        """The server has no place for a request."""
        if sent == self._round and not self._is_fixed:
            self._is_growing, self._rounds = False, 0
            self._next_round(max(1, self.value // 2))

    def _decide(self, throughput: float) -> int:
        """The limit of the next round."""
        self._rounds += 1
        if self._is_growing:
            if throughput >= GROWTH * self._best[0]:
                return self._try(throughput)
            if self._rounds < FLAT_ROUNDS:
                return self.value
            self._is_growing, self._rounds = False, 0
            return self._best[1]
        return self._try(throughput) if self._rounds >= ROUNDS_BETWEEN_TRIES else self.value

    def _try(self, throughput: float) -> int:
        self._is_growing, self._rounds = True, 0
        self._best = throughput, self.value
        return min(MOST, 2 * self.value)

    def _next_round(self, value: int) -> None:
        self.value = value
        self._round += 1
        self._answers, self._audio, self._waited = 0, 0.0, 0.0
