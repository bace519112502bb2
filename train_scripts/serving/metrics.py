"""What the server counts, in the text form of Prometheus."""

import resource
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LIMITS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper limits of the histogram of the time from request to answer."""


class Metrics:
    """Counts since the start.

    Attributes:
        statuses: answers by their status.
        audio_seconds: length of all recordings that were answered.
        live_windows: answers of live streams.
    """

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.slots: Counter[float] = Counter()
        self.request_seconds = 0.0
        self.audio_seconds = 0.0
        self.live_windows = 0

    def count(self, status: int, seconds: float) -> None:
        """Count the answer to a request, and the seconds that it took if there is one."""
        self.statuses[status] += 1
        if status == 200:
            self.request_seconds += seconds
            self.slots.update(limit for limit in LIMITS_SECONDS if seconds <= limit)

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it, and what is true at the moment, by names without the prefix."""
        lines = ["# TYPE decomp_ser_requests_total counter"]
        lines += [
            f'decomp_ser_requests_total{{status="{status}"}} {number}'
            for status, number in sorted(self.statuses.items())
        ]
        answered = self.statuses[200]
        lines += ["# TYPE decomp_ser_request_seconds histogram"]
        lines += [
            f'decomp_ser_request_seconds_bucket{{le="{limit}"}} {self.slots[limit]}'
            for limit in LIMITS_SECONDS
        ]
        lines += [
            f'decomp_ser_request_seconds_bucket{{le="+Inf"}} {answered}',
            f"decomp_ser_request_seconds_sum {self.request_seconds:.6f}",
            f"decomp_ser_request_seconds_count {answered}",
        ]
        used = resource.getrusage(resource.RUSAGE_SELF)
        numbers = {
            "decomp_ser_audio_seconds_total": self.audio_seconds,
            "decomp_ser_live_windows_total": self.live_windows,
            **{f"decomp_ser_{name}": value for name, value in gauges.items()},
            "process_cpu_seconds_total": used.ru_utime + used.ru_stime,
            "process_resident_memory_bytes": resident_bytes(),
        }
        for name, value in numbers.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# TYPE {name} {kind}", f"{name} {value:.10g}"]
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Memory of this process that is in use; the most of it so far where the system has no /proc,
    in whatever unit it counts.
    """
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(statm.read_text().split()[1]) * resource.getpagesize()
