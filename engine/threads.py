"""How the threads of a product wait for one another: `os.environ.update(WAITS | os.environ)`, before torch.

Threads that spin without end are thirty times slower where cores are shared (measured: each waits for one
that is scheduled away); threads that sleep at once pay some 60 µs of waking for every small product. So they
look for a millisecond, which costs little where cores are shared, and sleep then.
"""

WAITS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "20000"}
"""For GNU OpenMP, which torch's wheels carry; it reads them when it is loaded. A look takes some 50 ns."""
