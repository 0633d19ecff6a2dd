"""Adjusts the number of requests in flight, as TCP adjusts its window.

The limit doubles while that helps, by the rule with which BBR's startup detects a full pipe: three
rounds in which throughput did not grow by a quarter (Cardwell et al., "BBR: Congestion-Based
Congestion Control", ACM Queue 2016). A 429 halves it, once per round (the multiplicative decrease
of Chiu and Jain, 1989; RFC 5681). After some rounds it probes again, since servers come and go.

A round lasts until there are as many responses as the limit, to requests sent since it began.
Recordings differ in length, so throughput is not measured by counting the responses of a round, but
by Little's law: requests in flight times seconds of audio per second of waiting.
"""

START = 8
MOST = 256
GROWTH = 1.25
FLAT_ROUNDS = 3
ROUNDS_BETWEEN_TRIES = 8


class Limit:
    """Allows `value` requests in flight. Does no I/O: it is notified of requests and responses."""

    def __init__(self, fixed: int | None = None) -> None:
        self.value = fixed or START
        self._is_fixed = fixed is not None
        self._round = 0
        self._answers = 0
        self._audio = 0.0
        self._waited = 0.0
        self._is_growing = True
        self._rounds = 0
        """Rounds without growth; later, rounds since the last probe."""
        self._best = (0.0, self.value)
        """Highest throughput in audio seconds per second, and the limit that achieved it."""

    def sent(self) -> int:
        """The round of a request sent now; pass it back with the response."""
        return self._round

    def answered(self, sent: int, audio: float, waited: float) -> None:
        """Record that `audio` seconds were transcribed `waited` seconds after the request was
        sent."""
        if sent != self._round or self._is_fixed:
            return
        self._answers += 1
        self._audio += audio
        self._waited += waited
        if self._answers >= self.value:
            throughput = self.value * self._audio / max(self._waited, 1e-9)
            self._next_round(self._decide(throughput))

    def busy(self, sent: int) -> None:
        """Record that the server had no capacity for a request."""
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
