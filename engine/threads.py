"""Environment variables that set how torch's threads wait; they must be set before torch is imported.

Threads that always spin are thirty times slower on shared cores (measured: each waits for a thread that is
not running). Threads that sleep at once pay some 60 µs of waking for every small product. With these values a
thread spins for a millisecond and then sleeps. Use: `os.environ.update(WAITS | os.environ)`.
"""

WAITS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "20000"}
"""For GNU OpenMP, which torch's wheels contain; it reads them when it is loaded. A spin takes some 50 ns."""
